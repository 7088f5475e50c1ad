"""Resampling between voxel grids whose first and last voxel centres coincide, as the F-net protocol does it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def resampled_shape(
    shape: tuple[int, ...], voxel_size: tuple[float, ...], new_voxel_size: tuple[float, ...]
) -> tuple[int, ...]:
    """Number of voxels per axis after resampling: size times old over new edge length, rounded, at least 1."""
    return tuple(max(1, round(n * old / new)) for n, old, new in zip(shape, voxel_size, new_voxel_size, strict=True))


def resample(array: NDArray[Any], shape: tuple[int, ...], order: int = 3) -> NDArray[Any]:
    """Resample an array to a new shape by splines.

    Equals ``scipy.ndimage.zoom(array, factors, order=order, mode="nearest")``, the resampling of Ounkomol et al.
    (2018): a prefiltered spline without anti-aliasing that maps corner voxel centres onto corner voxel centres.

    Parameters
    ----------
    array : ndarray
        Any shape. An unchanged shape returns the array itself.
    shape : tuple of int
        The new shape.
    order : int
        Spline order: 3 for images, 0 (nearest voxel) for masks and labels.
    """
    if array.shape == tuple(shape):
        return array
    factors = [new / old for new, old in zip(shape, array.shape, strict=True)]
    source = array if order == 0 else array.astype(np.float32, copy=False)
    return np.asarray(ndimage.zoom(source, factors, order=order, mode="nearest"))
