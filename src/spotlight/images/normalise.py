"""Normalisation of images, (image - centre) / width, and the statistics that it needs."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import Field

from spotlight.errors import SpotlightError
from spotlight.images.resample import resample_slabs, resampled_shape
from spotlight.images.slabs import Allocate, Array, in_memory, values_of
from spotlight.images.stack import Stack

Grid = Annotated[float, Field(gt=0)] | Literal["native"]
"""Edge of the cubic voxels in µm that a network works on, or the stack's own grid."""


SAMPLED = 10_000_000
"""Voxels that are enough for percentiles."""
COUNTED = (np.dtype(np.uint8), np.dtype(np.uint16))
"""Types with so few values that it is faster to count them."""


def occurrences(image: Array) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Give the values of an image of type uint8 or uint16 in rising order, and how often each occurs."""
    counts = np.zeros(np.iinfo(image.dtype).max + 1, np.int64)
    for part in values_of(image):
        flat = part.ravel()
        for start in range(0, flat.size, 2**18):  # few enough for the processor's cache
            counts += np.bincount(flat[start : start + 2**18], minlength=counts.size)
    values = np.flatnonzero(counts)
    return values, counts[values]


def zeros_are_padding(image: Array) -> bool:
    """Tell whether exact zeros are padding, such as the corners of a rotated or stitched image.

    They are when they are at least one voxel in a thousand (fewer are dead pixels) and stand apart from the data, as
    they do with a camera offset: when the 0.1st percentile of the other values is above a quarter of their 25th
    percentile and above three grey levels. In a background-subtracted image zeros are the background, the other values
    begin next to them, and all voxels are valid. So are they in an image of zeros and one other value, such as a mask.
    """
    if image.dtype in COUNTED:
        levels, counts = occurrences(image)
        levels, below = levels[levels != 0], np.cumsum(counts[levels != 0])
        count = int(below[-1]) if below.size else 0
    else:
        count = sum(int(np.count_nonzero(part)) for part in values_of(image))
    if not 0 < count <= 0.999 * image.size:
        return False
    if image.dtype in COUNTED:
        if levels.size == 1:
            return False
        low, quarter = levels[np.searchsorted(below, [0.001 * (count - 1), 0.25 * (count - 1)], side="right")]
    else:
        values = sample_nonzero(image)
        if values.min() == values.max():
            return False
        low, quarter = np.percentile(values, [0.1, 25])
        brighter = values[values > quarter]
        levels = np.unique(values[values <= (brighter.min() if brighter.size else quarter)])
    steps = np.diff(levels[: np.searchsorted(levels, quarter, side="right") + 1].astype(np.float64))
    return bool(low > quarter / 4 and (not steps.size or low > 3 * steps.min()))


def sample_nonzero(image: Array) -> NDArray[Any]:
    """Values other than 0: all of them, or of a larger image evenly spaced ones, about `SAMPLED` of them."""
    step = max(1, image.size // SAMPLED)
    return np.concatenate([part[part != 0][::step] for part in values_of(image)])


def mean_and_std(image: Array, padded: bool = False, *, name: str = "image") -> tuple[float, float]:
    """Mean and standard deviation in float64, in one pass over the slabs of an image.

    Of values of up to 16 bits they come from how often each occurs. Of others, slabs are combined by the pairwise
    formula of Chan, Golub and LeVeque (1979), which loses no digits.

    Parameters
    ----------
    image : array
        Of any shape.
    padded : bool
        Leave out exact zeros.
    name : str
        What to call the image in messages.

    Raises
    ------
    SpotlightError
        If the image is constant.
    """
    count, mean, squares = 0, 0.0, 0.0
    if image.dtype in COUNTED:
        values, counts = occurrences(image)
        if padded:
            counts[values == 0] = 0
        count = int(counts.sum())
        mean = int(values @ counts) / max(1, count)
        squares = float((values - mean) ** 2 @ counts)
    else:
        for part in values_of(image):
            values = part[part != 0] if padded else part
            if not values.size:
                continue
            own = float(values.mean(dtype=np.float64))
            apart, total = own - mean, count + values.size
            squares += float(values.var(dtype=np.float64)) * values.size + apart**2 * count * values.size / total
            mean += apart * values.size / total
            count = total
    std = math.sqrt(squares / count) if count else 0.0
    if not std > 1e-12 * max(1.0, abs(mean)):
        raise SpotlightError(f"{name}: is constant ({mean:g}), so it holds no image. Check the file and the channel.")
    return mean, std


class Scale(NamedTuple):
    """What is subtracted from the values of an image, or from their logarithms, and what they are then divided by."""

    center: float
    width: float
    logarithm: bool = False
    """Whether values v become ln(v + 1) before."""


def normalise(image: NDArray[Any], center: float, width: float, logarithm: bool = False) -> NDArray[np.float32]:
    """Return (image - center) / width in float32, computed in float64 where the image is of integer type.

    Parameters
    ----------
    image : array
        Of any shape.
    center, width, logarithm
        See `Scale`.

    Examples
    --------
    >>> normalise(np.array([999, 1998], np.uint16), *Scale(np.log(1000), 1.0, logarithm=True)).round(3)
    array([0.   , 0.693], dtype=float32)
    """
    if image.dtype in COUNTED and image.size > 2**16:  # a table of all values is faster, and the same
        table = normalise(np.arange(np.iinfo(image.dtype).max + 1), center, width, logarithm)
        return np.take(table, image)
    values = np.log1p(image, dtype=np.float64) if logarithm else image
    return ((values - np.float64(center)) / width).astype(np.float32)


def grid_shape(stack: Stack, grid: Grid) -> tuple[int, ...]:
    """Shape of a stack on the grid that a network or a segmentation works on; an unusual voxel size is warned of.

    Raises
    ------
    SpotlightError
        If the stack's voxel size is needed and unknown, or absurd; see `resampled_shape`.
    """
    stack.doubt_voxel_size()
    shape = stack.shape[-len(stack.spatial_axes) :]
    if grid == "native":
        return shape
    size = stack.require_voxel_size()
    return resampled_shape(shape, size, (grid,) * len(shape), stack.source)


def prepare_channels(
    stacks: Sequence[Stack],
    grid: Grid,
    scales: Sequence[Scale],
    shape: tuple[int, ...],
    allocate: Allocate = in_memory,
) -> NDArray[np.float32]:
    """Prepare the channels of an input, each by its own scale, as `prepare_input` does.

    Returns
    -------
    ([Z,] Y, X) or (C, [Z,] Y, X) ndarray of float32
        Without the axis C if there is one channel.
    """
    if len(stacks) == 1:
        return prepare_input(stacks[0], grid, scales[0], shape, allocate)
    result: NDArray[np.float32] = allocate("input", (len(stacks), *shape), np.float32)
    for stack, scale, channel in zip(stacks, scales, result, strict=True):

        def place(name: str, shape: tuple[int, ...], dtype: DTypeLike, to: NDArray[Any] = channel) -> NDArray[Any]:
            return to

        prepare_input(stack, grid, scale, shape, place)
    return result


def prepare_input(
    stack: Stack,
    grid: Grid,
    scale: Scale,
    shape: tuple[int, ...] | None = None,
    allocate: Allocate = in_memory,
) -> NDArray[np.float32]:
    """Scale the values of an input, then resample it.

    The order is that of Ounkomol et al. (2018).

    Parameters
    ----------
    stack : Stack
        Axes ZYX or YX.
    grid : float or "native"
        Edge of the cubic voxels in µm.
    scale : Scale
        From `spotlight.images.scaling.input_scale`.
    shape : tuple of int, optional
        Shape on that grid, where it is known already.
    allocate : callable
        Makes the result, called "input".
    """
    return resample_slabs(
        stack.values, shape or grid_shape(stack, grid), "input", lambda part: normalise(part, *scale), allocate
    )
