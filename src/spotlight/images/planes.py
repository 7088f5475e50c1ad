"""Stacks whose planes were saved as timepoints or channels: how to recognise them, and the hint for the user."""

from collections.abc import Mapping, Sequence

NAMES = {"T": "timepoints", "C": "channels"}


def planes_hint(
    axes: str, shape: Sequence[int], channels: Sequence[str] = (), voxel_size: Mapping[str, float] | None = None
) -> str:
    """Describe what the timepoints or channels of an image without planes along Z may be.

    Parameters
    ----------
    axes : str
        As the file states them.
    shape : sequence of int
        Size of every axis.
    channels : sequence of str
        Names; channels that have names are no planes, nor are two channels.
    voxel_size : mapping
        Edge lengths by axis: a file that states a step in Z was a stack once.

    Returns
    -------
    str
        A sentence that begins with a space and says which axes to state; empty if there is no doubt.
    """
    sizes = dict(zip(axes, shape, strict=True))
    if sizes.get("Z", 1) > 1:
        return ""
    if sizes.get("T", 1) > 1:
        wrong = "T"
    elif sizes.get("C", 1) > 2 and not any(channels):
        wrong = "C"
    else:
        return ""
    right = axes.translate(str.maketrans(f"{wrong}Z", f"Z{wrong}"))
    sure = "are probably" if "Z" in (voxel_size or {}) else "may be"
    return (
        f" The {sizes[wrong]} {NAMES[wrong]} of the file {sure} planes of a stack. If so, state its axes: "
        f"axes={right!r} (Python), --axes {right} (command line), or {right} in the manifest's column axes "
        "(of labels and masks: mask_axes)."
    )
