"""`train`: from pairs of files to a model folder, in a run that can be killed and goes on."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from spotlight.devices import hardware_in_words, is_out_of_memory
from spotlight.errors import SpotlightError
from spotlight.fingerprint import recorded
from spotlight.locks import working_in
from spotlight.losses import LossSettings
from spotlight.model import DESCRIPTION, save_model
from spotlight.networks import NetworkSettings
from spotlight.pairs.pair import Listed
from spotlight.progress import Progress, named
from spotlight.tasks import Task
from spotlight.training.backbone import finish_backbone, of_start
from spotlight.training.callbacks import BEST, RunCallback
from spotlight.training.data import complete, make_batches, make_sampler, prepare, with_foreground
from spotlight.training.describe import describe, stack_record
from spotlight.training.fit import build_module, fit
from spotlight.training.hardware import is_first
from spotlight.training.identity import RUN, Data, begin, run_in
from spotlight.training.loggers import open_loggers
from spotlight.training.outputs import find_outputs
from spotlight.training.plan import RunPlan, plan_runs, sizes_of
from spotlight.training.settings import Experiment
from spotlight.weights import load_weights

log = logging.getLogger("spotlight")


def train(
    pairs: Listed,
    to: str | Path,
    experiment: Experiment | str = "spotlight",
    *,
    task: Task | str | None = None,
    loss: LossSettings | Callable[..., Any] | str | None = None,
    network: NetworkSettings | Callable[..., Any] | str | None = None,
    metrics: Sequence[Callable[..., float]] | None = None,
    steps: int | None = None,
    seed: int | None = None,
    seeds: int | None = None,
    input_channel: str | Sequence[str] | None = None,
    target_channel: str | None = None,
    target: str | Sequence[str] | None = None,
    axes: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
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
    pairs : path or sequence
        A manifest, a folder of stacks with both channels, or pairs: each a `Pair`, or a tuple of input and target
        (NumPy arrays, stacks or paths).
    to : path
        The model folder to write.
    experiment : Experiment or str
        All settings, or the name of a protocol: see `spotlight.training.settings.PROTOCOLS`.
    task : Task or str, optional
        What is learnt, for a protocol: "stain" (left out), "segment" or one of another package. It brings settings of
        its own; see `spotlight.tasks`.
    loss : LossSettings, function or str, optional
        Instead of the experiment's: settings, a name such as "mse", or a function of prediction and target that gives a
        scalar tensor; see `FunctionLossSettings`.
    network : NetworkSettings, class, Module or str, optional
        Instead of the experiment's: settings, a name such as "unetpp", or a PyTorch module; see `ModuleSettings`.
    metrics : sequence of functions, optional
        Scores of validation stacks, for the log; see `MetricFunction`.
    steps, seed : int, optional
        Instead of the experiment's.
    seeds : int, optional
        Train an ensemble: so many models with the seeds 0, 1, ..., in the folders ``seed-0``, ``seed-1``, ... of `to`.
    input_channel : str or sequence of str, optional
        Channel of the input, name or index, or several in order; for a folder.
    target_channel : str, optional
        Channel of the target, for a folder.
    target : str or sequence of str, optional
        Which target to learn, for a manifest of several; several of them, or "all", for one network that learns them
        together. Fields need not have all of them.
    axes, voxel_size : optional
        Of arrays, and of files that do not state them or state them wrongly; see `spotlight.pairs.read_pairs`.
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

    Examples
    --------
    >>> import spotlight
    >>> folder = spotlight.train("images/manifest.csv", "model")  # doctest: +SKIP
    >>> folder = spotlight.train([(light, dna)], "trial", voxel_size=(0.29, 0.1, 0.1), steps=50)  # doctest: +SKIP
    """
    to = Path(to)
    parts = {"loss": loss, "network": network, "metrics": metrics}
    experiment = complete(experiment, {"steps": steps, "seed": seed}, parts, task)
    which = input_channel, target_channel, target, axes, voxel_size
    if seeds is None:
        return _train(pairs, experiment, which, to, overwrite, cache, progress)
    if seed is not None or seeds < 1:
        raise SpotlightError(
            "seeds is the number of models of an ensemble, 1 or more, and seed is that of one model. Give one of them. "
            f"Received: seeds={seeds}, seed={seed}."
        )
    if (to / DESCRIPTION).exists():
        raise SpotlightError(f"{to}: holds a single model. Write the ensemble to another folder.")
    for number in range(seeds):
        single = complete(experiment, {"seed": number})
        _train(pairs, single, which, to / f"seed-{number}", overwrite, cache, named(progress, f"seed {number}"))
    return to


def _train(
    pairs: Listed,
    experiment: Experiment,
    which: tuple[Any, ...],
    to: Path,
    overwrite: bool,
    cache: str | Path | None,
    progress: Progress | None,
) -> Path:
    """Train one model, or one for each modality; `which` are the further arguments of `plan_runs`."""
    with _alone_in(to):
        plans = plan_runs(pairs, experiment, *which)
        if "" in plans:
            _execute(plans[""], to, overwrite, cache, progress)
            return to
        if (to / DESCRIPTION).exists() or (to / RUN).exists():
            raise SpotlightError(f"{to}: holds a model for all modalities. Write models for each to another folder.")
        for modality, plan in plans.items():
            log.info("A model for %s: %d pairs.", modality, len(plan.pairs))
            with _alone_in(to / modality):
                _execute(plan, to / modality, overwrite, cache, progress)
    return to


def _alone_in(folder: Path) -> AbstractContextManager[Any]:
    """Lock the folder against other runs than this one, whose first process holds the lock."""
    return working_in(folder) if is_first() else nullcontext()


def _execute(plan: RunPlan, to: Path, overwrite: bool, cache: str | Path | None, progress: Progress | None) -> None:
    """Train the planned model, or go on with it."""
    data = Data.of(plan.pairs, plan.experiment, plan.outputs)
    begun = None if overwrite else run_in(to, plan.experiment, data)
    if begun is not None and (to / DESCRIPTION).exists():
        log.info("%s is trained already; nothing to do.", to)
        return
    processes = plan.processes
    processes.join(plan.device.type == "cuda")
    first = processes.rank == 0
    progress = progress if first else None
    states = recorded(data.states) if begun is None and first else {}  # as they are before they are read

    prepared = prepare(plan.pairs, plan.experiment, cache, progress, processes)
    step = plan.step(sizes_of(prepared))
    train_set = prepared[: len(plan.training)]
    judged, validation_set = with_foreground(plan.validation, prepared[len(plan.training) :])
    sampler = make_sampler(train_set, step.patch, plan.experiment, plan.groups)
    experiment = begun or step.settle(plan.experiment)
    module = build_module(plan.build_network(step.dims, train_set), experiment)
    # Nothing is written before the data are known to be usable.
    if begun is None and first:
        begin(to, experiment, data, states)
    processes.wait()

    settings, run = experiment.training, to / RUN
    batches = make_batches(train_set, sampler, experiment, processes, plan.device, plan.outputs)
    loggers = open_loggers(run, settings) if first else []
    outputs = find_outputs(judged, experiment, plan.training)
    if progress is not None:
        progress("training", 0, settings.steps, {})
    callback = RunCallback(run, settings, validation_set, step.tile, batches.names, progress, loggers, outputs)
    try:
        fit(module, batches, callback, experiment, plan.precision)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise step.too_large(experiment) from error

    if callback.best:
        load_weights(run / BEST, module.network)
    elif module.average is not None:
        module.network.load_state_dict(module.result.state_dict())
    origin = of_start(experiment) | (
        finish_backbone(module.network, train_set, plan.pairs, plan.outputs, experiment, sampler, callback.best)
        if first
        else {}
    )
    record = {
        **origin,
        "data": {
            "digest": data.digest,
            "train": [stack_record(pair, data.digests) for pair in train_set],
            "validation": [stack_record(pair, data.digests) for pair in validation_set],
        },
        "patch": list(step.patch),
        **({"head": "drawn anew"} if plan.new_head else {}),
        "precision": plan.precision,
        "hardware": hardware_in_words(plan.device),
        "seconds": round(callback.seconds()),
        "processes": processes.count,
        "best": callback.best or {"step": settings.steps},
        "settings": experiment.model_dump(mode="json"),
    }
    description = describe(train_set, experiment, step.dims, plan.outputs).model_copy(update={"training": record})
    if first:
        save_model(to, description, module.network)
    processes.wait()
