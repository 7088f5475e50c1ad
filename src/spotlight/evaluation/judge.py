"""Judging the stains of one stack: against its target, and against the truth of its nuclei."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.evaluation.further_metrics import Cards, score_further
from spotlight.evaluation.reference import Reference, pipelines
from spotlight.evaluation.resolutions import score_resolution
from spotlight.evaluation.settings import EvaluationSettings
from spotlight.evaluation.sweep import sweep
from spotlight.images import Stack
from spotlight.metrics import (
    compare_nuclei,
    intensity_scores,
    score_instances,
    score_pixels,
)
from spotlight.metrics.profiles import BIASES
from spotlight.profiles import FEATURES, FULL_FEATURES, ProfileSettings, measure
from spotlight.segmentation import find_instances

HISTOGRAM_SAMPLES = 20_000
OF_INTENSITIES = {"psnr", "psnr_foreground", "psnr_nuclei", "nrmse", "nrmse_foreground", "ssim", "ssim_foreground"}
"""Scores that have no value where stains are not in the target's intensities."""


@dataclass(frozen=True, eq=False)
class StackScores:
    """Scores of one method on one stack.

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
    stain: Stack,
    reference: Reference,
    settings: EvaluationSettings,
    data_range: float | None,
    metrics: Cards,
    *,
    is_target: bool,
) -> tuple[StackScores, Stack]:
    """Compare one stain with the reference; returns the scores and the instance labels.

    Parameters
    ----------
    stain : Stack
        On the target's grid.
    reference : Reference
        What to compare with.
    settings : EvaluationSettings
        The same for all methods.
    data_range : float, optional
        The range that PSNR and SSIM refer to. Left out: the stain is not in the target's intensities, so that scores
        that compare intensities have no value.
    metrics : mapping of str to Card
        Those of other packages; see `find_metrics`.
    is_target : bool
        Whether this is the target itself, which has no pixel scores.
    """
    scores: dict[str, float] = {}
    if not is_target:
        size, width = stain.voxel_size, 1.0 if data_range is None else data_range
        scores |= score_pixels(reference.target.data, stain.data, reference.mask, width, size)
        if reference.inside is not None and settings.complete_labels:
            inside = intensity_scores(reference.target.data, stain.data, reference.inside, data_range=width)
            scores |= {f"{name}_nuclei": inside[name] for name in ("psnr", "pearson")}
        if data_range is None:
            scores |= dict.fromkeys(OF_INTENSITIES & scores.keys(), math.nan)
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
        scores |= {f"{name}{suffix}": value for name, value in instances.row.items()}
        precisions, recalls = instances.average_precision, instances.recall
        curve = {"iou": list(precisions), "average_precision": precisions.values(), "recall": recalls.values()}
        curves.append(pd.DataFrame(curve).assign(pipeline=pipeline.method))
        if first is None or labels is None:
            first, labels = instances, found
            scores["faint_bodies"] = faint
    assert first is not None
    assert labels is not None
    given: dict[str, Any] = {"stain": stain.data, "labels": labels.data, "truth": reference.truth[""].data}
    given |= {"mask": reference.mask, "spacing": stain.voxel_size}
    given |= {} if is_target else {"target": reference.target.data}
    given |= {} if is_target or data_range is None else {"data_range": data_range}
    scores |= score_further(metrics, given, f"{stain.source} ({reference.name})")
    measured = reference.target_nuclei if is_target else measure(labels, settings=settings.profiles)
    features = profile_features(settings.profiles, len(stain.axes))
    matched = compare_nuclei(reference.nuclei, measured, first.matches, features)
    for feature in BIASES:
        if f"{feature}_error" in matched:
            scores[f"{feature}_error"] = float(matched[f"{feature}_error"].median())
    swept = pd.DataFrame() if is_target or data_range is None else sweep(stain, reference, settings, data_range)
    result = StackScores(
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
    return result, labels


def profile_features(settings: ProfileSettings, dims: int) -> tuple[str, ...]:
    """Columns of a profile in so many dimensions."""
    return (FULL_FEATURES if settings.features == "full" else FEATURES)[dims]


def sample(stack: Stack) -> NDArray[np.float32]:
    """An even subset of a stack's intensities, enough for a histogram."""
    return stack.data.ravel()[:: max(1, stack.data.size // HISTOGRAM_SAMPLES)].astype(np.float32)
