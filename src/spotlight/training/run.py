"""`train`: from pairs of files to a model folder, in a run that can be killed and goes on."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import compress
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from spotlight.devices import find_device, is_out_of_memory, memory_to_use
from spotlight.errors import SpotlightError
from spotlight.fingerprint import recorded
from spotlight.locks import working_in
from spotlight.model import (
    DESCRIPTION,
    load_model_weights,
    load_weights,
    make_network,
    read_description,
    save_model,
)
from spotlight.networks import StainNetwork
from spotlight.pairs.pair import Pair
from spotlight.stopping import SIGNALS, note
from spotlight.training.adversarial import AdversarialModule
from spotlight.training.batches import PatchBatches
from spotlight.training.callbacks import (
    BEST,
    CHECKPOINT,
    LOG,
    Course,
    Progress,
    checkpoint_step,
    log_columns,
    trim_log,
)
from spotlight.training.data import (
    complete,
    make_batches,
    make_sampler,
    patch_size,
    prepare,
    split_pairs,
    with_foreground,
)
from spotlight.training.describe import describe, stack_record
from spotlight.training.engine import StainModule
from spotlight.training.hardware import (
    Ranks,
    choose_parts,
    choose_precision,
    is_first,
    join_ranks,
    step_memory,
)
from spotlight.training.identity import RUN, Data, begin, run_in
from spotlight.training.loggers import open_loggers
from spotlight.training.settings import Experiment
from spotlight.training.stains import (
    by_modality,
    drawing_groups,
    find_stains,
    read_targets,
    require_same_outputs,
    with_what_is_learnt,
)

log = logging.getLogger("spotlight")


def train(
    pairs: str | Path | Sequence[Pair],
    to: str | Path,
    experiment: Experiment | str = "spotlight",
    *,
    steps: int | None = None,
    seed: int | None = None,
    input_channel: str | None = None,
    target_channel: str | None = None,
    target: str | Sequence[str] | None = None,
    overwrite: bool = False,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train a model on pairs of stacks and write a model folder.

    A run that was interrupted goes on when the same call is made again, and ends with the weights that an
    uninterrupted one would have had. A finished run is not repeated. Started by ``torchrun`` or SLURM's ``srun``, the
    processes share every batch and train one model; then use a cache, which they share, too.

    Parameters
    ----------
    pairs : path or sequence of Pair
        A CSV manifest, a folder of stacks with both channels, or pairs.
    to : path
        The model folder to write.
    experiment : Experiment or str
        All settings, or the name of a protocol: see `spotlight.training.settings.PROTOCOLS`.
    steps, seed : int, optional
        Instead of the experiment's.
    input_channel, target_channel : str, optional
        Channel names or indices, for a folder.
    target : str or sequence of str, optional
        Which target to learn, for a manifest of several; several of them, or "all", for one network that learns them
        together. Fields need not have all of them.
    overwrite : bool
        Start over, whatever stands under `to`.
    cache : path, optional
        Folder for prepared pairs, which are then memory-mapped: for data larger than memory, and for several runs on
        the same data. Left out, they are prepared in memory.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Returns
    -------
    Path
        The model folder, for `load_model`.

    Raises
    ------
    SpotlightError
        If files are missing or do not fit together, `to` holds a run with other data or settings, or another process
        is at work there.
    """
    to = Path(to)
    with working_in(to) if is_first() else nullcontext():
        return _train(
            pairs,
            to,
            complete(experiment, {"steps": steps, "seed": seed}),
            input_channel,
            target_channel,
            target,
            overwrite,
            cache,
            progress,
        )


def _train(
    pairs: str | Path | Sequence[Pair],
    to: Path,
    experiment: Experiment,
    input_channel: str | None,
    target_channel: str | None,
    target: str | Sequence[str] | None,
    overwrite: bool,
    cache: str | Path | None,
    progress: Progress | None,
) -> Path:
    """Do what `train` does; other processes than those of this run are locked out."""
    settings = experiment.training
    device = find_device(settings.device)
    listed = read_targets(pairs, experiment, input_channel, target_channel, target)
    if experiment.modalities == "separate":
        if (to / DESCRIPTION).exists() or (to / RUN).exists():
            raise SpotlightError(f"{to}: holds a model for all modalities. Write models for each to another folder.")
        alike = experiment.model_copy(update={"modalities": "unified"})
        for modality, group in by_modality(listed).items():
            log.info("A model for %s: %d pairs.", modality, len(group))
            train(group, to / modality, alike, target="all", overwrite=overwrite, cache=cache, progress=progress)
        return to
    training_pairs, validation_pairs = split_pairs(listed, experiment)
    validation_pairs = with_what_is_learnt(validation_pairs, training_pairs, experiment)
    stains = find_stains(training_pairs, experiment)
    data = Data.of(training_pairs + validation_pairs, experiment, stains)
    run = to / RUN
    begun = None if overwrite else run_in(to, experiment, data)
    if begun is not None and (to / DESCRIPTION).exists():
        log.info("%s is trained already; nothing to do.", to)
        return to

    ranks = join_ranks(device.type == "cuda")
    progress = progress if ranks.rank == 0 else None
    states = recorded(data.states) if begun is None and ranks.rank == 0 else {}  # as they are before they are read
    prepared = prepare(training_pairs + validation_pairs, experiment, cache, progress, ranks)
    train_set, validation_set = prepared[: len(training_pairs)], prepared[len(training_pairs) :]
    judged = [pair.mask.any() for pair in validation_set]
    validation_set = with_foreground(validation_set)
    validation_stains = find_stains(list(compress(validation_pairs, judged)), experiment, training_pairs)
    dims = train_set[0].target.ndim
    torch.manual_seed(settings.seed)
    network = make_network(experiment.network, dims, len(stains.names), len(stains.modalities))
    if settings.finetune:
        first = read_description(settings.finetune)
        require_same_outputs(first, stains, str(settings.finetune))
        load_model_weights(settings.finetune, first, network)
    patch = patch_size(experiment.patches, {pair.name: pair.target.shape for pair in prepared}, network.divisor)
    sampler = make_sampler(train_set, patch, experiment, drawing_groups(training_pairs, stains, experiment))
    experiment = begun or _with_parts(experiment, patch, device, ranks)
    module = _module(network, experiment, ranks)
    # Nothing is touched before all that can be wrong with the data is found right.
    if begun is None and ranks.rank == 0:
        begin(to, experiment, data, states)
    ranks.wait()
    settings = experiment.training
    assert settings.parts != "auto"
    batches = make_batches(train_set, sampler, experiment, settings.parts, ranks, device, stains)
    tile = patch if network.reach is None else (64, 128, 128) if dims == 3 else (512, 512)
    loggers = open_loggers(run, settings) if ranks.rank == 0 else []
    course = Course(run, settings, validation_set, tile, batches.names, progress, loggers, validation_stains)
    precision = choose_precision(settings.precision, device)
    try:
        _fit(module, batches, course, experiment, precision)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise _too_large(experiment, patch, device) from error

    if course.best:
        load_weights(run / BEST, network)
    elif module.average is not None:
        network.load_state_dict(module.result.state_dict())
    record = {
        "data": {
            "digest": data.digest,
            "train": [stack_record(pair, data.digests) for pair in train_set],
            "validation": [stack_record(pair, data.digests) for pair in validation_set],
        },
        "patch": list(patch),
        "precision": precision,
        "processes": ranks.count,
        "best": course.best or {"step": settings.steps},
        "settings": experiment.model_dump(mode="json"),
    }
    description = describe(train_set, experiment, dims, stains).model_copy(update={"training": record})
    if ranks.rank == 0:
        save_model(to, description, network)
    ranks.wait()
    return to


def _with_parts(experiment: Experiment, patch: tuple[int, ...], device: torch.device, ranks: Ranks) -> Experiment:
    """Settle in how many parts a batch is worked on."""
    settings = experiment.training
    share, rest = divmod(settings.batch_size, ranks.count)
    if rest:
        raise SpotlightError(
            f"a batch of {settings.batch_size} patches cannot be shared by {ranks.count} processes. Make "
            "training.batch_size a multiple of their number."
        )
    parts = settings.parts
    if parts != "auto" and share % parts:
        raise SpotlightError(
            f"each of {ranks.count} processes has {share} patches of a batch, which cannot be cut into {parts} equal "
            "parts. Change training.parts or training.batch_size."
        )
    if parts == "auto":
        memory, limit = memory_to_use(device)
        per_patch = step_memory(patch, experiment.network.memory_width)
        parts = choose_parts(share, per_patch, memory // (1 if device.type == "cuda" else ranks.local))
        if parts > 1:
            log.warning(
                "A batch of %d patches needs about %.1f GiB; %s. It is worked on in %d parts, and batch normalisation "
                "sees one part at a time.",
                share,
                share * per_patch / 2**30,
                limit,
                parts,
            )
    return experiment.model_copy(update={"training": settings.model_copy(update={"parts": parts})})


def _too_large(experiment: Experiment, patch: tuple[int, ...], device: torch.device) -> SpotlightError:
    settings = experiment.training
    memory, limit = memory_to_use(device)
    per_patch = step_memory(patch, experiment.network.memory_width)
    fitting = max(1, memory // per_patch)
    return SpotlightError(
        f"out of memory: a step of {settings.batch_size} patches of {patch} voxels in {settings.parts} parts. A patch "
        f"needs about {per_patch / 2**30:.2g} GiB; {limit}, which would do for {fitting}. Raise training.parts, lower "
        "training.batch_size, or close other programs."
    )


def _module(network: StainNetwork, experiment: Experiment, ranks: Ranks) -> StainModule:
    settings = experiment.training
    if experiment.adversarial is None:
        return StainModule(network, experiment.loss, settings, experiment.over_stains)
    if ranks.count > 1 or settings.parts != 1:
        raise SpotlightError(
            f"discriminators learn from a whole batch in one process, but there are {ranks.count} processes and "
            f"{settings.parts} parts. Start one process, and set training.parts to 1 or lower training.batch_size."
        )
    return AdversarialModule(network, experiment.loss, settings, experiment.over_stains, experiment.adversarial)


def _fit(module: StainModule, batches: PatchBatches, course: Course, experiment: Experiment, precision: str) -> None:
    """Run Lightning's loop, from the last checkpoint if there is one."""
    settings, ranks = experiment.training, batches.ranks
    checkpoint = course.folder / CHECKPOINT
    resume = checkpoint if checkpoint.exists() else None
    if resume is not None:
        batches.first_step = course.last_step = checkpoint_step(resume)
        log.info("Going on from step %d.", batches.first_step)
    if ranks.rank == 0:
        trim_log(course.folder / LOG, batches.first_step, log_columns(module.terms))
    with warnings.catch_warnings():
        if settings.compile:
            warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)  # torch's own
            module.network.compile()
        # Lightning proposes data-loading workers and a logger of its own; the patches come from memory.
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*|.*isinstance\\(treespec.*", category=FutureWarning)
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        trainer = lightning.Trainer(
            accelerator=settings.device,
            devices=ranks.local,
            num_nodes=ranks.nodes,
            plugins=[ranks.environment],
            strategy=DDPStrategy(gradient_as_bucket_view=True) if ranks.count > 1 else "auto",
            sync_batchnorm=ranks.count > 1 and find_device(settings.device).type == "cuda",
            use_distributed_sampler=False,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            max_steps=settings.steps,
            accumulate_grad_batches=int(settings.parts),
            deterministic=settings.deterministic,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[course],
        )
        if batches.first_step < settings.steps:
            loader: Any = DataLoader(batches, batch_size=None)
            with _stopping_between_steps(course):
                trainer.fit(module, loader, ckpt_path=resume, weights_only=True)
        elif resume is not None:
            state = torch.load(resume, map_location="cpu", weights_only=True)
            module.load_state_dict(state["state_dict"])
            course.load_state_dict(state["callbacks"][course.state_key])


@contextmanager
def _stopping_between_steps(course: Course) -> Iterator[None]:
    """Let Ctrl-C or SIGTERM end a run after its current step, with a checkpoint; a second Ctrl-C ends it at once.

    An exception raised at any moment may be lost in code that cannot pass it on.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    own = [number for number in SIGNALS if before[number] not in (signal.SIG_IGN, None)]
    if threading.current_thread() is not threading.main_thread():
        own = []

    def ask(number: int, frame: Any) -> None:
        note(number)
        if course.stop_asked:
            raise KeyboardInterrupt
        course.stop_asked = True

    for number in own:
        signal.signal(number, ask)
    try:
        yield
    except SystemExit as stop:  # what Lightning makes of it, which would end a notebook
        raise KeyboardInterrupt from stop
    finally:
        for number in own:
            signal.signal(number, before[number])
