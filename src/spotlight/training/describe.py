"""What is written into the model folder about a run."""

import datetime
from itertools import zip_longest
from typing import Any

from spotlight.images.texture import texture
from spotlight.model import InputDescription, ModelDescription
from spotlight.pairs.prepare import PreparedPair
from spotlight.tasks.base import common_name
from spotlight.training.batches import Outputs
from spotlight.training.settings import Experiment


def describe(pairs: list[PreparedPair], experiment: Experiment, dims: int, outputs: Outputs) -> ModelDescription:
    """Say what a network that was trained on these pairs needs to be used right."""
    sizes = [pair.voxel_size for pair in pairs]
    known = [size for size in sizes if size is not None]
    ranges = tuple((min(axis), max(axis)) for axis in zip(*known, strict=True)) if len(known) == len(sizes) else None
    of_stain = ([p for p, s in zip(pairs, outputs.numbers, strict=True) if s == n] for n in range(len(outputs.names)))
    described = (experiment.task.describe(group, experiment.preparation) for group in of_stain)
    targets = [target.model_copy(update={"flatten": experiment.flatten_background}) for target in described]
    textures = [texture(pair.input) for pair in pairs]
    # A small stack has fewer octaves than the others.
    octaves = zip_longest(*(one.octaves for one in textures))
    return ModelDescription(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        network=experiment.network,
        input=InputDescription(
            channel=common_name([pair.channels[0] for pair in pairs]),
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
        task=experiment.task,
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
