"""The scores of the Light My Cells challenge: two planes, each on the scale of its own percentiles."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.metrics.cards import Card
from spotlight.metrics.checks import check_image, check_pair
from spotlight.metrics.structural import WINDOW, structural_similarity

CHALLENGE = {
    "mae": Card("MAE", "mean absolute error", "low", form="{:.4f}"),
    "ssim": Card("SSIM", "structural similarity", "high", form="{:.4f}"),
    "pcc": Card("PCC", "Pearson's correlation", "high", form="{:.4f}"),
    "e_dist": Card(
        *("E_dist", "Euclidean distance", "low"),
        form="{:.1f}",
        caution="It grows with the square root of the number of pixels. Values of images of different sizes do not "
        "compare, and the largest fields dominate a mean over fields of several sizes",
    ),
    "c_dist": Card(
        *("C_dist", "cosine distance", "low"),
        form="{:.4f}",
        caution="It depends on the offset, since no means are subtracted: where the background is above 0 after the "
        "normalisation, all images look alike",
    ),
}
"""Cards of the challenge's scores; apart from `METRICS`, whose SSIM is another."""
CHALLENGE_SCORES = tuple(CHALLENGE)
"""What `challenge_scores` returns, in the order of the challenge."""

PERCENTILES = (2.0, 99.8)
"""Of each image, which become 0 and 1."""


def challenge_scores(prediction: NDArray[Any], truth: NDArray[Any], *, clip: bool = False) -> dict[str, float]:
    """Compare a predicted plane with the true one as the Light My Cells challenge does.

    Prediction p and truth t are first brought to their own percentiles, see `percentile_normalised`: scale and offset
    of either change nothing.

    Parameters
    ----------
    prediction, truth : (Y, X) ndarray
        Intensities, each on any scale.
    clip : bool
        Clip the normalised images to 0 to 1. The challenge's own text does not say; its participants did not.

    Returns
    -------
    dict
        - ``mae``: mean absolute difference of p and t.
        - ``ssim``: structural similarity in windows of 7x7 pixels as in scikit-image; the data range is that of the
          normalised truth, its greatest less its least value.
        - ``pcc``: Pearson's correlation.
        - ``e_dist``: Euclidean distance √Σ(p - t)². It grows with the square root of the number of pixels, so that
          values of images of different sizes do not compare; over that root it is the root mean squared error.
        - ``c_dist``: cosine distance 1 - Σpt / (√Σp² √Σt²) over all pixels. The means are not subtracted, so that it
          depends on what becomes 0: where a dark corner holds the low percentile, the background of both images is
          above 0 and makes them alike.

        All are finite. A prediction without contrast, whose two percentiles are one value, is 0 everywhere after the
        normalisation; its ``pcc`` is then 0 and its ``c_dist`` 1, as of a prediction that has nothing to do with the
        truth.

    Raises
    ------
    SpotlightError
        If the images are no planes of one shape and at least 7x7 pixels, hold values that are not finite, or the truth
        has no contrast.

    References
    ----------
    https://lightmycells.grand-challenge.org/metrics-evaluation; H. Liu et al., arXiv 2406.15716 (2024), Table 1.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import challenge_scores
    >>> plane = np.random.default_rng(0).random((64, 64))
    >>> scores = challenge_scores(plane, 2 * plane + 5)  # both are scaled first
    >>> {name: round(float(score), 2) for name, score in scores.items()}
    {'mae': 0.0, 'ssim': 1.0, 'pcc': 1.0, 'e_dist': 0.0, 'c_dist': 0.0}
    """
    check_pair(truth, prediction)
    if truth.ndim != 2 or min(truth.shape) < WINDOW:
        raise SpotlightError(
            f"the challenge compares planes (YX) of at least {WINDOW}x{WINDOW} pixels, not of shape {truth.shape}. "
            "Give one plane at a time."
        )
    p, t = (percentile_normalised(image, clip=clip) for image in (prediction, truth))
    if not t.any():
        raise SpotlightError(
            f"the truth has one value at its percentiles {PERCENTILES[0]:g} and {PERCENTILES[1]:g}, which cannot "
            "become 0 and 1. Leave this plane out."
        )
    error = p - t
    return {
        "mae": float(np.abs(error).mean()),
        "ssim": structural_similarity(t, p, data_range=float(np.ptp(t)))[0],
        "pcc": _cosine(p - p.mean(), t - t.mean()),
        "e_dist": math.sqrt(float(np.square(error).sum())),
        "c_dist": 1 - _cosine(p, t),
    }


def percentile_normalised(image: NDArray[Any], *, clip: bool = False) -> NDArray[np.float64]:
    """Bring an image to its own percentiles: (x - P2) / (P99.8 - P2), or 0 everywhere if both are one value.

    Parameters
    ----------
    image : (Y, X) or (Z, Y, X) ndarray
        Intensities.
    clip : bool
        Clip the result to 0 to 1.

    Raises
    ------
    SpotlightError
        If it is no image of finite values.
    """
    check_image(image, "the image")
    values = image.astype(np.float64)
    low, high = np.percentile(values, PERCENTILES)
    if not low < high:
        return np.zeros_like(values)
    values -= low
    values /= high - low
    return np.clip(values, 0, 1, out=values) if clip else values


def has_contrast(image: NDArray[Any]) -> bool:
    """Whether the percentiles of an image that become 0 and 1 differ; they may not although its values do."""
    low, high = np.percentile(image, PERCENTILES)
    return bool(low < high)


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Cosine of the angle between two images as vectors; 0 where one of them is 0."""
    norms = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return min(max(float(np.vdot(a, b)) / norms, -1.0), 1.0) if norms > 0 else 0.0
