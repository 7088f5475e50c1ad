"""Judging the stains of one stack: against its target, and against the truth of its nuclei."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.evaluation.reference import Reference, pipelines
from spotlight.evaluation.resolutions import score_resolution
from spotlight.evaluation.settings import EvaluationSettings
from spotlight.evaluation.sweep import sweep
from spotlight.images import Stack
from spotlight.metrics import (
    InstanceScores,
    compare_nuclei,
    intensity_scores,
    score_instances,
    score_pixels,
)
from spotlight.profiles import FEATURES, FULL_FEATURES, ProfileSettings, measure
from spotlight.segmentation import find_instances

HISTOGRAM_SAMPLES = 20_000
BIASES = ("volume", "area", "elongation", "height", "width", "sphericity")
"""Features whose median error over matched nuclei is a score: what training on the foreground is for."""


@dataclass(frozen=True)
class Finding:
    """What one method gives on one stack.

    Attributes
    ----------
    scores : dict
        One number per metric.
    measured : DataFrame
        Measurements of the found instances.
    matched : DataFrame
        True and found measurements of the matched ones.
    curve : DataFrame
        Average precision over the intersection over union, per pipeline.
    resolution : DataFrame
        Correlation over frequencies.
    sweep : DataFrame
        Scores over the intensity below which the stain is made even.
    remarks : dict
        Why a metric has no value.
    segmentation_doubts : list of str
        What speaks against the segmentation.
    sample : ndarray
        A subset of the stain's intensities.
    doubts : sequence of str
        In which ways the input is unlike those that the model was trained on.
    """

    scores: dict[str, float]
    measured: pd.DataFrame
    matched: pd.DataFrame
    curve: pd.DataFrame
    resolution: pd.DataFrame
    sweep: pd.DataFrame
    remarks: dict[str, str]
    segmentation_doubts: list[str]
    sample: NDArray[np.float32]
    doubts: Sequence[str] = ()


def judge(
    stain: Stack, reference: Reference, settings: EvaluationSettings, data_range: float | None, *, is_target: bool
) -> tuple[Finding, Stack]:
    """Compare one stain with the reference; returns what was found and the instance labels.

    Parameters
    ----------
    stain : Stack
        On the target's grid, in its intensities.
    reference : Reference
        What to compare with.
    settings : EvaluationSettings
        The same for all methods.
    data_range : float, optional
        The range that PSNR and SSIM refer to; needed unless `is_target`.
    is_target : bool
        Whether this is the target itself, which has no pixel scores.
    """
    scores: dict[str, float] = {}
    if not is_target and data_range is not None:
        size = stain.voxel_size
        scores |= score_pixels(reference.target.data, stain.data, reference.mask, data_range, size)
        if reference.inside is not None and settings.complete_labels:
            inside = intensity_scores(reference.target.data, stain.data, reference.inside, data_range=data_range)
            scores |= {f"{name}_nuclei": inside[name] for name in ("psnr", "pearson")}
    resolution, resolutions, remarks = score_resolution(stain, None if is_target else reference.target, settings)
    curves, first, labels = [], None, None
    doubts = list(reference.doubts) if is_target else []
    for suffix, pipeline in pipelines(settings).items():
        if is_target:
            found, faint = reference.found[suffix], reference.faint
        else:
            segmented = find_instances(stain, pipeline, reference.scales[suffix])
            found, faint = segmented.labels, segmented.faint
            doubts += segmented.doubts
        instances = score_instances(reference.truth[suffix].data, found.data, complete=settings.complete_labels)
        scores |= {f"{name}{suffix}": value for name, value in instance_scores(instances).items()}
        precisions, recalls = instances.average_precision, instances.recall
        curve = {"iou": list(precisions), "average_precision": precisions.values(), "recall": recalls.values()}
        curves.append(pd.DataFrame(curve).assign(pipeline=pipeline.method))
        if first is None or labels is None:
            first, labels = instances, found
            scores["faint_bodies"] = faint
    assert first is not None
    assert labels is not None
    measured = reference.target_nuclei if is_target else measure(labels, settings=settings.profiles)
    features = profile_features(settings.profiles, len(stain.axes))
    matched = compare_nuclei(reference.nuclei, measured, first.matches, features)
    for feature in BIASES:
        if f"{feature}_error" in matched:
            scores[f"{feature}_error"] = float(matched[f"{feature}_error"].median())
    swept = pd.DataFrame() if is_target else sweep(stain, reference, settings, data_range)
    finding = Finding(
        scores | resolutions,
        measured,
        matched,
        pd.concat(curves, ignore_index=True),
        resolution,
        swept,
        remarks,
        doubts,
        sample(stain),
    )
    return finding, labels


def instance_scores(instances: InstanceScores) -> dict[str, float]:
    """Put the agreement of instances into one row."""
    return {
        "ap50": instances.average_precision[0.5],
        "mean_ap": instances.mean_average_precision,
        "precision50": instances.precision[0.5],
        "recall50": instances.recall[0.5],
        "panoptic_quality": instances.panoptic_quality,
        "splits": instances.splits,
        "merges": instances.merges,
        "true_nuclei": instances.true_count,
        "found_nuclei": instances.predicted_count,
    }


def profile_features(settings: ProfileSettings, dims: int) -> tuple[str, ...]:
    """Columns of a profile in so many dimensions."""
    return (FULL_FEATURES if settings.features == "full" else FEATURES)[dims]


def sample(stack: Stack) -> NDArray[np.float32]:
    """An even subset of a stack's intensities, enough for a histogram."""
    return stack.data.ravel()[:: max(1, stack.data.size // HISTOGRAM_SAMPLES)].astype(np.float32)
