"""Agreement of instance labels: matching, average precision, panoptic quality, splits and merges.

docs/instances.md has the definitions in one table with what is given where there is nothing to count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from spotlight.errors import SpotlightError
from spotlight.metrics.cards import INSTANCES, Card

AP_THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""Intersection over union from 0.5 to 0.95 in steps of 0.05."""

MATCHED = 0.5
"""Intersection over union from which two instances are taken for the same nucleus (Kirillov et al. 2019)."""

NONE = "there are no nuclei, true or found"
CARDS = {
    "mean_ap": Card(
        *("mean AP", "average precision, mean over IoU 0.5 to 0.95", "high", INSTANCES),
        undefined=NONE,
        claim=True,
        key=True,
    ),
    "ap50": Card("AP at 0.5", "average precision at IoU 0.5", "high", INSTANCES, undefined=NONE),
    "recall50": Card(
        *("recall at 0.5", "share of true nuclei that are found, at IoU 0.5", "high", INSTANCES),
        undefined="there are no true nuclei",
    ),
    "precision50": Card(
        *("precision at 0.5", "share of found nuclei that are true, at IoU 0.5", "high", INSTANCES),
        undefined="no nuclei are found",
    ),
    "panoptic_quality": Card(
        *("panoptic quality", "F1 of matching at IoU 0.5, times the mean IoU of matches", "high", INSTANCES),
        undefined=NONE,
    ),
    "splits": Card("splits", "true nuclei found in several pieces, per stack", "low", INSTANCES, form="{:.1f}"),
    "merges": Card("merges", "found nuclei that cover several true ones, per stack", "low", INSTANCES, form="{:.1f}"),
    "found_nuclei": Card("nuclei found", "per stack", "", INSTANCES, form="{:.1f}"),
    "faint_bodies": Card(
        *("left out as noise", "bodies that rise above the background no further than noise does", "", INSTANCES),
        form="{:.1f}",
    ),
    "true_nuclei": Card("true nuclei", "per stack, after the same clean-up", "", INSTANCES, form="{:.1f}"),
}
"""Columns of `InstanceScores.row`, and ``faint_bodies`` of the segmentation."""


@dataclass(frozen=True, eq=False)
class InstanceScores:
    """How well predicted instances agree with true ones.

    Attributes
    ----------
    average_precision : dict of float to float
        TP / (TP + FP + FN) at each threshold of the intersection over union (IoU), as StarDist and Cellpose have it.
    precision, recall : dict of float to float
        TP / (TP + FP) and TP / (TP + FN) at each threshold.
    panoptic_quality : float
        Sum of the IoU of matched pairs over TP + FP / 2 + FN / 2, at 0.5 (Kirillov et al. 2019).
    segmentation_quality : float
        Mean IoU of matched pairs at 0.5.
    recognition_quality : float
        TP / (TP + FP / 2 + FN / 2) at 0.5, the F1 score.
    splits : int
        True instances in which two or more predicted ones lie for more than half of their own size.
    merges : int
        Predicted instances that hold more than half of two or more true ones.
    matches : (n, 2) int array
        Pairs of true and predicted label that match at 0.5, as the label images number them.
    true_count, predicted_count : int
        Number of instances.
    ignored_count : int
        Predicted instances that were left out since they touch no true one; 0 where the truth is complete.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import score_instances
    >>> truth = np.zeros((8, 24), int)
    >>> truth[2:6, 2:10], truth[2:6, 12:20] = 1, 2
    >>> scores = score_instances(truth, np.minimum(truth, 1))  # both found, as one
    >>> scores.merges, scores.true_count, scores.predicted_count
    (1, 2, 1)
    >>> round(scores.mean_average_precision, 2), scores.row["recall50"]
    (0.05, 0.5)
    """

    average_precision: dict[float, float]
    precision: dict[float, float]
    recall: dict[float, float]
    panoptic_quality: float
    segmentation_quality: float
    recognition_quality: float
    splits: int
    merges: int
    matches: NDArray[np.int64]
    true_count: int
    predicted_count: int
    ignored_count: int

    @property
    def mean_average_precision(self) -> float:
        """Mean over all thresholds."""
        return float(np.mean(list(self.average_precision.values())))

    @property
    def row(self) -> dict[str, float]:
        """The columns of a score table."""
        return {
            "ap50": self.average_precision[MATCHED],
            "mean_ap": self.mean_average_precision,
            "precision50": self.precision[MATCHED],
            "recall50": self.recall[MATCHED],
            "panoptic_quality": self.panoptic_quality,
            "splits": self.splits,
            "merges": self.merges,
            "true_nuclei": self.true_count,
            "found_nuclei": self.predicted_count,
        }


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Which instances of two label images share voxels.

    Attributes
    ----------
    true_labels, predicted_labels : (n,), (m,) int64
        Labels without background, ascending.
    true_sizes, predicted_sizes : (n,), (m,) int64
        Voxels of each.
    true, predicted : (k,) int64
        Indices into the labels, one entry per pair that shares voxels.
    shared : (k,) int64
        How many voxels the pair shares.
    """

    true_labels: NDArray[np.int64]
    predicted_labels: NDArray[np.int64]
    true_sizes: NDArray[np.int64]
    predicted_sizes: NDArray[np.int64]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    shared: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of every pair that shares voxels."""
        union = self.true_sizes[self.true] + self.predicted_sizes[self.predicted] - self.shared
        return np.asarray(self.shared / union)


def score_instances(
    truth: NDArray[Any],
    labels: NDArray[Any],
    *,
    complete: bool = True,
    thresholds: Sequence[float] = AP_THRESHOLDS,
) -> InstanceScores:
    """Match instances one to one and count.

    At each threshold t the matching has as many pairs of IoU ≥ t as there can be and, among those, the greatest sum
    of IoU. At t > 0.5 only one such matching exists.

    Parameters
    ----------
    truth, labels : (Z, Y, X) or (Y, X) ndarray
        True and predicted labels: whole numbers, 0 for background, of any type and with gaps in the numbering.
    complete : bool
        Whether every nucleus has a true label. If not, a predicted instance that shares no voxel with a true one may
        be a nucleus that the curators left out, and counts nowhere; `recall` is the same either way.
    thresholds : sequence of float
        Of the IoU, above 0 and up to 1.

    Returns
    -------
    InstanceScores
        A ratio of nothing to nothing is NaN: all are where neither image has an instance, `recall` where only the
        predicted one has, `precision` where only the true one has, `segmentation_quality` where nothing matches.

    Raises
    ------
    SpotlightError
        If the shapes differ, a label is negative, a fraction, NaN or no number, or a threshold is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import score_instances
    >>> truth = np.zeros((8, 16), int)
    >>> truth[2:6, 2:6], truth[2:6, 10:14] = 1, 2
    >>> found = np.where(truth == 1, 1, 0)  # the second was missed
    >>> scores = score_instances(truth, found)
    >>> float(scores.precision[0.5]), float(scores.recall[0.5])
    (1.0, 0.5)
    """
    if not thresholds or not all(0 < t <= 1 for t in thresholds):
        raise SpotlightError(f"thresholds of the IoU must be above 0 and at most 1. Received: {list(thresholds)}.")
    overlaps = find_overlaps(truth, labels)
    n_true, n_predicted = len(overlaps.true_labels), len(overlaps.predicted_labels)
    judged = n_predicted if complete else len(np.unique(overlaps.predicted))
    found = {t: len(match(overlaps, t)) for t in thresholds}
    pairs = match(overlaps, MATCHED)
    total_iou, mean_count = float(overlaps.iou[pairs].sum()), (judged + n_true) / 2
    inside = 2 * overlaps.shared > overlaps.predicted_sizes[overlaps.predicted]
    swallowed = 2 * overlaps.shared > overlaps.true_sizes[overlaps.true]
    return InstanceScores(
        average_precision={t: _ratio(tp, n_true + judged - tp) for t, tp in found.items()},
        precision={t: _ratio(tp, judged) for t, tp in found.items()},
        recall={t: _ratio(tp, n_true) for t, tp in found.items()},
        panoptic_quality=_ratio(total_iou, mean_count),
        segmentation_quality=_ratio(total_iou, len(pairs)),
        recognition_quality=_ratio(len(pairs), mean_count),
        splits=int(np.count_nonzero(np.bincount(overlaps.true[inside]) > 1)),
        merges=int(np.count_nonzero(np.bincount(overlaps.predicted[swallowed]) > 1)),
        matches=np.stack(
            [overlaps.true_labels[overlaps.true[pairs]], overlaps.predicted_labels[overlaps.predicted[pairs]]], axis=1
        ),
        true_count=n_true,
        predicted_count=n_predicted,
        ignored_count=n_predicted - judged,
    )


def find_overlaps(truth: NDArray[Any], labels: NDArray[Any]) -> Overlaps:
    """Count the voxels that instances of two label images share; see `score_instances` for what labels may be.

    Labels are constant along most of a row, so voxels are counted run by run.
    """
    if truth.shape != labels.shape:
        raise SpotlightError(f"true labels {truth.shape} and labels {labels.shape} must have one shape.")
    a, b = truth.ravel(), labels.ravel()
    starts = np.flatnonzero(np.concatenate([np.ones(min(a.size, 1), bool), (a[1:] != a[:-1]) | (b[1:] != b[:-1])]))
    lengths = np.diff(starts, append=a.size)
    true_labels, true, true_sizes = _count(a[starts], lengths, "true labels")
    predicted_labels, predicted, predicted_sizes = _count(b[starts], lengths, "labels")
    both = (true >= 0) & (predicted >= 0)
    ends = (true[both], predicted[both])
    shared = sparse.csr_array((lengths[both], ends), shape=(len(true_labels), len(predicted_labels))).tocoo()
    rows, columns = (index.astype(np.int64) for index in shared.coords)
    return Overlaps(
        true_labels,
        predicted_labels,
        true_sizes,
        predicted_sizes,
        rows,
        columns,
        shared.data,
    )


def _count(
    values: NDArray[Any], lengths: NDArray[np.int64], name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Labels of runs without background, for each run the index of its label or -1, and the size of each label."""
    if values.dtype.kind not in "buif":
        raise SpotlightError(f"{name} must be whole numbers. Received: {values.dtype}.")
    if values.dtype.kind in "ui" and values.size and values.min() >= 0 and values.max() <= 2 * values.size:
        sizes = np.bincount(values, lengths).astype(np.int64)
        sizes[0] = 0
        found = np.flatnonzero(sizes)
        index = np.full(len(sizes), -1)
        index[found] = np.arange(len(found))
        return found, index[values], sizes[found]
    found, where = np.unique(values, return_inverse=True)
    bad = found[~np.isfinite(found) | (found != np.rint(found)) | (found < 0) | (found >= 2.0**63)]
    if bad.size:
        raise SpotlightError(
            f"{name} must be whole numbers, 0 for background and one positive number per instance. "
            f"Found: {', '.join(str(v) for v in bad[:3])}."
        )
    background = int(found.size > 0 and found[0] == 0)
    sizes = np.bincount(where, lengths, len(found)).astype(np.int64)
    return found[background:].astype(np.int64), where - background, sizes[background:]


def match(overlaps: Overlaps, threshold: float) -> NDArray[np.int64]:
    """Match one to one the pairs of IoU ≥ `threshold`: as many as can be, then with the greatest sum of IoU.

    Returns
    -------
    (n,) int64
        Indices of the matched pairs among those of `overlaps`, by ascending true label.
    """
    iou = overlaps.iou
    good = np.flatnonzero(iou >= threshold)
    true, predicted = overlaps.true[good], overlaps.predicted[good]
    # Above 0.5 nothing is contested, since both instances of a pair share more than half of themselves.
    contested = (np.bincount(true)[true] > 1) | (np.bincount(predicted)[predicted] > 1)
    won = good[contested][_assign(true[contested], predicted[contested], iou[good[contested]])]
    return np.sort(np.concatenate([good[~contested], won]))


def _assign(true: NDArray[np.int64], predicted: NDArray[np.int64], iou: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the edges of a bipartite graph that match most nodes and, among those, have the greatest sum of IoU.

    Each true instance also has an edge to a node of its own, "unmatched", so that a full matching exists and the
    graph can stay sparse (Jonker and Volgenant's algorithm in SciPy).
    """
    if not len(true):
        return np.zeros(0, np.int64)
    _, rows = np.unique(true, return_inverse=True)
    _, columns = np.unique(predicted, return_inverse=True)
    n, m = int(rows.max()) + 1, int(columns.max()) + 1
    # All sums of IoU / (2n) together are at most 1/2: one more pair outweighs any of them. Weights must not be 0.
    gain = np.concatenate([2 + iou / (2 * n), np.ones(n)])
    ends = np.concatenate([rows, np.arange(n)]), np.concatenate([columns, m + np.arange(n)])
    graph = sparse.csr_array((gain, ends), shape=(n, m + n))
    chosen = np.full(n, -1)
    left, right = min_weight_full_bipartite_matching(graph, maximize=True)
    chosen[left] = right
    return np.flatnonzero(chosen[rows] == columns)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
