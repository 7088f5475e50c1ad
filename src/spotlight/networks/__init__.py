"""Networks: nothing but `nn.Module`s, each of which declares by `divisor` which shapes it accepts."""

from spotlight.networks.base import StainNetwork, channels_last
from spotlight.networks.conditioning import Conditioned
from spotlight.networks.fnet import FNet
from spotlight.networks.patchgan import PatchGAN
from spotlight.networks.pix2pix import Pix2PixGenerator
from spotlight.networks.settings import (
    FNetSettings,
    NetworkSettings,
    Pix2PixSettings,
    UNetPlusPlusSettings,
)
from spotlight.networks.unetpp import UNetPlusPlus

__all__ = [
    "Conditioned",
    "FNet",
    "FNetSettings",
    "NetworkSettings",
    "PatchGAN",
    "Pix2PixGenerator",
    "Pix2PixSettings",
    "StainNetwork",
    "UNetPlusPlus",
    "UNetPlusPlusSettings",
    "build_network",
    "channels_last",
]


def build_network(settings: NetworkSettings, dims: int, stains: int = 1, modalities: int = 0) -> StainNetwork:
    """Build the network that the settings describe.

    Parameters
    ----------
    settings : NetworkSettings
        Of any architecture.
    dims : 2 or 3
        Spatial dimensions of the stacks.
    stains : int
        Channels of the output.
    modalities : int
        Length of the modality's code, for settings whose `conditioning` is not "none", and 0 for others.

    Raises
    ------
    ValueError
        If the architecture does not go with the dimensions, or the conditioning with the number of modalities.
    """
    told = settings.conditioning
    if isinstance(settings, Pix2PixSettings):
        if dims != 2:
            raise ValueError(
                f"the network pix2pix is for two-dimensional images. Received: {dims} dimensions. Set "
                "network.architecture to 'fnet' or 'unetpp', or give single planes."
            )
        return Pix2PixGenerator(
            settings.width, settings.blocks, stains, settings.dropout, settings.tanh, modalities, told
        )
    if isinstance(settings, UNetPlusPlusSettings):
        return UNetPlusPlus(dims, settings.depth, settings.width, stains, modalities, told)
    return FNet(dims, settings.depth, settings.mult_chan, stains, settings.block, settings.init, modalities, told)
