"""What an image is like whatever its offset and scale: detail by octaves, skewness, saturation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

OCTAVES = 5
"""Details of 1, 2, 4, 8 and 16 pixels; slower changes are those of the illumination."""

FEWEST_BLOCKS = 8
"""Blocks along an axis from which their spread is known."""

MOST_PLANES = 8
MOST_PIXELS = 2048
"""Of a large stack so many planes are looked at, and so many pixels along each axis, in the middle."""


@dataclass(frozen=True)
class Texture:
    """What a network that normalises its input sees of an image.

    Attributes
    ----------
    mean, spread : float
        Mean and standard deviation, in the image's own units.
    octaves : tuple of float
        Share of the variance in details of 1, 2, 4, 8 and 16 pixels; fewer of a small image.
    skewness : float
        Third central moment over the third power of the standard deviation.
    saturated : float
        Share of the pixels with the same value at the bright end.
    """

    mean: float
    spread: float
    octaves: tuple[float, ...]
    skewness: float
    saturated: float


def texture(image: NDArray[Any]) -> Texture:
    """Look at a few planes of an image.

    The variance is split by block means: that of means over 2^k x 2^k pixels less that over blocks of twice the side is
    the share of details of 2^k pixels (a Haar transform's energies). None of the shares changes with offset or scale.

    Parameters
    ----------
    image : (Z, Y, X) or (Y, X) ndarray
        Not constant.
    """
    stack = image.reshape(-1, *image.shape[-2:])
    numbers = np.unique(np.linspace(0, len(stack) - 1, min(MOST_PLANES, len(stack))).astype(int))
    middle = tuple(slice(max(0, n // 2 - MOST_PIXELS // 2), n // 2 + MOST_PIXELS // 2) for n in stack.shape[1:])
    level = np.stack([stack[number][middle] for number in numbers]).astype(np.float32)
    mean, spread = float(level.mean(dtype=np.float64)), float(level.std(dtype=np.float64))
    if spread == 0:
        return Texture(mean, 0.0, (), 0.0, 1.0)
    level = (level - np.float32(mean)) / np.float32(spread)
    skewness = float(np.power(level, 3).mean(dtype=np.float64))
    # Where many are at the top, this percentile is there too; resampling leaves them alike, but not the same.
    top = np.percentile(level, 99.75)
    saturated = float(np.mean(np.abs(level - top) < 0.01))
    octaves, variance = [], 1.0
    for _ in range(OCTAVES):
        height, width = (n // 2 for n in level.shape[1:])
        if min(height, width) < FEWEST_BLOCKS:
            break
        level = level[:, : 2 * height, : 2 * width].reshape(len(level), height, 2, width, 2).mean((2, 4))
        rest = float(level.var(dtype=np.float64))
        octaves.append(max(variance - rest, 0.0))
        variance = rest
    return Texture(mean, spread, tuple(octaves), skewness, saturated)
