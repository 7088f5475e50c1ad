"""A network that names what a patch shows: an encoder, its deepest features pooled, and a linear layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spotlight.networks.base import StainNetwork
from spotlight.networks.fnet import FNet


class ClassNetwork(StainNetwork):
    """The encoder of an F-net; the mean and the maximum of every deepest feature lead to a number per class.

    Parameters
    ----------
    trunk : FNet
        Its encoder is taken over, and its decoder dropped. Its outputs are the classes.

    Attributes
    ----------
    trunk : FNet
        The encoder alone.
    head : Linear
        From twice the number of deepest features to the classes.

    Raises
    ------
    ValueError
        If it is another network.
    """

    def __init__(self, trunk: StainNetwork) -> None:
        if not isinstance(trunk, FNet):
            raise ValueError(f"classes are learnt by the encoder of 'fnet', not by {type(trunk).__name__}")
        super().__init__(trunk.dims, trunk.width, trunk.stains, trunk.modalities, trunk.conditioning, trunk.in_channels)
        self.pools = True
        self.trunk = trunk
        trunk.drop_decoder()
        self.head = nn.Linear(2 * trunk.width * 2**trunk.depth, trunk.stains)

    @property
    def memory_width(self) -> int:
        """That of the F-net, which is more than it needs."""
        return self.trunk.memory_width

    @property
    def divisor(self) -> int:
        """That of the F-net."""
        return self.trunk.divisor

    @property
    def reach(self) -> None:
        """What is said of a patch depends on all of it."""
        return

    def encoder_parts(self) -> list[nn.Module]:
        """The encoder."""
        return self.trunk.encoder_parts()

    def all_but_head_parts(self) -> list[nn.Module]:
        """The encoder."""
        return self.trunk.encoder_parts()

    def last_layers(self) -> Sequence[nn.Linear]:
        """Return the linear layer."""
        return [self.head]

    def compute(self, x: Tensor, modality: Tensor | None) -> Tensor:
        """Map patches to (B, classes, [1,] 1, 1): numbers whose softmax is the probability of each class."""
        features = self.trunk.deepest(x, modality).flatten(2)
        found: Tensor = self.head(torch.cat((features.mean(2), features.amax(2)), 1))
        return found.reshape(*found.shape, *[1] * self.dims)
