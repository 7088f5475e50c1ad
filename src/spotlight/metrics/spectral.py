"""Pearson correlation over the spatial frequencies at which the target is more than noise."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal.windows import tukey

from spotlight.metrics.checks import check_pair, check_spacing, planes, subtract

TAPER = 0.1
"""Share of every axis over which a Tukey window fades the image out, so that its borders meet."""

TAIL = 0.2
"""Share of the shells, the finest ones, whose mean power is taken for the power of noise."""


def spectral_pearson(
    target: NDArray[Any],
    stain: NDArray[Any],
    mask: NDArray[np.bool_] | None = None,
    *,
    spacing: Sequence[float] | None = None,
) -> float:
    """Correlate two images in frequency space, weighting each shell by the power of the target above its noise.

    r = Σ w Re(F_x F_y*) / √(Σ w |F_x|² Σ w |F_y|²), where w is the target's mean power in the shell less that of noise,
    the mean over the finest fifth of the shells. Noise in the target, which no stain can predict, counts for nothing.
    This is `spectral_pcc` of the cubic library: shells are one step of the finest axis wide and reach to the lowest
    Nyquist frequency of all axes; beyond it all frequencies are one with the last shell.

    With a mask both images are centred on their means within it and are 0 elsewhere: with equal weights and no taper
    this would be the Pearson correlation within the mask.

    Parameters
    ----------
    target, stain : (Z, Y, X) or (Y, X) ndarray
        Intensities; neither offset nor scale matters.
    mask : ndarray of bool, optional
        Foreground to compare within.
    spacing : sequence of float, optional
        Voxel size in µm along every axis; voxels count as cubes where it is not given.

    Returns
    -------
    float
        -1 to 1. NaN if an image is constant, the mask is empty or no shell is above the noise.

    Raises
    ------
    SpotlightError
        If the images cannot be compared, or the spacing does not fit them.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import spectral_pearson
    >>> image = np.random.default_rng(0).random((32, 32))
    >>> round(float(spectral_pearson(image, image)), 3)
    1.0
    """
    check_pair(target, stain, mask)
    size = check_spacing((1.0,) * target.ndim if spacing is None else spacing, target.ndim)
    x, y = _centred(target, mask), _centred(stain, mask)
    if x is None or y is None:
        return float("nan")
    ids = _shells(x.shape, size)
    twice = _multiplicity(x.shape[-1])
    spectrum = fft.rfftn(x)
    voxels = np.maximum(_sums(ids, planes(np.broadcast_to(twice, ids.shape))), 1)
    power = _sums(ids, _products(spectrum, spectrum, twice)) / voxels
    weights = np.maximum(power - power[-math.ceil(TAIL * power.size) :].mean(), 0)
    del spectrum
    first, second = (fft.rfftn(_taper(image)) for image in (x, y))
    cross, *powers = (
        float(weights @ _sums(ids, _products(a, b, twice)))
        for a, b in ((first, second), (first, first), (second, second))
    )
    return cross / math.sqrt(powers[0] * powers[1]) if min(powers) > 0 else float("nan")


def _centred(image: NDArray[Any], mask: NDArray[np.bool_] | None) -> NDArray[np.float32] | None:
    """Subtract the mean within the mask and set the rest to 0; None where nothing varies."""
    values = image if mask is None else image[mask]
    if values.size == 0 or values.min() == values.max():
        return None
    centred = subtract(image, values.mean(dtype=np.float64))
    if mask is not None:
        centred[~mask] = 0
    return centred


def _taper(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fade an image out towards its borders, in place."""
    for axis, length in enumerate(image.shape):
        window = tukey(length, TAPER).astype(np.float32)
        image *= window.reshape([-1 if a == axis else 1 for a in range(image.ndim)])
    return image


def _shells(shape: tuple[int, ...], spacing: tuple[float, ...]) -> NDArray[np.int32]:
    """Number every frequency of a half spectrum by its shell; the mean has a number beyond the last shell."""
    highest = min((n // 2) / (n * step) for n, step in zip(shape, spacing, strict=True) if n > 1)
    finest = min(1 / (n * step) for n, step in zip(shape, spacing, strict=True))
    number = max(1, math.ceil(round(highest / finest, 6)))
    axes = [fft.fftfreq(n, step) for n, step in zip(shape[:-1], spacing[:-1], strict=True)]
    axes.append(fft.rfftfreq(shape[-1], spacing[-1]))
    squares = [(axis * number / highest).astype(np.float32) ** 2 for axis in axes]
    plane = squares[-2][:, np.newaxis] + squares[-1]
    ids = np.empty((*shape[:-1], len(axes[-1])), np.int32)
    for z, square in enumerate(squares[0] if len(shape) == 3 else [0]):
        # Frequencies on the edge of two shells belong to the lower one, whatever they were rounded to.
        np.minimum(np.sqrt(plane + square) - np.float32(1e-4), number - 1, out=planes(ids)[z], casting="unsafe")
    ids.flat[0] = number
    return ids


def _multiplicity(length: int) -> NDArray[np.float32]:
    """How often each frequency along the last axis of a half spectrum occurs in the whole one."""
    times = np.full(length // 2 + 1, 2, np.float32)
    times[0] = 1
    if length % 2 == 0:
        times[-1] = 1
    return times


def _products(
    first: NDArray[np.complex64], second: NDArray[np.complex64], times: NDArray[np.float32]
) -> Iterator[NDArray[np.float32]]:
    """Re(first · second*) of the whole space that two half spectra stand for, plane by plane."""
    for a, b in zip(planes(first), planes(second), strict=True):
        yield (a.real * b.real + a.imag * b.imag) * times


def _sums(ids: NDArray[np.int32], values: Iterable[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Sum values over shells, plane by plane."""
    number = int(ids.max())
    total = np.zeros(number + 1)
    for shell, value in zip(planes(ids), values, strict=True):
        total += np.bincount(shell.ravel(), value.ravel(), number + 1)
    return total[:number]
