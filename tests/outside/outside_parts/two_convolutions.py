"""The network itself."""

import torch
from torch import nn

from spotlight.networks import StainNetwork


class TwoConvolutions(StainNetwork):
    def __init__(self, dims, width, stains, modalities, conditioning):
        super().__init__(dims, width, stains, modalities, conditioning)
        convolution = nn.Conv3d if dims == 3 else nn.Conv2d
        self.first = convolution(1, width, 3, padding=1)
        self.head = convolution(width, stains, 3, padding=1)

    @property
    def divisor(self):
        return 1

    @property
    def reach(self):
        return 2

    def encoder_parts(self):
        return [self.first]

    def all_but_head_parts(self):
        return [self.first]

    def compute(self, x, modality):
        return self.head(torch.relu(self.first(x)))


class Plain(nn.Module):
    """A module that knows nothing of Spotlight."""

    def __init__(self, width=4):
        super().__init__()
        self.down = nn.Conv3d(1, width, 2, stride=2)
        self.up = nn.ConvTranspose3d(width, 1, 2, stride=2)

    def forward(self, x):
        return self.up(torch.relu(self.down(x)))


def absolute_error(prediction, target):
    return (prediction - target).abs().mean()


def share_close(stain, target, mask):
    return (abs(stain - target)[mask] < 1).mean()
