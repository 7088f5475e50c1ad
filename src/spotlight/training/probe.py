"""A few steps with random values, to say how long a run takes on this machine."""

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from torch.utils.data import IterableDataset

from spotlight.devices import is_out_of_memory
from spotlight.losses import Batch
from spotlight.progress import Progress
from spotlight.training.fit import build_module, run_steps
from spotlight.training.plan import RunPlan, StepPlan

STEPS = 4
"""Steps of a probe, of which the first, in which memory is laid out, does not count."""
ENOUGH = 20.0
"""A probe ends after the step in which so many seconds are over."""


@dataclass(frozen=True)
class Probe:
    """How long a run takes.

    Attributes
    ----------
    step, validation : float
        Seconds of a step, and of a validation.
    steps, validations : int
        How many there are.
    """

    step: float
    validation: float
    steps: int
    validations: int

    @property
    def minutes(self) -> float:
        """Of the whole run after the preparation of its stacks."""
        return (self.step * self.steps + self.validation * self.validations) / 60

    def in_words(self) -> str:
        """Say how long it takes and what that is made of."""
        minutes = self.minutes
        found = f"{minutes:.2g} minutes" if minutes < 99 else f"{minutes / 60:,.1f} hours ({minutes:,.0f} minutes)"
        validations = (
            f" and {self.validations:,} validations of about {self.validation:.2g} s" if self.validations else ""
        )
        return (
            f"About {found}: {self.steps:,} steps of {self.step:.2g} s, measured on this machine as busy as it is now"
            f"{validations}. Preparing the stacks takes more time."
        )


class _RandomBatches(IterableDataset[Batch]):
    """The same micro-batch of random values again and again."""

    def __init__(self, plan: RunPlan, step: StepPlan) -> None:
        count, outputs = step.share // step.micro_batches, plan.outputs
        image, target = (torch.randn(count, channels, *step.patch) for channels in (plan.in_channels, 1))
        mask = target > 1
        needs = plan.experiment.loss.needs()
        self.batch = Batch(
            image,
            target,
            mask,
            torch.ones(count),
            cells=mask.long() if needs.get("cells") else None,
            components=int(bool(needs.get("cells"))),
            percentiles=torch.tensor([[-2.0, 2.0]] * count) if needs.get("percentiles") else None,
            rows=tuple((n, n % len(outputs.names)) for n in range(count)) if outputs.partial else (),
            modality=torch.eye(len(outputs.modalities))[:1].repeat(count, 1) if outputs.modalities else None,
        )

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.batch


class _Stopwatch(lightning.Callback):
    """Notes when steps end, and stops after enough of them."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.times = [time.perf_counter()]
        self._tell()

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: Any) -> None:
        """Note the time at which the device is done."""
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        self._tell()
        trainer.should_stop = self.times[-1] - self.times[0] > ENOUGH

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress("timing a few steps", len(self.times) - 1, STEPS, {})


def probe_run(plan: RunPlan, step: StepPlan, progress: Progress | None = None) -> Probe:
    """Take steps of one micro-batch each, with random values, and estimate the time of the run from them.

    A validation is taken to be as fast as the forward pass of a step, a third of it, on every voxel of its stacks,
    where tiles overlap by a quarter.

    Parameters
    ----------
    plan, step
        The run.
    progress : callable, optional
        Called with how many steps were taken.

    Raises
    ------
    SpotlightError
        If a step does not fit into memory.
    """
    settings = plan.experiment.training
    short = settings.model_copy(update={"steps": STEPS, "micro_batches": 1, "tensorboard": False, "wandb": "no"})
    experiment = plan.experiment.model_copy(update={"training": short})
    module = build_module(plan.build_network(step.dims), experiment)
    watch = _Stopwatch(progress)
    try:
        run_steps(module, _RandomBatches(plan, step), watch, experiment, plan.precision, plan.processes)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise step.too_large(step.settle(plan.experiment)) from error
    each = [after - before for before, after in zip(watch.times, watch.times[1:], strict=False)]
    seconds = step.micro_batches * statistics.median(each[1:] or each)
    fields = {field.input: step.shapes[field.name] for field in plan.validation}
    overlap = (4 / 3) ** step.dims
    voxels = sum(
        math.prod(shape) * (overlap if any(n > t for n, t in zip(shape, step.tile, strict=True)) else 1)
        for shape in fields.values()
    )
    forward = seconds / (3 * step.share * math.prod(step.patch))
    validations = math.ceil(settings.steps / settings.validate_every) if plan.validation else 0
    return Probe(seconds, voxels * forward, settings.steps, validations)
