"""What is written into the model folder about a run."""

import datetime
from itertools import zip_longest
from typing import Any

import numpy as np

from spotlight.images.normalise import SAMPLED
from spotlight.images.slabs import slabs
from spotlight.images.texture import texture
from spotlight.model import InputDescription, ModelDescription, TargetDescription
from spotlight.pairs.prepare import PreparedPair
from spotlight.training.batches import Outputs
from spotlight.training.settings import Experiment


def describe(pairs: list[PreparedPair], experiment: Experiment, dims: int, outputs: Outputs) -> ModelDescription:
    """Say what a network that was trained on these pairs needs to be used right."""
    sizes = [pair.voxel_size for pair in pairs]
    known = [size for size in sizes if size is not None]
    ranges = tuple((min(axis), max(axis)) for axis in zip(*known, strict=True)) if len(known) == len(sizes) else None
    of_stain = ([p for p, s in zip(pairs, outputs.numbers, strict=True) if s == n] for n in range(len(outputs.names)))
    targets = [_describe_target(group, experiment) for group in of_stain]
    textures = [texture(pair.input) for pair in pairs]
    # A small stack has fewer octaves than the others.
    octaves = zip_longest(*(one.octaves for one in textures))
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
            octaves=tuple(_bounds([share for share in shares if share is not None]) for shares in octaves),
            skewness=_range([one.skewness for one in textures]),
            saturated=max(one.saturated for one in textures),
            normalisation=experiment.preparation.scaling,
            planes=experiment.preparation.planes,
            modalities=outputs.modalities or tuple(sorted({pair.modality for pair in pairs} - {""})),
        ),
        target=targets[0],
        further_targets=tuple(targets[1:]),
    )


def _describe_target(pairs: list[PreparedPair], experiment: Experiment) -> TargetDescription:
    backgrounds = [value for pair in pairs if (value := _background(pair)) is not None]
    fixed = experiment.preparation.scaling == "uint16"
    values = min(float(pair.target.min()) for pair in pairs), max(float(pair.target.max()) for pair in pairs)
    intensities = min(pair.intensity_range[0] for pair in pairs), max(pair.intensity_range[1] for pair in pairs)
    return TargetDescription(
        channel=_common(pair.channels[1] for pair in pairs),
        center="uint16" if fixed else experiment.preparation.target_center,
        normalised_range=(-1.0, 1.0) if fixed else values,
        intensity_range=(0.0, 65535.0) if fixed else intensities,
        threshold=float(np.mean([pair.threshold for pair in pairs])),
        background=float(np.mean(backgrounds)) if backgrounds else None,
        flatten=experiment.flatten_background,
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
    return _bounds(values) if values else None


def _bounds(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


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
