"""Normalisation of a stack by statistics of its own: (image - centre) / standard deviation."""

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spotlight.errors import SpotlightError
from spotlight.images.resample import resample, resampled_shape
from spotlight.images.stack import Stack

Grid = Annotated[float, Field(gt=0)] | Literal["native"]
"""Edge of the cubic voxels in µm that a network works on, or the stack's own grid."""


def valid_voxels(image: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Find zero padding, such as the corners of a rotated or stitched image.

    Exact zeros count as padding when they are at least one voxel in a thousand (fewer are dead pixels) and stand apart
    from the data, as they do with a camera offset: when the 0.1st percentile of the other values is above a quarter of
    their 25th percentile and above three grey levels. In a background-subtracted image zeros are the background, the
    other values begin next to them, and all voxels are valid.

    Returns
    -------
    ndarray of bool or None
        True where the image holds data; None if all of it does.
    """
    nonzero = image != 0
    values = image[nonzero]
    if values.size > 0.999 * image.size or not values.size:
        return None
    low, quarter = np.percentile(values, [0.1, 25])
    darkest = np.unique(np.partition(values, min(1000, values.size - 1))[:1000]).astype(np.float64)
    level = np.diff(darkest).min() if darkest.size > 1 else 0.0
    return nonzero if low > quarter / 4 and low > 3 * level else None


def mean_and_std(
    image: NDArray[Any], valid: NDArray[np.bool_] | None = None, *, name: str = "image"
) -> tuple[float, float]:
    """Mean and standard deviation over the valid voxels, in float64.

    Raises
    ------
    SpotlightError
        If the image is constant.
    """
    values = image if valid is None else image[valid]
    mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    if not std > 1e-12 * max(1.0, abs(mean)):
        raise SpotlightError(f"{name}: is constant ({mean:g}), so it holds no image. Check the file and the channel.")
    return mean, std


def normalise(image: NDArray[Any], center: float, scale: float) -> NDArray[np.float32]:
    """Return (image - center) / scale in float32, computed in float64 where the image is of integer type."""
    return ((image - np.float64(center)) / scale).astype(np.float32)


MOST_UPSAMPLING = 32
"""An axis that would grow by more than this has a voxel size in another unit than µm."""


def grid_shape(stack: Stack, grid: Grid) -> tuple[int, ...]:
    """Shape of a stack on a network's grid.

    Raises
    ------
    SpotlightError
        If the stack's voxel size is needed and unknown.
    """
    if grid == "native":
        return stack.shape
    size = stack.require_voxel_size()
    shape = resampled_shape(stack.shape, size, (grid,) * len(stack.axes))
    if max(new / old for new, old in zip(shape, stack.shape, strict=True)) > MOST_UPSAMPLING:
        raise SpotlightError(
            f"{stack.source}: voxels of {size} µm on a grid of {grid} µm would make {shape} voxels of {stack.shape}. "
            "Check the unit of the voxel size (µm), or choose a coarser grid."
        )
    return shape


def prepare_input(stack: Stack, grid: Grid, shape: tuple[int, ...] | None = None) -> NDArray[np.float32]:
    """Normalise a transmitted-light stack by its own mean and standard deviation, then resample it.

    The order is that of Ounkomol et al. (2018): statistics of the whole stack at native resolution first.

    Parameters
    ----------
    stack : Stack
        Axes ZYX or YX.
    grid : float or "native"
        Edge of the cubic voxels in µm.
    shape : tuple of int, optional
        Shape on that grid, where it is known already.
    """
    mean, std = mean_and_std(stack.data, valid_voxels(stack.data), name=stack.source)
    return resample(normalise(stack.data, mean, std), shape or grid_shape(stack, grid))
