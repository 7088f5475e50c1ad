"""Series of planes whose target is a single plane: the planes become the channels of a network of two dimensions."""

from collections.abc import Sequence
from dataclasses import replace

from spotlight.errors import SpotlightError
from spotlight.images import read_selected
from spotlight.images.joining import take
from spotlight.pairs.pair import Pair

MOST_PLANES = 16
"""Of a longer series, so many planes are taken, evenly spaced."""


def flatten(pairs: Sequence[Pair], target_plane: str | None) -> tuple[list[Pair], list[str]]:
    """Name the plane of targets that is wanted and, where targets are single planes, the planes of the inputs.

    Reads shapes alone.

    Parameters
    ----------
    pairs : sequence of Pair
        As proposed.
    target_plane : str, optional
        ``max`` or ``mean`` (projections), ``focus``, or a zero-based index; left out: targets stay what they are.

    Returns
    -------
    (list of Pair, list of str)
        The pairs, and sentences that say what was done.

    Raises
    ------
    SpotlightError
        If targets are single planes of series that do not all have the same number of planes.
    """
    chosen, reasons = list(pairs), []
    if target_plane is not None:
        for number, pair in enumerate(chosen):
            if _planes(pair, pair.target, pair.target_channel):
                chosen[number] = replace(pair, target_channel=f"{pair.target_channel or ''} z={target_plane}".strip())
        reasons.append(f"Of targets that are stacks, z={target_plane} is taken (--target-plane).")
    counts = {}
    for number, pair in enumerate(chosen):
        single = not isinstance(pair.input_channel, tuple)
        planes = _planes(pair, pair.input, pair.input_channel) if single else 0  # type: ignore[arg-type]
        if planes and not _planes(chosen[number], pair.target, chosen[number].target_channel):
            counts[number] = planes
    if not counts:
        return chosen, reasons
    if len(set(counts.values())) > 1 or len(counts) < len(chosen):
        least = min(counts.values())
        raise SpotlightError(
            f"{chosen[min(counts)].input}: the targets are single planes, and the inputs series of {least} to "
            f"{max(counts.values())} planes, or single ones. A network takes the same planes of each: name them, for "
            "example --input-channel z=focus-1 --input-channel z=focus --input-channel z=focus+1."
        )
    planes = next(iter(counts.values()))
    taken = range(planes)
    if planes > MOST_PLANES:
        taken = [round(n * (planes - 1) / (MOST_PLANES - 1)) for n in range(MOST_PLANES)]  # type: ignore[assignment]
    for number, pair in enumerate(chosen):
        names = tuple(f"{pair.input_channel or ''} z={z}".strip() for z in taken)
        chosen[number] = replace(pair, input_channel=names)
    which = f"all {planes} planes" if planes <= MOST_PLANES else f"{MOST_PLANES} of {planes} planes"
    reasons.append(
        f"Inputs are series of planes and targets single planes: {which} of an input are the channels of a network of "
        "two dimensions. For a network that takes any one of the planes instead, empty the column input_channel of the "
        "planes and set preparation.planes to one."
    )
    return chosen, reasons


def _planes(pair: Pair, path: object, channel: str | None) -> int:
    """Number of planes of an image of a pair; 0 if it is a single plane."""
    name = "input" if path == pair.input else "target"
    stack = read_selected(pair.input if name == "input" else pair.target, pair.selection(name).only("scene", "axes"))
    part = take(stack.timepoint(pair.time), channel)
    return part.shape[0] if part.axes == "ZYX" else 0
