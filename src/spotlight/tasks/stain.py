"""Staining: the truth is a fluorescence stack, and so is the result."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from spotlight.images.normalise import SAMPLED
from spotlight.images.slabs import Allocate, slabs
from spotlight.pairs.pair import Pair
from spotlight.pairs.prepare import prepare_pair
from spotlight.pairs.prepared import PreparationSettings, PreparedPair
from spotlight.tasks.base import TASKS, TargetDescription, Task, common_name


@TASKS.register
class StainTask(Task):
    """Predict a fluorescence stack from a stack of transmitted light.

    Examples
    --------
    >>> from spotlight.tasks import StainTask
    >>> StainTask().truth_column(), StainTask().learns, list(StainTask().scores)
    ('target', 'intensities', ['foreground_pearson'])
    """

    kind: Literal["stain"] = "stain"
    scores: ClassVar[Mapping[str, str]] = {"foreground_pearson": "correlation on the foreground"}

    def prepare(self, pair: Pair, settings: PreparationSettings, allocate: Allocate) -> PreparedPair:
        """Normalise the target around its threshold or mean, and find its foreground; see `prepare_pair`."""
        return prepare_pair(pair, settings, allocate)

    def score(self, output: NDArray[np.float32], pair: PreparedPair) -> dict[str, float]:
        """Pearson's correlation on the foreground; 0 where stain or target is constant there."""
        inside = np.asarray(pair.mask)
        both = output[inside], np.asarray(pair.target)[inside]
        pearson = float(np.corrcoef(*both)[0, 1]) if inside.any() and min(map(np.ptp, both)) > 0 else 0.0
        return {"foreground_pearson": pearson}

    def describe(self, pairs: Sequence[PreparedPair], settings: PreparationSettings) -> TargetDescription:
        """Give the ranges, threshold and background of the training targets."""
        backgrounds = [value for pair in pairs if (value := _background(pair)) is not None]
        fixed = settings.scaling == "uint16"
        values = min(float(pair.target.min()) for pair in pairs), max(float(pair.target.max()) for pair in pairs)
        intensities = min(pair.intensity_range[0] for pair in pairs), max(pair.intensity_range[1] for pair in pairs)
        return TargetDescription(
            channel=common_name([pair.channels[1] for pair in pairs]),
            center="uint16" if fixed else settings.target_center,
            normalised_range=(-1.0, 1.0) if fixed else values,
            intensity_range=(0.0, 65535.0) if fixed else intensities,
            threshold=float(np.mean([pair.threshold for pair in pairs])),
            background=float(np.mean(backgrounds)) if backgrounds else None,
        )


def _background(pair: PreparedPair) -> float | None:
    """Median of the target outside its mask, of about `SAMPLED` voxels of a large stack; None if there are none."""
    step = max(1, pair.target.size // SAMPLED)
    found = [pair.target[slab.inner][~pair.mask[slab.inner]][::step] for slab in slabs(pair.target.shape)]
    values = np.concatenate(found)
    return float(np.median(values)) if values.size else None
