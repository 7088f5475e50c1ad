"""Images of one field with other voxels, such as those of a camera that bins: known, and brought to one grid."""

import math
import re
import shlex
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spotlight.errors import SpotlightError
from spotlight.images.stack import Stack

MOST_BINNING = 8
"""Cameras bin up to so many pixels along an axis."""
ROUNDING = 0.03
"""Share by which stated voxel sizes may be rounded."""


def binning(fine: tuple[int, ...], coarse: tuple[int, ...]) -> int:
    """Pixels along Y and X of one image that are one pixel of another, by their shapes; 1 if they are not binned.

    Pixels at the end that fill no bin are lost. Planes are not binned.
    """
    if len(fine) != len(coarse) or fine[:-2] != coarse[:-2] or not min(coarse):
        return 1
    factors = {a // b if a - a // b * b < a // b else 0 for a, b in zip(fine[-2:], coarse[-2:], strict=True)}
    factor = factors.pop()
    return factor if not factors and 2 <= factor <= MOST_BINNING else 1


def steps_of(stack: Stack, like: Stack) -> tuple[float, ...] | None:
    """Edges of the voxels of `like` in voxels of `stack`, if both show one field with different voxels; else None.

    By the shapes where one is binned, unless the voxel sizes speak against it; else by the voxel sizes.
    """
    if stack.spatial_axes != like.spatial_axes:
        return None
    dims = len(stack.spatial_axes)
    own, wanted = stack.shape[-dims:], like.shape[-dims:]
    binned = binning(own, wanted) / binning(wanted, own)
    by_shape = (*(1.0,) * (dims - 2), binned, binned)
    if not (stack.voxel_size and like.voxel_size):
        return None if binned == 1 else by_shape
    steps = tuple(b / a for a, b in zip(stack.voxel_size, like.voxel_size, strict=True))
    if max(abs(step - 1) for step in steps) <= ROUNDING:
        return None
    if binned != 1 and max(abs(a / b - 1) for a, b in zip(steps, by_shape, strict=True)) <= ROUNDING:
        return by_shape  # voxel sizes are rounded
    beyond = [abs(n - m * step) / max(1, step) for n, m, step in zip(own, wanted, steps, strict=True)]
    return steps if max(beyond) <= 1 else None


def require_match(first: Stack, second: Stack, mask: bool = False) -> None:
    """Raise a `SpotlightError` unless two stacks have the same axes, shape and, within 1 %, voxel size.

    If the second stack is a mask or labels, the remedy names the option for them.
    """
    if first.axes != second.axes or first.shape != second.shape:
        remedy = same_field_remedy(first, second, mask) or "Register and crop them to one grid."
        raise SpotlightError(
            f"{first.source} and {second.source} must show the same field on the same grid, but have axes "
            f"{first.axes} {first.shape} and {second.axes} {second.shape}. {remedy}"
            f"{second.hint or first.hint}"
        )
    if first.voxel_size and second.voxel_size:
        if any(abs(a / b - 1) > 0.01 for a, b in zip(first.voxel_size, second.voxel_size, strict=True)):
            raise SpotlightError(
                f"{first.source} and {second.source} state different voxel sizes: {first.voxel_size} and "
                f"{second.voxel_size} µm. Correct the files, or state the size in a voxel_size column."
            )
    elif first.voxel_size or second.voxel_size:
        missing = second if first.voxel_size else first
        missing.require_voxel_size()


def same_field_remedy(first: Stack, second: Stack, mask: bool) -> str:
    """What to do about two images of one field with other voxels; empty if they do not seem to show one field.

    Parameters
    ----------
    first, second : Stack
        The second is to be brought to the grid of the first.
    mask : bool
        Whether the second holds labels or a mask.
    """
    own, wanted = second.shape, first.shape
    factor = max(binning(own, wanted), binning(wanted, own))
    steps = steps_of(second, first)
    if own == wanted or (steps is None and factor == 1):
        return ""
    second_is_coarse = math.prod(own) < math.prod(wanted)
    binned = f"the {'second' if second_is_coarse else 'first'} is binned {factor}x{factor}"
    if steps is None:  # the shapes say so, but not the voxel sizes
        coarse, fine = (second, first) if second_is_coarse else (first, second)
        size = [v * (1 if axis == "Z" else factor) for axis, v in zip(fine.axes, fine.voxel_size or (), strict=True)]
        command = _command(coarse, fine, mask and second_is_coarse)
        command += f" --voxel-size '{' '.join(f'{v:g}' for v in size)}'"
        return (
            f"If {binned}, as the shapes suggest, its voxel size is stated wrongly: state it, bring it to the grid of "
            f"the other, and name the result instead: {command} --to FOLDER. Otherwise register and crop them to one "
            "grid."
        )
    what = binned[0].upper() + binned[1:] if factor > 1 else "They show one field with different voxels"
    sure = "" if first.voxel_size and second.voxel_size else ", as the shapes suggest"
    return (
        f"{what}{sure}. Bring the second to the grid of the first, and name the result instead: "
        f"{_command(second, first, mask)} --to FOLDER"
    )


def _command(stack: Stack, like: Stack, labels: bool) -> str:
    files = [shlex.quote(re.sub(r" \(plane \d+\)$", "", image.source)) for image in (stack, like)]
    return f"spotlight resample {files[0]} --like {files[1]}{' --labels' if labels else ''}"


def resample_like(stack: Stack, like: Stack, labels: bool = False) -> Stack:
    """Bring an image to the grid of another image of the same field of view.

    The borders of both fields coincide, as they do when a camera bins: not the centres of the first voxels, as in
    `spotlight.images.resample`. Whole bins become their mean. Otherwise a cubic spline is evaluated at the centres of
    the new voxels, after a Gaussian against aliasing of (step - 1) / 2 voxels along axes that become coarser.

    Parameters
    ----------
    stack : Stack
        The image; channels and timepoints are resampled one by one.
    like : Stack
        What has the grid; its channels and timepoints do not matter.
    labels : bool
        Take the nearest voxel, so that the numbers of instances stay what they are. Always so if the stack states that
        it holds labels.

    Returns
    -------
    Stack
        Of the image's type, rounded and clipped where that is of whole numbers, in memory.

    Raises
    ------
    SpotlightError
        If they do not show the same field, or their voxel sizes are needed and unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight import Stack
    >>> from spotlight.images import resample_like
    >>> binned = Stack(np.ones((32, 32), np.float32), "YX", (0.4, 0.4))
    >>> resample_like(binned, Stack(np.ones((64, 64), np.float32), "YX", (0.2, 0.2))).shape
    (64, 64)
    """
    steps = steps_of(stack, like)
    shape = like.shape[-len(like.spatial_axes) :]
    lead = len(stack.axes) - len(stack.spatial_axes)
    if steps is None:
        raise SpotlightError(
            f"{stack.source}: {_described(stack)} is not the field of {like.source}, {_described(like)}, with other "
            "voxels. State the voxel sizes if they are wrong or unknown (--voxel-size), or register and crop them."
        )
    labels = labels or stack.labels
    out = np.empty((*stack.shape[:lead], *shape), stack.dtype)
    for place in np.ndindex(*stack.shape[:lead]):
        out[place] = _resampled(np.asarray(stack.values[place]), shape, steps, labels)
    size = like.voxel_size
    if size is None and stack.voxel_size is not None:
        size = tuple(v * step for v, step in zip(stack.voxel_size, steps, strict=True))
    return replace(stack, array=out, voxel_size=size, labels=labels, unit="µm" if size else "")


def _described(stack: Stack) -> str:
    size = " x ".join(f"{v:g}" for v in stack.voxel_size or ())
    return f"{stack.axes} {stack.shape} with {f'voxels of {size} µm' if size else 'no stated voxel size'}"


def _resampled(values: NDArray[Any], shape: tuple[int, ...], steps: tuple[float, ...], labels: bool) -> NDArray[Any]:
    """One image on another grid; plane by plane where the planes are the same."""
    if values.ndim == 3 and values.shape[0] == shape[0] and abs(steps[0] - 1) < 0.01:
        return np.stack([_resampled(plane, shape[1:], steps[1:], labels) for plane in values])
    kind = values.dtype
    whole = tuple(round(step) for step in steps)
    binned = all(step >= 1 and abs(step - n) < 0.01 for step, n in zip(steps, whole, strict=True))
    if labels:
        new = _sampled(values, shape, steps, 0)
    elif binned and all(m * n <= old for m, n, old in zip(shape, whole, values.shape, strict=True)):
        bins = values[tuple(slice(0, m * n) for m, n in zip(shape, whole, strict=True))]
        bins = bins.reshape([part for m, n in zip(shape, whole, strict=True) for part in (m, n)])
        new = bins.mean(axis=tuple(range(1, bins.ndim, 2)), dtype=np.float64)
    else:
        smooth = ndimage.gaussian_filter(values.astype(np.float32), [max(0.0, (step - 1) / 2) for step in steps])
        new = _sampled(smooth, shape, steps, 3)
    if kind.kind in "iu" and not labels:
        limits = np.iinfo(kind)
        new = np.clip(np.rint(new), limits.min, limits.max)
    return new.astype(kind)


def _sampled(values: NDArray[Any], shape: tuple[int, ...], steps: tuple[float, ...], order: int) -> NDArray[Any]:
    """Values at the centres of new voxels, whose borders begin where those of the old ones do."""
    offset = [(step - 1) / 2 for step in steps]
    return np.asarray(ndimage.affine_transform(values, np.diag(steps), offset, shape, order=order, mode="nearest"))
