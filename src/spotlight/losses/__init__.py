"""Losses of tensors. Each takes a prediction and a batch, and gives its total and its parts."""

from typing import NamedTuple, Protocol

from torch import Tensor

from spotlight.losses.instances import blob_dice_loss, cc_dice_loss
from spotlight.losses.settings import LossSettings, MseSettings, SpotlightLossSettings
from spotlight.losses.spotlight import LossTerms, mse_loss, soft_threshold, spotlight_loss, tunable_sigmoid

__all__ = [
    "Batch",
    "LossSettings",
    "LossTerms",
    "MseSettings",
    "SpotlightLossSettings",
    "blob_dice_loss",
    "build_loss",
    "cc_dice_loss",
    "mse_loss",
    "soft_threshold",
    "spotlight_loss",
    "tunable_sigmoid",
]


class Batch(NamedTuple):
    """What a training step sees: (B, 1, [Z,] Y, X) tensors and the (B,) normalised thresholds of their stacks.

    `cells` holds the number of the nearest foreground component, at most `components`, for losses per nucleus.
    """

    input: Tensor
    target: Tensor
    mask: Tensor
    threshold: Tensor
    cells: Tensor | None = None
    components: int = 0


class Loss(Protocol):
    """A loss as a function of prediction, batch and share of the run that is done."""

    def __call__(self, prediction: Tensor, batch: Batch, progress: float = 1.0) -> LossTerms:
        """Give the total and the parts."""


def build_loss(settings: LossSettings) -> Loss:
    """Return the loss that the settings describe."""
    if isinstance(settings, MseSettings):
        return lambda prediction, batch, progress=1.0: mse_loss(prediction, batch.target)
    return lambda prediction, batch, progress=1.0: spotlight_loss(
        prediction, batch.target, batch.mask, batch.threshold, settings, batch.cells, batch.components, progress
    )
