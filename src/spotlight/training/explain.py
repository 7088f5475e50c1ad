"""`explain`: all that a run would do, before it does anything."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from spotlight.devices import find_device, memory_to_use
from spotlight.foreground import least_foreground_voxels
from spotlight.images.normalise import grid_shape
from spotlight.images.scaling import scaling_in_words
from spotlight.model import DESCRIPTION, WEIGHTS, make_network
from spotlight.networks import NetworkSettings, StainNetwork
from spotlight.pairs.pair import Pair
from spotlight.settings import commented_yaml
from spotlight.training.batches import Stains
from spotlight.training.callbacks import BEST, CHECKPOINT, LOG, PREVIEW
from spotlight.training.data import complete, patch_size, split_pairs
from spotlight.training.hardware import choose_parts, choose_precision, step_memory
from spotlight.training.settings import Experiment, TrainingSettings
from spotlight.training.stains import by_modality, drawing_groups, find_stains, read_targets

FNET = "Ounkomol et al. 2018"
PAPER = "Kalinin et al. 2025"
PIX2PIX = "Liu et al. 2024"
MOST_NAMED = 12


def explain(
    pairs: str | Path | Sequence[Pair],
    experiment: Experiment,
    *,
    input_channel: str | None = None,
    target_channel: str | None = None,
    target: str | Sequence[str] | None = None,
) -> str:
    """Say what `train` would do with these pairs and settings: every step, number, source and file.

    Files are opened to see what they hold, nothing is computed, and nothing is written.

    Parameters
    ----------
    pairs, input_channel, target_channel, target
        As for `train`.
    experiment : Experiment
        All settings.

    Raises
    ------
    SpotlightError
        If the run could not begin: files that are missing or do not match, sizes that do not fit.
    """
    experiment = complete(experiment, {})
    listed = read_targets(pairs, experiment, input_channel, target_channel, target)
    if experiment.modalities == "separate":
        alike = experiment.model_copy(update={"modalities": "unified"})
        texts = [
            f"A MODEL FOR {modality.upper()}\n\n{explain(group, alike, target='all')}"
            for modality, group in by_modality(listed).items()
        ]
        return "\n\n".join(texts)
    training, validation = split_pairs(listed, experiment)
    grid = experiment.preparation.grid
    targets = {pair.name: pair.read_pair(experiment.preparation.planes)[1] for pair in training + validation}
    shapes = {name: grid_shape(target, grid) for name, target in targets.items()}
    stains = find_stains(training, experiment)
    dims = len(next(iter(shapes.values())))
    divisor = _skeleton(experiment.network, dims, len(stains.names), len(stains.modalities)).divisor
    patch = patch_size(experiment.patches, shapes, divisor)
    cost = network_cost(experiment.network, patch, len(stains.names), len(stains.modalities))
    sections = {
        "Data": [*_data(training, validation, shapes, experiment), *_stains(training, stains, experiment)],
        "Preparation, once per stack": _preparation(experiment),
        "A step": _step(experiment, patch, cost),
        "The run": _run(experiment, cost, bool(validation)),
        "This machine": _machine(experiment, patch),
    }
    lines = [f"{title}\n" + "".join(f"  - {line}\n" for line in found) for title, found in sections.items()]
    settings = "".join(f"  {line}\n" for line in commented_yaml(experiment).splitlines())
    return "\n".join([*lines, f"All settings\n{settings}"])


def _data(
    training: list[Pair], validation: list[Pair], shapes: dict[str, tuple[int, ...]], experiment: Experiment
) -> Iterator[str]:
    yield f"{_names(training)} to learn from."
    named = any(pair.split == "val" for pair in validation)
    share = experiment.training.validation_share
    reason = "named by the manifest" if named else f"held out by the seed, {share:.0%} of the pairs (validation_share)"
    yield f"{_names(validation)} to validate on, {reason}." if validation else "None to validate on."
    voxels = [math.prod(shape) for shape in shapes.values()]
    sizes = sorted({" x ".join(map(str, shape)) for shape in shapes.values()})
    yield (
        f"On the network's grid {', '.join(sizes[:MOST_NAMED])} voxels, {sum(voxels) / 1e6:.4g} million in all: "
        f"{9 * sum(voxels) / 2**30:.2g} GiB prepared."
    )


OVER = {"mean": "their mean", "sum": "the sum over stains of their means"}


def _stains(training: list[Pair], stains: Stains, experiment: Experiment) -> Iterator[str]:
    """What is to be said where a field can have several targets, planes or modalities."""
    if stains.partial:
        counts = Counter(pair.target_name for pair in training)
        found = ", ".join(f"{name} {counts[name]}" for name in stains.names)
        yield (
            f"One network with {len(stains.names)} stains; of {len(stains.fields)} fields have: {found}. Losses are "
            f"those of the targets that are there, {OVER[experiment.over_stains]}."
        )
    if stains.modalities:
        yield f"The network is told the modality ({experiment.modalities}): {', '.join(stains.modalities)}."
    if experiment.balance != "fields":
        groups = len(drawing_groups(training, stains, experiment))
        yield f"Drawn equally often, in turn within every batch: {experiment.balance} ({groups} groups)."
    if experiment.preparation.planes == "one":
        yield "The network sees one plane of a field, at random at each draw; the middle one in validation."
    batches = len(stains.fields) / experiment.training.batch_size
    yield f"An epoch, as many patches as there are fields, is {batches:.4g} steps."


def _names(pairs: list[Pair]) -> str:
    shown = ", ".join(pair.name for pair in pairs[:MOST_NAMED])
    more = f" and {len(pairs) - MOST_NAMED} more" if len(pairs) > MOST_NAMED else ""
    return f"{len(pairs)} pair{'' if len(pairs) == 1 else 's'} ({shown}{more})"


def _preparation(experiment: Experiment) -> Iterator[str]:
    settings, rule = experiment.preparation, experiment.preparation.foreground
    smooth = f"median {rule.median_px} voxels, Gaussian {rule.gaussian_px:g} voxels"
    value = f" of {rule.value:g}" if rule.value is not None else f" of the target smoothed by {smooth}"
    yield f"Threshold T: {rule.method}{value}, whole stack, native resolution ({PAPER}; smoothing: the author's)."
    if settings.scaling == "uint16":
        yield f"Input and target: I / 32767.5 - 1, so that 0 to 65535 becomes -1 to 1 ({PIX2PIX})."
    else:
        yield f"Input: normalised by {scaling_in_words(settings.scaling)} (scaling '{settings.scaling}')."
        center, source = {"threshold": ("T", PAPER), "mean": ("mean", FNET)}[settings.target_center]
        yield f"Target: (I - {center}) / standard deviation of the whole stack, native resolution ({source})."
    if settings.grid == "native":
        yield "No resampling: the stacks stay on their own grid."
    else:
        yield f"Then both to cubic voxels of {settings.grid:g} µm by cubic splines, in this order ({FNET})."
    median = f" after a median of {settings.mask_median_px} voxels" if settings.mask_median_px > 1 else ""
    yield f"Foreground mask: target{median} >= T, or the pair's own mask ({PAPER})."


def _step(experiment: Experiment, patch: tuple[int, ...], cost: tuple[int, int]) -> Iterator[str]:
    patches, settings = experiment.patches, experiment.training
    least = least_foreground_voxels(patch, patches.least_foreground)
    what = {"fields": "field", "stains": "stain", "stains and modalities": "stain in any modality"}[experiment.balance]
    yield (
        f"{settings.batch_size} patches of {'x'.join(map(str, patch))} voxels, each from any {what} with the same "
        f"probability and from any position in it that holds at least {least} foreground voxels "
        f"({patches.least_foreground:.2%}; {PAPER}: 0.1 %, {FNET}: none)."
    )
    varied = [name for name in ("intensity", "noise", "focus") if getattr(patches, name)]
    if patches.augment:
        varied.insert(0, "flips and quarter turns in YX")
    yield f"Varied at random: {', '.join(varied) or 'nothing'} (both papers: nothing)."
    yield f"{experiment.network.describe()}: {cost[0]:,} weights, {cost[1] / 1e9:.3g} GFLOP forward per patch."
    yield f"Loss: {experiment.loss.describe()}."
    if experiment.adversarial is not None:
        against = experiment.adversarial
        yield (
            f"Against a discriminator of 70-pixel patches per stain, {against.kind}, weight {against.weight:g} "
            f"({PIX2PIX}: 1), which learns first in every step, with Adam at {against.learning_rate:g}."
        )
    yield _optimiser(settings)


def _skeleton(settings: NetworkSettings, dims: int, stains: int = 1, modalities: int = 0) -> StainNetwork:
    """The network without values."""
    with torch.device("meta"):
        return make_network(settings, dims, stains, modalities)


def network_cost(
    settings: NetworkSettings, patch: tuple[int, ...], stains: int = 1, modalities: int = 0
) -> tuple[int, int]:
    """Number of weights, and floating-point operations of a forward pass over one patch."""
    network = _skeleton(settings, len(patch), stains, modalities)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 1, *patch), torch.empty(1, modalities) if modalities else None)
    return sum(weight.numel() for weight in network.parameters()), int(counter.get_total_flops())


def _optimiser(settings: TrainingSettings) -> str:
    rise = f", rising over {settings.warmup} steps" if settings.warmup else ""
    average = f"; kept is a running average of the weights, decay {settings.ema:g}" if settings.ema else ""
    return (
        f"Adam {settings.betas}, learning rate {settings.learning_rate:g}, {settings.schedule}{rise}{average} "
        f"({FNET}, {PAPER}: (0.5, 0.999), 0.001, constant)."
    )


def _run(experiment: Experiment, cost: tuple[int, int], validates: bool) -> Iterator[str]:
    settings = experiment.training
    flop = 3 * cost[1] * settings.batch_size * settings.steps
    yield (
        f"{settings.steps:,} steps, {settings.steps * settings.batch_size:,} patches, {flop:.2g} FLOP forward and back "
        f"({PAPER}: 50,000 steps of 24)."
    )
    if settings.finetune:
        yield f"Begun from the weights of {settings.finetune}; frozen: {settings.frozen}."
    if validates:
        patience = f", ending after {settings.patience} without a better one" if settings.patience else ""
        yield (
            f"Validation on whole stacks every {settings.validate_every} steps{patience}; the weights of the best "
            f"{settings.choose_by} are kept."
        )
    else:
        yield "The weights of the last step are kept."
    yield f"A checkpoint every {settings.checkpoint_every} steps, from which the same command goes on."
    yield f"Written: {DESCRIPTION}, {WEIGHTS}; on the way training/{{{LOG}, {CHECKPOINT}, {BEST}, {PREVIEW}}}."


def _machine(experiment: Experiment, patch: tuple[int, ...]) -> Iterator[str]:
    settings = experiment.training
    device = find_device(settings.device)
    precision = choose_precision(settings.precision, device)
    yield f"Device: {device.type}; arithmetic: {precision}, losses and sums in float32."
    memory, limit = memory_to_use(device)
    per_patch = step_memory(patch, experiment.network.memory_width)
    if experiment.adversarial is not None and settings.parts not in ("auto", 1):
        yield "This run would be refused: discriminators learn from a whole batch. Set training.parts to 1."
    parts = choose_parts(settings.batch_size, per_patch, memory) if settings.parts == "auto" else settings.parts
    need = settings.batch_size // parts * per_patch / 2**30
    whole = "whole" if parts == 1 else f"in {parts} parts, one after another"
    yield f"The batch goes through the network {whole}: about {need:.1f} GiB; {limit}."
