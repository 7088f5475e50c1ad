"""Judging the stains of one stack: against its target, and against the truth of its nuclei."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.foreground import ForegroundSettings, find_foreground
from spotlight.images import Stack
from spotlight.metrics import compare_nuclei, score_instances, score_pixels
from spotlight.pairs.pair import Pair
from spotlight.profiles import FEATURES, measure
from spotlight.segmentation import SegmentationSettings, clean_truth, segment

TARGET = "target"
"""Name of the real fluorescence among the methods: it is segmented and measured like a stain."""

HISTOGRAM_SAMPLES = 20_000


@dataclass(frozen=True)
class Reference:
    """What the stains of a stack are compared with.

    Attributes
    ----------
    name : str
        The stack's name.
    target : Stack
        The real fluorescence.
    mask : ndarray of bool
        Its foreground.
    target_labels : Stack
        Instances segmented from it.
    target_nuclei : DataFrame
        Their measurements.
    truth : Stack
        True instances: the manifest's labels or, where `labelled` is false, `target_labels`.
    nuclei : DataFrame
        Measurements of the true instances.
    labelled : bool
        Whether the manifest has labels for the stack.
    threshold, fraction : float
        Foreground threshold and share.
    """

    name: str
    target: Stack
    mask: NDArray[np.bool_]
    target_labels: Stack
    target_nuclei: pd.DataFrame
    truth: Stack
    nuclei: pd.DataFrame
    labelled: bool
    threshold: float
    fraction: float


@dataclass(frozen=True)
class Finding:
    """What one method gives on one stack.

    Attributes
    ----------
    stack, method : str
        What was judged.
    scores : dict
        One number per metric.
    measured : DataFrame
        Measurements of the found instances.
    matched : DataFrame
        True and found measurements of the matched ones.
    curve : DataFrame
        Average precision over the intersection over union.
    sample : ndarray
        A subset of the stain's intensities.
    """

    stack: str
    method: str
    scores: dict[str, float]
    measured: pd.DataFrame
    matched: pd.DataFrame
    curve: pd.DataFrame
    sample: NDArray[np.float32]


def make_reference(
    pair: Pair, target: Stack, foreground: ForegroundSettings, segmentation: SegmentationSettings
) -> Reference:
    """Find the foreground of a target, or read the pair's own, and the true instances of its stack."""
    own = pair.read_foreground(target)
    mask = None if own is None else own.data > 0
    found = find_foreground(target.data, foreground, mask, name=target.source)
    given = pair.read_labels(target)
    target_labels = segment(target, segmentation)
    truth = target_labels if given is None else clean_truth(given, segmentation)
    return Reference(
        pair.name,
        target,
        target.data >= found.threshold if mask is None else mask,
        target_labels,
        measure(target_labels),
        truth,
        measure(truth),
        given is not None,
        found.threshold,
        found.fraction,
    )


def judge(
    method: str, stain: Stack, reference: Reference, segmentation: SegmentationSettings, data_range: float | None
) -> tuple[Finding, Stack]:
    """Compare one stain with the reference; returns what was found and the instance labels.

    Parameters
    ----------
    method : str
        Name of the method; `TARGET` for the real fluorescence, which has no pixel scores.
    stain : Stack
        On the target's grid, in its intensities.
    reference : Reference
        What to compare with.
    segmentation : SegmentationSettings
        The same for all methods.
    data_range : float, optional
        The range that PSNR refers to; needed unless the method is `TARGET`.
    """
    scores: dict[str, float] = {}
    if data_range is not None:
        scores |= score_pixels(reference.target.data, stain.data, reference.mask, data_range)
    labels = reference.target_labels if method == TARGET else segment(stain, segmentation)
    instances = score_instances(reference.truth.data, labels.data)
    measured = measure(labels)
    matched = compare_nuclei(reference.nuclei, measured, instances.matches, FEATURES[labels.data.ndim])
    scores |= {
        "ap50": instances.average_precision[0.5],
        "mean_ap": instances.mean_average_precision,
        "true_nuclei": instances.true_count,
        "found_nuclei": instances.predicted_count,
    }
    for feature in ("volume", "area", "elongation"):
        if f"{feature}_error" in matched:
            scores[f"{feature}_error"] = float(matched[f"{feature}_error"].median())
    curve = pd.DataFrame(instances.average_precision.items(), columns=["iou", "average_precision"])
    who = {"stack": reference.name, "method": method}
    finding = Finding(
        reference.name,
        method,
        scores,
        measured.assign(**who),
        matched.assign(**who),
        curve.assign(**who),
        sample(stain),
    )
    return finding, labels


def sample(stack: Stack) -> NDArray[np.float32]:
    """An even subset of a stack's intensities, enough for a histogram."""
    return stack.data.ravel()[:: max(1, stack.data.size // HISTOGRAM_SAMPLES)].astype(np.float32)
