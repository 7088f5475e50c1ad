"""Applying a function to overlapping tiles of an array and blending the results without seams."""

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Blend = Literal["linear", "gaussian", "exact"]


def tile_starts(length: int, tile: int, overlap: int, step: int = 1) -> list[int]:
    """Return start positions at which tiles of `tile` voxels cover `length`, overlapping by at least `overlap`.

    The tiles are evenly spaced; the first starts at 0 and the last ends at `length`.

    Parameters
    ----------
    length, tile, overlap : int
        In voxels; ``tile <= length`` and ``overlap < tile``.
    step : int
        All starts are multiples of this; `length` and `tile` must be multiples of it, too.
    """
    if tile >= length:
        return [0]
    free = (length - tile) // step
    reach = max(1, (tile - overlap) // step)
    count = math.ceil(free / reach) + 1
    return [round(i * free / (count - 1)) * step for i in range(count)]


def fit_tile(length: int, tile: int, overlap: int, multiple: int) -> int:
    """Shrink a tile edge to the size that evenly spaced tiles need to cover `length`, to avoid needless computation.

    Parameters
    ----------
    length : int
        A multiple of `multiple`.
    tile, overlap : int
        The greatest edge, rounded up to a multiple, and the least overlap.
    multiple : int
        The edge must be a multiple of this.
    """
    tile = min(math.ceil(tile / multiple) * multiple, length)
    if tile == length:
        return tile
    overlap = min(overlap, tile - 1)
    count = len(tile_starts(length, tile, overlap, multiple))
    enough = math.ceil((length + (count - 1) * overlap) / count / multiple) * multiple
    return min(tile, enough)


def axis_weights(length: int, tile: int, overlap: int, multiple: int, blend: Blend) -> list[tuple[int, FloatArray]]:
    """Return the starts of the tiles along one axis, and the weights of each; weights sum to one at every position.

    Before normalisation by their sum, the weights are

    - "linear": 1 inside a tile, falling linearly over the overlap towards its neighbours;
    - "gaussian": a Gaussian around the tile's centre, with a sigma of 1/8 of its edge, as in nnU-Net and MONAI;
    - "exact": 1 up to the middle of the overlap, and 0 beyond.
    """
    overlap = min(overlap, tile - 1)
    starts = tile_starts(length, tile, overlap, multiple)
    if blend == "gaussian":
        bell = np.exp(-0.5 * ((np.arange(tile) - (tile - 1) / 2) / (tile / 8)) ** 2)
        return _sharing(length, starts, [bell] * len(starts))
    exact = blend == "exact"
    ramp = (np.arange(tile) + 0.5) / max(1, overlap)
    weights = []
    for number, start in enumerate(starts):
        weight = np.ones(tile)
        for other in starts[max(0, number - 1) : number]:
            weight = weight * (np.arange(tile) >= (other + tile - start) // 2) if exact else np.minimum(weight, ramp)
        for other in starts[number + 1 : number + 2]:
            until = other - start + (start + tile - other) // 2
            weight = weight * (np.arange(tile) < until) if exact else np.minimum(weight, ramp[::-1])
        weights.append(weight)
    return _sharing(length, starts, weights)


def _sharing(length: int, starts: list[int], weights: list[NDArray[np.float64]]) -> list[tuple[int, FloatArray]]:
    """Divide weights by their sum at every position."""
    tile = len(weights[0])
    total = np.zeros(length)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + tile] += weight
    return [(s, (w / total[s : s + tile]).astype(np.float32)) for s, w in zip(starts, weights, strict=True)]


@dataclass(frozen=True, eq=False)
class Tiling:
    """How an array is cut into overlapping tiles, in layers that can be computed one by one and blended later.

    A layer consists of all tiles with the same start along the axis that has the most tiles.

    Attributes
    ----------
    shape : tuple of int
        Shape of the array.
    tile : tuple of int
        Shape of every tile.
    axes : list of lists of (int, ndarray)
        Starts and weights of the tiles along each axis.
    along : int
        The axis along which layers are stacked.
    """

    shape: tuple[int, ...]
    tile: tuple[int, ...]
    axes: list[list[tuple[int, FloatArray]]]
    along: int

    @classmethod
    def of(
        cls,
        shape: tuple[int, ...],
        tile: tuple[int, ...],
        overlap: tuple[int, ...],
        multiple: int | tuple[int, ...],
        blend: Blend = "linear",
        fit: bool = True,
    ) -> "Tiling":
        """Plan the tiles of an array.

        Parameters
        ----------
        shape : tuple of int
            Shape of the array, of any size.
        tile, overlap : tuple of int
            Greatest tile and least overlap of neighbours, per axis.
        multiple : int or tuple of int
            Every edge and start is a multiple of this, or of that of its axis; an array of another size is extended by
            reflection.
        blend : "linear", "gaussian" or "exact"
            How overlapping tiles are weighted; see `axis_weights`.
        fit : bool
            Shrink the tiles to the size that covers the array with the same number of tiles. False: keep the requested
            size, for functions whose result depends on it.
        """
        each = (multiple,) * len(shape) if isinstance(multiple, int) else multiple
        padded = tuple(math.ceil(n / m) * m for n, m in zip(shape, each, strict=True))
        if fit:
            tile = tuple(fit_tile(*along) for along in zip(padded, tile, overlap, each, strict=True))
        else:
            tile = tuple(min(math.ceil(t / m) * m, n) for n, t, m in zip(padded, tile, each, strict=True))
        axes = [axis_weights(*along, blend) for along in zip(padded, tile, overlap, each, strict=True)]
        return cls(shape, tile, axes, int(np.argmax([len(places) for places in axes])))

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.axes[self.along])

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return math.prod(map(len, self.axes))

    @property
    def layer_shape(self) -> tuple[int, ...]:
        """Shape of a layer: a tile along one axis, the array extended to whole tiles along the others."""
        padded = [places[-1][0] + t for places, t in zip(self.axes, self.tile, strict=True)]
        padded[self.along] = self.tile[self.along]
        return tuple(padded)

    def compute(
        self,
        layer: int,
        function: Callable[[FloatArray], FloatArray],
        array: Any,
        out: FloatArray,
        progress: Callable[[], None] | None = None,
    ) -> None:
        """Apply a function to the tiles of a layer and blend them across the other axes.

        Parameters
        ----------
        layer : int
            Number of the layer.
        function : callable
            Maps a float32 tile, with the array's channels if it has some, to (K, *tile): K results.
        array : array
            The values, which may have a leading axis of channels; they are read region by region.
        out : (K, *layer_shape) ndarray of float32
            Gets the result; earlier values are overwritten.
        progress : callable, optional
            Called after every tile.
        """
        out[...] = 0
        chosen = [[places[layer]] if axis == self.along else places for axis, places in enumerate(self.axes)]
        every = list(itertools.product(*chosen))

        def read(number: int) -> FloatArray | None:
            return self.read(array, [start for start, _ in every[number]]) if number < len(every) else None

        def add(found: FloatArray, places: Sequence[tuple[int, FloatArray]]) -> None:
            box = tuple(
                slice(0, t) if axis == self.along else slice(start, start + t)
                for axis, ((start, _), t) in enumerate(zip(places, self.tile, strict=True))
            )
            for axis, (_, weight) in enumerate(places):
                if axis != self.along:
                    found = found * _along(weight, axis + 1, found.ndim)
            out[(slice(None), *box)] += found

        # While the function computes a tile, one thread reads the next tile and another adds the previous result.
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as adder:
            ahead, added = reader.submit(read, 0), adder.submit(lambda: None)
            for number, places in enumerate(every):
                tile, ahead = ahead.result(), reader.submit(read, number + 1)
                assert tile is not None
                found = function(tile)
                added.result()
                added = adder.submit(add, found, places)
                if progress is not None:
                    progress()
            added.result()

    def read(self, array: Any, starts: Sequence[int]) -> FloatArray:
        """Read a tile; beyond the array's end it is filled by reflection."""
        index = []
        for start, t, n in zip(starts, self.tile, self.shape, strict=True):
            beyond = max(0, start + t - n)
            index.append(np.pad(np.arange(n), (0, beyond), mode="reflect")[start : start + t])
        every = (slice(None),) * (array.ndim - len(self.shape))  # channels
        region = np.asarray(array[(*every, *(slice(int(i.min()), int(i.max()) + 1) for i in index))])
        for axis, i in enumerate(index):
            place = axis + len(every)
            if len(i) != region.shape[place] or self.shape[axis] < starts[axis] + self.tile[axis]:
                region = region.take(i - i.min(), place)
        return np.require(region, np.float32, ["C", "W"])  # tensors are made of it, which must be writable


def mean_over_tiles(
    function: Callable[[FloatArray], FloatArray], array: Any, tile: tuple[int, ...], multiple: int
) -> FloatArray:
    """Average what a function gives for the tiles that cover an array.

    Parameters
    ----------
    function : callable
        Maps a float32 tile, with the array's channels if it has some, to an array of the same shape for all tiles.
    array : array
        The values, which may have a leading axis of channels; they are read tile by tile.
    tile : tuple of int
        Edges of the tiles. They are evenly spaced, and overlap as little as that allows.
    multiple : int
        Of the function: every edge is a multiple of this; an array of another size is extended by reflection.
    """
    tiling = Tiling.of(tuple(array.shape[-len(tile) :]), tile, (0,) * len(tile), multiple, fit=False)
    starts = itertools.product(*([start for start, _ in places] for places in tiling.axes))
    found = [function(tiling.read(array, place)) for place in starts]
    return np.asarray(np.mean(found, axis=0), np.float32)


class Blended:
    """One of the K results of all layers; a region is blended along the layers' axis when it is read.

    Parameters
    ----------
    tiling : Tiling
        Positions of the layers.
    layers : sequence of (K, *layer_shape) arrays
        Results in memory or in memory-mapped files.
    which : int
        Number of the result, from 0 to K - 1.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, tiling: Tiling, layers: Sequence[FloatArray], which: int = 0) -> None:
        self.tiling = tiling
        self.layers = layers
        self.which = which

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array that was tiled."""
        return self.tiling.shape

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, key: tuple[int | slice, ...]) -> FloatArray:
        """Blend a region, given by contiguous slices; axes without a slice are read completely."""
        keys = [*key, *[slice(None)] * (self.ndim - len(key))]
        assert all(isinstance(k, slice) for k in keys)
        bounds = [k.indices(n)[:2] for k, n in zip(keys, self.shape, strict=True) if isinstance(k, slice)]
        along, t = self.tiling.along, self.tiling.tile[self.tiling.along]
        first, last = bounds[along]
        result = np.zeros([b - a for a, b in bounds], np.float32)
        for (start, weight), layer in zip(self.tiling.axes[along], self.layers, strict=True):
            low, high = max(first, start), min(last, start + t)
            if low >= high:
                continue
            inside = [slice(a, b) for a, b in bounds]
            inside[along] = slice(low - start, high - start)
            into: list[Any] = [slice(None)] * self.ndim
            into[along] = slice(low - first, high - first)
            share = _along(weight[low - start : high - start], along, self.ndim)
            result[tuple(into)] += layer[self.which][tuple(inside)] * share
        return result


def _along(weight: FloatArray, axis: int, ndim: int) -> FloatArray:
    return weight.reshape([-1 if a == axis else 1 for a in range(ndim)])


def apply_tiled(
    function: Callable[[FloatArray], FloatArray],
    array: FloatArray,
    tile: tuple[int, ...],
    overlap: tuple[int, ...],
    multiple: int | tuple[int, ...] = 1,
    results: int | None = None,
    fit: bool = True,
) -> FloatArray:
    """Apply a function to overlapping tiles of an array in memory, and blend the results.

    Parameters
    ----------
    function : callable
        Maps a float32 array of the tile's shape to another of the same shape, or to `results` of them.
    array : ndarray of float32
        Of any size and number of dimensions; one more than `tile` has if its first axis is one of channels.
    tile, overlap, multiple, fit
        See `Tiling.of`.
    results : int, optional
        Number of results that the function returns, stacked along the first axis. Default: one result without that
        axis.

    Returns
    -------
    ndarray of float32
        Shape of `array` without channels, or ``(results, ...)``.
    """
    tiling = Tiling.of(array.shape[-len(tile) :], tile, overlap, multiple, fit=fit)
    layers = [np.empty((results or 1, *tiling.layer_shape), np.float32) for _ in range(tiling.layers)]
    every = function if results is not None else lambda values: function(values)[None]
    for number, layer in enumerate(layers):
        tiling.compute(number, every, array, layer)
    blended = [Blended(tiling, layers, which)[()] for which in range(results or 1)]
    return np.stack(blended) if results is not None else blended[0]
