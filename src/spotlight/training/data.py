"""What a run learns from: which pairs, prepared how, in patches of what size."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spotlight.errors import SpotlightError
from spotlight.fingerprint import fingerprint
from spotlight.foreground import least_foreground_voxels
from spotlight.images.normalise import Grid
from spotlight.model import read_description
from spotlight.pairs.cache import prepare_pairs
from spotlight.pairs.fields import field_of, group_fields
from spotlight.pairs.pair import Pair
from spotlight.pairs.patches import Mixed, PatchSampler, Places
from spotlight.pairs.prepared import PreparedPair
from spotlight.progress import Progress
from spotlight.tasks import StainTask, Task
from spotlight.training.batches import Gather, Outputs, PatchBatches
from spotlight.training.hardware import Processes
from spotlight.training.protocols import for_task
from spotlight.training.settings import Experiment, PatchSettings

log = logging.getLogger("spotlight")

Sizes = Mapping[str, tuple[tuple[int, ...], tuple[float, ...] | None]]
"""By the names of stacks: their shapes on the network's grid, and their voxel sizes as they were."""


def complete(
    experiment: Experiment | str,
    changes: Mapping[str, int | None],
    given: Mapping[str, Any] | None = None,
    task: Task | str | None = None,
) -> Experiment:
    """All settings of a run, with changes of those of training, and other parts, that are not None.

    A task belongs to a named protocol; an experiment has its own.

    The network of a run that goes on from another model is that model's; how it is told the modality follows from
    `Experiment.modalities`.
    """
    experiment = for_task(experiment, task)
    values = experiment.model_dump()
    values["training"] |= {name: value for name, value in changes.items() if value is not None}
    values |= {name: part for name, part in (given or {}).items() if part is not None}
    if experiment.training.finetune is not None:
        values["network"] = read_description(experiment.training.finetune).network.model_dump()
    found = Experiment.parse(values, "training")
    if found.modalities in ("dynamic", "film"):
        network = found.network.model_dump() | {"conditioning": found.modalities}
        found = Experiment.parse(found.model_dump() | {"network": network}, "training")
    return found


def split_pairs(pairs: list[Pair], experiment: Experiment) -> tuple[list[Pair], list[Pair]]:
    """Pairs for training and validation; held out by the seed where the manifest names no validation pairs."""
    training = [pair for pair in pairs if pair.split in ("train", "")]
    validation = [pair for pair in pairs if pair.split == "val"]
    if not training:
        raise SpotlightError("no pair has the split 'train'. Add rows with split train, or leave the column out.")
    share = experiment.training.validation_share
    if validation or share == 0:
        return training, validation
    fields = group_fields(training)
    if len(fields) == 1:
        log.warning("There is one training pair and none for validation: the weights of the last step are kept.")
        return training, []
    # Whole groups, where there are several: fields of one plate are too alike to judge by.
    grouped = all(pair.group for pair in training) and len({pair.group for pair in training}) > 1
    unit_of = {n: number for number, field in enumerate(fields) for n in field}
    if grouped:
        names = list(dict.fromkeys(pair.group for pair in training))
        unit_of = {n: names.index(pair.group) for n, pair in enumerate(training)}
    held: set[int] = set()
    count = len(set(unit_of.values()))
    for unit in np.random.default_rng(experiment.training.seed).permutation(count):
        if len(held) == max(1, math.floor(share * count)):
            break
        left = [pair for n, pair in enumerate(training) if unit_of[n] not in held | {unit}]
        if _kinds(left) == _kinds(training):  # what only these pairs have would not be learnt
            held.add(int(unit))
    if not held:
        log.warning(
            "None is held out for validation, since each has a stain that no other has: the weights of the last step "
            "are kept."
        )
        return training, []
    validation = [pair for n, pair in enumerate(training) if unit_of[n] in held]
    log.info("Held out for validation: %s.", ", ".join(pair.name for pair in validation))
    return [pair for n, pair in enumerate(training) if unit_of[n] not in held], validation


def _kinds(pairs: list[Pair]) -> set[tuple[str, str]]:
    return {(pair.target_name, pair.modality) for pair in pairs}


def prepare(
    pairs: list[Pair],
    experiment: Experiment,
    cache: str | Path | None,
    progress: Progress | None,
    processes: Processes = Processes(),  # noqa: B008 - frozen
) -> list[PreparedPair]:
    """Prepare the pairs of a run.

    Several processes begin at different pairs, so that they share the work of filling a cache.
    """
    settings = experiment.preparation.model_copy(update=experiment.loss.needs())
    first = processes.rank * len(pairs) // processes.count
    task = experiment.task
    kind = "" if isinstance(task, StainTask) else fingerprint(task)
    prepared = prepare_pairs(pairs[first:] + pairs[:first], settings, cache, progress, task.prepare, kind)
    prepared = _share_inputs(pairs, prepared[len(pairs) - first :] + prepared[: len(pairs) - first])
    for pair in prepared:
        for doubt in pair.foreground.warnings:
            log.warning("%s: %s", pair.name, doubt)
    return prepared


def _share_inputs(pairs: Sequence[Pair], prepared: list[PreparedPair]) -> list[PreparedPair]:
    """Let the targets of one field share the array of its input, so that it is in memory once."""
    first: dict[str, PreparedPair] = {}
    shared = []
    for pair, made in zip(pairs, prepared, strict=True):
        other = first.setdefault(field_of(pair), made)
        shared.append(made if other is made or isinstance(made.input, np.memmap) else replace(made, input=other.input))
    return shared


def with_foreground(pairs: list[Pair], prepared: list[PreparedPair]) -> tuple[list[Pair], list[PreparedPair]]:
    """Return the validation pairs that have a foreground, and how they were prepared; others cannot be scored."""
    kept = []
    for pair, made in zip(pairs, prepared, strict=True):
        if made.mask.any():
            kept.append((pair, made))
        else:
            log.warning("%s: has no foreground and is left out of the validation.", made.name)
    return [pair for pair, _ in kept], [made for _, made in kept]


def patch_size(
    settings: PatchSettings,
    shapes: dict[str, tuple[int, ...]],
    divisor: int,
    window: int | None = None,
) -> tuple[int, ...]:
    """Choose the patch: that of the settings, or the published one shrunk to the smallest stack.

    Parameters
    ----------
    settings : PatchSettings
        With the size, or none.
    shapes : dict
        Shapes on the network's grid by the names of their stacks.
    divisor : int
        Of the network: every side of a patch must be a multiple of it.
    window : int, optional
        Planes that the network takes at once: a patch has as many.
    """
    smallest = tuple(min(sizes) for sizes in zip(*shapes.values(), strict=True))
    least = (divisor,) * len(smallest) if window is None else (window, divisor, divisor)
    thin = [name for name, shape in shapes.items() if any(n < m for n, m in zip(shape, least, strict=True))]
    if thin and window is not None:
        raise SpotlightError(
            f"{thin[0]}: has {shapes[thin[0]]} voxels on the network's grid, but the network needs at least {least}. "
            "Set a smaller network.window (with a network.stem that divides it), or leave the stack out."
        )
    if thin:
        thinnest = min(shapes, key=lambda name: min(shapes[name]))
        raise SpotlightError(
            f"{thinnest}: has {shapes[thinnest]} voxels on the network's grid, but the network needs "
            f"at least {divisor} along every axis. Make it shallower (network.depth), or leave the stack out."
        )
    if settings.size is None:
        usual = (32, 64, 64) if len(smallest) == 3 else (128, 128)
        if window is not None:
            usual = (window, 128, 128)
        multiples = least if window is None else (1, divisor, divisor)
        return tuple(max(m, min(u, n) // m * m) for u, n, m in zip(usual, smallest, multiples, strict=True))
    if window is not None and (
        len(settings.size) != 3 or settings.size[0] != window or any(s % divisor for s in settings.size[1:])
    ):
        raise SpotlightError(
            f"patches.size must be {window} planes (network.window) and two multiples of {divisor} for this network. "
            f"Received: {settings.size}."
        )
    if window is None and (len(settings.size) != len(smallest) or any(s % divisor for s in settings.size)):
        raise SpotlightError(
            f"patches.size must be {len(smallest)} multiples of {divisor} for these stacks and this network. "
            f"Received: {settings.size}."
        )
    if any(side > n for side, n in zip(settings.size, smallest, strict=True)):
        small = min(shapes, key=lambda name: min(n - p for n, p in zip(shapes[name], settings.size or (), strict=True)))
        raise SpotlightError(
            f"a patch of {settings.size} voxels (patches.size) does not fit {small}, which has {shapes[small]} voxels "
            "on the network's grid. Make the patches smaller, or leave the stack out."
        )
    return settings.size


def make_sampler(
    pairs: list[PreparedPair], patch: tuple[int, ...], experiment: Experiment, groups: list[list[int]] | None = None
) -> PatchSampler:
    """Find where patches may be drawn from; `groups` are those of `PatchSampler`."""
    least = least_foreground_voxels(patch, experiment.patches.least_foreground)
    starts = [experiment.task.places(pair, patch, least) for pair in pairs]
    for pair, found in zip(pairs, starts, strict=True):
        if not len(found):
            what = "enough that is not constant" if experiment.task.backbone else f"{least} foreground voxels"
            log.warning("%s: no patch holds %s; the stack is not used.", pair.name, what)
    if experiment.task.nowhere and not any(map(len, starts)):
        raise SpotlightError(f"patches of {patch} voxels: {experiment.task.nowhere}")
    held = sum(map(len, starts))
    every = sum(math.prod(n - p + 1 for n, p in zip(pair.target.shape, patch, strict=True)) for pair in pairs)
    if least and 0 < held < every:
        log.info("%.0f%% of the positions of patches hold at least %d foreground voxels.", 100 * held / every, least)
    if experiment.patches.anywhere and least:
        starts = [
            _mixed(experiment.task.places(pair, patch, 0), found, experiment.patches.anywhere)
            for pair, found in zip(pairs, starts, strict=True)
        ]
    planes = [pair.planes for pair in pairs]
    balanced = experiment.balance != "fields"
    return PatchSampler(starts, patch, experiment.training.seed, experiment.patches.augment, planes, groups, balanced)


def _mixed(anywhere: Places, on_foreground: Places, share: float) -> Places:
    """Share out the patches; a stack without any foreground stays unused, since its noise sets its scale."""
    mixed = 0 < len(on_foreground) < len(anywhere)
    return Mixed(anywhere, on_foreground, share) if mixed else on_foreground


def make_batches(
    pairs: list[PreparedPair],
    sampler: PatchSampler,
    experiment: Experiment,
    processes: Processes,
    device: torch.device,
    outputs: Outputs | None = None,
    whole: bool = False,
) -> PatchBatches:
    """Choose how patches come to the network: gathered on a GPU that has room, else cut on the processor.

    `whole`: nothing of them is hidden, whatever the task.
    """
    kept = [array for pair in pairs for array in (pair.input, pair.target, pair.mask, pair.cells) if array is not None]
    size = sum(array.nbytes for array in kept)
    # What a batch of several stains, planes, channels or modalities holds is put together on the processor.
    plain = all(pair.percentiles is None and not pair.planes and not pair.further_inputs for pair in pairs)
    plain = plain and (outputs is None or not (outputs.partial or outputs.modalities))
    fits = device.type == "cuda" and plain and size < torch.cuda.mem_get_info(device)[0] / 2
    if device.type == "cuda":
        where = "on the GPU" if fits else "off the GPU, with patches cut ahead of time"
        log.info("The prepared stacks, %.1f GiB, are kept %s.", size / 2**30, where)
    gather = Gather(pairs, sampler.patch, device) if fits else None
    ahead = gather is None and (device.type != "cpu" or any(isinstance(array, np.memmap) for array in kept))
    size, count = experiment.training.batch_size, int(experiment.training.micro_batches)
    spacing = spacing_of(experiment.preparation.grid, pairs[0].voxel_size)
    hiding = None if whole else experiment.task.hiding(sampler.patch, spacing)
    return PatchBatches(pairs, sampler, experiment.patches, size, count, processes, gather, ahead, outputs, hiding)


def spacing_of(grid: Grid, voxel_size: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Edges of a voxel of the network's grid; None where they are those of the stacks, which do not state them."""
    return voxel_size if grid == "native" else (float(grid),) * 3
