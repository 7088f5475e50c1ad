"""Agreement of intensities, on the whole stack and on the target's foreground."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.metrics.quiet_cubic import pcc, psnr


def score_pixels(
    target: NDArray[Any], stain: NDArray[Any], mask: NDArray[np.bool_], data_range: float
) -> dict[str, float]:
    """PSNR and Pearson correlation of a stain with its target.

    Parameters
    ----------
    target, stain : (Z, Y, X) or (Y, X) ndarray
        Intensities on one scale.
    mask : ndarray of bool
        Foreground of the target.
    data_range : float
        The range that PSNR refers to: for comparisons, that of the training targets.

    Returns
    -------
    dict
        ``psnr``, ``pearson`` and the same with ``_foreground``; NaN where an image is constant or the mask is empty.

    Raises
    ------
    SpotlightError
        If the shapes differ.
    """
    if not target.shape == stain.shape == mask.shape:
        raise SpotlightError(f"target {target.shape}, stain {stain.shape} and mask {mask.shape} must have one shape.")
    true, predicted = target.astype(np.float64), stain.astype(np.float64)
    scores = {}
    for suffix, a, b in (("", true.ravel(), predicted.ravel()), ("_foreground", true[mask], predicted[mask])):
        perfect = a.size > 0 and np.array_equal(a, b)
        scores[f"psnr{suffix}"] = np.inf if perfect else float(psnr(a, b, data_range=data_range)) if a.size else np.nan
        varies = a.size > 1 and a.std() > 0 and b.std() > 0
        scores[f"pearson{suffix}"] = float(pcc(a, b)) if varies else np.nan
    return scores
