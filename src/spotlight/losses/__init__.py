"""Losses of tensors. Each takes a prediction and a batch, and gives its total and its parts."""

from typing import TYPE_CHECKING

from spotlight.deferred import deferred
from spotlight.losses.blurred import SharpLossSettings
from spotlight.losses.settings import (
    LOSSES,
    FunctionLossSettings,
    L1Settings,
    LossField,
    LossSettings,
    MseSettings,
    SpotlightLossSettings,
)
from spotlight.losses.task_settings import (
    AdversarialSettings,
    ClassLossSettings,
    HiddenLossSettings,
    MaskLossSettings,
    StructureLossSettings,
    TeacherSettings,
)

if TYPE_CHECKING:
    from spotlight.losses.adversarial import discriminator_loss, generator_loss
    from spotlight.losses.batch import Batch, Loss, build_loss
    from spotlight.losses.classes import class_loss
    from spotlight.losses.hidden import hidden_loss
    from spotlight.losses.instances import blob_dice_loss, cc_dice_loss
    from spotlight.losses.masks import mask_loss
    from spotlight.losses.pixels import LossTerms, l1_loss, mse_loss
    from spotlight.losses.sharp import Blur, sharp_loss
    from spotlight.losses.spotlight import soft_threshold, spotlight_loss, tunable_sigmoid
    from spotlight.losses.structure import structure_loss
    from spotlight.losses.teacher import distillation_loss

__all__ = [
    "LOSSES",
    "AdversarialSettings",
    "Batch",
    "Blur",
    "ClassLossSettings",
    "FunctionLossSettings",
    "HiddenLossSettings",
    "L1Settings",
    "Loss",
    "LossField",
    "LossSettings",
    "LossTerms",
    "MaskLossSettings",
    "MseSettings",
    "SharpLossSettings",
    "SpotlightLossSettings",
    "StructureLossSettings",
    "TeacherSettings",
    "blob_dice_loss",
    "build_loss",
    "cc_dice_loss",
    "class_loss",
    "discriminator_loss",
    "distillation_loss",
    "generator_loss",
    "hidden_loss",
    "l1_loss",
    "mask_loss",
    "mse_loss",
    "sharp_loss",
    "soft_threshold",
    "spotlight_loss",
    "structure_loss",
    "tunable_sigmoid",
]

__getattr__ = deferred(
    __name__,
    {
        "Batch": "batch",
        "Blur": "sharp",
        "Loss": "batch",
        "LossTerms": "pixels",
        "blob_dice_loss": "instances",
        "build_loss": "batch",
        "cc_dice_loss": "instances",
        "class_loss": "classes",
        "discriminator_loss": "adversarial",
        "distillation_loss": "teacher",
        "generator_loss": "adversarial",
        "hidden_loss": "hidden",
        "l1_loss": "pixels",
        "mask_loss": "masks",
        "mse_loss": "pixels",
        "sharp_loss": "sharp",
        "soft_threshold": "spotlight",
        "spotlight_loss": "spotlight",
        "structure_loss": "structure",
        "tunable_sigmoid": "spotlight",
    },
)
