"""What the stains of a stack are compared with: its target, the foreground, and the true instances."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.evaluation.settings import EvaluationSettings
from spotlight.foreground import find_foreground
from spotlight.images import Stack
from spotlight.images.pieces import doubt_pieces
from spotlight.pairs.pair import Pair
from spotlight.profiles import measure
from spotlight.segmentation import InstanceSettings, clean_truth, find_instances


@dataclass(frozen=True, eq=False)
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
    threshold, fraction : float
        Foreground threshold and share.
    truth : dict of str to Stack
        True instances per pipeline: the manifest's labels or, where `labelled` is false, those segmented from the
        target.
    found : dict of str to Stack
        Instances segmented from the target, per pipeline.
    nuclei, target_nuclei : DataFrame
        Measurements of the true instances, and of those segmented from the target.
    inside : ndarray of bool or None
        Where the manifest's labels have a nucleus; None without them. Unlike `mask` it owes nothing to the noise of the
        target: of voxels chosen for being bright, a stain that is too bright is scored better.
    faint : int
        Bodies of the target that the first pipeline left out as noise.
    scales : dict of str to (tuple of float or None)
        Edges of a voxel in µm that each pipeline assumes if the target states none: the same for its stains.
    doubts : tuple of str
        What speaks against the segmentation of the target.
    """

    name: str
    target: Stack
    mask: NDArray[np.bool_]
    threshold: float
    fraction: float
    truth: dict[str, Stack]
    found: dict[str, Stack]
    nuclei: pd.DataFrame
    target_nuclei: pd.DataFrame
    inside: NDArray[np.bool_] | None
    faint: int
    scales: dict[str, tuple[float, ...] | None]
    doubts: tuple[str, ...]

    @property
    def labelled(self) -> bool:
        """Whether the manifest has labels for the stack."""
        return self.inside is not None


def make_reference(pair: Pair, target: Stack, settings: EvaluationSettings) -> Reference:
    """Find the foreground of a target, or read the pair's own, and the true instances of its stack."""
    own = pair.read_foreground(target)
    mask = None if own is None else own.data > 0
    foreground = find_foreground(target.data, settings.foreground, mask, name=target.source)
    given = pair.read_labels(target)
    segmented = {suffix: find_instances(target, pipeline) for suffix, pipeline in pipelines(settings).items()}
    doubts = [doubt for one in segmented.values() for doubt in one.doubts]
    found = {suffix: one.labels for suffix, one in segmented.items()}
    truth = (
        found
        if given is None
        else {
            suffix: clean_truth(given, pipeline, segmented[suffix].scale)
            for suffix, pipeline in pipelines(settings).items()
        }
    )
    if given is not None and (doubt := doubt_pieces(given)):
        doubts.append(f"the manifest's labels: {doubt}")
    target_nuclei = measure(found[""], settings=settings.profiles)
    return Reference(
        name=pair.name,
        target=target,
        mask=target.data >= foreground.threshold if mask is None else mask,
        threshold=foreground.threshold,
        fraction=foreground.fraction,
        truth=truth,
        found=found,
        nuclei=target_nuclei if given is None else measure(truth[""], settings=settings.profiles),
        target_nuclei=target_nuclei,
        inside=None if given is None else given.data > 0,
        faint=segmented[""].faint,
        scales={suffix: one.scale for suffix, one in segmented.items()},
        doubts=tuple(doubts),
    )


def pipelines(settings: EvaluationSettings) -> dict[str, InstanceSettings]:
    """Ways to find nuclei by the suffix of their scores: none for the first, the method for the second."""
    second = settings.second
    return {"": settings.segmentation} | ({} if second is None else {f"_{second.method}": second})
