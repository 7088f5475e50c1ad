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
LOW = 0.5
"""Voxels above this part of the threshold count where they touch one above it (hysteresis), of ridges."""


@dataclass(frozen=True)
class TunedThreshold:
    """A filter, its size and its threshold.

    Attributes
    ----------
    kind : str
        "difference of Gaussians", for all structures, or "ridges" (Sato et al. 1998), for vessels and fibres.
    size : float
        In the unit of the spacing.
    factor : float
        The threshold in robust standard deviations of the filtered stack.
    dice : float
        Mean Dice coefficient on the stacks that it was tuned on.
    """

    kind: str
    size: float
    factor: float
    dice: float

    def find(self, image: NDArray[Any], spacing: Spacing) -> Mask:
        """Segment a stack; axes and spacing in the same order."""
        return _above(FILTERS[self.kind](np.asarray(image, np.float32), spacing, self.size), self.factor, self.kind)


def tune_threshold(
    images: Sequence[NDArray[Any]],
    masks: Sequence[Mask],
    spacing: Spacing,
    contiguous: bool | None = None,
    known: Sequence[Mask] | None = None,
) -> TunedThreshold:
    """Choose filter, size and threshold of the greatest mean Dice coefficient on annotated stacks.

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
    kinds = list(FILTERS) if contiguous in (None, True) else list(FILTERS)[:1]
    valid = [np.ones(mask.shape, bool) for mask in masks] if known is None else known
    best = TunedThreshold(kinds[0], min(spacing), STEPS[0], -1.0)
    for kind in kinds:
        for size in SIZES_PX:
            width = size * min(spacing)
            table = np.zeros((len(images), len(STEPS)))
            for number, (image, mask, where) in enumerate(zip(images, masks, valid, strict=True)):
                filtered = FILTERS[kind](np.asarray(image, np.float32), spacing, width)
                for step, factor in enumerate(STEPS):
                    table[number, step] = mask_dice(mask & where, _above(filtered, factor, kind) & where)
            means = table.mean(0)
            if means.max() > best.dice:
                best = TunedThreshold(kind, width, STEPS[int(means.argmax())], float(means.max()))
    return best


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


FILTERS: dict[str, Callable[[Volume, Spacing, float], Volume]] = {
    "difference of Gaussians": difference_of_gaussians,
    "ridges": ridges,
}


def _above(filtered: Volume, factor: float, kind: str) -> Mask:
    """Apply a threshold in robust standard deviations."""
    noise = float(1.4826 * np.median(np.abs(filtered - np.median(filtered)))) or 1.0
    if kind != "ridges":
        return np.asarray(filtered > factor * noise)
    from skimage.filters import apply_hysteresis_threshold

    return np.asarray(apply_hysteresis_threshold(filtered, LOW * factor * noise, factor * noise), bool)
