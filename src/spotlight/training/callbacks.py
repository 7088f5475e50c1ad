"""What happens around the steps: validation, checkpoints, the log, progress, and the watch over the loss."""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch

from spotlight.errors import SpotlightError
from spotlight.files import explained_writing, whole_file
from spotlight.model import save_weights
from spotlight.pairs.prepare import PreparedPair
from spotlight.training.engine import StainModule
from spotlight.training.settings import TrainingSettings

Progress = Callable[[str, int, int, dict[str, float]], None]
"""Called with the name of the work, how much is done, how much there is, and current figures."""

LOG = "log.csv"
CHECKPOINT = "last.ckpt"
BEST = "best.safetensors"


class Course(lightning.Callback):
    """Validates, keeps the best weights, logs, saves checkpoints, and stops a run whose loss is no number.

    All of it happens after a step and in one order, so that a run resumed from a checkpoint does the same as one that
    was never stopped.
    """

    def __init__(
        self,
        folder: Path,
        settings: TrainingSettings,
        validation: list[PreparedPair],
        tile: tuple[int, ...],
        progress: Progress | None,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.validation = validation
        self.tile = tile
        self.progress = progress
        self.best: dict[str, float] = {}
        self.stop_asked = False
        self.board = _open_board(folder) if settings.tensorboard else None

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Do what is due after this step."""
        assert isinstance(module, StainModule)
        assert module.last_terms is not None
        step, last = trainer.global_step, trainer.global_step == self.settings.steps
        validates = bool(self.validation) and (step % self.settings.validate_every == 0 or last)
        saves = validates or last or self.stop_asked or step % self.settings.checkpoint_every == 0
        if saves or step % 10 == 0:
            self._require_finite(step, module)
        if validates or step % 10 == 0 or last:
            self._report(step, module, self._validate(step, module) if validates else {})
        if saves:
            with whole_file(self.folder / CHECKPOINT) as temporary:
                trainer.save_checkpoint(temporary)
        if self.stop_asked and not last:
            raise KeyboardInterrupt

    def _require_finite(self, step: int, module: StainModule) -> None:
        assert module.last_terms is not None
        loss = float(module.last_terms.total)
        if not math.isfinite(loss):
            raise SpotlightError(
                f"{self.folder.parent}: the loss is {loss} at step {step}. The last good weights are kept. Lower "
                "training.learning_rate, or use training.precision float32."
            )

    def _report(self, step: int, module: StainModule, validation: dict[str, float]) -> None:
        terms = module.last_terms
        assert terms is not None
        figures = {"loss": float(terms.total)} | {name: float(value) for name, value in terms.parts.items()}
        rate = float(module.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        append_log(self.folder / LOG, {"step": step, **figures, "learning_rate": rate} | prefixed(validation))
        if self.board is not None:
            for name, value in (figures | prefixed(validation)).items():
                self.board.add_scalar(name, value, step)
            self.board.flush()
        if self.progress is not None:
            self.progress("training", step, self.settings.steps, figures | prefixed(validation))

    def _validate(self, step: int, module: StainModule) -> dict[str, float]:
        scores = module.validate_on(self.validation, self.tile)
        if math.isfinite(scores["loss"]) and (not self.best or scores["loss"] < self.best["loss"]):
            self.best = {"step": step, **scores}
            save_weights(self.folder / BEST, module.network)
        return scores

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where the checkpoint was written."""
        self.best = state["best"]


def _open_board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SpotlightError(
            "training.tensorboard needs TensorBoard, which is not installed: pip install 'spotlight-stain[tensorboard]'"
        ) from error
    return SummaryWriter(folder / "tensorboard")


def prefixed(validation: dict[str, float]) -> dict[str, float]:
    """Name validation scores so that they stand beside training figures."""
    return {f"validation_{name}": value for name, value in validation.items()}


COLUMNS = ("step", "loss", "masked_mse", "dice", "background", "learning_rate")
VALIDATION_COLUMNS = tuple(
    f"validation_{n}" for n in ("loss", "foreground_pearson", "masked_mse", "dice", "background")
)


def append_log(path: Path, row: dict[str, float]) -> None:
    """Add a row to the log; it is on disk when this returns."""
    new = not path.exists()
    with explained_writing(path), path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, (*COLUMNS, *VALIDATION_COLUMNS))
        if new:
            writer.writeheader()
        writer.writerow({name: f"{value:.6g}" for name, value in row.items()})


def trim_log(path: Path, step: int) -> None:
    """Drop log rows after a step, and a half-written last row, when a run goes on from an earlier checkpoint."""
    if not path.exists():
        return
    header = ",".join((*COLUMNS, *VALIDATION_COLUMNS))
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    kept = [line for line in lines if line.count(",") == header.count(",") and int(line.split(",")[0]) <= step]
    with whole_file(path) as temporary:
        temporary.write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")


def checkpoint_step(path: Path) -> int:
    """Step at which a checkpoint was written.

    Raises
    ------
    SpotlightError
        If the file is damaged.
    """
    try:
        return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"])
    except Exception as error:  # damaged archives fail in more ways than can be listed
        raise SpotlightError(
            f"{path}: the checkpoint is damaged ({error}). Delete {path.parent} to start over."
        ) from error
