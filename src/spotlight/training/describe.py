"""What is written into the model folder about a run."""

import datetime
from typing import Any

import numpy as np

from spotlight.images.normalise import SAMPLED
from spotlight.images.slabs import slabs
from spotlight.model import InputDescription, ModelDescription, TargetDescription
from spotlight.pairs.prepare import PreparedPair
from spotlight.training.settings import Experiment


def describe(pairs: list[PreparedPair], experiment: Experiment, dims: int) -> ModelDescription:
    """Say what a network that was trained on these pairs needs to be used right."""
    backgrounds = [value for pair in pairs if (value := _background(pair)) is not None]
    sizes = [pair.voxel_size for pair in pairs]
    known = [size for size in sizes if size is not None]
    ranges = tuple((min(axis), max(axis)) for axis in zip(*known, strict=True)) if len(known) == len(sizes) else None
    return ModelDescription(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        network=experiment.network,
        input=InputDescription(
            channel=_common(pair.channels[0] for pair in pairs),
            axes="ZYX" if dims == 3 else "YX",
            grid=experiment.preparation.grid,
            voxel_size=ranges,
            mean=_range([pair.statistics[0] for pair in pairs]),
            contrast=_range([pair.statistics[1] / pair.statistics[0] for pair in pairs if pair.statistics[0] > 0]),
        ),
        target=TargetDescription(
            channel=_common(pair.channels[1] for pair in pairs),
            center=experiment.preparation.target_center,
            normalised_range=(
                min(float(pair.target.min()) for pair in pairs),
                max(float(pair.target.max()) for pair in pairs),
            ),
            intensity_range=(
                min(pair.intensity_range[0] for pair in pairs),
                max(pair.intensity_range[1] for pair in pairs),
            ),
            threshold=float(np.mean([pair.threshold for pair in pairs])),
            background=float(np.mean(backgrounds)) if backgrounds else None,
            flatten=experiment.flatten_background,
        ),
    )


def stack_record(pair: PreparedPair, digests: dict[str, str]) -> dict[str, Any]:
    """What is kept of a stack."""
    return {
        "name": pair.name,
        "digest": digests[pair.name],
        "threshold": pair.foreground.threshold,
        "foreground_fraction": pair.foreground.fraction,
    }


def _range(values: list[float]) -> tuple[float, float] | None:
    return (min(values), max(values)) if values else None


def _background(pair: PreparedPair) -> float | None:
    """Median of the target outside its mask, of about `SAMPLED` voxels of a large stack; None if there are none."""
    step = max(1, pair.target.size // SAMPLED)
    found = [pair.target[slab.inner][~pair.mask[slab.inner]][::step] for slab in slabs(pair.target.shape)]
    values = np.concatenate(found)
    return float(np.median(values)) if values.size else None


def _common(names: Any) -> str:
    """The name that all share, or nothing."""
    different = set(names)
    return different.pop() if len(different) == 1 else ""
