"""Resampling between voxel grids whose first and last voxel centres coincide, as the F-net protocol does it."""

import logging
import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.images.slabs import Allocate, Array, as_numbers, block_of, in_memory
from spotlight.images.units import format_size, impossible_size

log = logging.getLogger("spotlight")

Order = Literal[0, 3]
Convert = Callable[[NDArray[Any]], NDArray[Any]]

POLE = math.sqrt(3) - 2
"""Of the filter that turns values into coefficients of a cubic B-spline (Unser 1999)."""
REACH = 14
"""How far that filter is followed: its response falls to 1e-8 there."""
BLOCK = 64
"""New voxels along an axis that are computed as one product of matrices."""
MOST_UPSAMPLING = 32
"""An axis that would grow by more than this has a voxel size in another unit than µm."""
MOST_GROWTH = (16, 1000)
"""How many times as many voxels a new grid may have before it is doubted, and before it is refused."""
FEWEST_PIXELS = 4
"""An image that would shrink to fewer along Y or X shows nothing."""


def resampled_shape(
    shape: tuple[int, ...], voxel_size: tuple[float, ...], new_voxel_size: tuple[float, ...], name: str = "array"
) -> tuple[int, ...]:
    """Number of voxels per axis after resampling: size times old over new edge length, rounded, at least 1.

    This is the guard against absurd voxel sizes. It also warns if there would be very many voxels.

    Parameters
    ----------
    shape : tuple of int
        Voxels per axis.
    voxel_size, new_voxel_size : tuple of float
        Edge lengths in µm per axis, before and after.
    name : str
        What messages call the array.

    Returns
    -------
    tuple of int
        Voxels per axis.

    Raises
    ------
    SpotlightError
        If no light microscope has the voxel size, or next to nothing, or far too much, would be on the new grid.

    Examples
    --------
    >>> from spotlight.images import resampled_shape
    >>> resampled_shape((20, 512, 512), (0.5, 0.1, 0.1), (0.29, 0.29, 0.29))
    (34, 177, 177)
    """
    fault = impossible_size(voxel_size)
    if fault:
        raise SpotlightError(f"{name}: {fault}. State it in µm.")
    made = tuple(max(1, round(n * old / new)) for n, old, new in zip(shape, voxel_size, new_voxel_size, strict=True))
    growths = [new / old for new, old in zip(made, shape, strict=True)]
    growth = math.prod(growths)
    nothing = any(new < min(old, FEWEST_PIXELS) for new, old in zip(made[-2:], shape[-2:], strict=True))
    effect = (
        f"a voxel size of {format_size(voxel_size)} turns {' x '.join(map(str, shape))} voxels into "
        f"{' x '.join(map(str, made))} of {format_size(new_voxel_size)}"
    )
    if nothing or max(growths) > MOST_UPSAMPLING or growth > MOST_GROWTH[1]:
        raise SpotlightError(
            f"{name}: {effect}. Check the voxel size, and state it in µm; if it is right, choose a "
            f"{'finer' if nothing else 'coarser'} grid."
        )
    if growth > MOST_GROWTH[0]:
        log.warning("%s: %s. If that is too much, check the voxel size, or choose a coarser grid.", name, effect)
    return made


def resample(array: NDArray[Any], shape: tuple[int, ...], order: Order = 3) -> NDArray[Any]:
    """Resample an array to a new shape by splines.

    Equals ``scipy.ndimage.zoom(array, factors, order=order, mode="nearest")`` to rounding in float32, the resampling
    of Ounkomol et al. (2018): a prefiltered spline without anti-aliasing that maps corner voxel centres onto corner
    voxel centres.

    Parameters
    ----------
    array : ndarray
        Any shape. An unchanged shape returns the array itself.
    shape : tuple of int
        The new shape.
    order : 0 or 3
        Spline order: 3 for images, 0 (nearest voxel) for masks and labels.

    Returns
    -------
    ndarray
        The array itself if it has that shape; else float32 for order 3, and the array's own type for order 0.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import resample
    >>> resample(np.ones((10, 20), np.float32), (5, 10)).shape
    (5, 10)
    """
    as_numbers(array, "array")  # truth values stay what they are: a mask on another grid is a mask
    return array if array.shape == tuple(shape) else Resampled(array, shape, order=order)[()]


class Resampled:
    """An array on another grid, of which only what is asked for is computed; see `resample`.

    Splines are separable, and what a cubic spline makes of a voxel falls by 3.7 with every voxel of distance. So a
    region of the result needs little more than the same region of the source.

    Parameters
    ----------
    source : array
        Values, which need not be in memory.
    shape : tuple of int
        The new shape.
    convert : callable, optional
        Applied to the values of a region before they are resampled.
    order : 0 or 3
        Spline order.
    """

    def __init__(self, source: Array, shape: tuple[int, ...], convert: Convert | None = None, order: Order = 3) -> None:
        self.source = source
        self.shape = tuple(shape)
        self.convert = convert
        self.order = order
        self.axes = [Axis(old, new, order) for old, new in zip(source.shape, shape, strict=True)]
        # Axes that shrink come first, since there is less to do afterwards.
        self.sequence = sorted(range(len(shape)), key=lambda axis: shape[axis] / source.shape[axis])

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        if self.order == 3 and self.shape != self.source.shape:
            return np.dtype(np.float32)
        if self.convert is None:
            return self.source.dtype
        return self.convert(np.asarray(self.source[(slice(0, 1),) * len(self.shape)])).dtype

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Compute a region, given by whole numbers and contiguous slices; axes that are not named are taken whole."""
        keys = [*index, *[slice(None)] * (len(self.shape) - len(index))]
        whole = [slice(key, key + 1) if isinstance(key, int) else key for key in keys]
        wanted = [key.indices(n)[:2] for key, n in zip(whole, self.shape, strict=True)]
        needed = [axis.support(*bounds) for axis, bounds in zip(self.axes, wanted, strict=True)]
        values = np.asarray(self.source[tuple(slice(*bounds) for bounds in needed)])
        if self.convert is not None:
            values = self.convert(values)
        for axis in self.sequence:
            values = self.axes[axis].apply(values, axis, needed[axis][0], *wanted[axis])
        return values[tuple(0 if isinstance(key, int) else slice(None) for key in keys)]


class Axis:
    """Resampling along one axis.

    Parameters
    ----------
    old, new : int
        Number of voxels before and after.
    order : 0 or 3
        Spline order.
    """

    def __init__(self, old: int, new: int, order: Order = 3) -> None:
        self.old = old
        self.new = new
        self.order = order
        self.step = (old - 1) / (new - 1) if new > 1 else 0.0
        self.blocks: dict[int, tuple[int, NDArray[np.float32]]] = {}

    def support(self, start: int, stop: int) -> tuple[int, int]:
        """Range of old voxels that a range of new ones depends on."""
        if self.old == self.new:
            return start, stop
        first, last = self.positions(start, stop)[[0, -1]]
        around = 0 if self.order == 0 else REACH + 2
        return max(0, int(first) - around), min(self.old, int(last) + 1 + around)

    def ready(self, available: int) -> int:
        """How many new voxels depend on no more than so many old ones."""
        if available >= self.old:
            return self.new
        low, high = 0, self.new
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.support(0, middle)[1] <= available else (low, middle - 1)
        return low

    def positions(self, start: int, stop: int) -> NDArray[np.float64]:
        """Where new voxels lie on the old grid; for order 0 the voxel that is nearest."""
        positions = np.arange(start, stop, dtype=np.float64) * self.step
        return np.floor(positions + 0.5) if self.order == 0 else positions

    def apply(self, values: NDArray[Any], axis: int, offset: int, start: int, stop: int) -> NDArray[Any]:
        """Compute new voxels from `start` to `stop` from old ones, the first of which is number `offset`."""
        if self.old == self.new:
            return values[(slice(None),) * axis + (slice(start - offset, stop - offset),)]
        if self.order == 0:
            return values.take(self.positions(start, stop).astype(np.intp) - offset, axis)
        before, after = values.shape[:axis], values.shape[axis + 1 :]
        flat = values.astype(np.float32, copy=False).reshape(math.prod(before), -1, math.prod(after))
        result = np.empty((len(flat), stop - start, flat.shape[2]), np.float32)
        for number in range(start // BLOCK, -(-stop // BLOCK)):
            first, weights = self.weights(number)
            low, high = max(start, number * BLOCK), min(stop, (number + 1) * BLOCK)
            rows = weights[low - number * BLOCK : high - number * BLOCK]
            # What is not there has no weight for these rows.
            begin, end = max(0, offset - first), min(rows.shape[1], offset + flat.shape[1] - first)
            rows, part = rows[:, begin:end], flat[:, first + begin - offset : first + end - offset]
            into = result[:, low - start : high - start]
            if after:
                np.matmul(rows, part, out=into)
            else:
                np.matmul(part[..., 0], rows.T, out=into[..., 0])
        return result.reshape(*before, stop - start, *after)

    def weights(self, number: int) -> tuple[int, NDArray[np.float32]]:
        """Weights of old voxels for a block of new ones, (new, old); and the first of these old voxels."""
        if number not in self.blocks:
            start, stop = number * BLOCK, min(self.new, (number + 1) * BLOCK)
            first, last = self.support(start, stop)
            near = np.floor(self.positions(start, stop)).astype(int)
            found = cardinal_weights(self.positions(start, stop) - near)
            # Beyond the ends the outermost values go on.
            old = np.clip(near[:, None] + np.arange(-REACH - 1, REACH + 3), 0, self.old - 1) - first
            weights = np.zeros((stop - start, last - first))
            np.add.at(weights, (np.arange(stop - start)[:, None], old), found)
            self.blocks[number] = first, weights.astype(np.float32)
        return self.blocks[number]


def cardinal_weights(fractions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights with which values at whole numbers make up a cubic spline between them.

    A spline is a sum of B-splines, whose coefficients are the values filtered by the inverse of (1, 4, 1) / 6; its
    response to an impulse is -6 z / (1 - z²) z^|n|, with the pole z = √3 - 2 (Unser 1999, "Splines: a perfect fit
    for signal and image processing").

    Parameters
    ----------
    fractions : (N,) ndarray
        Positions after the whole number before, from 0 to 1.

    Returns
    -------
    (N, 2 REACH + 4) ndarray
        Weights of the values at -REACH - 1 to REACH + 2 from that number. They sum to 1.
    """
    t = fractions[:, None]
    bumps = np.hstack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (1 - t) ** 3 - 6 * (1 - t) ** 2 + 4, t**3]) / 6
    response = -6 * POLE / (1 - POLE**2) * POLE ** np.abs(np.arange(-REACH, REACH + 1))
    spread = np.zeros((4, 2 * REACH + 4))
    for place in range(4):
        spread[place, place : place + len(response)] = response
    weights: NDArray[np.float64] = bumps @ spread
    weights /= weights.sum(1, keepdims=True)
    return weights


def resample_slabs(
    source: Array, shape: tuple[int, ...], name: str, convert: Convert, allocate: Allocate = in_memory, order: Order = 3
) -> NDArray[Any]:
    """Resample converted values slab by slab: ``resample(convert(source), shape, order)`` to rounding.

    Every value is read once, but for some rows around the bands into which large planes are cut.

    Parameters
    ----------
    source : (Z, Y, X) or (Y, X) array
        Values, which need not be in memory.
    shape : tuple of int
        The new shape.
    name : str
        Of the result, for `allocate`.
    convert : callable
        Applied to the values of a slab before they are resampled; its result's type is that of the result.
    allocate : callable
        Makes an array.
    order : 0 or 3
        Spline order, see `resample`.
    """
    resampled = Resampled(source, shape, convert, order)
    result = allocate(name, tuple(shape), resampled.dtype)
    if len(shape) == 2:
        result[...] = resampled[()]
        return result
    most_planes, most_rows = block_of(tuple(map(max, source.shape, shape)))
    rows = max(1, most_rows * shape[1] // max(source.shape[1], shape[1]))
    planes = Resampled(source, (source.shape[0], *shape[1:]), convert, order)
    down = resampled.axes[0]
    for row in range(0, shape[1], rows):
        band = slice(row, min(row + rows, shape[1]))
        held = np.empty((0, band.stop - row, shape[2]), result.dtype)
        first = done = 0
        for start in range(0, source.shape[0], most_planes):
            stop = min(start + most_planes, source.shape[0])
            held = np.concatenate([held, planes[start:stop, band]])
            ready = down.ready(stop)
            if ready > done:
                result[done:ready, band] = down.apply(held, 0, first, done, ready)
                done = ready
            if done < shape[0]:
                needed = min(stop, down.support(done, done + 1)[0])
                held, first = held[needed - first :], needed
    return result
