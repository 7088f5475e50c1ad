"""Resolution of a stain in µm, of its own and shared with its target, with the curves and why one is missing."""

import pandas as pd

from spotlight.evaluation.settings import EvaluationSettings
from spotlight.images import Stack
from spotlight.metrics import (
    ResolutionCurve,
    fourier_ring,
    fourier_ring_of_two,
    fourier_shell,
    fourier_shell_of_two,
)

Curves = dict[tuple[str, str], ResolutionCurve]
"""By kind (``fsc``, ``fsc_of_two``, ``frc``, ``frc_of_two``) and direction (``xy``, ``z``)."""


def correlate_frequencies(
    stain: Stack, target: Stack | None, settings: EvaluationSettings, *, planes: bool = True
) -> Curves:
    """Correlate a stain over spatial frequencies with itself and, if there is one, with its target.

    Parameters
    ----------
    stain : Stack
        With a voxel size.
    target : Stack or None
        On the same grid.
    settings : EvaluationSettings
        How.
    planes : bool
        Whether to add the mean over the planes of a stack to its shells.
    """
    size = stain.voxel_size
    assert size is not None
    found: Curves = {}
    if len(stain.axes) == 3:
        own = fourier_shell(stain.data, size, settings.one_image)
        found |= {("fsc", direction): curve for direction, curve in own.items()}
        if target is not None:
            both = fourier_shell_of_two(target.data, stain.data, size, settings.two_images)
            found |= {("fsc_of_two", direction): curve for direction, curve in both.items()}
    elif target is not None:
        found["frc_of_two", "xy"] = fourier_ring_of_two(target.data, stain.data, size, settings.two_images)
    if planes or len(stain.axes) == 2:
        found["frc", "xy"] = fourier_ring(stain.data, size, settings.one_image)
    return found


def name_of(kind: str, direction: str) -> str:
    """Column of a resolution in the table of scores."""
    return f"{kind}_um" if kind.startswith("frc") else f"{kind}_{direction}_um"


def score_resolution(
    stain: Stack, target: Stack | None, settings: EvaluationSettings
) -> tuple[pd.DataFrame, dict[str, float], dict[str, str]]:
    """Curves of correlation, resolutions in µm, and why one is missing."""
    none = pd.DataFrame(columns=["kind", "direction", "frequency", "correlation"])
    if not settings.resolution:
        return none, {}, {}
    if stain.voxel_size is None:
        return none, {}, {"resolution": "the voxel size is not known"}
    tables, scores, remarks = [], {}, {}
    for (kind, direction), curve in correlate_frequencies(stain, target, settings).items():
        name = name_of(kind, direction)
        scores[name] = curve.resolution
        if curve.reason:
            remarks[name] = curve.reason
        rows = {"kind": kind, "direction": direction, "frequency": curve.frequency, "correlation": curve.correlation}
        tables.append(pd.DataFrame(rows))
    return pd.concat(tables, ignore_index=True), scores, remarks
