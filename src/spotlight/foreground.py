"""Foreground of a target: threshold, mask, and whether its size is plausible."""

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy import ndimage
from skimage import filters

from spotlight.errors import SpotlightError
from spotlight.images.median import median
from spotlight.images.normalise import sample_nonzero, zeros_are_padding
from spotlight.images.slabs import Allocate, Array, Slab, as_numbers, in_memory, slabs, values_of
from spotlight.settings import Settings

Method = Literal["otsu", "li", "triangle", "yen", "fixed"]


class ForegroundSettings(Settings):
    """How the threshold between background and foreground is chosen, once per stack at native resolution.

    The defaults are those that the author of Spotlight states for the original implementation: a median of 5 voxels, a
    Gaussian of 5 voxels, then Otsu. Smoothing is used only to choose the threshold, which is then applied to the
    unsmoothed target. ``median_px=1, gaussian_px=0`` gives plain Otsu.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.foreground import ForegroundSettings, find_foreground
    >>> target = np.full((8, 32, 32), 100.0)
    >>> target[2:6, 8:24, 8:24] = 300
    >>> round(find_foreground(target, ForegroundSettings(median_px=1, gaussian_px=0)).fraction, 3)
    0.125
    >>> find_foreground(target, ForegroundSettings(method="fixed", value=250.0)).threshold
    250.0
    """

    method: Method = Field(
        "otsu",
        description="Histogram rule, or 'fixed' with a value. Li and triangle need the whole target in memory.",
    )
    value: float | None = Field(None, description="The threshold in the target's own intensity units, for 'fixed'.")
    median_px: int = Field(5, ge=1, description="Edge of the median window in voxels; 1: no median filter.")
    gaussian_px: float = Field(5.0, ge=0, description="Sigma of the Gaussian in voxels; 0: no Gaussian filter.")
    plausible: tuple[float, float] = Field(
        (0.001, 0.4), description="Least and greatest foreground fraction that raise no warning."
    )

    @model_validator(mode="after")
    def _value_goes_with_fixed(self) -> Self:
        if (self.method == "fixed") != (self.value is not None):
            raise ValueError("method 'fixed' needs a value, and no other method takes one")
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
        Why it is implausible, in sentences; empty if it is plausible.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.foreground import find_foreground
    >>> noise = np.random.default_rng(0).normal(100, 5, (8, 48, 48))
    >>> found = find_foreground(noise)  # without any nucleus
    >>> found.fraction > 0.4, len(found.warnings)
    (True, 1)
    """

    threshold: float
    fraction: float
    warnings: tuple[str, ...] = ()


def find_foreground(
    target: Array,
    settings: ForegroundSettings | None = None,
    mask: Array | None = None,
    *,
    name: str = "target",
    allocate: Allocate = in_memory,
) -> Foreground:
    """Choose the threshold of one target and check its foreground, slab by slab.

    Parameters
    ----------
    target : (Z, Y, X) or (Y, X) array
        Intensities at native resolution, finite.
    settings : ForegroundSettings
        The rule; default: `ForegroundSettings()`.
    mask : array, optional
        The user's own foreground (values other than 0), which is checked instead of that of the threshold.
    name : str
        Name of the target in messages.
    allocate : callable
        Creates the array of the smoothed target, named "_smooth".

    Returns
    -------
    Foreground
        Threshold, share of the foreground, and what makes it implausible.

    Raises
    ------
    SpotlightError
        If the target is constant, so no threshold exists, or its values are not integers or real numbers.

    References
    ----------
    N. Otsu, IEEE Trans. Syst. Man Cybern. 9, 62 (1979). A. A. Kalinin et al., arXiv:2507.05383 (2025), section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.foreground import find_foreground
    >>> target = np.random.default_rng(0).normal(100, 5, (16, 64, 64))
    >>> target[4:12, 20:44, 20:44] += 200
    >>> found = find_foreground(target)
    >>> 110 < found.threshold < 290, round(found.fraction, 2), found.warnings
    (True, 0.07, ())
    """
    settings = settings or ForegroundSettings()
    target = as_numbers(target, name)
    padded = zeros_are_padding(target)
    count, low, high = _extent(target, padded)
    if not low < high:
        raise SpotlightError(
            f"{name}: is constant ({low if count else 'empty'}), so it has no foreground. "
            "Check the channel, or leave this stack out."
        )
    threshold = settings.value if settings.value is not None else _threshold(target, padded, settings, allocate, name)
    inside = 0
    for slab in slabs(target.shape):
        values = np.asarray(target[slab.inner])
        chosen = values >= threshold if mask is None else np.asarray(mask[slab.inner]) > 0
        inside += int(np.count_nonzero(chosen & (values != 0) if padded else chosen))
    fraction = inside / count
    return Foreground(threshold, fraction, tuple(_doubts(fraction, settings)))


def _extent(target: Array, padded: bool) -> tuple[int, float, float]:
    """Return the number of valid voxels, and their least and greatest value."""
    count, low, high = 0, math.inf, -math.inf
    for part in values_of(target):
        values = part[part != 0] if padded else part
        if values.size:
            count, low, high = count + values.size, min(low, float(values.min())), max(high, float(values.max()))
    return count, low, high


def _threshold(target: Array, padded: bool, settings: ForegroundSettings, allocate: Allocate, name: str) -> float:
    """Apply the histogram rule to the valid voxels of the smoothed target."""
    radius = settings.median_px // 2 + math.ceil(4 * settings.gaussian_px)
    smooth = allocate("_smooth", target.shape, np.float32)
    # Padding must not lower the smoothed values beside it.
    fill = float(np.median(sample_nonzero(target))) if padded else None
    for slab in slabs(target.shape, radius + 1):
        smooth[slab.inner] = _smooth(np.asarray(target[slab.outer]), fill, settings)[slab.crop]
    parts = list(slabs(target.shape))

    def valid(slab: Slab) -> NDArray[np.float32]:
        part = smooth[slab.inner]
        return part[np.asarray(target[slab.inner]) != 0] if padded else part.ravel()

    extent = [(values.min(), values.max()) for slab in parts if (values := valid(slab)).size]
    limits = (min(low for low, _ in extent), max(high for _, high in extent))
    if not limits[0] < limits[1]:
        raise SpotlightError(
            f"{name}: is constant ({limits[0]:g}) after smoothing, so it has no foreground. Check the channel, "
            "smooth less (median_px, gaussian_px), or leave this stack out."
        )
    rule = getattr(filters, f"threshold_{settings.method}")
    if settings.method not in ("otsu", "yen"):
        return float(rule(np.concatenate([valid(slab) for slab in parts])))
    counts, edges = zip(*(np.histogram(valid(slab), 256, limits) for slab in parts), strict=True)
    return float(rule(hist=(np.sum(counts, axis=0), (edges[0][:-1] + edges[0][1:]) / 2)))


def _smooth(target: NDArray[Any], fill: float | None, settings: ForegroundSettings) -> NDArray[np.float32]:
    """Apply the median, then the Gaussian filter; if `fill` is given, it replaces zeros, which get no weight."""
    smooth = target.astype(np.float32)
    valid = target != 0
    if fill is not None:
        smooth[~valid] = fill
    smooth = median(smooth, settings.median_px)
    if settings.gaussian_px == 0:
        return smooth
    if fill is None:
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
            "look at the mask before you trust it."
        ]
    return []


def least_foreground_voxels(patch: tuple[int, ...], fraction: float) -> int:
    """Fewest foreground voxels that make `fraction` of a patch, rounded up: 132 for 0.1 % of 32x64x64.

    Parameters
    ----------
    patch : tuple of int
        Voxels per axis.
    fraction : float
        0 to 1.

    Returns
    -------
    int
        Number of voxels.

    Examples
    --------
    >>> from spotlight.foreground import least_foreground_voxels
    >>> least_foreground_voxels((32, 64, 64), 0.001)
    132
    """
    return math.ceil(fraction * math.prod(patch))


def nearest_component(mask: NDArray[Any]) -> NDArray[np.int32]:
    """Number the connected components of a mask, and give every voxel the number of the nearest component.

    Voxels connect through faces. Distances are in voxels, whatever the voxel size. If two components are equally near,
    either may be chosen. Component k consists of the voxels of the mask whose result is k.

    The whole stack is needed at once. Memory besides the mask: 21 bytes per voxel in 3D, 17 in 2D, including the 4
    bytes of the result.

    Parameters
    ----------
    mask : (Z, Y, X) or (Y, X) array
        Foreground, boolean or not 0.

    Returns
    -------
    array of int32
        Same shape: numbers from 1 to the number of components, or 0 everywhere if the mask is empty.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.foreground import nearest_component
    >>> nearest_component(np.array([[1, 0, 0, 0, 0, 1]]))
    array([[1, 1, 1, 2, 2, 2]], dtype=int32)
    """
    inside = np.asarray(mask) != 0
    labels, count = ndimage.label(inside, output=np.int32)
    if count == 0:
        return np.asarray(labels, np.int32)
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    return np.asarray(labels[tuple(nearest)], np.int32)
