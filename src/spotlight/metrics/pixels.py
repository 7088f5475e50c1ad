"""Agreement of intensities, on the whole stack and on the target's foreground."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.metrics.cards import EVERYTHING, Card
from spotlight.metrics.checks import check_pair, planes
from spotlight.metrics.spectral import spectral_pearson
from spotlight.metrics.structural import structural_similarity

CARDS = {
    "psnr": Card(
        *("PSNR", "peak signal to noise ratio", "high", EVERYTHING, "dB"), form="{:.2f}", claim=True, key=True
    ),
    "psnr_scale_invariant": Card(
        *("scale-invariant PSNR", "after the best linear fit to the target", "high", EVERYTHING, "dB"),
        undefined="an image is constant",
        form="{:.2f}",
    ),
    "nrmse": Card(
        *("NRMSE", "root mean squared error, normalised", "low", EVERYTHING), undefined="the target is constant"
    ),
    "pearson": Card(
        *("Pearson", "correlation with the target", "high", EVERYTHING), undefined="an image is constant", claim=True
    ),
    "ssim": Card(*("SSIM", "structural similarity", "high", EVERYTHING), undefined="a side is shorter than 7 voxels"),
    "spectral_pearson": Card(
        *("spectral Pearson", "correlation with the target over spatial frequencies", "high", EVERYTHING),
        undefined="an image is constant, or the target has no frequency above its noise",
    ),
}
PIXEL_SCORES = tuple(CARDS)
"""What `score_pixels` returns, each also with ``_foreground``."""


def score_pixels(
    target: NDArray[Any],
    stain: NDArray[Any],
    mask: NDArray[np.bool_],
    data_range: float,
    spacing: Sequence[float] | None = None,
) -> dict[str, float]:
    """Compare the intensities of a stain with those of its target.

    Parameters
    ----------
    target, stain : (Z, Y, X) or (Y, X) ndarray
        Intensities on one scale.
    mask : ndarray of bool
        Foreground of the target.
    data_range : float
        The range that PSNR and SSIM refer to: for comparisons, that of the training targets.
    spacing : sequence of float, optional
        Voxel size in µm along every axis, for the spectral correlation; voxels count as cubes where it is not given.

    Returns
    -------
    dict
        Each also with ``_foreground``, over the foreground alone:

        - ``psnr``: 10 log10(data_range² / mean squared error), in dB; infinite where the images are equal.
        - ``psnr_scale_invariant``: the same for the scale and offset of the stain that fit best, and the target's own
          range. NaN where an image is constant.
        - ``nrmse``: root of the mean squared error, over the target's own range. NaN where the target is constant.
        - ``pearson``: correlation. NaN where an image is constant.
        - ``ssim``: structural similarity in 3D (in 2D of a 2D image), see
          `spotlight.metrics.structural.structural_similarity`.
        - ``spectral_pearson``: see `spotlight.metrics.spectral.spectral_pearson`.

        Those of the foreground are NaN where the mask is empty.

    Raises
    ------
    SpotlightError
        If the images cannot be compared, or `data_range` is not a positive number.

    References
    ----------
    Scale-invariant PSNR: M. Weigert et al., Nat. Methods 15, 1090 (2018).

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import score_pixels
    >>> target = np.arange(4096.0).reshape(16, 16, 16)
    >>> scores = score_pixels(target, target + 40, target > 2000, data_range=4096)
    >>> round(float(scores["pearson"]), 3), round(float(scores["psnr"]), 1)
    (1.0, 40.2)
    """
    check_pair(target, stain, mask)
    similarities = structural_similarity(target, stain, mask, data_range=_checked(data_range))
    scores: dict[str, float] = {}
    for suffix, inside, similarity in zip(("", "_foreground"), (None, mask), similarities, strict=True):
        found = intensity_scores(target, stain, inside, data_range=data_range)
        found["ssim"] = similarity
        found["spectral_pearson"] = spectral_pearson(target, stain, inside, spacing=spacing)
        scores |= {f"{name}{suffix}": value for name, value in found.items()}
    return scores


def intensity_scores(
    target: NDArray[Any], stain: NDArray[Any], mask: NDArray[np.bool_] | None = None, *, data_range: float
) -> dict[str, float]:
    """Scores that follow from sums over voxels: the first four of `score_pixels`, whose parameters they share.

    Parameters
    ----------
    target, stain, data_range
        See `score_pixels`.
    mask : ndarray of bool, optional
        Where to compare; everywhere, if left out.

    Returns
    -------
    dict of str to float
        NaN where a score is not defined: where nothing is compared, or one side is constant.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import intensity_scores
    >>> target = np.arange(64.0).reshape(8, 8)
    >>> round(float(intensity_scores(target, 2 * target, data_range=64)["pearson"]), 3)
    1.0
    """
    check_pair(target, stain, mask)
    moments = _moments(target, stain, mask)
    scores = dict.fromkeys(PIXEL_SCORES[:4], math.nan)
    if moments.number == 0:
        return scores
    error, span = moments.squared_error / moments.number, moments.high - moments.low
    scores["psnr"] = _decibels(_checked(data_range) ** 2, error)
    if span[0] > 0:
        scores["nrmse"] = math.sqrt(error) / span[0]
    if span.all():
        (xx, xy), (_, yy) = moments.products
        pearson = min(max(xy / (math.sqrt(xx) * math.sqrt(yy)), -1.0), 1.0)
        # The best fit of a + b · stain leaves the share 1 - r² of the target's variance; less than 1e-13 is rounding.
        left = 1 - pearson**2 if 1 - pearson**2 > 1e-13 else 0.0
        scores["psnr_scale_invariant"] = _decibels(span[0] ** 2 / (xx / moments.number), left)
        scores["pearson"] = pearson
    return scores


def _checked(data_range: float) -> float:
    if not (math.isfinite(data_range) and data_range > 0):
        raise SpotlightError(
            f"data_range must be a positive number, not {data_range}. Give the range of the training targets."
        )
    return data_range


def _decibels(peak: float, error: float) -> float:
    return 10 * math.log10(peak / error) if error > 0 else math.inf


@dataclass(eq=False)
class _Moments:
    """Sums over voxels in double precision, of which all scores of intensity follow.

    Attributes
    ----------
    number : int
        Voxels.
    means : (2,) ndarray
        Of target and stain.
    products : (2, 2) ndarray
        Sums of squares and products of the deviations from the means.
    squared_error : float
        Sum of (target - stain)².
    low, high : (2,) ndarray
        Extremes of target and stain.
    """

    number: int
    means: NDArray[np.float64]
    products: NDArray[np.float64]
    squared_error: float
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def _moments(target: NDArray[Any], stain: NDArray[Any], mask: NDArray[np.bool_] | None) -> _Moments:
    """Sum plane by plane; deviations are taken from the plane's means and moved to the common ones (Chan 1983)."""
    total = _Moments(0, np.zeros(2), np.zeros((2, 2)), 0.0, np.full(2, np.inf), np.full(2, -np.inf))
    for z, pair in enumerate(zip(planes(target), planes(stain), strict=True)):
        values = np.stack([plane.ravel() if mask is None else plane[planes(mask)[z]] for plane in pair], dtype=float)
        number = values.shape[1]
        if number == 0:
            continue
        total.squared_error += float(np.square(values[0] - values[1]).sum())
        total.low, total.high = np.minimum(total.low, values.min(1)), np.maximum(total.high, values.max(1))
        means = values.mean(1)
        values -= means[:, np.newaxis]
        shift = means - total.means
        total.products += values @ values.T + np.outer(shift, shift) * number * total.number / (number + total.number)
        total.number += number
        total.means += shift * number / total.number
    return total
