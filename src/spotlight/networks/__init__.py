"""Networks: nothing but `nn.Module`s, each of which declares by `divisor` which shapes it accepts."""

from spotlight.networks.base import StainNetwork, channels_last
from spotlight.networks.conditioning import Conditioned
from spotlight.networks.fnet import FNet
from spotlight.networks.patchgan import PatchGAN
from spotlight.networks.pix2pix import Pix2PixGenerator
from spotlight.networks.settings import (
    NETWORKS,
    FNetSettings,
    NetworkField,
    NetworkSettings,
    Pix2PixSettings,
    UNetPlusPlusSettings,
)
from spotlight.networks.unetpp import UNetPlusPlus

__all__ = [
    "NETWORKS",
    "Conditioned",
    "FNet",
    "FNetSettings",
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
