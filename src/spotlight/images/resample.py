"""Resampling between voxel grids whose first and last voxel centres coincide, as the F-net protocol does it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spotlight.images.slabs import Allocate, Array, in_memory, is_slab, slabs


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


def resample_slabs(
    source: Array,
    shape: tuple[int, ...],
    name: str,
    convert: Callable[[NDArray[Any]], NDArray[Any]],
    allocate: Allocate = in_memory,
    order: int = 3,
) -> NDArray[Any]:
    """Resample converted values slab by slab: ``resample(convert(source), shape, order)`` to rounding.

    Splines are separable: first every plane, then every column of planes, with a whole axis in memory each time. What
    is between is an array of its own.

    Parameters
    ----------
    source : (Z, Y, X) or (Y, X) array
        Values, which need not be in memory.
    shape : tuple of int
        The new shape.
    name : str
        Of the result, and of what is between with an underscore before it, for `allocate`.
    convert : callable
        Applied to the values of a slab before they are resampled; its result's type is that of the result.
    allocate : callable
        Makes an array.
    order : int
        Spline order, see `resample`.
    """
    if is_slab(source) or len(shape) == 2:  # of a plane all is needed at once
        whole = resample(convert(np.asarray(source)), shape, order)
        result = allocate(name, tuple(shape), whole.dtype)
        result[...] = whole
        return result
    kind = convert(np.asarray(source[0:1, 0:1, 0:1])).dtype
    planes = (source.shape[0], *shape[1:])
    between = allocate(name if planes == tuple(shape) else f"_{name}", planes, kind)
    for slab in slabs(source.shape):
        values = convert(np.asarray(source[slab.inner]))
        for number, plane in enumerate(values, start=slab.inner.start):
            between[number] = resample(plane, planes[1:], order)
    if planes == tuple(shape):
        return between
    result = allocate(name, tuple(shape), kind)
    for rows in slabs((shape[1], max(planes[0], shape[0]), shape[2])):
        columns = between[:, rows.inner]
        result[:, rows.inner] = resample(columns, (shape[0], *columns.shape[1:]), order)
    return result
