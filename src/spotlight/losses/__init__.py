"""Losses of tensors. Each takes a prediction and a batch, and gives its total and its parts."""

from spotlight.losses.adversarial import discriminator_loss, generator_loss
from spotlight.losses.batch import Batch, Loss, build_loss
from spotlight.losses.instances import blob_dice_loss, cc_dice_loss
from spotlight.losses.pixels import LossTerms, l1_loss, mse_loss
from spotlight.losses.settings import (
    LOSSES,
    AdversarialSettings,
    L1Settings,
    LossField,
    LossSettings,
    MseSettings,
    SpotlightLossSettings,
)
from spotlight.losses.spotlight import soft_threshold, spotlight_loss, tunable_sigmoid

__all__ = [
    "LOSSES",
    "AdversarialSettings",
    "Batch",
    "L1Settings",
    "Loss",
    "LossField",
    "LossSettings",
    "LossTerms",
    "MseSettings",
    "SpotlightLossSettings",
    "blob_dice_loss",
    "build_loss",
    "cc_dice_loss",
    "discriminator_loss",
    "generator_loss",
    "l1_loss",
    "mse_loss",
    "soft_threshold",
    "spotlight_loss",
    "tunable_sigmoid",
]
