"""UNeXt2 and FCMAE: networks of ConvNeXt-V2 blocks that fold the planes of a window into channels (2.5D).

Both are those of VisCy and Cytoland (Liu et al., Nature Machine Intelligence 7, 901, 2025), whose trained networks
`spotlight.import_viscy` loads. The blocks are those of Woo et al. (2023, arXiv:2301.00808).
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from spotlight.networks.base import Conv3d, StainNetwork

DECODER_BLOCKS = 2
HEAD_SCALE = 2
HEAD_EXPANSION = 4
"""Of UNeXt2's head: it shuffles pixels twice by 2, and its inner convolution has four times as many channels."""


class LayerNorm(nn.LayerNorm):
    """Normalisation over the channels of (N, C, Y, X), at every place by itself."""

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        normal: Tensor = super().forward(x.movedim(1, -1)).movedim(-1, 1)
        return normal


class ResponseNorm(nn.Module):
    """Global response normalisation of (N, Y, X, C): x + bias + weight * x * n (Woo et al. 2023).

    n = g / (mean of g over the channels + 1e-6), with g the Euclidean norm of a channel over Y and X.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        size = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        share = size / (size.mean(dim=-1, keepdim=True) + 1e-6)
        out: Tensor = x + self.bias + self.weight * share * x
        return out


class NextBlock(nn.Module):
    """A block of ConvNeXt V2: a 7-wide depthwise convolution and two linear layers at every place, with a shortcut."""

    def __init__(self, channels: int, bias: bool, eps: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels, bias=bias)
        self.norm = nn.LayerNorm(channels, eps)
        self.expand = nn.Linear(channels, 4 * channels)
        self.response = ResponseNorm(4 * channels)
        self.reduce = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        inner = self.norm(self.depthwise(x).movedim(1, -1))
        inner = self.response(functional.gelu(self.expand(inner)))
        out: Tensor = x + self.reduce(inner).movedim(-1, 1)
        return out


def _stage(first: Sequence[nn.Module], channels: int, count: int, bias: bool, eps: float) -> nn.Sequential:
    return nn.Sequential(*first, *(NextBlock(channels, bias, eps) for _ in range(count)))


class UNeXt(StainNetwork):
    """A U-Net of ConvNeXt-V2 blocks in Y and X, for windows of planes.

    A convolution whose stride is its kernel folds the planes of a window into channels. Every further stage halves Y
    and X. On the way up, pixels are shuffled by 2, the skip is concatenated, and a linear layer and two blocks follow.
    The head unfolds the planes again.

    Parameters
    ----------
    dims : 2 or 3
        Spatial dimensions; in two, the window is one plane.
    kind : "unext2" or "fcmae"
        The head, and details of blocks. "unext2": a 3x3x3 convolution with instance normalisation on the unfolded
        planes. "fcmae": no weights.
    depths, widths, window, stem
        See `spotlight.networks.UNeXt2Settings`, which refuses sizes that do not go together.
    stains, in_channels
        See `StainNetwork`.

    Examples
    --------
    >>> import torch
    >>> from spotlight.networks import UNeXt
    >>> network = UNeXt(3, "fcmae", depths=(1, 1), widths=(8, 16), window=5, stem=(5, 4)).eval()
    >>> with torch.no_grad():
    ...     tuple(network(torch.rand(1, 1, 5, 32, 32)).shape)  # a window of five planes
    (1, 1, 5, 32, 32)
    """

    def __init__(
        self,
        dims: int,
        kind: Literal["unext2", "fcmae"],
        depths: Sequence[int],
        widths: Sequence[int],
        window: int,
        stem: tuple[int, int],
        stains: int = 1,
        in_channels: int = 1,
    ) -> None:
        super().__init__(dims, widths[0], stains, 0, "none", in_channels)
        self.kind = kind
        self.planes = window if dims == 3 else 1
        planes, self.pixels = stem if dims == 3 else (1, stem[1])
        bias, eps = (True, 1e-6) if kind == "unext2" else (False, 1e-5)
        kernel = (planes, self.pixels, self.pixels)
        self.stem = Conv3d(in_channels, widths[0] // (self.planes // planes), kernel, stride=kernel)
        self.stem_norm = LayerNorm(widths[0], eps)
        self.encoder = nn.ModuleList([_stage([], widths[0], depths[0], bias, eps)])
        for a, b, count in zip(widths, widths[1:], depths[1:], strict=False):
            halved = LayerNorm(a, eps), nn.Conv2d(a, b, 2, stride=2)
            self.encoder.append(_stage(halved, b, count, bias, eps))
        per_plane = stains * self.pixels**2
        last = (self.planes + 2) * per_plane if kind == "unext2" else self.planes * per_plane
        ups = [*reversed(widths), last]
        self.decoder = nn.ModuleList()
        for number, (a, b) in enumerate(zip(ups, ups[1:-2] + ups[-1:], strict=False)):
            joined = a // 4 + widths[-2 - number]
            first = () if joined == b else (LayerNorm(joined, 1e-6), nn.Conv2d(joined, b, 1))
            self.decoder.append(_stage(first, b, DECODER_BLOCKS, True, 1e-6))
        if kind == "unext2":
            outputs = stains * HEAD_SCALE**2
            self.mix = Conv3d(outputs, HEAD_EXPANSION * outputs, 3, padding=(0, 1, 1))
            self.rectify = nn.PReLU()
            self.head = Conv3d(HEAD_EXPANSION * outputs, outputs, 1)
        self.apply(_initialise)

    @property
    def window(self) -> int | None:
        """See `StainNetwork.window`."""
        return self.planes if self.dims == 3 else None

    @property
    def layout(self) -> torch.memory_format:
        """The plain one: it has weights of four and of five axes."""
        return torch.contiguous_format

    @property
    def memory_width(self) -> int:
        """From the block that needs most: about 26 values of each of its channels (measured), at every place."""
        at = {id(stage): self.pixels * 2**level for level, stage in enumerate(self.encoder)}
        at |= {id(stage): self.pixels * 2 ** (self.levels - 1 - n) for n, stage in enumerate(self.decoder)}
        blocks = [
            (at[id(stage)], block.depthwise.out_channels)
            for stage in (*self.encoder, *self.decoder)
            for block in stage.modules()
            if isinstance(block, NextBlock)
        ]
        most: float = max(26 * channels / edge**2 for edge, channels in blocks)
        return math.ceil(4 * most / int(self.planes) / 22)

    @property
    def levels(self) -> int:
        """How often Y and X are halved after the first convolution."""
        return len(self.encoder) - 1

    @property
    def divisor(self) -> int:
        """Y and X must be multiples of this."""
        return int(self.pixels * 2**self.levels)

    @property
    def reach(self) -> None:
        """Global response normalisation makes every value depend on all of the input."""
        return

    def encoder_parts(self) -> list[nn.Module]:
        """All on the way down."""
        return [self.stem, self.stem_norm, self.encoder]

    def all_but_head_parts(self) -> list[nn.Module]:
        """All but the last stage of the decoder, whose size depends on the stains, and what follows it."""
        return [*self.encoder_parts(), *list(self.decoder)[:-1]]

    def last_layers(self) -> Sequence[nn.Module]:
        """Return what depends on the number of stains."""
        return [self.decoder[-1], *([self.mix, self.rectify, self.head] if self.kind == "unext2" else [])]

    @torch.no_grad()
    def begin_at(self, values: Sequence[float]) -> None:
        """See `StainNetwork.begin_at`."""
        if self.kind != "unext2" or len(values) != self.stains:
            raise ValueError("only UNeXt2 has a convolution with a bias as the last layer of every output")
        assert self.head.bias is not None
        self.head.weight.zero_()
        self.head.bias.copy_(torch.tensor(values).repeat_interleave(HEAD_SCALE**2))

    def compute(self, x: Tensor, modality: Tensor | None) -> Tensor:
        """Fold, go down and up, and unfold."""
        flat = x.ndim == 4
        x = x.unsqueeze(2) if flat else x
        if x.shape[2] != self.planes:
            raise ValueError(
                f"this network takes windows of {self.planes} planes. Received: {x.shape[2]}. For a deeper stack, let "
                "spotlight.networks.Windowed slide the window."
            )
        x = self.stem_norm(self.stem(x).flatten(1, 2))
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        for stage, skip in zip(self.decoder, reversed(skips[:-1]), strict=False):
            x = stage(torch.cat((functional.pixel_shuffle(x, 2), skip), dim=1))
        x = self._unfold(x)
        return x.squeeze(2) if flat else x

    def _unfold(self, x: Tensor) -> Tensor:
        """Make (N, stains, Z, Y, X) of the decoder's last channels."""
        if self.kind == "fcmae":
            x = smoothed(functional.pixel_shuffle(x, self.pixels), self.pixels)
            return torch.unflatten(x, 1, (self.stains, self.planes))
        x = smoothed(functional.pixel_shuffle(x, HEAD_SCALE), HEAD_SCALE)
        x = torch.unflatten(x, 1, (-1, self.planes + 2))
        x = self.head(self.rectify(functional.instance_norm(self.mix(x))))
        return functional.pixel_shuffle(x.movedim(1, 2), HEAD_SCALE).movedim(2, 1)


def smoothed(x: Tensor, edge: int) -> Tensor:
    """Mean over squares of pixels that end at each pixel, with zeros before the first, as shuffled pixels need it."""
    return functional.avg_pool2d(functional.pad(x, (edge - 1, 0, edge - 1, 0)), edge, 1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
