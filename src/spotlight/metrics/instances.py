"""Agreement of instance labels: average precision over thresholds of the intersection over union."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import relabel_sequential

from spotlight.errors import SpotlightError
from spotlight.metrics.quiet_cubic import average_precision, compute_matches

AP_THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""Intersection over union from 0.5 to 0.95 in steps of 0.05."""


@dataclass(frozen=True)
class InstanceScores:
    """How well predicted instances agree with true ones.

    Attributes
    ----------
    average_precision : dict of float to float
        TP / (TP + FP + FN) at each threshold of the intersection over union.
    matches : (n, 2) int array
        Pairs of true and predicted label that match at 0.5, as the label images number them.
    true_count, predicted_count : int
        Number of instances.
    """

    average_precision: dict[float, float]
    matches: NDArray[np.int64]
    true_count: int
    predicted_count: int

    @property
    def mean_average_precision(self) -> float:
        """Mean over all thresholds."""
        return float(np.mean(list(self.average_precision.values())))


def score_instances(truth: NDArray[Any], labels: NDArray[Any]) -> InstanceScores:
    """Match instances one to one, so that the sum of overlaps is greatest, and count.

    Parameters
    ----------
    truth, labels : (Z, Y, X) or (Y, X) integer ndarray
        0 is background; labels need not be consecutive.

    Returns
    -------
    InstanceScores
        Where neither image has an instance, average precision is NaN; where only one has, it is 0.

    Raises
    ------
    SpotlightError
        If the shapes differ.
    """
    if truth.shape != labels.shape:
        raise SpotlightError(f"true labels {truth.shape} and labels {labels.shape} must have one shape.")
    # One background voxel more: the matching wants labels to begin at 0 even where every voxel is labelled.
    true, _, true_names = relabel_sequential(np.append(truth.astype(np.int64), 0))
    found, _, found_names = relabel_sequential(np.append(labels.astype(np.int64), 0))
    n_true, n_found = int(true.max(initial=0)), int(found.max(initial=0))
    if not n_true or not n_found:
        nothing = np.nan if n_true == n_found else 0.0
        return InstanceScores(dict.fromkeys(AP_THRESHOLDS, nothing), np.zeros((0, 2), np.int64), n_true, n_found)
    matches = compute_matches(true, found, list(AP_THRESHOLDS))
    ap, *_ = average_precision(true, found, list(AP_THRESHOLDS), matches_per_threshold=matches)
    a, b = matches[AP_THRESHOLDS[0]]
    pairs = np.stack([np.asarray(true_names)[a], np.asarray(found_names)[b]], axis=1).astype(np.int64)
    return InstanceScores(dict(zip(AP_THRESHOLDS, map(float, ap), strict=True)), pairs, n_true, n_found)
