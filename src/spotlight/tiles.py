"""Applying a function to overlapping tiles of an array and blending the results without seams."""

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def tile_starts(length: int, tile: int, overlap: int, step: int = 1) -> list[int]:
    """Start positions that cover `length` with tiles of `tile`, overlapping by at least `overlap`.

    The tiles are spread evenly, the first starts at 0 and the last ends at `length`.

    Parameters
    ----------
    length, tile, overlap : int
        In voxels; ``tile <= length`` and ``overlap < tile``.
    step : int
        All starts are multiples of this, and so must be `length` and `tile`.
    """
    if tile >= length:
        return [0]
    free = (length - tile) // step
    reach = max(1, (tile - overlap) // step)
    count = math.ceil(free / reach) + 1
    return [round(i * free / (count - 1)) * step for i in range(count)]


def taper(tile: int, overlap: int, first: bool, last: bool) -> FloatArray:
    """Weights of a tile along one axis: 1 inside, falling linearly over the overlap except at the array's ends."""
    ramp = (np.arange(tile, dtype=np.float32) + 0.5) / max(1, overlap)
    weight = np.ones(tile, np.float32)
    if not first:
        weight = np.minimum(weight, ramp)
    if not last:
        weight = np.minimum(weight, ramp[::-1])
    return weight


def fit_tile(shape: tuple[int, ...], tile: tuple[int, ...], multiple: int) -> tuple[int, ...]:
    """Shrink a tile to what a stack needs; each edge a multiple of `multiple`, rounded up."""
    return tuple(
        min(math.ceil(t / multiple), math.ceil(n / multiple)) * multiple for n, t in zip(shape, tile, strict=True)
    )


def apply_tiled(
    function: Callable[[FloatArray], FloatArray],
    array: FloatArray,
    tile: tuple[int, ...],
    overlap: tuple[int, ...],
    multiple: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> FloatArray:
    """Apply a function that keeps the shape to overlapping tiles and blend the results.

    Values are averaged with weights that fall towards the edges of each tile and are divided by their sum, so that
    the weights of every voxel sum to one. Each tile edge and start is a multiple of `multiple`; where the array is
    not, it is extended by reflection and the result cropped.

    Parameters
    ----------
    function : callable
        Maps a float32 array of the tile's shape to another of the same shape.
    array : ndarray of float32
        Any size in any number of dimensions.
    tile : tuple of int
        Largest tile per axis; shrunk to the array where that is smaller.
    overlap : tuple of int
        Least overlap of neighbouring tiles per axis, below the tile's edge.
    multiple : int
        What the function needs every edge to be a multiple of.
    progress : callable, optional
        Called with the number of tiles done and their total after each.

    Returns
    -------
    ndarray of float32
        Same shape as `array`.
    """
    padded_shape = tuple(math.ceil(n / multiple) * multiple for n in array.shape)
    padding = [(0, p - n) for n, p in zip(array.shape, padded_shape, strict=True)]
    padded = np.pad(array, padding, mode="reflect") if padded_shape != array.shape else array
    tile = fit_tile(padded_shape, tile, multiple)
    overlap = tuple(min(o, t - 1) for o, t in zip(overlap, tile, strict=True))
    total = np.zeros(padded_shape, np.float32)
    weights = np.zeros(padded_shape, np.float32)
    tiles = list(_tiles(padded_shape, tile, overlap, multiple))
    for number, (box, weight) in enumerate(tiles, start=1):
        total[box] += weight * function(np.ascontiguousarray(padded[box]))
        weights[box] += weight
        if progress is not None:
            progress(number, len(tiles))
    total /= weights
    return total[tuple(slice(0, n) for n in array.shape)]


def _tiles(
    shape: tuple[int, ...], tile: tuple[int, ...], overlap: tuple[int, ...], multiple: int
) -> Iterator[tuple[tuple[slice, ...], FloatArray]]:
    """Regions of all tiles and their weights."""
    starts = [tile_starts(n, t, o, multiple) for n, t, o in zip(shape, tile, overlap, strict=True)]
    for corner in itertools.product(*starts):
        weight = np.ones((1,) * len(shape), np.float32)
        for axis, start in enumerate(corner):
            along = taper(tile[axis], overlap[axis], start == 0, start + tile[axis] == shape[axis])
            weight = weight * along.reshape([-1 if a == axis else 1 for a in range(len(shape))])
        yield tuple(slice(s, s + t) for s, t in zip(corner, tile, strict=True)), weight
