"""`explain`: all that a run would do, before it does anything."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from spotlight.foreground import least_foreground_voxels
from spotlight.images.scaling import scaling_in_words
from spotlight.model import DESCRIPTION, WEIGHTS, make_network
from spotlight.networks import NetworkSettings
from spotlight.pairs.pair import Listed, Pair
from spotlight.pairs.prepared import PreparationSettings
from spotlight.progress import Progress
from spotlight.quoting import counted
from spotlight.settings import commented_yaml
from spotlight.tasks import StainTask, Task
from spotlight.training.callbacks import BEST, CHECKPOINT, LOG, PREVIEW
from spotlight.training.data import complete
from spotlight.training.hardware import Processes
from spotlight.training.plan import RunPlan, StepPlan, plan_runs
from spotlight.training.probe import probe_run
from spotlight.training.settings import Experiment, TrainingSettings

FNET = "Ounkomol et al. 2018"
PAPER = "Kalinin et al. 2025"
PIX2PIX = "Liu et al. 2024"
MOST_NAMED = 12


def explain(
    pairs: Listed,
    experiment: Experiment,
    *,
    input_channel: str | Sequence[str] | None = None,
    target_channel: str | None = None,
    target: str | Sequence[str] | None = None,
    axes: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
    probe: bool = False,
    progress: Progress | None = None,
) -> str:
    """Say what `train` would do with these pairs and settings: every step, number, source and file.

    Files are opened to see what they hold. Nothing is written.

    Parameters
    ----------
    pairs, input_channel, target_channel, target, axes, voxel_size
        As for `train`.
    experiment : Experiment
        All settings.
    probe : bool
        Also take a few steps with random values on this machine, and say how many minutes the run would take.
    progress : callable, optional
        Called with what is being done and how far it is; see `spotlight.progress.Progress`.

    Returns
    -------
    str
        Lines for people, and all settings as YAML.

    Raises
    ------
    SpotlightError
        If the run could not begin: files that are missing or do not match, sizes that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack
    >>> from spotlight.training import explain, protocol
    >>> light, dna = np.random.default_rng(0).random((2, 8, 16, 16), np.float32)
    >>> pair = tuple(Stack(image, "ZYX", (0.29, 0.29, 0.29)) for image in (light, dna))
    >>> text = explain([pair], protocol("fnet"))
    >>> [line.strip() for line in text.splitlines() if "Loss:" in line]
    ['- Loss: mean squared error over all voxels (Ounkomol et al. 2018).']
    """
    completed = complete(experiment, {})
    plans = plan_runs(pairs, completed, input_channel, target_channel, target, axes, voxel_size, Processes())
    return "\n\n".join(
        f"{f'A MODEL FOR {modality.upper()}' + 2 * chr(10) if modality else ''}{_explain(plan, probe, progress)}"
        for modality, plan in plans.items()
    )


def _explain(plan: RunPlan, probe: bool, progress: Progress | None) -> str:
    step = plan.step(plan.read_sizes())
    sizes = len(plan.outputs.names), len(plan.outputs.modalities), plan.in_channels
    cost = network_cost(plan.experiment.network, step.patch, *sizes, plan.experiment.task)
    sections = {
        "Data": [*_data(plan, step), *_stains(plan)],
        "Preparation, once per stack": _preparation(plan.experiment),
        "A step": _step(plan.experiment, step.patch, cost),
        "The run": _run(plan, cost),
        "This machine": _machine(plan, step, probe, progress),
    }
    lines = [f"{title}\n" + "".join(f"  - {line}\n" for line in found) for title, found in sections.items()]
    settings = "".join(f"  {line}\n" for line in commented_yaml(plan.experiment).splitlines())
    return "\n".join([*lines, f"All settings\n{settings}"])


def _data(plan: RunPlan, step: StepPlan) -> Iterator[str]:
    validation, shapes = plan.validation, step.shapes
    yield f"{_names(plan.training)} to learn from."
    named = any(pair.split == "val" for pair in validation)
    share = plan.experiment.training.validation_share
    reason = "named by the manifest" if named else f"held out by the seed, {share:.0%} of the pairs (validation_share)"
    if validation:
        yield f"{_names(validation)} to validate on, {reason}; those without foreground are left out."
    else:
        yield "None to validate on."
    voxels = [math.prod(shape) for shape in shapes.values()]
    sizes = sorted({" x ".join(map(str, shape)) for shape in shapes.values()})
    yield (
        f"On the network's grid {', '.join(sizes[:MOST_NAMED])} voxels, {sum(voxels) / 1e6:.4g} million in all: "
        f"{9 * sum(voxels) / 2**30:.2g} GiB prepared."
    )


OVER = {"mean": "their mean", "sum": "the sum over stains of their means"}


def _stains(plan: RunPlan) -> Iterator[str]:
    """Describe runs with several targets, planes or modalities per field."""
    outputs, experiment = plan.outputs, plan.experiment
    if plan.in_channels > 1:
        yield f"The network takes {plan.in_channels} input channels, each scaled by itself."
    if len(outputs.names) > 1:
        counts = Counter(pair.target_name for pair in plan.training)
        found = ", ".join(f"{name} {counts[name]}" for name in outputs.names)
        yield (
            f"One network with {len(outputs.names)} stains; of {counted(len(outputs.fields), 'field')} have: {found}. "
            f"Losses are those of the targets that are there, {OVER[experiment.over_stains]}."
        )
    elif outputs.partial:
        yield (
            f"{len(plan.training)} pairs show {counted(len(outputs.fields), 'field')}: pairs with the same input are "
            "one field, and are drawn together. Is a pair listed twice?"
        )
    if outputs.modalities:
        yield f"The network takes the modality as an input ({experiment.modalities}): {', '.join(outputs.modalities)}."
    if experiment.balance != "fields":
        groups = counted(len(plan.groups), "group")
        yield f"Drawn equally often, in turn within every batch: {experiment.balance} ({groups})."
    if experiment.preparation.planes == "one":
        yield "The network sees one plane of a field, at random at each draw; the middle one in validation."
    batches = len(outputs.fields) / experiment.training.batch_size
    yield f"An epoch, as many patches as there are fields, is {batches:.4g} steps."


def _names(pairs: list[Pair]) -> str:
    shown = ", ".join(pair.name for pair in pairs[:MOST_NAMED])
    more = f" and {len(pairs) - MOST_NAMED} more" if len(pairs) > MOST_NAMED else ""
    return f"{counted(len(pairs), 'pair')} ({shown}{more})"


def _preparation(experiment: Experiment) -> Iterator[str]:
    settings, rule = experiment.preparation, experiment.preparation.foreground
    if not isinstance(experiment.task, StainTask):
        yield f"Input: normalised by {scaling_in_words(settings.scaling)} (scaling '{settings.scaling}')."
        if said := experiment.task.in_words():
            yield said
        yield _grid_in_words(settings)
        return
    smooth = f"median {rule.median_px} voxels, Gaussian {rule.gaussian_px:g} voxels"
    value = f" of {rule.value:g}" if rule.value is not None else f" of the target smoothed by {smooth}"
    yield f"Threshold T: {rule.method}{value}, whole stack, native resolution ({PAPER}; smoothing: the author's)."
    if settings.scaling == "uint16":
        yield f"Input and target: I / 32767.5 - 1, so that 0 to 65535 becomes -1 to 1 ({PIX2PIX})."
    else:
        yield f"Input: normalised by {scaling_in_words(settings.scaling)} (scaling '{settings.scaling}')."
        centers = {
            "threshold": ("T", PAPER),
            "mean": ("mean", FNET),
            "offset": ("offset, the intensity without dye", "not in either paper"),
        }
        center, source = centers[settings.target_center]
        yield f"Target: (I - {center}) / standard deviation of the whole stack, native resolution ({source})."
    yield _grid_in_words(settings)
    median = f" after a median of {settings.mask_median_px} voxels" if settings.mask_median_px > 1 else ""
    yield f"Foreground mask: target{median} >= T, or the pair's own mask ({PAPER})."


def _grid_in_words(settings: PreparationSettings) -> str:
    if settings.grid == "native":
        return "No resampling: the stacks stay on their own grid."
    return f"Then all to cubic voxels of {settings.grid:g} µm by cubic splines, in this order ({FNET})."


def _step(experiment: Experiment, patch: tuple[int, ...], cost: tuple[int, int]) -> Iterator[str]:
    patches, settings = experiment.patches, experiment.training
    least = least_foreground_voxels(patch, patches.least_foreground)
    what = {"fields": "field", "stains": "stain", "stains and modalities": "stain in any modality"}[experiment.balance]
    anywhere = f"; {patches.anywhere:.0%} of them from any position" if patches.anywhere and least else ""
    yield (
        f"{settings.batch_size} patches of {'x'.join(map(str, patch))} voxels, each from any {what} with the same "
        f"probability and from any position in it that holds at least {least} foreground voxels "
        f"({patches.least_foreground:.2%}; {PAPER}: 0.1 %, {FNET}: none){anywhere}."
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


def network_cost(
    settings: NetworkSettings,
    patch: tuple[int, ...],
    stains: int = 1,
    modalities: int = 0,
    in_channels: int = 1,
    task: Task = StainTask(),  # noqa: B008 - frozen
) -> tuple[int, int]:
    """Count the weights, and the floating-point operations of a forward pass over one patch."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = make_network(settings, len(patch), stains, modalities, in_channels, task)
        network(torch.empty(1, in_channels, *patch), torch.empty(1, modalities) if modalities else None)
    return sum(weight.numel() for weight in network.parameters()), int(counter.get_total_flops())


def _optimiser(settings: TrainingSettings) -> str:
    rise = f", rising over {settings.warmup} steps" if settings.warmup else ""
    average = f"; kept is a running average of the weights, decay {settings.ema:g}" if settings.ema else ""
    return (
        f"Adam {settings.betas}, learning rate {settings.learning_rate:g}, {settings.schedule}{rise}{average} "
        f"({FNET}, {PAPER}: (0.5, 0.999), 0.001, constant)."
    )


def _run(plan: RunPlan, cost: tuple[int, int]) -> Iterator[str]:
    settings = plan.experiment.training
    flop = 3 * cost[1] * settings.batch_size * settings.steps
    yield (
        f"{settings.steps:,} steps, {settings.steps * settings.batch_size:,} patches, {flop:.2g} FLOP forward and back "
        f"({PAPER}: 50,000 steps of 24)."
    )
    if settings.finetune:
        head = "; its last layers are drawn anew, since it learnt another task" if plan.new_head else ""
        yield f"Begun from the weights of {settings.finetune}{head}; frozen: {settings.frozen}."
    if plan.validation:
        patience = f", ending after {settings.patience} without a better one" if settings.patience else ""
        yield (
            f"Validation on whole stacks every {settings.validate_every} steps{patience}; the weights of the best "
            f"{settings.choose_by} are kept."
        )
    else:
        yield "The weights of the last step are kept."
    yield f"A checkpoint every {settings.checkpoint_every} steps, from which the same command goes on."
    yield f"Written: {DESCRIPTION}, {WEIGHTS}; on the way training/{{{LOG}, {CHECKPOINT}, {BEST}, {PREVIEW}}}."


def _machine(plan: RunPlan, step: StepPlan, probe: bool, progress: Progress | None) -> Iterator[str]:
    yield f"Device: {plan.device.type}; arithmetic: {plan.precision}, losses and sums in float32."
    yield step.in_words()
    if probe:
        yield probe_run(plan, step, progress).in_words()
