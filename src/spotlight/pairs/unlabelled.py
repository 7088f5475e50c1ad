"""Stacks without a truth, for pretraining: of a folder, a manifest, or in memory."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from spotlight.addresses import located
from spotlight.errors import SpotlightError
from spotlight.files import require_path
from spotlight.images import Selection, images_in, is_image, suffixes, warn_of_planes
from spotlight.images.joining import parse_channels
from spotlight.images.slabs import values_of
from spotlight.pairs.fields import field_of
from spotlight.pairs.manifest import name_apart, read_manifest, require_distinct
from spotlight.pairs.pair import Image, Pair

log = logging.getLogger("spotlight")

Unlabelled: TypeAlias = "str | Path | Sequence[Image | Pair]"
"""What is taken as stacks without a truth: a folder, a manifest, or a list of paths, stacks, arrays or pairs."""


def read_inputs(
    source: Unlabelled,
    input_channel: str | Sequence[str] | None = None,
    axes: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
) -> list[Pair]:
    """List the inputs of a source as pairs whose target is the input itself; each field once.

    Of several input channels, each is a target of its own, named by its number.

    Parameters
    ----------
    source : path or sequence
        A folder of stacks, a manifest (its targets and masks do not matter), or a list.
    input_channel : str or sequence of str, optional
        Name or index of the channel, or several in order; for a folder or list.
    axes, voxel_size : optional
        Of arrays, and of files that do not state them or state them wrongly.

    Raises
    ------
    SpotlightError
        If there is none.
    """
    if isinstance(source, (str, Path)):
        path = require_path(source, "Give a folder of stacks, or a CSV or Parquet manifest.")
        found = _in_folder(path, input_channel, axes) if path.is_dir() else _in_manifest(path, input_channel)
    else:
        found = [_of(one, f"stack-{number}", input_channel, axes, voxel_size) for number, one in enumerate(source, 1)]
    stated = {"axes": axes, "voxel_size": voxel_size}
    found = [replace(pair, **{name: fact for name, fact in stated.items() if fact is not None}) for pair in found]  # type: ignore[arg-type]
    fields = list({field_of(pair): pair for pair in found}.values())
    if not fields:
        raise SpotlightError("there is no stack to pretrain on. Give a folder of stacks, a manifest, or a list.")
    require_distinct(fields)
    return [own for pair in fields for own in _every_channel(pair)]


def content_digest(pair: Pair) -> str:
    """SHA-256 of the values of the whole first channel of an input, whatever its file is called and its region is."""
    stack = replace(pair, region=None).read_channels()[0]
    found = hashlib.sha256(f"{stack.shape}".encode())
    for part in values_of(stack.values):
        found.update(np.ascontiguousarray(part, np.float32).tobytes())
    return found.hexdigest()


def _in_folder(folder: Path, input_channel: str | Sequence[str] | None, axes: str | None) -> list[Pair]:
    files = sorted(file for file in folder.iterdir() if is_image(file))
    if not files:
        raise SpotlightError(
            f"{folder}: has no image files ({', '.join(suffixes())}). Give a folder of stacks, or a manifest."
        )
    channels = parse_channels(input_channel) if input_channel is not None else None
    parts = [part for file in files for part in images_in(file, Selection(axes=axes))]
    warn_of_planes(parts)
    for part in parts:
        if channels is None and part.channels is not None and len(part.channels) != 1:
            raise SpotlightError(
                f"{part.path}: has the channels {', '.join(part.channels) or 'without names'}. Say which is the input: "
                "input_channel= (Python) or --input-channel, once for each channel of the task to come."
            )
    return name_apart(
        Pair(part.name, part.path, part.path, input_channel=channels, scene=part.scene, time=part.time)  # type: ignore[arg-type]
        for part in parts
    )


def _in_manifest(path: Path, input_channel: str | Sequence[str] | None) -> list[Pair]:
    if input_channel is not None:
        raise SpotlightError(
            f"{path}: a manifest states channels in its column input_channel. Remove the option, or give a folder."
        )
    return read_manifest(path, column="input")


def _of(
    one: Image | Pair,
    name: str,
    input_channel: str | Sequence[str] | None,
    axes: str | None,
    voxel_size: tuple[float, ...] | None,
) -> Pair:
    if isinstance(one, Pair):
        return one
    channels = parse_channels(input_channel) if input_channel is not None else None
    if isinstance(one, (str, Path)):
        file = located(one)
        return Pair(name, file, file, input_channel=channels)  # type: ignore[arg-type]
    return Pair.of_arrays(name, one, one, axes=axes, voxel_size=voxel_size, input_channel=channels)


def _every_channel(pair: Pair) -> list[Pair]:
    """A pair for each channel of the input; one without a name if there is one."""
    first = replace(pair, target=pair.input, labels=None, foreground=None, repeat=None, target_name="")
    if pair.in_channels == 1:
        return [first]
    names = [str(number) for number in range(pair.in_channels)]
    return [replace(first, name=f"{pair.name}-{name}", target_name=name) for name in names]
