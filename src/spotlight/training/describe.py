"""What is written into the model folder about a run."""

import datetime
from itertools import zip_longest
from typing import Any

from spotlight.images.texture import texture
from spotlight.model import FORMAT, ChannelDescription, InputDescription, ModelDescription
from spotlight.pairs.prepared import PreparedPair
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
    first, *further = (_describe_channel(pairs, number) for number in range(len(pairs[0].inputs)))
    return ModelDescription(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        format=FORMAT if further else 1,
        network=experiment.network,
        input=InputDescription(
            **first.model_dump(),
            axes="ZYX" if dims == 3 else "YX",
            grid=experiment.preparation.grid,
            voxel_size=ranges,
            normalisation=experiment.preparation.scaling,
            planes=experiment.preparation.planes,
            modalities=outputs.modalities or tuple(sorted({pair.modality for pair in pairs} - {""})),
            further_channels=tuple(further),
        ),
        target=targets[0],
        further_targets=tuple(targets[1:]),
        task=experiment.task,
    )


def _describe_channel(pairs: list[PreparedPair], number: int) -> ChannelDescription:
    """Describe one channel of the inputs."""
    facts = [((pair.channels[0], *pair.statistics), *pair.further_inputs)[number] for pair in pairs]
    textures = [texture(pair.inputs[number]) for pair in pairs]
    # A small stack has fewer octaves than the others.
    octaves = zip_longest(*(one.octaves for one in textures))
    return ChannelDescription(
        channel=common_name([name for name, _, _ in facts]),
        mean=_range([mean for _, mean, _ in facts]),
        contrast=_range([std / mean for _, mean, std in facts if mean > 0]),
        octaves=tuple(_bounds([share for share in shares if share is not None]) for shares in octaves),
        skewness=_range([one.skewness for one in textures]),
        saturated=max(one.saturated for one in textures),
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
