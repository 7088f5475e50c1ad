"""Contrast-limited adaptive histogram equalisation of stacks."""

from itertools import product

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.int64]

GREYS, BIN_WIDTH, BINS = 2**14 - 1, 65, 256
"""scikit-image's grey values and bins: 0 to 16383, 65 to a bin, so that 253 of 256 bins are used."""


def equalise(image: FloatArray, tile: tuple[int, ...], clip_limit: float) -> FloatArray:
    """Equalise an image locally with limited contrast (CLAHE; Zuiderveld 1994, Graphics Gems IV).

    The image is laid out in tiles. In each, a grey value is mapped to the share of voxels that are not brighter, after
    the tile's histogram was clipped and what was cut off spread over the other bins; a voxel takes the multilinear
    interpolation between the maps of the tiles around it.

    The result is that of ``skimage.exposure.equalize_adapthist(image, tile, clip_limit)``, but for what that function
    spreads more over bright bins than over dark ones (up to 0.02, on average 0.001), in a tenth of its time: maps
    are interpolated along Z and Y before they are looked up, a plane at a time.

    Parameters
    ----------
    image : (Z, Y, X) or (Y, X) float32
        Values from 0 to 1, both of which occur.
    tile : tuple of int
        Voxels of a tile per axis, at most the image's.
    clip_limit : float
        Greatest share of a tile's voxels that one bin may hold.

    Returns
    -------
    ndarray of float32
        From 0 to 1.
    """
    bins = (np.rint(image * GREYS) / BIN_WIDTH).astype(np.uint8)
    if image.ndim == 2:
        bins, tile = bins[None], (1, *tile)
    equal = _look_up(bins, _maps(bins, tile, clip_limit), tile).reshape(image.shape)
    low, high = float(equal.min()), float(equal.max())
    return np.asarray((equal - low) / (high - low), np.float32)


def _maps(bins: NDArray[np.uint8], tile: tuple[int, ...], clip_limit: float) -> FloatArray:
    """The map of every tile, (tiles in Z, in Y, in X, bins); the last tiles are filled up by reflection."""
    whole = np.pad(bins, [(0, -n % k) for n, k in zip(bins.shape, tile, strict=True)], mode="reflect")
    counts = tuple(n // k for n, k in zip(whole.shape, tile, strict=True))
    size = int(np.prod(tile))
    maps = np.empty((*counts, BINS), np.float32)
    for place in product(*map(range, counts)):
        part = whole[tuple(slice(p * k, (p + 1) * k) for p, k in zip(place, tile, strict=True))]
        histogram = np.bincount(part.ravel(), minlength=BINS)
        maps[place] = np.cumsum(_clip(histogram, max(1, int(clip_limit * size)))) / size
    return maps


def _clip(histogram: IndexArray, limit: int) -> NDArray[np.float64]:
    """Cut a histogram at a limit and spread what was cut off evenly over the bins that are below it."""
    clipped = np.minimum(histogram, limit).astype(float)
    excess = float(histogram.sum() - clipped.sum())
    while excess > 1e-3 and (below := clipped < limit).any():
        raised = np.minimum(clipped + below * (excess / np.count_nonzero(below)), limit)
        excess -= float((raised - clipped).sum())
        clipped = raised
    return clipped


def _look_up(bins: NDArray[np.uint8], maps: FloatArray, tile: tuple[int, ...]) -> FloatArray:
    """Map every voxel by the interpolation between the maps of the tiles around it."""
    (z0, z1, wz), (y0, y1, wy), (x0, x1, wx) = map(_between, bins.shape, tile, maps.shape[:3])
    # Where the maps of a row's tiles begin in the flattened maps of a plane's rows.
    rows = np.arange(bins.shape[1])[:, None] * (maps.shape[2] * BINS)
    left, right = rows + x0 * BINS, rows + x1 * BINS
    equal = np.empty(bins.shape, np.float32)
    for z, plane in enumerate(bins):
        of_plane = maps[z0[z]] + wz[z] * (maps[z1[z]] - maps[z0[z]])
        of_rows = (of_plane[y0] + wy[:, None, None] * (of_plane[y1] - of_plane[y0])).ravel()
        low = of_rows.take(left + plane)
        equal[z] = low + wx * (of_rows.take(right + plane) - low)
    return equal


def _between(length: int, tile: int, count: int) -> tuple[IndexArray, IndexArray, FloatArray]:
    """For each voxel along an axis, the tiles whose centres lie before and behind it, and the weight of the latter."""
    block, rest = np.divmod(np.arange(length) + tile // 2, tile)
    return np.clip(block - 1, 0, count - 1), np.clip(block, 0, count - 1), (rest / tile).astype(np.float32)
