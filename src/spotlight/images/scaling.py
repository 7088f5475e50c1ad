"""How an input is brought to the scale that the network works on; training and prediction use the same functions."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from spotlight.errors import SpotlightError
from spotlight.images.normalise import COUNTED, SAMPLED, Scale, mean_and_std, occurrences, zeros_are_padding
from spotlight.images.slabs import Array, values_of
from spotlight.images.stack import Stack

Scaling = Literal["mean/std", "median/iqr", "percentiles", "uint16", "log"]
"""What is subtracted from an input and what it is divided by: its mean and standard deviation (Ounkomol et al. 2018),
its median and interquartile range (Liu et al. 2025), its 1st
percentile and the distance from there to its 99th, or the same constants for every 16-bit image (Liu et al. 2024), or
for the logarithms of its values."""

EXTREMES = (1.0, 99.0)
"""Percentiles that become 0 and 1."""

UINT16 = Scale(32767.5, 32767.5)
"""Maps 0 to 65535 onto -1 to 1."""

LOG = Scale(math.log(1000), 1.0, logarithm=True)
"""Maps v to ln((v + 1) / 1000), for every image. 0 is 1000 counts, a usual background: the network pads by it."""

FIXED: dict[str, Scale] = {"uint16": UINT16, "log": LOG}
"""Scalings that are the same for all images, whose brightness the network therefore sees."""


def input_scale(stack: Stack, scaling: Scaling | Literal["none"], central_planes: int | None = None) -> Scale:
    """Return what is subtracted from an input, or from its logarithms, and what it is then divided by.

    Zeros that pad the image are left out (see `zeros_are_padding`).

    Parameters
    ----------
    stack : Stack
        Axes ZYX or YX, at native resolution.
    scaling : {"mean/std", "median/iqr", "percentiles", "uint16", "log", "none"}
        The rule; "none" leaves values as they are.
    central_planes : int, optional
        Find the values from so many planes in the middle of a ZYX stack, not from all of it.

    Returns
    -------
    Scale
        In the stack's own units, except for "log"; the width is positive.

    Raises
    ------
    SpotlightError
        If the stack is constant, has fewer planes than `central_planes`, or is not of 16 bits where that is needed.
    """
    if scaling == "none":
        return Scale(0.0, 1.0)
    if scaling in FIXED:
        require_uint16(stack, scaling)
        return FIXED[scaling]
    if central_planes is not None and stack.axes == "ZYX":
        stack = _middle(stack, central_planes)
    padded = zeros_are_padding(stack.values)
    if scaling == "mean/std":
        return Scale(*mean_and_std(stack.values, padded, name=stack.source))
    if scaling == "percentiles":
        low, high = percentiles(stack.values, EXTREMES, padded)
        if not high > low:
            raise SpotlightError(
                f"{stack.source}: 98 % of its values are {low:g}, so it cannot be scaled by its 1st and 99th "
                "percentile. Check the file and the channel, or train with the scaling 'mean/std'."
            )
        return Scale(low, high - low)
    low, middle, high = percentiles(stack.values, (25, 50, 75), padded)
    if not high > low:
        raise SpotlightError(
            f"{stack.source}: has an interquartile range of 0 (half of its values are {middle:g}), by which it cannot "
            "be divided. Check the file and the channel, or train with the scaling 'mean/std'."
        )
    return Scale(middle, high - low)


def percentiles(image: Array, ranks: Sequence[float], padded: bool = False) -> tuple[float, ...]:
    """Percentiles of an image, interpolated linearly as `numpy.percentile` does.

    Exact for values of up to 16 bits and for small images; of a larger image of another type, from about `SAMPLED`
    evenly spaced values.

    Parameters
    ----------
    image : array
        Of any shape.
    ranks : sequence of float
        From 0 to 100.
    padded : bool
        Leave out exact zeros.
    """
    if image.dtype in COUNTED:
        values, counts = occurrences(image)
        counts = np.where(padded & (values == 0), 0, counts)
        below = np.cumsum(counts)
        places = np.array(ranks) / 100 * (below[-1] - 1)
        first = values[np.searchsorted(below, np.floor(places), side="right")].astype(float)
        second = values[np.searchsorted(below, np.ceil(places), side="right")].astype(float)
        found = first + (second - first) * (places - np.floor(places))
    else:
        step = max(1, image.size // SAMPLED)
        parts = (part[part != 0] if padded else part.ravel() for part in values_of(image))
        found = np.percentile(np.concatenate([part[::step] for part in parts]), ranks)
    return tuple(map(float, found))


def require_uint16(stack: Stack, scaling: str = "uint16") -> None:
    """Raise a `SpotlightError` unless a stack holds 16-bit values, for the constants of a scaling of `FIXED`."""
    if stack.dtype != np.uint16:
        raise SpotlightError(
            f"{stack.source}: has values of type {stack.dtype}, but the scaling {scaling!r} is "
            f"{scaling_in_words(scaling)}. Give 16-bit images, or train with the scaling 'mean/std'."
        )


def scaling_in_words(scaling: str, central_planes: int | None = None) -> str:
    """Say for people what happens to an input: "its mean and standard deviation, of the whole stack...".

    Parameters
    ----------
    scaling, central_planes
        See `input_scale`.
    """
    if scaling == "none":
        return "nothing: the network takes the values as they are"
    if scaling == "uint16":
        return "a fixed scale: 0 to 65535 become -1 to 1"
    if scaling == "log":
        return "a fixed scale: v becomes ln((v + 1) / 1000)"
    names = {"mean/std": "mean and standard deviation", "median/iqr": "median and interquartile range"}
    names["percentiles"] = "1st and 99th percentile"
    part = "the whole stack" if central_planes is None else f"the {central_planes} planes in the middle of the stack"
    return f"its {names[scaling]}, of {part} at native resolution"


def _middle(stack: Stack, planes: int) -> Stack:
    depth = stack.shape[0]
    if depth < planes:
        raise SpotlightError(
            f"{stack.source}: has {depth} planes, but its brightness is to be found from the {planes} planes in the "
            f"middle, as the model's training did. Give a stack of {planes} planes or more."
        )
    start = (depth - planes) // 2
    return replace(stack, array=stack.values[start : start + planes])
