"""The threshold sweep (Kalinin et al. 2025, Fig. 3b): scores of a stain that is made even below an intensity."""

from dataclasses import replace

import numpy as np
import pandas as pd

from spotlight.evaluation.reference import Reference, pipelines
from spotlight.evaluation.settings import EvaluationSettings
from spotlight.images import Stack
from spotlight.metrics import score_instances, score_pixels
from spotlight.segmentation import segment

MARGIN = 0.25
"""How far the sweep begins below the background and ends above the foreground, in units of their distance."""


def sweep(stain: Stack, reference: Reference, settings: EvaluationSettings, data_range: float | None) -> pd.DataFrame:
    """Score a stain whose values below a threshold are set to it, for thresholds across both modes of the target.

    The modes are the medians of the target below and from its foreground threshold on. The paper does not say what
    becomes of values below a threshold; set to it, they leave no edge.

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
    if settings.thresholds == 0 or not reference.mask.any() or reference.mask.all():
        return pd.DataFrame(columns=["position", "threshold"])
    target = reference.target.data
    low, high = float(np.median(target[~reference.mask])), float(np.median(target[reference.mask]))
    rows = []
    for position in np.linspace(-MARGIN, 1 + MARGIN, settings.thresholds):
        threshold = low + position * (high - low)
        even = replace(stain, array=np.maximum(stain.data, np.float32(threshold)))
        row = {"position": float(position), "threshold": threshold}
        if data_range is not None:
            row |= score_pixels(target, even.data, reference.mask, data_range, stain.voxel_size)
        for suffix, pipeline in pipelines(settings).items():
            found = segment(even, pipeline)
            scores = score_instances(reference.truth[suffix].data, found.data, complete=settings.complete_labels)
            row[f"mean_ap{suffix}"] = scores.mean_average_precision
            row[f"ap50{suffix}"] = scores.average_precision[0.5]
        rows.append(row)
    return pd.DataFrame(rows)
