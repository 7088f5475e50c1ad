"""UNet++: a U-Net whose skips are filled with convolutions of their own, in two and three dimensions."""

from functools import cache

import torch
from torch import Tensor, nn

from spotlight.networks.base import CONV, UPCONV, StainNetwork
from spotlight.networks.conditioning import double_conv
from spotlight.networks.settings import Conditioning

POOL: dict[int, type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


class UNetPlusPlus(StainNetwork):
    """Nested U-Net of Zhou et al. (2019, arXiv:1912.05074), without deep supervision.

    Level i has depth + 1 - i nodes, X[i, j]. Column 0 is the way down: X[i, 0] is a double convolution of the maxima
    of X[i - 1, 0] over 2-wide blocks. Every further node is one of all nodes before it on its level, and of the next
    one's last, doubled by a transposed convolution:

        X[i, j] = H(X[i, 0], ..., X[i, j - 1], U(X[i + 1, j - 1]))

    Of the last node of level 0, each stain has a linear combination. Each of H's 3-wide convolutions is followed by
    batch normalisation and ReLU.

    Parameters
    ----------
    dims : 2 or 3
        Spatial dimensions.
    depth : int
        Number of times the image is halved.
    width : int
        Channels at level 0; doubled at every further one.
    stains : int
        Heads.
    modalities, conditioning
        See `StainNetwork`. "dynamic" makes the first convolution a `DynamicConv`; "film" puts a `Film` before the last
        ReLU of every node of column 0.
    in_channels : int
        Channels of the input.

    Examples
    --------
    >>> import torch
    >>> from spotlight.networks import UNetPlusPlus
    >>> network = UNetPlusPlus(depth=2, width=4).eval()
    >>> with torch.no_grad():
    ...     tuple(network(torch.rand(1, 1, 16, 16)).shape)
    (1, 1, 16, 16)
    """

    def __init__(
        self,
        dims: int = 2,
        depth: int = 4,
        width: int = 32,
        stains: int = 1,
        modalities: int = 0,
        conditioning: Conditioning = "none",
        in_channels: int = 1,
    ) -> None:
        super().__init__(dims, width, stains, modalities, conditioning, in_channels)
        self.depth = depth
        widths = [width * 2**level for level in range(depth + 1)]
        film = modalities if conditioning == "film" else 0
        dynamic = [modalities if conditioning == "dynamic" else 0, *[0] * depth]
        self.pool = POOL[dims](2)
        inputs = [in_channels, *widths[:-1]]
        self.encoders = nn.ModuleList(
            double_conv(dims, a, b, first, film) for a, b, first in zip(inputs, widths, dynamic, strict=True)
        )
        self.ups = nn.ModuleDict(
            {f"{i}_{j}": UPCONV[dims](2 * widths[i], widths[i], 2, stride=2) for i, j in self._beyond_column_0()}
        )
        self.nodes = nn.ModuleDict(
            {f"{i}_{j}": double_conv(dims, (j + 1) * widths[i], widths[i]) for i, j in self._beyond_column_0()}
        )
        self.head = CONV[dims](width, stains, 1)

    def _beyond_column_0(self) -> list[tuple[int, int]]:
        """Level and column of all other nodes, column by column."""
        return [(i, j) for j in range(1, self.depth + 1) for i in range(self.depth + 1 - j)]

    @property
    def memory_width(self) -> int:
        """Level 0 has depth + 1 nodes, where F-net has two."""
        return -(-self.width * (self.depth + 1) // 2)

    @property
    def divisor(self) -> int:
        """Every spatial axis of the input must be a multiple of this."""
        return int(2**self.depth)

    @property
    def reach(self) -> int:
        """Voxels along an axis, to either side, on which a voxel of the output can depend at most.

        As for `FNet`, it is followed from node to node as an interval, for each place in a block of `divisor` voxels.
        """

        @cache
        def needed(i: int, j: int, low: int, high: int) -> tuple[int, int]:
            """Voxels of the input that an interval of X[i, j] depends on."""
            low, high = low - 2, high + 2
            if i == j == 0:
                return low, high
            if j == 0:
                return needed(i - 1, 0, 2 * low, 2 * high + 1)
            sources = [needed(i, k, low, high) for k in range(j)] + [needed(i + 1, j - 1, low // 2, high // 2)]
            return min(a for a, _ in sources), max(b for _, b in sources)

        spans = [(place, *needed(0, self.depth, place, place)) for place in range(self.divisor)]
        return max(max(place - low, high - place) for place, low, high in spans)

    def encoder_parts(self) -> list[nn.Module]:
        """Column 0."""
        return [self.encoders]

    def all_but_head_parts(self) -> list[nn.Module]:
        """All nodes."""
        return [*self.encoder_parts(), self.ups, self.nodes]

    def compute(self, x: Tensor, modality: Tensor | None) -> Tensor:
        """Compute column 0, then one column after the other."""
        levels = [[self.encoders[0](x, modality)]]
        for encoder in list(self.encoders)[1:]:
            levels.append([encoder(self.pool(levels[-1][0]), modality)])
        for i, j in self._beyond_column_0():
            raised = self.ups[f"{i}_{j}"](levels[i + 1][j - 1])
            levels[i].append(self.nodes[f"{i}_{j}"](torch.cat((*levels[i], raised), dim=1)))
        return self.head(levels[0][-1])  # type: ignore[no-any-return]
