"""The generator of pix2pix for several stains: one trunk of residual blocks, and a decoder per stain."""

import torch
from torch import Tensor, nn

from spotlight.networks.base import StainNetwork
from spotlight.networks.conditioning import Block, DynamicConv, Film
from spotlight.networks.settings import Conditioning


class Pix2PixGenerator(StainNetwork):
    """Residual network of Liu et al. (2024, arXiv:2406.15716), after Johnson et al. (2016) and Isola et al. (2017).

    A 7-wide convolution, two 3-wide ones of stride 2 and the residual blocks are shared; there is no skip over them.
    Each stain has two transposed convolutions and a 7-wide one of its own. Every convolution but the last of each
    stain is followed by instance normalisation without weights; the 7-wide and residual ones mirror the border. With
    the defaults and four stains: 12,481,540 parameters. The paper has 9 residual blocks, its published code 12.

    Parameters
    ----------
    width : int
        Channels at full resolution; twice and four times as many below.
    blocks : int
        Residual blocks.
    stains : int
        Decoders.
    dropout : float
        Share of the values dropped between the convolutions of a residual block while training.
    tanh : bool
        End in a hyperbolic tangent, as published, or in the last convolution.
    modalities, conditioning
        See `StainNetwork`. "film" puts a `Film` behind the normalisations of the first three convolutions, as in the
        published code. "dynamic" makes the first a `DynamicConv`, of which the normalisation leaves little where there
        is one input channel: it works on each filter of that channel, whose scale a normalisation takes out.
    in_channels : int
        Channels of the input.

    Examples
    --------
    >>> import torch
    >>> from spotlight.networks import Pix2PixGenerator
    >>> network = Pix2PixGenerator(width=4, blocks=1, stains=4).eval()
    >>> with torch.no_grad():
    ...     stains = network(torch.rand(1, 1, 32, 32))
    >>> tuple(stains.shape), bool(stains.abs().max() <= 1)
    ((1, 4, 32, 32), True)
    """

    def __init__(
        self,
        width: int = 64,
        blocks: int = 9,
        stains: int = 1,
        dropout: float = 0.5,
        tanh: bool = True,
        modalities: int = 0,
        conditioning: Conditioning = "none",
        in_channels: int = 1,
    ) -> None:
        super().__init__(2, width, stains, modalities, conditioning, in_channels)
        first = nn.Conv2d(in_channels, width, 7)
        film = modalities if conditioning == "film" else 0
        self.stem = Block(
            nn.ReflectionPad2d(3),
            DynamicConv(first, modalities) if conditioning == "dynamic" else first,
            *_normalised(width, film),
        )
        self.downs = nn.ModuleList(
            Block(nn.Conv2d(c, 2 * c, 3, stride=2, padding=1), *_normalised(2 * c, film)) for c in (width, 2 * width)
        )
        self.trunk = nn.Sequential(*(ResidualBlock(4 * width, dropout) for _ in range(blocks)))
        self.decoders = nn.ModuleList(
            nn.Sequential(*_doubling(4 * width, 2 * width), *_doubling(2 * width, width)) for _ in range(stains)
        )
        self.heads = nn.ModuleList(nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(width, 1, 7)) for _ in range(stains))
        self.last = nn.Tanh() if tanh else nn.Identity()

    @property
    def divisor(self) -> int:
        """8, though the image is halved twice only: what is left must be two pixels wide to be mirrored."""
        return 8

    @property
    def reach(self) -> None:
        """None: instance normalisation makes every value depend on the whole image."""
        return

    def encoder_parts(self) -> list[nn.Module]:
        """All that the stains share."""
        return [self.stem, self.downs, self.trunk]

    def all_but_head_parts(self) -> list[nn.Module]:
        """All but the last convolution of every stain."""
        return [*self.encoder_parts(), self.decoders]

    def compute(self, x: Tensor, modality: Tensor | None) -> Tensor:
        """Go through the trunk once, and through the decoder of every stain."""
        x = self.stem(x, modality)
        for down in self.downs:
            x = down(x, modality)
        x = self.trunk(x)
        stains = [head(decoder(x)) for decoder, head in zip(self.decoders, self.heads, strict=True)]
        return self.last(torch.cat(stains, dim=1))  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """Two 3-wide convolutions with a shortcut around them, and nothing behind the sum."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        return x + self.body(x)  # type: ignore[no-any-return]


def _normalised(channels: int, film: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels), *([Film(channels, film)] if film else []), nn.ReLU(inplace=True)]


def _doubling(inputs: int, outputs: int) -> list[nn.Module]:
    up = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
    return [up, *_normalised(outputs, film=0)]
