"""Networks: nothing but `nn.Module`s, each of which declares by `divisor` which shapes it accepts."""

import torch

from spotlight.networks.fnet import FNet
from spotlight.networks.settings import FNetSettings

__all__ = ["FNet", "FNetSettings", "build_network", "channels_last"]


def build_network(settings: FNetSettings, dims: int) -> FNet:
    """Build the network that the settings describe, for two- or three-dimensional stacks."""
    return FNet(dims, settings.depth, settings.mult_chan, block=settings.block, init=settings.init)


def channels_last(dims: int) -> torch.memory_format:
    """Memory layout in which convolutions are fastest, for two- or three-dimensional stacks."""
    return torch.channels_last_3d if dims == 3 else torch.channels_last
