"""Applying a function to overlapping tiles of an array and blending the results without seams."""

import itertools
import math
from collections.abc import Callable

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


def fit_tile(length: int, tile: int, overlap: int, multiple: int) -> int:
    """Shrink a tile edge to what evenly spread tiles need to cover `length`: no voxel is computed for nothing.

    Parameters
    ----------
    length : int
        A multiple of `multiple`.
    tile, overlap : int
        The greatest edge, rounded up to a multiple, and the least overlap.
    multiple : int
        What the edge must be a multiple of.
    """
    tile = min(math.ceil(tile / multiple) * multiple, length)
    if tile == length:
        return tile
    overlap = min(overlap, tile - 1)
    count = len(tile_starts(length, tile, overlap, multiple))
    enough = math.ceil((length + (count - 1) * overlap) / count / multiple) * multiple
    return min(tile, enough)


def axis_weights(length: int, tile: int, overlap: int, multiple: int) -> list[tuple[int, FloatArray]]:
    """Starts of the tiles along one axis, and the weights of each, which sum to one at every position.

    A weight is 1 inside a tile and falls linearly over the overlap towards its neighbours.
    """
    starts = tile_starts(length, tile, min(overlap, tile - 1), multiple)
    ramp = (np.arange(tile) + 0.5) / max(1, overlap)
    weights = []
    for start in starts:
        weight = np.ones(tile)
        if start > 0:
            weight = np.minimum(weight, ramp)
        if start + tile < length:
            weight = np.minimum(weight, ramp[::-1])
        weights.append(weight)
    total = np.zeros(length)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + tile] += weight
    return [(s, (w / total[s : s + tile]).astype(np.float32)) for s, w in zip(starts, weights, strict=True)]


def apply_tiled(
    function: Callable[[FloatArray], FloatArray],
    array: FloatArray,
    tile: tuple[int, ...],
    overlap: tuple[int, ...],
    multiple: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> FloatArray:
    """Apply a function that keeps the shape to overlapping tiles and blend the results.

    Each tile edge and start is a multiple of `multiple`; where the array is not, it is extended by reflection and the
    result cropped.

    Parameters
    ----------
    function : callable
        Maps a float32 array of the tile's shape to another of the same shape.
    array : ndarray of float32
        Any size in any number of dimensions.
    tile : tuple of int
        Greatest tile per axis; shrunk to what the array needs.
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
    shape = tuple(math.ceil(n / multiple) * multiple for n in array.shape)
    padding = [(0, p - n) for n, p in zip(array.shape, shape, strict=True)]
    padded = np.pad(array, padding, mode="reflect") if shape != array.shape else array
    tile = tuple(fit_tile(n, t, o, multiple) for n, t, o in zip(shape, tile, overlap, strict=True))
    axes = [axis_weights(n, t, o, multiple) for n, t, o in zip(shape, tile, overlap, strict=True)]
    count = math.prod(map(len, axes))
    result = np.zeros(shape, np.float32)
    for number, places in enumerate(itertools.product(*axes), start=1):
        box = tuple(slice(start, start + t) for (start, _), t in zip(places, tile, strict=True))
        blended = function(np.ascontiguousarray(padded[box]))
        for axis, (_, weight) in enumerate(places):
            blended = blended * weight.reshape([-1 if a == axis else 1 for a in range(len(shape))])
        result[box] += blended
        if progress is not None:
            progress(number, count)
    return result[tuple(slice(0, n) for n in array.shape)]
