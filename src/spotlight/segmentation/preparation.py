"""From a stack to the image that is segmented: contrast, working grid, noise."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from skimage import transform

from spotlight.images import Stack
from spotlight.images.median import median
from spotlight.images.normalise import grid_shape
from spotlight.segmentation.equalisation import equalise
from spotlight.segmentation.settings import InstanceSettings

FloatArray = NDArray[np.float32]

TILES = (2, 3, 5)
"""Tiles of the histogram equalisation along Z, Y and X, as the first author's code has them."""


def working_grid(
    stack: Stack, settings: InstanceSettings, scale: tuple[float, ...] | None = None
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Shape of the grid that a stack is segmented on, and edges of its voxels in the unit of the settings.

    Parameters
    ----------
    stack : Stack
        Axes ZYX or YX.
    settings : InstanceSettings
        `unit` and `voxel_um` are used.
    scale : tuple of float, optional
        Assumed edges in µm of a stack without a voxel size, which is then not refined.

    Raises
    ------
    SpotlightError
        If the settings are in µm, and neither a voxel size nor a scale is known, or the grid is absurd.
    """
    if settings.unit == "px":
        return stack.shape, (1.0,) * len(stack.axes)
    if stack.voxel_size is None and scale is not None:
        native, edge = scale, settings.voxel_um or 0.0
        shape = tuple(max(1, round(n * v / max(v, edge))) for n, v in zip(stack.shape, native, strict=True))
    else:
        native, shape = stack.require_voxel_size(), grid_shape(stack, settings.voxel_um or "native")
    return shape, tuple(n * v / m for n, v, m in zip(stack.shape, native, shape, strict=True))


def prepare(stack: Stack, shape: tuple[int, ...], settings: InstanceSettings, contrast: bool = True) -> FloatArray:
    """Bring a stack to the working grid, with even contrast and without single noisy voxels.

    The order is that of the first author's later code: intensities from 0 to 1 between the 0.1st and 99.9th
    percentile, histogram equalisation, the working grid, the median.

    Parameters
    ----------
    stack : Stack
        Axes ZYX or YX.
    shape : tuple of int
        Of the working grid.
    settings : InstanceSettings
        `clahe_clip` and `median_px` are used.
    contrast : bool
        If not, intensities stay as they are.
    """
    image = stack.data.astype(np.float32)
    if contrast:
        low, high = np.percentile(image, [0.1, 99.9]).astype(np.float32)
        if low == high:  # all but a thousandth of the values are one
            low, high = image.min(), image.max()
        if low == high:
            return np.zeros(shape, np.float32)
        image = np.clip((image - low) / (high - low), 0, 1)
        tile = tuple(n // d for n, d in zip(image.shape, TILES[-image.ndim :], strict=True))
        if settings.clahe_clip > 0 and min(tile) >= 2:  # smaller tiles have no histogram to equalise
            image = equalise(image, tile, settings.clahe_clip)
    return median(shrink(image, shape), settings.median_px)


def shrink(image: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Resample an image by cubic splines to another grid over the same field, with a Gaussian against aliasing.

    The result is that of ``skimage.transform.resize(image, shape, order=3, mode="edge", anti_aliasing=True)``, axis by
    axis as products with that function's own matrices.
    """
    low, high = image.min(), image.max()
    # The axis that shrinks most goes first and leaves least to do for the others.
    for axis in sorted(range(image.ndim), key=lambda a: shape[a] / image.shape[a]):
        if shape[axis] != image.shape[axis]:
            matrix = _resizing(image.shape[axis], shape[axis])
            image = np.moveaxis(np.tensordot(matrix, image, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(np.clip(image, low, high))


@lru_cache(maxsize=6)
def _resizing(old: int, new: int) -> FloatArray:
    """The matrix (new, old) that resizes one axis: the resized unit vectors."""
    units = np.eye(old, dtype=np.float32)
    matrix = transform.resize(units, (new, old), order=3, mode="edge", anti_aliasing=True, clip=False)
    return np.asarray(matrix, np.float32)
