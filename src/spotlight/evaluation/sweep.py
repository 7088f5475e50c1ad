"""The threshold sweep (Kalinin et al. 2025, Fig. 3b): scores of a stain that is made even below an intensity."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.evaluation.reference import Reference, pipelines
from spotlight.evaluation.resolutions import correlate_frequencies, name_of
from spotlight.evaluation.settings import EvaluationSettings
from spotlight.images import Stack
from spotlight.metrics import MicroMS3IM, score_instances, score_micro_ms3im, score_pixels
from spotlight.segmentation import find_instances

MARGIN = 0.25
"""How far the sweep begins below the background and ends above the foreground, in units of their distance."""


def sweep(stain: Stack, reference: Reference, settings: EvaluationSettings, data_range: float | None) -> pd.DataFrame:
    """Score a stain whose values below a threshold are set to it, for thresholds across both modes of the target.

    The modes are the medians of the target below and from its foreground threshold on. The paper does not say how
    values below a threshold are replaced; set to the threshold, they leave no edge.

    Parameters
    ----------
    stain : Stack
        On the target's grid, in its intensities.
    reference : Reference
        What to compare with.
    settings : EvaluationSettings
        Number of thresholds; none gives an empty table.
    data_range : float, optional
        The range that PSNR and SSIM refer to; without it there are no scores of pixels.

    Returns
    -------
    DataFrame
        One row per threshold: ``position`` (0 is the mode of the background, 1 that of the foreground),
        ``threshold`` in intensity, and the scores.
    """
    target = reference.target
    rows = []
    for position, threshold in thresholds(target.data, reference.mask, settings):
        even = replace(stain, array=flattened(stain.data, threshold))
        row = {"position": position, "threshold": threshold}
        if data_range is not None:
            row |= score_pixels(target.data, even.data, reference.mask, data_range, stain.voxel_size)
        if settings.resolution and stain.voxel_size is not None:
            curves = correlate_frequencies(even, target, settings, planes=False)
            row |= {name_of(*which): curve.resolution for which, curve in curves.items()}
        for suffix, pipeline in pipelines(settings).items():
            found = find_instances(even, pipeline, reference.scales[suffix]).labels
            scores = score_instances(reference.truth[suffix].data, found.data, complete=settings.complete_labels)
            row[f"mean_ap{suffix}"] = scores.mean_average_precision
            row[f"ap50{suffix}"] = scores.average_precision[0.5]
        rows.append(row)
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["position", "threshold"])


def sweep_micro_ms3im(
    fit: MicroMS3IM,
    target: NDArray[Any],
    stain: NDArray[Any],
    mask: NDArray[np.bool_],
    settings: EvaluationSettings,
) -> pd.DataFrame:
    """MicroMS3IM over the same thresholds, after the fit of the stains as they are.

    A fit of its own for every threshold would hide what the threshold does to the intensities.

    Parameters
    ----------
    fit : MicroMS3IM
        Of all stains of the method.
    target, stain : ndarray
        As they were fitted.
    mask : ndarray of bool
        Foreground of the target.
    settings : EvaluationSettings
        Number of thresholds.

    Returns
    -------
    DataFrame
        ``position``, ``micro_ms3im`` and ``micro_ms3im_foreground``.
    """
    rows = [
        {"position": position} | score_micro_ms3im(fit, target, flattened(stain, threshold), mask)
        for position, threshold in thresholds(target, mask, settings)
    ]
    return pd.DataFrame(rows, columns=["position", "micro_ms3im", "micro_ms3im_foreground"])


def thresholds(
    target: NDArray[Any], mask: NDArray[np.bool_], settings: EvaluationSettings
) -> Iterator[tuple[float, float]]:
    """Positions between the modes and their intensities; none where the target has not both modes."""
    if settings.thresholds == 0 or not mask.any() or mask.all():
        return
    low, high = float(np.median(target[~mask])), float(np.median(target[mask]))
    for position in np.linspace(-MARGIN, 1 + MARGIN, settings.thresholds):
        yield float(position), float(low + position * (high - low))


def flattened(stain: NDArray[Any], threshold: float) -> NDArray[Any]:
    """Set what is below a threshold to it."""
    return np.asarray(np.maximum(stain, np.float32(threshold)))
