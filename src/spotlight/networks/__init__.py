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
from spotlight.networks.unext_settings import FcmaeSettings, UNeXt2Settings

if TYPE_CHECKING:
    from spotlight.networks.base import StainNetwork, channels_last
    from spotlight.networks.conditioning import Conditioned
    from spotlight.networks.fnet import FNet
    from spotlight.networks.patchgan import PatchGAN
    from spotlight.networks.pix2pix import Pix2PixGenerator
    from spotlight.networks.unetpp import UNetPlusPlus
    from spotlight.networks.unext import UNeXt
    from spotlight.networks.windows import Windowed

__all__ = [
    "NETWORKS",
    "Conditioned",
    "FNet",
    "FNetSettings",
    "FcmaeSettings",
    "ModuleSettings",
    "NetworkField",
    "NetworkSettings",
    "PatchGAN",
    "Pix2PixGenerator",
    "Pix2PixSettings",
    "StainNetwork",
    "UNeXt",
    "UNeXt2Settings",
    "UNetPlusPlus",
    "UNetPlusPlusSettings",
    "Windowed",
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
        "UNeXt": "unext",
        "Windowed": "windows",
        "channels_last": "base",
    },
)
