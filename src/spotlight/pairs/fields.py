"""Fields of view: rows of a manifest that show one field, in several planes of focus or with several targets."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from spotlight.errors import SpotlightError
from spotlight.images import stem
from spotlight.pairs.manifest import name_apart
from spotlight.pairs.pair import Pair

AGREE = (
    "split",
    "group",
    "modality",
    "input_channel",
    "region",
    "axes",
    "mask_axes",
    "voxel_size",
    "further_inputs",
)
"""Columns that must be equal for all planes of one field."""


def join_planes(pairs: Sequence[Pair]) -> list[Pair]:
    """Join rows that have the same target: their inputs are planes of one field, in the order of the rows.

    Raises
    ------
    SpotlightError
        If the rows of one field differ in another column.
    """
    joined: dict[tuple[object, ...], Pair] = {}
    planes: dict[tuple[object, ...], list[Path]] = {}
    for pair in pairs:
        key = (pair.target, pair.target_channel, pair.target_name, pair.scene, pair.time, pair.region)
        first = joined.get(key)
        if first is None:
            joined[key] = pair
            continue
        for name in AGREE:
            if getattr(first, name) != getattr(pair, name):
                raise SpotlightError(
                    f"{first.input} and {pair.input} are planes of one field, since both have the target "
                    f"{pair.target}, but their rows differ in {name}: {getattr(first, name)!r} and "
                    f"{getattr(pair, name)!r}. Correct the manifest."
                )
        planes.setdefault(key, list(first.planes or ())).append(pair.input)
    renamed = [
        replace(pair, name=stem(pair.target), focus_offset=None, planes=tuple(planes.get(key, pair.planes or ())))
        if key in planes or pair.planes is not None
        else pair
        for key, pair in joined.items()
    ]
    return name_apart(renamed)


def fields_by_plane(pairs: Sequence[Pair]) -> dict[str, Pair]:
    """Fields as `join_planes` makes them, by the names of the pairs whose inputs are their planes."""

    def key(pair: Pair, plane: Path) -> tuple[object, ...]:
        return plane, pair.target, pair.target_channel, pair.target_name, pair.scene, pair.time, pair.region

    fields = {
        key(field, plane): field for field in join_planes(pairs) for plane in (field.input, *(field.planes or ()))
    }
    return {pair.name: fields[key(pair, pair.input)] for pair in pairs}


def field_of(pair: Pair) -> str:
    """What two pairs share if, and only if, they show one field: the input and what of it is taken."""
    facts = (pair.input, pair.planes, pair.scene, pair.time, pair.region, pair.input_channel, pair.further_inputs)
    return repr(facts)


def group_fields(pairs: Sequence[Pair]) -> list[list[int]]:
    """Numbers of the pairs of every field, in order: pairs that share the input, or any plane of it, show one field."""
    first: dict[str, int] = {}
    root = list(range(len(pairs)))

    def top(number: int) -> int:
        while root[number] != number:
            root[number] = root[root[number]]  # keeps chains short
            number = root[number]
        return number

    for number, pair in enumerate(pairs):
        for file in (pair.input, *(pair.planes or ())):
            ends = top(number), top(first.setdefault(field_of(replace(pair, input=file, planes=None)), number))
            root[max(ends)] = min(ends)
    fields: dict[int, list[int]] = {}
    for number in range(len(pairs)):
        fields.setdefault(top(number), []).append(number)
    return list(fields.values())


def stains_of(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Names of the targets in the order in which they appear; one empty name where they have none."""
    return tuple(dict.fromkeys(pair.target_name for pair in pairs))
