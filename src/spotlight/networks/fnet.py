"""F-net: the U-Net of Ounkomol et al., Nature Methods 15, 917 (2018), in two and three dimensions."""

from typing import Literal

import torch
from torch import Tensor, nn

from spotlight.networks.base import CONV, NORM, UPCONV, StainNetwork
from spotlight.networks.conditioning import Block, double_conv
from spotlight.networks.settings import Conditioning


class FNet(StainNetwork):
    """U-Net with learned down- and upsampling, batch normalisation and a linear head.

    Each of the `depth` levels has two 3-wide convolutions, a 2-wide convolution of stride 2 down and a transposed one
    up; the upsampled half is concatenated behind the skipped half. Every convolution but the last carries a bias and
    is followed by batch normalisation and ReLU. With the defaults in three dimensions: 23,280,769 parameters and
    229,536 multiply-adds per voxel. All stains share everything but their linear, 3-wide heads, which together are one
    convolution with a channel of output per stain.

    Parameters
    ----------
    dims : 2 or 3
        Spatial dimensions.
    depth : int
        Number of times the image is halved.
    mult_chan : int
        Channels at the first level; doubled at every further one.
    stains : int
        Heads.
    block : "plain" or "residual"
        "residual" adds a shortcut around every pair of convolutions before its last ReLU (He et al. 2016).
    init : "fnet" or "torch"
        "fnet" draws convolution weights from N(0, 0.02) and batch-normalisation weights from N(1, 0.02), as the
        published code does; biases of convolutions keep PyTorch's default. "torch" keeps all defaults.
    modalities, conditioning
        See `StainNetwork`. "dynamic" makes the first convolution a `DynamicConv`; "film" puts a `Film` before the last
        ReLU of every level of the encoder, in residual blocks on the branch of the convolutions.
    positive : bool
        Apply a softplus, log(1 + exp(x)), to the output.
    in_channels : int
        Channels of the input.

    Examples
    --------
    >>> import torch
    >>> from spotlight.networks import FNet
    >>> network = FNet(depth=3, mult_chan=4, stains=2).eval()
    >>> network.divisor  # every axis is a multiple of it
    8
    >>> with torch.no_grad():
    ...     tuple(network(torch.rand(1, 1, 8, 16, 16)).shape)
    (1, 2, 8, 16, 16)
    """

    def __init__(
        self,
        dims: int = 3,
        depth: int = 4,
        mult_chan: int = 32,
        stains: int = 1,
        block: Literal["plain", "residual"] = "plain",
        init: Literal["fnet", "torch"] = "fnet",
        modalities: int = 0,
        conditioning: Conditioning = "none",
        positive: bool = False,
        in_channels: int = 1,
    ) -> None:
        super().__init__(dims, mult_chan, stains, modalities, conditioning, in_channels)
        widths = [mult_chan * 2**level for level in range(depth + 1)]
        inputs = [in_channels, *widths[:-1]]
        self.depth = depth
        self.positive = positive
        conv = double_conv if block == "plain" else ResidualConv
        film = modalities if conditioning == "film" else 0
        dynamic = [modalities if conditioning == "dynamic" else 0, *[0] * depth]
        self.encoders = nn.ModuleList(
            conv(dims, a, b, first, film) for a, b, first in zip(inputs, widths, dynamic, strict=True)
        )
        self.downs = nn.ModuleList(_resampling(CONV[dims], dims, w, w) for w in widths[:-1])
        self.ups = nn.ModuleList(_resampling(UPCONV[dims], dims, 2 * w, w) for w in widths[:-1])
        self.decoders = nn.ModuleList(conv(dims, 2 * w, w) for w in widths[:-1])
        self.head: nn.Module = CONV[dims](mult_chan, stains, 3, padding=1)
        if init == "fnet":
            self.apply(_published_init)

    @property
    def divisor(self) -> int:
        """Every spatial axis of the input must be a multiple of this."""
        return int(2**self.depth)

    @property
    def reach(self) -> int:
        """Voxels along an axis, to either side, on which a voxel of the output can depend at most.

        Depends on where the voxel lies in its block of `divisor` voxels, and is followed through the layers as an
        interval: convolutions widen it, halving and doubling round it outwards.
        """

        def needed(level: int, low: int, high: int) -> tuple[int, int]:
            if level < self.depth:
                low, high = low - 2, high + 2
                below = needed(level + 1, low // 2, high // 2)
                low, high = min(low, 2 * below[0]), max(high, 2 * below[1] + 1)
            return low - 2, high + 2

        spans = [(place, *needed(0, place - 1, place + 1)) for place in range(self.divisor)]
        return max(max(place - low, high - place) for place, low, high in spans)

    def encoder_parts(self) -> list[nn.Module]:
        """All on the way down."""
        return [self.encoders, self.downs]

    def all_but_head_parts(self) -> list[nn.Module]:
        """All on the way down and up."""
        return [*self.encoder_parts(), self.ups, self.decoders]

    def compute(self, x: Tensor, modality: Tensor | None) -> Tensor:
        """Go down and up, and through the heads."""
        x, skips = self._encode(x, modality)
        for up, decoder, skip in zip(reversed(self.ups), reversed(self.decoders), reversed(skips), strict=True):
            x = decoder(torch.cat((skip, up(x)), dim=1))
        stain: Tensor = self.head(x)
        return torch.nn.functional.softplus(stain) if self.positive else stain

    def deepest(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        """Go down alone: map patches to their deepest features, (B, mult_chan * 2**depth, [Z,] Y, X)."""
        return self._encode(x, modality)[0]

    def drop_decoder(self) -> None:
        """Remove all that `deepest` does not need; the network can do nothing else then."""
        self.ups, self.decoders = nn.ModuleList(), nn.ModuleList()
        self.head = nn.Identity()

    def _encode(self, x: Tensor, modality: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Return the deepest features, and those of the levels above, from the finest on."""
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=False):
            x = encoder(x, modality)
            skips.append(x)
            x = down(x)
        return self.encoders[-1](x, modality), skips


class ResidualConv(nn.Module):
    """The double convolution with a shortcut around it; parameters as of `double_conv`."""

    def __init__(self, dims: int, inputs: int, outputs: int, dynamic: int = 0, film: int = 0) -> None:
        super().__init__()
        self.body = Block(*list(double_conv(dims, inputs, outputs, dynamic, film))[:-1])
        self.shortcut = nn.Identity() if inputs == outputs else CONV[dims](inputs, outputs, 1)

    def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        """Keep the spatial shape."""
        return torch.relu_(self.body(x, modality) + self.shortcut(x))


def _resampling(conv: type[nn.Module], dims: int, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv(inputs, outputs, 2, stride=2), NORM[dims](outputs), nn.ReLU(inplace=True))


def _published_init(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
