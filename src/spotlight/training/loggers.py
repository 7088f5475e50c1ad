"""Logs beside the CSV file, and the picture that shows how the stain comes along."""

import uuid
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from spotlight.files import write_text
from spotlight.installation import missing_package
from spotlight.pairs.prepared import PreparedPair
from spotlight.training.settings import TrainingSettings

GAP = 4
"""Pixels between the pictures of a preview."""


class Logger(Protocol):
    """Takes figures and pictures of a step."""

    def scalars(self, step: int, figures: dict[str, float]) -> None:
        """Take figures by name."""

    def picture(self, step: int, picture: NDArray[np.uint8]) -> None:
        """Take a (Y, X) picture."""


class TensorBoard:
    """Event files under ``tensorboard/`` of the run."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise missing_package("training.tensorboard", error, "tensorboard") from error
        self.writer = SummaryWriter(folder / "tensorboard")

    def scalars(self, step: int, figures: dict[str, float]) -> None:
        """Take figures by name."""
        for name, value in figures.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def picture(self, step: int, picture: NDArray[np.uint8]) -> None:
        """Take a (Y, X) picture."""
        self.writer.add_image("input, target, stain", picture, step, dataformats="HW")


class WeightsAndBiases:
    """A run of Weights & Biases, its files under ``wandb/`` of the run; a resumed run is the same one."""

    def __init__(self, folder: Path, mode: Literal["offline", "online"]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise missing_package("training.wandb", error, "wandb") from error
        self.image = wandb.Image
        identity = folder / "wandb.id"
        if not identity.exists():
            write_text(identity, uuid.uuid4().hex)
        known = {"project": "spotlight", "name": folder.parent.name, "id": identity.read_text(encoding="utf-8")}
        self.run = wandb.init(dir=folder, mode=mode, resume="allow", settings=wandb.Settings(console="off"), **known)

    def scalars(self, step: int, figures: dict[str, float]) -> None:
        """Take figures by name."""
        self.run.log(figures, step=step)

    def picture(self, step: int, picture: NDArray[np.uint8]) -> None:
        """Take a (Y, X) picture."""
        self.run.log({"input, target, stain": self.image(picture)}, step=step)


def open_loggers(folder: Path, settings: TrainingSettings) -> list[Logger]:
    """Open the logs that the settings ask for.

    Raises
    ------
    SpotlightError
        If one is not installed.
    """
    loggers: list[Logger] = []
    if settings.tensorboard:
        loggers.append(TensorBoard(folder))
    if settings.wandb != "no":
        loggers.append(WeightsAndBiases(folder, settings.wandb))
    return loggers


def preview(pair: PreparedPair, stain: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw input, target and stain beside each other: the middle plane, and below it the middle section along Z.

    Target and stain share their grey values, black to white from the 1st to the 99.8th percentile of the target.
    """
    target = np.asarray(pair.target)
    image = pair.shown_input
    shades = np.percentile(target, (1, 99.8))
    drawn = [_cuts(image, np.percentile(image, (0.2, 99.8))), _cuts(target, shades), _cuts(stain, shades)]
    gap = np.full((len(drawn[0]), GAP), 255, np.uint8)
    return np.hstack([drawn[0], gap, drawn[1], gap, drawn[2]])


def _cuts(stack: NDArray[np.float32], limits: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = limits
    grey = np.asarray(255 * ((stack - low) / max(high - low, 1e-9)).clip(0, 1), np.uint8)
    if grey.ndim == 2:
        return grey
    space = np.full((GAP, grey.shape[2]), 255, np.uint8)
    return np.vstack([grey[len(grey) // 2], space, grey[:, grey.shape[1] // 2]])
