"""What happens around the steps: validation, checkpoints, logs, progress, and the watch over the loss."""

import csv
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from PIL import Image

from spotlight.errors import SpotlightError
from spotlight.files import PROGRAM_FAULTS, atomic_file, explained_writing, unreadable
from spotlight.pairs.prepared import PreparedPair
from spotlight.progress import Progress
from spotlight.training.batches import Outputs
from spotlight.training.engine import NEVER, StainModule
from spotlight.training.loggers import Logger, preview
from spotlight.training.settings import TrainingSettings
from spotlight.weights import save_weights

LOG = "log.csv"
CHECKPOINT = "last.ckpt"
BEST = "best.safetensors"
PREVIEW = "preview.png"
PREVIEWS = "previews"
"""Folder of smaller previews on the way, named after their steps."""
WIDEST = 1200
LOOK = 10
"""Steps between looks at the loss; each waits for the GPU."""


class RunCallback(lightning.Callback):
    """Validates, keeps the best weights, logs, saves checkpoints, and stops a run whose loss is no number.

    All of it happens after a step and in one order, so that a run resumed from a checkpoint does the same as one that
    was never stopped.

    Parameters
    ----------
    folder : Path
        Where logs, checkpoints and weights go.
    settings : TrainingSettings
        When what is due.
    validation : list of PreparedPair
        Stacks to validate on; may be none.
    tile : tuple of int
        Tiles of their prediction.
    names : callable
        Gives the names of the stacks in a step's batch.
    progress : callable, optional
        See `Progress`.
    loggers : list of Logger
        Further logs.
    outputs : Outputs
        Which of the validation stacks are the targets of one field.
    """

    def __init__(
        self,
        folder: Path,
        settings: TrainingSettings,
        validation: list[PreparedPair],
        tile: tuple[int, ...],
        names: Callable[[int], list[str]],
        progress: Progress | None,
        loggers: list[Logger],
        outputs: Outputs,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.validation = validation
        self.tile = tile
        self.names = names
        self.progress = progress
        self.loggers = loggers
        self.outputs = outputs
        self.best: dict[str, float] = {}
        self.without_better = 0
        self.last_step = -1
        self.figures: dict[str, float] = {}
        self.before, self.began = 0.0, time.monotonic()
        self.stop_asked = False

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Do what is due after this step."""
        assert isinstance(module, StainModule)
        step, last = trainer.global_step, trainer.global_step == self.settings.steps
        if step in (self.last_step, 0):  # a part of a batch
            return
        self.last_step = step
        looks = step % LOOK == 0 or last
        if trainer.world_size > 1 and looks:  # signals do not reach all processes between the same two steps
            self.stop_asked = trainer.strategy.reduce_boolean_decision(self.stop_asked, all=False)
        stops = self.stop_asked and (trainer.world_size == 1 or looks)
        validates = bool(self.validation) and (step % self.settings.validate_every == 0 or last)
        saves = validates or last or stops or step % self.settings.checkpoint_every == 0
        if saves or looks:
            self._require_sound(module)
        if (validates or looks) and trainer.is_global_zero:
            self._report(step, module, self._validate(step, module) if validates else {})
        elif self.progress is not None and trainer.is_global_zero:
            self.progress("training", step, self.settings.steps, self.figures)
        if validates and self.settings.patience:
            enough = self.without_better >= self.settings.patience
            trainer.should_stop = trainer.strategy.reduce_boolean_decision(enough, all=False)
        if saves:
            self._save(trainer)
        if stops and not last:
            raise KeyboardInterrupt

    def _save(self, trainer: lightning.Trainer) -> None:
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.folder / CHECKPOINT)  # takes part, and writes nothing
            return
        with atomic_file(self.folder / CHECKPOINT) as temporary:
            trainer.save_checkpoint(temporary)

    def _require_sound(self, module: StainModule) -> None:
        bad = int(module.first_bad)
        if bad < NEVER:
            kept = f"The weights of the best validation are kept in {BEST}. " if self.best else ""
            raise SpotlightError(
                f"{self.folder.parent}: the loss exploded at step {bad + 1}, with patches of "
                f"{', '.join(self.names(bad))}. {kept}Look at these stacks (spotlight check), lower "
                "training.learning_rate, or use training.precision float32."
            )

    def _report(self, step: int, module: StainModule, validation: dict[str, float]) -> None:
        terms = module.last_terms
        assert terms is not None
        figures = {"loss": float(terms.total)} | {name: float(value) for name, value in terms.parts.items()}
        rate = float(module.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        figures |= prefixed(validation)
        append_log(
            self.folder / LOG,
            {"step": step, "learning_rate": rate} | figures,
            log_columns(module.terms, module.task.scores, module.metrics),
        )
        for logger in self.loggers:
            logger.scalars(step, figures)
        self.figures = figures | {"learning_rate": rate}
        if self.progress is not None:
            self.progress("training", step, self.settings.steps, self.figures)

    def _validate(self, step: int, module: StainModule) -> dict[str, float]:
        scores, stain = module.validate_on(self.validation, self.tile, self.outputs)
        if not module.network.pools:  # what is found is an image
            picture = preview(self.validation[0], stain)
            self._keep_preview(step, Image.fromarray(picture))
            for logger in self.loggers:
                logger.picture(step, picture)
        chosen, sign = self.settings.choose_by, 1 if self.settings.choose_by == "loss" else -1
        better = not self.best or sign * scores[chosen] < sign * self.best[chosen]
        if math.isfinite(scores["loss"]) and better:
            self.best = {"step": step, **scores}
            self.without_better = 0
            save_weights(self.folder / BEST, module.result)
        else:
            self.without_better += 1
        return scores

    def _keep_preview(self, step: int, picture: Image.Image) -> None:
        """Write the preview and, after 1, 2, 3, 4, 6, 8, 12, ... validations, a small one that stays."""
        with atomic_file(self.folder / PREVIEW) as temporary:
            picture.save(temporary, "PNG")
        count, rest = divmod(step, self.settings.validate_every)
        while count and count % 2 == 0:
            count //= 2
        if count in (1, 3) and not rest:
            picture.thumbnail((WIDEST, picture.height))
            with atomic_file(self.folder / PREVIEWS / f"{step:07d}.webp") as temporary:
                picture.save(temporary, "WEBP", quality=85)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"best": self.best, "without_better": self.without_better, "seconds": self.seconds()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where the checkpoint was written."""
        self.best, self.without_better = state["best"], state["without_better"]
        self.before = state.get("seconds", 0.0)  # checkpoints of earlier versions do not say

    def seconds(self) -> float:
        """How long the run has taken, with what it took before it was interrupted."""
        return self.before + time.monotonic() - self.began


def prefixed(validation: dict[str, float]) -> dict[str, float]:
    """Name validation scores so that they stand beside training figures."""
    return {f"validation_{name}": value for name, value in validation.items()}


def log_columns(terms: Iterable[str], scores: Iterable[str], metrics: Iterable[str]) -> tuple[str, ...]:
    """Columns of the log of a run whose loss has these terms, whose task these scores, and these further metrics."""
    terms = tuple(terms)
    of_validation = ("loss", *scores, *terms, *metrics)
    return ("step", "loss", *terms, "learning_rate", *(f"validation_{name}" for name in of_validation))


def append_log(path: Path, row: dict[str, float], columns: Sequence[str]) -> None:
    """Add a row to the log; it is on disk when this returns."""
    new = not path.exists()
    with explained_writing(path), path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        if new:
            writer.writeheader()
        writer.writerow({name: f"{value:.6g}" for name, value in row.items()})


def trim_log(path: Path, step: int, columns: Sequence[str]) -> None:
    """Drop log rows after a step, and a half-written last row, when a run goes on from an earlier checkpoint."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values() and int(row["step"]) <= step]
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def checkpoint_step(path: Path) -> int:
    """Step at which a checkpoint was written.

    Raises
    ------
    SpotlightError
        If the file is damaged.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return int(dict(content)["global_step"])
    except PROGRAM_FAULTS as error:
        raise unreadable(path, "a checkpoint", error, ("torch", "lightning")) from error
    except Exception as error:  # damaged archives fail in more ways than can be listed
        raise SpotlightError(
            f"{path}: the checkpoint is damaged ({error}). Delete {path.parent} to start over."
        ) from error
