"""Networks: nothing but `nn.Module`s, each of which declares by `divisor` which shapes it accepts."""

from typing import TYPE_CHECKING

from spotlight.deferred import deferred
from spotlight.networks.settings import (
    NETWORKS,
    FNetSettings,
    ModuleSettings,
    NetworkField,
    NetworkSettings,
    Pix2PixSettings,
    UNetPlusPlusSettings,
)

if TYPE_CHECKING:
    from spotlight.networks.base import StainNetwork, channels_last
    from spotlight.networks.conditioning import Conditioned
    from spotlight.networks.fnet import FNet
    from spotlight.networks.patchgan import PatchGAN
    from spotlight.networks.pix2pix import Pix2PixGenerator
    from spotlight.networks.unetpp import UNetPlusPlus

__all__ = [
    "NETWORKS",
    "Conditioned",
    "FNet",
    "FNetSettings",
    "ModuleSettings",
    "NetworkField",
    "NetworkSettings",
    "PatchGAN",
    "Pix2PixGenerator",
    "Pix2PixSettings",
    "StainNetwork",
    "UNetPlusPlus",
    "UNetPlusPlusSettings",
    "channels_last",
]

__getattr__ = deferred(
    __name__,
    {
        "Conditioned": "conditioning",
        "FNet": "fnet",
        "PatchGAN": "patchgan",
        "Pix2PixGenerator": "pix2pix",
        "StainNetwork": "base",
        "UNetPlusPlus": "unetpp",
        "channels_last": "base",
    },
)
