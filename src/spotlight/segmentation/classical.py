"""Structures by a filter and a threshold that are tuned on a few annotated stacks: what a network has to beat."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spotlight.errors import SpotlightError
from spotlight.metrics import mask_dice

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]
Spacing = tuple[float, ...]

STEPS = tuple(float(step) for step in np.round(np.geomspace(1.5, 200, 21), 2))
"""Thresholds that are tried, in the unit of a method."""
SIZES_PX = (0.75, 1.5, 2.5, 4.0)
"""Sizes of a filter that are tried, in the least edge of a voxel."""


@dataclass(frozen=True)
class Method:
    """A filter of a size, and a threshold that is a factor times a unit of what the filter gives.

    Attributes
    ----------
    name : str
        What it is called.
    filtered : callable
        Filters a stack of a spacing, with a size in the unit of the spacing.
    unit : callable
        Gives the unit of the threshold for a filtered stack.
    factors : tuple of float
        Which are tried.
    low : float
        Voxels above this part of the threshold count where they touch one above it (hysteresis); 1: none do.
    """

    name: str
    filtered: Callable[[Volume, Spacing, float], Volume]
    unit: Callable[[Volume], float]
    factors: tuple[float, ...]
    low: float = 1.0

    def above(self, response: Volume, factor: float) -> Mask:
        """Apply the threshold of a factor to a filtered stack."""
        high = factor * self.unit(response)
        if self.low == 1:
            return np.asarray(response > high)
        from skimage.filters import apply_hysteresis_threshold

        return np.asarray(apply_hysteresis_threshold(response, self.low * high, high), bool)


@dataclass(frozen=True)
class TunedThreshold:
    """A method with its settings.

    Attributes
    ----------
    method : Method
        Filter and threshold.
    size : float
        Of the filter, in the unit of the spacing.
    factor : float
        Of the threshold.
    dice : float
        Mean Dice coefficient on the stacks that it was tuned on.
    """

    method: Method
    size: float
    factor: float
    dice: float

    def find(self, image: NDArray[Any], spacing: Spacing) -> Mask:
        """Segment a stack; axes and spacing in the same order."""
        response = self.method.filtered(np.asarray(image, np.float32), spacing, self.size)
        return self.method.above(response, self.factor)


def tune_threshold(
    images: Sequence[NDArray[Any]],
    masks: Sequence[Mask],
    spacing: Spacing,
    contiguous: bool | None = None,
    known: Sequence[Mask] | None = None,
) -> TunedThreshold:
    """Choose method, size and threshold of the greatest mean Dice coefficient on annotated stacks.

    Parameters
    ----------
    images : sequence of (Z, Y, X) or (Y, X) arrays
        Structures are bright.
    masks : sequence of bool arrays
        Where they are.
    spacing : tuple of float
        Edges of a voxel, per axis.
    contiguous : bool, optional
        Whether ridges are tried, too, which suit vessels; None: they are.
    known : sequence of bool arrays, optional
        Where the stacks are annotated; nothing else counts. Left out: everywhere.

    Raises
    ------
    SpotlightError
        If there is no stack.
    """
    if not images:
        raise SpotlightError("a threshold is tuned on annotated stacks, and none was given. Give at least one.")
    sizes = [size * min(spacing) for size in SIZES_PX]
    spacings = [spacing] * len(images)
    tuned = [
        best_settings(method, sizes, dice_of_settings(method, sizes, images, masks, spacings, known))
        for method in ((DIFFERENCE,) if contiguous is False else (DIFFERENCE, RIDGES))
    ]
    return max(tuned, key=lambda one: one.dice)


def dice_of_settings(
    method: Method,
    sizes: Sequence[float],
    images: Sequence[NDArray[Any]],
    masks: Sequence[Mask],
    spacings: Sequence[Spacing],
    known: Sequence[Mask] | None = None,
) -> NDArray[np.float64]:
    """Return the Dice coefficient of every stack (rows) at every size and factor of a method.

    Parameters
    ----------
    method : Method
        What is tried.
    sizes : sequence of float
        Of its filter.
    images, masks, spacings, known
        A stack each, as of `tune_threshold`.
    """
    table = np.zeros((len(images), len(sizes), len(method.factors)))
    for number, (image, mask, spacing) in enumerate(zip(images, masks, spacings, strict=True)):
        where = np.True_ if known is None else known[number]
        for place, size in enumerate(sizes):
            response = method.filtered(np.asarray(image, np.float32), spacing, size)
            table[number, place] = [
                mask_dice(mask & where, method.above(response, factor) & where) for factor in method.factors
            ]
    return table


def best_settings(method: Method, sizes: Sequence[float], dice: NDArray[np.float64]) -> TunedThreshold:
    """Take the size and factor of the greatest mean of what `dice_of_settings` gave."""
    means = dice.mean(0)
    size, factor = map(int, np.unravel_index(int(means.argmax()), means.shape))
    return TunedThreshold(method, sizes[size], method.factors[factor], float(means[size, factor]))


def noise(response: Volume) -> float:
    """Robust standard deviation; 1 of a constant."""
    return float(1.4826 * np.median(np.abs(response - np.median(response)))) or 1.0


def difference_of_gaussians(image: Volume, spacing: Spacing, size: float) -> Volume:
    """Blurred by the size, less blurred by three times the size."""
    narrow, wide = (ndimage.gaussian_filter(image, [k * size / edge for edge in spacing]) for k in (1, 3))
    return np.asarray(narrow - wide)


def ridges(image: Volume, spacing: Spacing, size: float) -> Volume:
    """Sato's vesselness at the size and half of it, on cubic voxels."""
    from skimage.filters import sato

    fine = min(spacing)
    cubic = ndimage.zoom(image, [edge / fine for edge in spacing], order=1)
    found = sato(cubic, sigmas=(size / fine / 2, size / fine), black_ridges=False)
    back = [n / m for n, m in zip(image.shape, found.shape, strict=True)]
    return np.asarray(ndimage.zoom(found, back, order=1), np.float32)


DIFFERENCE = Method("difference of Gaussians", difference_of_gaussians, noise, STEPS)
"""For all structures."""
RIDGES = Method("ridges", ridges, noise, STEPS, low=0.5)
"""For vessels and fibres (Sato et al. 1998)."""
