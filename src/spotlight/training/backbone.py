"""Starting from another model: its weights, what is asked of it, and what is done at the end of pretraining."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spotlight.errors import SpotlightError
from spotlight.model import ModelDescription, load_model_weights, make_network, read_description, was_seen
from spotlight.networks import StainNetwork
from spotlight.pairs.pair import Pair
from spotlight.pairs.patches import PatchSampler
from spotlight.pairs.prepared import PreparedPair
from spotlight.pairs.unlabelled import content_digest
from spotlight.training.batches import Outputs, PatchBatches
from spotlight.training.data import Sizes, make_batches
from spotlight.training.hardware import Processes
from spotlight.training.settings import Experiment

log = logging.getLogger("spotlight")

REFRESHED = 200
"""Patches from which the batch statistics of a backbone are computed anew."""
TOLERANCE = 0.1
"""Relative difference of voxel sizes that a backbone on the stacks' own grid bears."""
MOST_NAMED = 5


def finish_backbone(
    network: StainNetwork,
    prepared: Sequence[PreparedPair],
    pairs: Sequence[Pair],
    outputs: Outputs,
    experiment: Experiment,
    sampler: PatchSampler,
    best: Mapping[str, float],
) -> dict[str, Any]:
    """Refresh the batch statistics of a pretrained network, and say whether it is of use and what it has seen.

    Nothing is done for other tasks.

    Returns
    -------
    dict
        Parts of the record of the run: ``pretext`` with the steps, the gains over two free guesses on held-out stacks,
        and ``useful``, "yes", "no" or "not known"; and ``seen``, `content_digest` of all stacks.
    """
    task = experiment.task
    if not task.backbone:
        return {}
    batches = make_batches(list(prepared), sampler, experiment, Processes(), torch.device("cpu"), outputs, True)
    refresh_statistics(network, batches)
    gains = {name: float(best[name]) for name in task.scores if name in best}
    useful = "not known" if not gains else "yes" if min(gains.values()) > 0 else "no"
    if useful == "no":
        log.warning(
            "On held-out stacks the network fills in hidden voxels no better than a free guess (%s; 0 is as good). The "
            "backbone says `useful: no`: train for more steps, or start from scratch.",
            ", ".join(f"{name} {value:.2f}" for name, value in gains.items()),
        )
    if useful == "not known":
        log.warning("No stack was held out, so it is not known whether the backbone is of use. Give several stacks.")
    pretext = {"kind": task.kind, "steps": experiment.training.steps, "useful": useful, **gains}
    inputs = {pair.input: pair for pair in pairs}
    return {"pretext": pretext, "seen": sorted({content_digest(pair) for pair in inputs.values()})}


@torch.no_grad()
def refresh_statistics(network: nn.Module, batches: PatchBatches) -> None:
    """Compute the means and variances of batch normalisation anew, as averages over `REFRESHED` patches.

    While blocks are hidden, the input has other statistics than it will have later.
    """
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average
        layer.train()
    device = next(network.parameters()).device
    for step in range(max(1, REFRESHED // batches.batch_size)):
        for part in range(batches.micro_batches):
            batch = batches.batch(step, part)
            network(batch.input.to(device), None if batch.modality is None else batch.modality.to(device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()


def of_start(experiment: Experiment) -> dict[str, Any]:
    """What the model from which a run starts hands on to its record: its pretext, and what it has seen."""
    start = experiment.training.finetune
    if start is None:
        return {}
    former = read_description(start).training
    return {name: former[name] for name in ("pretext", "seen") if name in former}


def require_unseen(description: ModelDescription, pairs: Sequence[Pair], experiment: Experiment, name: str) -> None:
    """Raise a `SpotlightError` if test stacks were seen in pretraining, unless the settings allow it."""
    if experiment.training.allow_seen or not description.training.get("seen"):
        return
    tests = {pair.input: pair for pair in pairs if pair.split == "test"}
    found = [pair.name for pair in tests.values() if was_seen(description, pair)]
    if found:
        more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        raise SpotlightError(
            f"{name}: was pretrained on stacks that are for testing: {', '.join(found[:MOST_NAMED])}{more}. Scores "
            "on them would not be those of new stacks. Pretrain without them; or, if they are all you want to "
            "predict, say --allow-seen (training.allow_seen)."
        )


def require_same_preparation(description: ModelDescription, experiment: Experiment, name: str) -> None:
    """Raise a `SpotlightError` if a backbone has seen inputs on another grid or in another scaling than this run.

    Of an imported network, a warning says so.
    """
    pretrained = "pretext" in description.training
    if not pretrained and "imported" not in description.training:
        return
    had, now = description.input, experiment.preparation
    for what, a, b, remedy in (
        ("the grid", had.grid, now.grid, f"--grid {had.grid} (preparation.grid)"),
        ("the scaling", had.normalisation, now.scaling, f"preparation.scaling {had.normalisation}"),
        ("planes", had.planes, now.planes, f"--planes {had.planes} (preparation.planes)"),
    ):
        if a != b and not pretrained:
            log.warning("%s: learnt with %s %r, but this run has %r. Better train with %s.", name, what, a, b, remedy)
        elif a != b:
            raise SpotlightError(
                f"{name}: was pretrained with {what} {a!r}, but this run has {b!r}. Train with {remedy}, or pretrain "
                "again."
            )


def require_same_axes(description: ModelDescription, sizes: Sizes, name: str) -> None:
    """Raise a `SpotlightError` if stacks have other axes than a model was trained on, or a backbone other voxels."""
    stack, (shape, _) = next(iter(sizes.items()))
    if len(shape) != description.dims:
        raise SpotlightError(
            f"{name}: was trained on stacks with the axes {description.input.axes}, but {stack} has {len(shape)} axes. "
            f"Start from a model for {'ZYX'[-len(shape) :]}, or from scratch."
        )
    expected = description.input.voxel_size
    if "pretext" not in description.training or description.input.grid != "native" or expected is None:
        return
    for stack, (_, size) in sizes.items():
        if size is not None and any(
            not low * (1 - TOLERANCE) <= edge <= high * (1 + TOLERANCE)
            for edge, (low, high) in zip(size, expected, strict=True)
        ):
            seen = " x ".join(f"{low:.3g}" for low, _ in expected)
            raise SpotlightError(
                f"{name}: was pretrained on voxels of {seen} µm, but those of {stack} are "
                f"{' x '.join(f'{edge:.3g}' for edge in size)} µm. Pretrain on such stacks; or give both commands one "
                "--grid in µm, to which all are resampled."
            )


def load_trunk(folder: str | Path, description: ModelDescription, network: StainNetwork) -> None:
    """Load the weights of a model folder into a network with other outputs: all but those of its last layers.

    Parameters
    ----------
    folder : path
        A model folder.
    description : ModelDescription
        What `read_description` gives for it.
    network : StainNetwork
        The network that gets the weights, of the same architecture and sizes.

    Raises
    ------
    SpotlightError
        As `load_weights`.

    Examples
    --------
    >>> from spotlight.model import find_folder, make_network, read_description
    >>> from spotlight.training.backbone import load_trunk
    >>> description = read_description("demo-nuclei")
    >>> network = make_network(description.network, dims=3, stains=2)  # another number of stains
    >>> load_trunk(find_folder("demo-nuclei"), description, network)
    """
    sizes = len(description.targets), network.modalities, network.in_channels
    other = make_network(description.network, network.dims, *sizes, description.task)
    if other.pools and not network.pools:
        raise SpotlightError(
            f"{folder}: learnt the task {description.task.kind!r} and has no decoder, which this task needs. Start "
            "from another model, or from none."
        )
    load_model_weights(folder, description, other)
    head = {id(weight) for layer in other.last_layers() for weight in layer.parameters()}
    kept = {name: weight for name, weight in other.state_dict(keep_vars=True).items() if id(weight) not in head}
    # An encoder for classes is within a network of another kind, and takes of others what it has itself.
    into = network.get_submodule("trunk") if network.pools and not other.pools else network
    into.load_state_dict({name: weight for name, weight in kept.items() if name in into.state_dict()}, strict=False)
