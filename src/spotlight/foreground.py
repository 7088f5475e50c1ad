"""Where the signal is: thresholds of the target, masks, and whether they are plausible."""

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy import ndimage
from skimage import filters

from spotlight.errors import SpotlightError
from spotlight.images.normalise import valid_voxels
from spotlight.settings import Settings

Method = Literal["otsu", "li", "triangle", "yen", "fixed"]


class ForegroundSettings(Settings):
    """How the threshold between background and foreground is chosen, once per stack at native resolution.

    The defaults are the recipe that the author of Spotlight states for the original implementation: a median of 5
    voxels, a Gaussian of 5 voxels, then Otsu; smoothing serves only to choose the threshold, which is then applied
    to the unsmoothed target. ``median_px=1, gaussian_px=0`` gives plain Otsu.
    """

    method: Method = Field("otsu", description="Histogram rule, or 'fixed' with a value.")
    value: float | None = Field(None, description="The threshold in the target's own intensity units, for 'fixed'.")
    median_px: int = Field(5, ge=1, description="Edge of the median window in voxels; 1 is none.")
    gaussian_px: float = Field(5.0, ge=0, description="Sigma of the Gaussian in voxels; 0 is none.")
    plausible: tuple[float, float] = Field((0.001, 0.4), description="Foreground fractions that raise no warning.")

    @model_validator(mode="after")
    def _value_goes_with_fixed(self) -> Self:
        if (self.method == "fixed") != (self.value is not None):
            raise ValueError("method 'fixed' needs a value, and only it takes one")
        return self


@dataclass(frozen=True)
class Foreground:
    """The foreground of one target.

    Attributes
    ----------
    threshold : float
        In the target's intensity units; foreground is where target >= threshold.
    fraction : float
        Share of the valid voxels that are foreground, at native resolution.
    warnings : tuple of str
        What is implausible about it, in sentences.
    """

    threshold: float
    fraction: float
    warnings: tuple[str, ...] = ()


def find_foreground(
    target: NDArray[Any],
    settings: ForegroundSettings | None = None,
    mask: NDArray[np.bool_] | None = None,
    *,
    name: str = "target",
) -> Foreground:
    """Choose the threshold of one target and judge its foreground.

    Parameters
    ----------
    target : (Z, Y, X) or (Y, X) ndarray
        Intensities at native resolution, finite.
    settings : ForegroundSettings
        The rule; the author's recipe if left out.
    mask : ndarray of bool, optional
        The user's own foreground, which is judged instead of the threshold's.
    name : str
        What to call the target in messages.

    Raises
    ------
    SpotlightError
        If the target is constant, so that no threshold exists.

    References
    ----------
    N. Otsu, IEEE Trans. Syst. Man Cybern. 9, 62 (1979). A. A. Kalinin et al., arXiv:2507.05383 (2025), section 2.
    """
    settings = settings or ForegroundSettings()
    valid = valid_voxels(target)
    values = target if valid is None else target[valid]
    if values.size == 0 or values.min() == values.max():
        raise SpotlightError(
            f"{name}: is constant ({values.flat[0] if values.size else 'empty'}), so it has no foreground. "
            "Check the channel, or leave this stack out."
        )
    if settings.value is not None:
        threshold = settings.value
    else:
        smooth = _smooth(target, valid, settings)
        chosen = smooth.ravel() if valid is None else smooth[valid]
        threshold = float(getattr(filters, f"threshold_{settings.method}")(chosen))
    inside = values >= threshold if mask is None else mask if valid is None else mask[valid]
    fraction = float(np.count_nonzero(inside) / values.size)
    return Foreground(threshold, fraction, tuple(_doubts(fraction, settings)))


def _smooth(target: NDArray[Any], valid: NDArray[np.bool_] | None, settings: ForegroundSettings) -> NDArray[np.float32]:
    smooth = target.astype(np.float32)
    if valid is not None:
        # Padding must not pull down the smoothed values beside it.
        smooth[~valid] = np.median(target[valid])
    if settings.median_px > 1:
        smooth = ndimage.median_filter(smooth, settings.median_px)
    if settings.gaussian_px == 0:
        return smooth
    if valid is None:
        smooth = ndimage.gaussian_filter(smooth, settings.gaussian_px)
    else:
        weight = ndimage.gaussian_filter(valid.astype(np.float32), settings.gaussian_px)
        smooth = ndimage.gaussian_filter(smooth * valid, settings.gaussian_px) / np.maximum(weight, 1e-6)
    return np.asarray(smooth, np.float32)


def _doubts(fraction: float, settings: ForegroundSettings) -> list[str]:
    low, high = settings.plausible
    if fraction == 0:
        return ["the foreground is empty."]
    if fraction < low:
        return [f"only {100 * fraction:.3g} % of the voxels are foreground (expected at least {100 * low:g} %)."]
    if fraction > high:
        return [
            f"{100 * fraction:.3g} % of the voxels are foreground (expected at most {100 * high:g} %); "
            "look at the mask before trusting it."
        ]
    return []


def least_foreground_voxels(patch: tuple[int, ...], fraction: float) -> int:
    """Fewest foreground voxels that make `fraction` of a patch, rounded up: 132 for 0.1 % of 32x64x64."""
    return math.ceil(fraction * math.prod(patch))
