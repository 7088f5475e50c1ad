"""`plan_run`: all that is decided about a run before values are read. `train` executes a plan, `explain` prints it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from spotlight.devices import find_device, memory_to_use
from spotlight.errors import SpotlightError
from spotlight.images.normalise import grid_shape
from spotlight.model import load_model_weights, make_network, read_description
from spotlight.networks import StainNetwork
from spotlight.pairs.pair import Listed, Pair
from spotlight.pairs.prepared import PreparedPair
from spotlight.training.backbone import load_trunk, require_same_axes, require_same_preparation, require_unseen
from spotlight.training.batches import Outputs
from spotlight.training.data import Sizes, patch_size, spacing_of, split_pairs
from spotlight.training.hardware import (
    Processes,
    choose_micro_batches,
    choose_precision,
    find_processes,
)
from spotlight.training.outputs import (
    by_modality,
    drawing_groups,
    find_outputs,
    keeps_head,
    read_targets,
    require_same_outputs,
    with_what_is_learnt,
)
from spotlight.training.settings import Experiment

log = logging.getLogger("spotlight")


@dataclass(frozen=True)
class RunPlan:
    """The training of one model, as far as it follows from pairs and settings.

    Attributes
    ----------
    experiment : Experiment
        All settings.
    training, validation : list of Pair
        What the network learns from, and what chooses the weights that are kept.
    outputs : Outputs
        What the outputs of the network are.
    groups : list of lists of int
        Numbers of the training pairs that are equally likely to be drawn from.
    device : torch.device
        What computes.
    precision : str
        In which arithmetic.
    processes : Processes
        Which train together.
    """

    experiment: Experiment
    training: list[Pair]
    validation: list[Pair]
    outputs: Outputs
    groups: list[list[int]]
    device: torch.device
    precision: str
    processes: Processes

    @property
    def new_head(self) -> bool:
        """Whether the run goes on from a model of other outputs, whose last layers are of no use to it."""
        start = self.experiment.training.finetune
        return start is not None and not keeps_head(read_description(start), self.outputs, self.experiment.task.kind)

    @property
    def pairs(self) -> list[Pair]:
        """Those of training, then those of validation."""
        return [*self.training, *self.validation]

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        return self.training[0].in_channels

    def build_network(self, dims: int, pairs: Sequence[PreparedPair] = ()) -> StainNetwork:
        """Build the network with the weights from which the run starts; some tasks choose its head by the pairs."""
        torch.manual_seed(self.experiment.training.seed)
        network = self._make_network(dims)
        start = self.experiment.training.finetune
        if start is not None:
            (load_trunk if self.new_head else load_model_weights)(start, read_description(start), network)
        if pairs and (start is None or self.new_head):
            of_output = (
                [p for p, s in zip(pairs, self.outputs.numbers, strict=True) if s == n]
                for n in range(len(self.outputs.names))
            )
            priors = [self.experiment.task.prior(group) for group in of_output]
            if self.new_head and None in priors:  # a random head would send its noise through a trunk that has learnt
                priors = [0.0] * len(priors)
            if known := [prior for prior in priors if prior is not None]:
                network.begin_at(known)
        return network

    def skeleton(self, dims: int) -> StainNetwork:
        """Build the network without values."""
        with torch.device("meta"):
            return self._make_network(dims)

    def _make_network(self, dims: int) -> StainNetwork:
        outputs = len(self.outputs.names), len(self.outputs.modalities)
        return make_network(self.experiment.network, dims, *outputs, self.in_channels, self.experiment.task)

    def read_sizes(self) -> Sizes:
        """Read the sizes of all stacks from the headers of their files."""
        settings = self.experiment.preparation
        found = {}
        for pair in self.pairs:
            inputs, target = self.experiment.task.read(pair, settings)
            found[pair.name] = grid_shape(target, settings.grid), inputs[0].voxel_size
        return found

    def step(self, sizes: Sizes) -> "StepPlan":
        """Decide what a step works on.

        Raises
        ------
        SpotlightError
            If the stacks do not go together, no patch fits, or the batch cannot be divided.
        """
        _require_alike(sizes, self.experiment)
        start = self.experiment.training.finetune
        if start is not None:
            require_same_axes(read_description(start), sizes, str(start))
        shapes = {name: shape for name, (shape, _) in sizes.items()}
        dims = len(next(iter(shapes.values())))
        network = self.skeleton(dims)
        patch = patch_size(self.experiment.patches, shapes, network.divisor, network.window)
        self.experiment.loss.require_patch(patch, shapes, network.divisor)
        spacing = spacing_of(self.experiment.preparation.grid, next(iter(sizes.values()))[1])
        learnt = {pair.input: shapes[pair.name] for pair in self.training}
        self.experiment.task.require_patch(patch, spacing, list(learnt.values()))
        if self.experiment.patches.augment and patch[-1] != patch[-2]:
            raise SpotlightError(f"patches.augment turns patches and needs them square in YX. Received: {patch}.")
        settings, processes = self.experiment.training, self.processes
        share, rest = divmod(settings.batch_size, processes.count)
        if rest:
            raise SpotlightError(
                f"a batch of {settings.batch_size} patches cannot be shared by {processes.count} processes. Make "
                "training.batch_size a multiple of their number."
            )
        memory, limit = memory_to_use(self.device)
        per_patch = self.experiment.network.step_memory(patch)
        count = settings.micro_batches
        if count == "auto":
            shared = 1 if self.device.type == "cuda" else processes.local
            count = choose_micro_batches(share, per_patch, memory // shared)
        elif share % count:
            raise SpotlightError(
                f"each of {processes.count} processes has {share} patches of a batch, which cannot be cut into {count} "
                "equal micro-batches. Change training.micro_batches or training.batch_size."
            )
        if self.experiment.adversarial is not None and (processes.count > 1 or count != 1):
            raise SpotlightError(
                f"discriminators learn from a whole batch in one process, but there are {processes.count} processes "
                f"and {count} micro-batches. Start one process, and set training.micro_batches to 1 or lower "
                "training.batch_size."
            )
        whole = patch if network.reach is None else (64, 128, 128) if dims == 3 else (512, 512)
        return StepPlan(shapes, patch, whole, share, int(count), per_patch, memory, limit)


@dataclass(frozen=True)
class StepPlan:
    """What a step works on.

    Attributes
    ----------
    shapes : dict
        Shapes of all stacks on the network's grid, by name.
    patch, tile : tuple of int
        Voxels per axis of a patch, and of a tile of validation.
    share : int
        Patches of a batch that each process works on.
    micro_batches : int
        Equal parts of the share that go through the network one after another.
    per_patch, memory : int
        Bytes that a patch needs, and that a step may use.
    limit : str
        Why it may use so many.
    """

    shapes: dict[str, tuple[int, ...]]
    patch: tuple[int, ...]
    tile: tuple[int, ...]
    share: int
    micro_batches: int
    per_patch: int
    memory: int
    limit: str

    @property
    def dims(self) -> int:
        """Spatial dimensions."""
        return len(self.patch)

    def in_words(self) -> str:
        """Say how a batch goes through the network."""
        need = self.share // self.micro_batches * self.per_patch / 2**30
        if self.micro_batches == 1:
            return f"The batch goes through the network whole: about {need:.2g} GiB; {self.limit}."
        return (
            f"A batch of {self.share} patches needs about {self.share * self.per_patch / 2**30:.2g} GiB; {self.limit}. "
            f"It is divided into {self.micro_batches} micro-batches of about {need:.2g} GiB, and batch normalisation "
            "sees one at a time."
        )

    def settle(self, experiment: Experiment) -> Experiment:
        """Record the number of micro-batches in the settings."""
        training = experiment.training
        if training.micro_batches == "auto" and self.micro_batches > 1:
            log.warning("%s", self.in_words())
        settled = training.model_copy(update={"micro_batches": self.micro_batches})
        return experiment.model_copy(update={"training": settled})

    def too_large(self, experiment: Experiment) -> SpotlightError:
        """Say what would fit, after a step ran out of memory."""
        settings, need = experiment.training, self.per_patch / 2**30
        fitting = max(1, self.memory // self.per_patch)
        return SpotlightError(
            f"out of memory: a step of {settings.batch_size} patches of {self.patch} voxels in "
            f"{settings.micro_batches} micro-batches. A patch needs about {need:.2g} GiB; {self.limit}, "
            f"enough for {fitting}. Raise training.micro_batches, lower training.batch_size, or close other programs."
        )


def plan_run(pairs: Sequence[Pair], experiment: Experiment, processes: Processes | None = None) -> RunPlan:
    """Decide how one model is trained.

    Parameters
    ----------
    pairs : sequence of Pair
        All that are listed; see `read_targets`.
    experiment : Experiment
        All settings; see `complete`.
    processes : Processes, optional
        Which train together; left out: those that were started with this one.

    Raises
    ------
    SpotlightError
        If there is nothing to learn from, pairs have other input channels than the first, or the model from which the
        run starts has other inputs or outputs.
    """
    training, validation = split_pairs(list(pairs), experiment)
    validation = with_what_is_learnt(validation, training, experiment)
    _require_same_channels([*training, *validation])
    outputs = find_outputs(training, experiment)
    start = experiment.training.finetune
    if start is not None:
        description = read_description(start)
        require_same_outputs(description, outputs, str(start), experiment.task.kind)
        had = len(description.input.channels)
        require_same_preparation(description, experiment, str(start))
        require_unseen(description, pairs, experiment, str(start))
        if had != training[0].in_channels:
            raise SpotlightError(
                f"{start}: has {had} input channels, but this run {training[0].in_channels}. Fine-tuning needs the "
                "same in the same order; say so in the column input_channel or with --input-channel."
            )
    device = find_device(experiment.training.device)
    return RunPlan(
        experiment,
        training,
        validation,
        outputs,
        drawing_groups(training, outputs, experiment),
        device,
        choose_precision(experiment.training.precision, device),
        processes or find_processes(),
    )


def plan_runs(
    pairs: Listed,
    experiment: Experiment,
    input_channel: str | Sequence[str] | None = None,
    target_channel: str | None = None,
    target: str | Sequence[str] | None = None,
    axes: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
    processes: Processes | None = None,
) -> dict[str, RunPlan]:
    """Plan the training of a model or, with ``modalities: separate``, of one for each modality.

    Parameters
    ----------
    pairs, input_channel, target_channel, target, axes, voxel_size
        As for `train`.
    experiment, processes
        As for `plan_run`.

    Returns
    -------
    dict of str to RunPlan
        By modality; the name of a single model is empty.
    """
    listed = read_targets(pairs, experiment, input_channel, target_channel, target, axes, voxel_size)
    experiment.task.require(listed)
    if experiment.modalities != "separate":
        return {"": plan_run(listed, experiment, processes)}
    alike = experiment.model_copy(update={"modalities": "unified"})
    return {name: plan_run(group, alike, processes) for name, group in by_modality(listed).items()}


def sizes_of(prepared: Sequence[PreparedPair]) -> Sizes:
    """Return the sizes of prepared stacks, as `RunPlan.read_sizes` reads them from files."""
    return {pair.name: (pair.target.shape, pair.voxel_size) for pair in prepared}


def _require_same_channels(pairs: Sequence[Pair]) -> None:
    """Raise a `SpotlightError` unless all pairs have one number of input channels, and name the same in one order."""
    first, *others = pairs
    for pair in others:
        named = [
            (*(one if isinstance(one, tuple) else (one,)), *(f.name for f in further or ()))
            for one, further in ((p.input_channel, p.further_inputs) for p in (first, pair))
        ]
        swapped = named[0] != named[1] and set(named[0]) == set(named[1])
        if pair.in_channels != first.in_channels or swapped:
            raise SpotlightError(
                f"{first.name} and {pair.name} have the input channels {named[0]} and {named[1]}, but a network takes "
                "the same channels in the same order from every pair. Correct input_channel in the manifest."
            )


def _require_alike(sizes: Sizes, experiment: Experiment) -> None:
    """Raise a `SpotlightError` unless all stacks have one number of axes and, on their own grids, one voxel size."""
    if len({len(shape) for shape, _ in sizes.values()}) > 1:
        raise SpotlightError("the pairs mix two- and three-dimensional stacks. Train a model for each.")
    if experiment.preparation.grid != "native":
        return
    (first, (_, a)), *others = sizes.items()
    for name, (_, b) in others:
        same = all(abs(x / y - 1) <= 0.01 for x, y in zip(a, b, strict=True)) if a and b else a == b
        if not same:
            raise SpotlightError(
                f"{first} and {name} have voxel sizes {a} and {b} µm, but preparation.grid is 'native', "
                "which leaves them as they are. Set preparation.grid to a length in µm."
            )
