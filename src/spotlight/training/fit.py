"""The loop over steps: Lightning's trainer, the checkpoint from which it goes on, and signals that end it."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader, IterableDataset

from spotlight.devices import find_device
from spotlight.given import recall
from spotlight.losses import Batch
from spotlight.networks import StainNetwork
from spotlight.stopping import SIGNALS, note
from spotlight.training.adversarial import AdversarialModule
from spotlight.training.batches import PatchBatches
from spotlight.training.callbacks import CHECKPOINT, LOG, RunCallback, checkpoint_step, log_columns, trim_log
from spotlight.training.engine import StainModule
from spotlight.training.hardware import Processes
from spotlight.training.settings import Experiment
from spotlight.training.teacher import TeacherModule

log = logging.getLogger("spotlight")


def build_module(network: StainNetwork, experiment: Experiment) -> StainModule:
    """Build what Lightning trains: the network with its loss, alone or against discriminators."""
    common = network, experiment.loss, experiment.training, experiment.over_stains
    module: StainModule
    if experiment.adversarial is not None:
        module = AdversarialModule(*common, experiment.adversarial)
    elif experiment.teacher is not None:
        module = TeacherModule(*common, experiment.teacher)
    else:
        module = StainModule(*common)
    module.task = experiment.task
    module.metrics = {one.name: recall(one.source, one.sha256, "metric") for one in experiment.metrics}
    return module


def fit(
    module: StainModule, batches: PatchBatches, callback: RunCallback, experiment: Experiment, precision: str
) -> None:
    """Run Lightning's loop, from the last checkpoint if there is one."""
    settings, processes = experiment.training, batches.processes
    checkpoint = callback.folder / CHECKPOINT
    resume = checkpoint if checkpoint.exists() else None
    if resume is not None:
        batches.first_step = callback.last_step = checkpoint_step(resume)
        log.info("Going on from step %d.", batches.first_step)
    if processes.rank == 0:
        trim_log(
            callback.folder / LOG, batches.first_step, log_columns(module.terms, module.task.scores, module.metrics)
        )
    if batches.first_step < settings.steps:
        with _stopping_between_steps(callback):
            run_steps(module, batches, callback, experiment, precision, processes, resume)
    elif resume is not None:
        state = torch.load(resume, map_location="cpu", weights_only=True)
        module.load_state_dict(state["state_dict"])
        callback.load_state_dict(state["callbacks"][callback.state_key])


def run_steps(
    module: StainModule,
    batches: IterableDataset[Batch],
    callback: lightning.Callback,
    experiment: Experiment,
    precision: str,
    processes: Processes,
    resume: Path | None = None,
) -> None:
    """Run Lightning's loop.

    Parameters
    ----------
    module : StainModule
        Learns.
    batches : IterableDataset of Batch
        Micro-batches, one after another.
    callback : Callback
        Is called after each.
    experiment : Experiment
        With the number of micro-batches.
    precision : str
        "bf16" or "float32".
    processes : Processes
        Which train together.
    resume : Path, optional
        The checkpoint from which the run goes on.
    """
    settings = experiment.training
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
            devices=processes.local,
            num_nodes=processes.nodes,
            plugins=[processes.environment],
            strategy=DDPStrategy(gradient_as_bucket_view=True) if processes.count > 1 else "auto",
            sync_batchnorm=processes.count > 1 and find_device(settings.device).type == "cuda",
            use_distributed_sampler=False,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            max_steps=settings.steps,
            accumulate_grad_batches=int(settings.micro_batches),
            deterministic=settings.deterministic,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[callback],
        )
        loader: Any = DataLoader(batches, batch_size=None)
        trainer.fit(module, loader, ckpt_path=resume, weights_only=True)


@contextmanager
def _stopping_between_steps(callback: RunCallback) -> Iterator[None]:
    """Let Ctrl-C or SIGTERM end a run after its current step, with a checkpoint; a second Ctrl-C ends it at once.

    An exception raised at any moment may be lost in code that cannot pass it on.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    own = [number for number in SIGNALS if before[number] not in (signal.SIG_IGN, None)]
    if threading.current_thread() is not threading.main_thread():
        own = []

    def ask(number: int, frame: Any) -> None:
        note(number)
        if callback.stop_asked:
            raise KeyboardInterrupt
        callback.stop_asked = True

    for number in own:
        signal.signal(number, ask)
    try:
        yield
    except SystemExit as stop:  # what Lightning makes of it, which would end a notebook
        raise KeyboardInterrupt from stop
    finally:
        for number in own:
            signal.signal(number, before[number])
