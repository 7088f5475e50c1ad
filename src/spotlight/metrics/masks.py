"""Agreement of masks: what two masks share, voxel by voxel and component by component.

A mask says which voxels belong to a structure. Its components are the parts that touch, if only at a corner: 26
neighbours in a stack, 8 in an image. docs/metrics.md has the definitions in one table.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spotlight.errors import SpotlightError
from spotlight.metrics.cards import MASKS, Card
from spotlight.metrics.instances import Overlaps, find_overlaps, score_instances

PANOPTIC_IOU = 0.3
"""Intersection over union from which SELMA3D 2026 takes two components for the same."""

CARDS = {
    "mask_dice": Card("Dice", "twice the shared voxels over the voxels of both masks", "high", MASKS, key=True),
    "panoptic_dice": Card(
        *("PQ", "F1 of matching at IoU 0.3, times the mean Dice of matched components", "high", MASKS),
        undefined="both masks are empty",
        key=True,
    ),
    "component_f1": Card(
        *("F1 of components", "F1 of matching components at IoU 0.5", "high", MASKS), undefined="both masks are empty"
    ),
}


def mask_dice(truth: NDArray[Any], mask: NDArray[Any]) -> float:
    """Dice coefficient of two masks, 2 |A ∩ B| / (|A| + |B|).

    Parameters
    ----------
    truth, mask : (Z, Y, X) or (Y, X) ndarray
        The true mask and the found one: booleans, or 0 and 1.

    Returns
    -------
    float
        0 to 1. 1 if both are empty, 0 if one is.

    Raises
    ------
    SpotlightError
        If the shapes differ, or an array is no mask.

    References
    ----------
    L. R. Dice, Ecology 26, 297 (1945).

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import mask_dice
    >>> mask_dice(np.array([[1, 1, 0]]), np.array([[0, 1, 0]]))
    0.6666666666666666
    """
    a, b = check_masks(truth, mask)
    voxels = np.count_nonzero(a) + np.count_nonzero(b)
    return float(2 * np.count_nonzero(a & b) / voxels) if voxels else 1.0


def panoptic_dice(truth: NDArray[Any], mask: NDArray[Any], threshold: float = PANOPTIC_IOU) -> float:
    """Panoptic quality of the components of two masks, with Dice as the quality of a match.

    Pairs of components of IoU ≥ `threshold` are matched one to one, those of greatest IoU first. With TP pairs and n_A
    and n_B components, PQ = 2 TP / (n_A + n_B) times the mean Dice of the pairs. This is ``pq_dsc`` of panoptica, by
    which SELMA3D 2026 ranks. The panoptic quality of Kirillov et al. (`score_instances`) matches at 0.5 and takes the
    mean IoU.

    Parameters
    ----------
    truth, mask : (Z, Y, X) or (Y, X) ndarray
        The true mask and the found one: booleans, or 0 and 1.
    threshold : float
        Least IoU of a match, above 0 and up to 1.

    Returns
    -------
    float
        0 to 1. NaN if both masks are empty, 0 if one is.

    Raises
    ------
    SpotlightError
        If the shapes differ, an array is no mask, or the threshold is out of range.

    References
    ----------
    F. Kofler et al., arXiv 2312.02608 (2023).

    Examples
    --------
    One of two cells is found, whole:

    >>> import numpy as np
    >>> from spotlight.metrics import panoptic_dice
    >>> panoptic_dice(np.array([[1, 0, 1]]), np.array([[1, 0, 0]]))
    0.6666666666666666
    """
    if not 0 < threshold <= 1:
        raise SpotlightError(f"the threshold of the IoU must be above 0 and at most 1. Received: {threshold}.")
    overlaps = find_overlaps(*(components(one) for one in check_masks(truth, mask)))
    count = len(overlaps.true_labels) + len(overlaps.predicted_labels)
    if not count:
        return float("nan")
    iou = _matched(overlaps, threshold)
    # TP times the mean Dice is the sum of Dice, which is 2 IoU / (1 + IoU).
    return float(2 * np.sum(2 * iou / (1 + iou)) / count)


def component_f1(truth: NDArray[Any], mask: NDArray[Any], threshold: float = 0.5) -> float:
    """F1 of finding the components of a mask, 2 TP / (n_A + n_B), matched at IoU ≥ `threshold`.

    Parameters
    ----------
    truth, mask : (Z, Y, X) or (Y, X) ndarray
        The true mask and the found one: booleans, or 0 and 1.
    threshold : float
        Least IoU of a match, above 0 and up to 1. At each threshold as many pairs are matched as there can be.

    Returns
    -------
    float
        0 to 1. NaN if both masks are empty, 0 if one is.

    Raises
    ------
    SpotlightError
        If the shapes differ, an array is no mask, or the threshold is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import component_f1
    >>> component_f1(np.array([[1, 0, 1]]), np.array([[1, 0, 0]]))
    0.6666666666666666
    """
    scores = score_instances(*(components(one) for one in check_masks(truth, mask)), thresholds=(threshold,))
    precision, recall = scores.precision[threshold], scores.recall[threshold]
    if not scores.true_count or not scores.predicted_count:
        return 0.0 if scores.true_count or scores.predicted_count else float("nan")
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def components(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Number the components of a mask 1 to n; voxels that touch at a corner belong together."""
    return np.asarray(ndimage.label(mask, np.ones((3,) * mask.ndim, bool))[0], np.int32)


def check_masks(truth: NDArray[Any], mask: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return two masks as booleans.

    Raises
    ------
    SpotlightError
        If the shapes differ, they have not two or three axes, or hold something besides 0 and 1.
    """
    if truth.shape != mask.shape:
        raise SpotlightError(
            f"the true mask {truth.shape} and the mask {mask.shape} must have one shape. Resample one onto the "
            "other's grid."
        )
    return check_mask(truth, "the true mask"), check_mask(mask, "the mask")


def check_mask(mask: NDArray[Any], name: str = "the mask") -> NDArray[np.bool_]:
    """Return one mask as booleans; see `check_masks`."""
    if mask.ndim not in (2, 3) or mask.size == 0:
        raise SpotlightError(f"{name} must have axes YX or ZYX. Received: shape {mask.shape}.")
    if mask.dtype == np.bool_:
        return mask
    if mask.dtype.kind in "uif":
        found: NDArray[np.bool_] = mask != 0
        if np.array_equal(found, mask):
            return found
    raise SpotlightError(
        f"{name} must hold booleans, or 0 and 1. Received: {mask.dtype} with other values. Compare labels or "
        "probabilities with a threshold first, and leave out voxels that are not annotated."
    )


def _matched(overlaps: Overlaps, threshold: float) -> NDArray[np.float64]:
    """IoU of the pairs that are matched one to one, greatest first."""
    iou = overlaps.iou
    true, predicted, chosen = set(), set(), []
    for pair in np.argsort(-iou, kind="stable"):
        a, b = int(overlaps.true[pair]), int(overlaps.predicted[pair])
        if iou[pair] >= threshold and a not in true and b not in predicted:
            true.add(a)
            predicted.add(b)
            chosen.append(pair)
    return iou[chosen]
