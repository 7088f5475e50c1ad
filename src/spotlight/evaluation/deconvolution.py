"""Classical restoration, which a network has to exceed: a Gaussian filter, Wiener's, and Richardson and Lucy's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spotlight.images.scaling import EXTREMES, percentiles

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Classical:
    """A classical method, and the settings that are tried.

    Attributes
    ----------
    name : str
        For tables.
    setting : str
        What the setting is.
    values : tuple of float
        Its values.
    restore : callable
        Restores an image, blurred by a Gaussian of standard deviations in voxels, with a setting.
    """

    name: str
    setting: str
    values: tuple[float, ...]
    restore: Callable[[FloatArray, Sequence[float], float], FloatArray]


def gaussian_kernel(sigmas: Sequence[float]) -> FloatArray:
    """Gaussian of the sum 1, cut at four standard deviations; its peak is in the middle."""
    axes = [np.arange(-int(np.ceil(4 * s)), int(np.ceil(4 * s)) + 1) for s in sigmas]
    parts = [np.exp(-0.5 * (axis / max(s, 1e-6)) ** 2) for axis, s in zip(axes, sigmas, strict=True)]
    kernel = parts[0]
    for part in parts[1:]:
        kernel = kernel[..., None] * part
    return np.asarray(kernel / kernel.sum(), np.float32)


def wiener(image: FloatArray, sigmas: Sequence[float], balance: float) -> FloatArray:
    """Apply Wiener's filter with a Laplacian as regularisation, as scikit-image has it (Orieux et al. 2010)."""
    from skimage.restoration import wiener as filtered

    return _within(image, sigmas, lambda part: filtered(part, gaussian_kernel(sigmas), balance, clip=False))


def richardson_lucy(image: FloatArray, sigmas: Sequence[float], iterations: float) -> FloatArray:
    """Iterate as Richardson (1972) and Lucy (1974), as scikit-image does; what is below the background becomes that."""
    from skimage.restoration import richardson_lucy as iterated

    def restored(part: FloatArray) -> Any:
        positive = np.maximum(part, 1e-4)
        return iterated(positive, gaussian_kernel(sigmas), int(iterations), clip=False, filter_epsilon=1e-6)

    return _within(image, sigmas, restored)


def smoothed(image: FloatArray, sigmas: Sequence[float], width: float) -> FloatArray:
    """Blur further, in voxels: the simplest way to reduce noise."""
    return np.asarray(ndimage.gaussian_filter(image, width, mode="nearest"))


def _within(image: FloatArray, sigmas: Sequence[float], restore: Callable[[FloatArray], Any]) -> FloatArray:
    """Scale an image to 0 to 1, extend it by reflection, restore it, and undo both."""
    low, high = percentiles(image, EXTREMES)
    width = max(high - low, 1e-12)
    margins = [(min(n - 1, int(np.ceil(4 * s))),) * 2 for n, s in zip(image.shape, sigmas, strict=True)]
    padded = np.pad((image - low) / width, margins, mode="reflect").astype(np.float32)
    inner = tuple(slice(a, a + n) for (a, _), n in zip(margins, image.shape, strict=True))
    return np.asarray(low + width * restore(padded)[inner], np.float32)


SMOOTHED = Classical("Gaussian filter", "width in voxels", (0.5, 0.75, 1.0, 1.5, 2.0), smoothed)
DECONVOLVED = (
    Classical("Wiener", "balance", (1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0), wiener),
    Classical("Richardson-Lucy", "iterations", (3, 6, 12, 25), richardson_lucy),
)
"""For images of known blur."""
