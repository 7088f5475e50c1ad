"""Conditioning on the modality: layers that depend on a one-hot vector, and networks for which it is fixed.

`modality` says which kind of transmitted light a sample is (brightfield, phase contrast, DIC): 1 there, 0 elsewhere.
Two layers can use it: the dynamic convolution (Liu et al. 2022, arXiv:2203.04959; first layer only, as in
arXiv:2406.15716) and FiLM (Perez et al. 2018, arXiv:1709.07871). Both start as if they did not depend on it.
"""

import copy
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from spotlight.networks.base import CONV, NORM, AroundNetwork, StainNetwork, sound

GROUPED = {2: functional.conv2d, 3: functional.conv3d}


class ModalityLayer(nn.Module, ABC):
    """A layer that depends on the modality."""

    @abstractmethod
    def forward(self, x: Tensor, modality: Tensor) -> Tensor:
        """Map (B, C, [Z,] Y, X), with `modality` (B, modalities)."""

    @abstractmethod
    def fixed(self, modality: Tensor) -> nn.Module:
        """Give the layer of `x` alone that this one is for a `modality` of shape (modalities,)."""


class DynamicConv(ModalityLayer):
    """A convolution whose kernels are scaled by a linear function of the modality.

    W'[o, i] = s[o, i] W[o, i] over all of the kernel's window, and b'[o] = t[o] b[o], where (s, t) = A m + a for
    the modality m. At the start A is 0 and a is 1, so that it is the plain convolution.

    Where a layer has one input channel and an instance normalisation behind it, the normalisation takes the scale out
    again, but for its sign: such a network learns next to nothing from the modality, and FiLM is what it needs.

    Parameters
    ----------
    plain : Conv2d or Conv3d
        The convolution, with a bias, zero padding and one group.
    modalities : int
        Number of modalities.
    """

    def __init__(self, plain: nn.Conv2d | nn.Conv3d, modalities: int) -> None:
        super().__init__()
        self.plain = plain
        self.scale = nn.Linear(modalities, plain.out_channels * (plain.in_channels + 1))
        nn.init.zeros_(self.scale.weight)
        nn.init.ones_(self.scale.bias)

    def scaled(self, modality: Tensor) -> tuple[Tensor, Tensor]:
        """Kernels (B, out, in, ...) and biases (B, out) for `modality` (B, modalities)."""
        weight, bias = self.plain.weight, self.plain.bias
        assert bias is not None
        outputs, inputs = weight.shape[:2]
        scale, shift = self.scale(modality.to(weight.dtype)).split((outputs * inputs, outputs), dim=1)
        window = (1,) * (weight.ndim - 2)
        return weight * scale.reshape(-1, outputs, inputs, *window), bias * shift

    def forward(self, x: Tensor, modality: Tensor) -> Tensor:
        """Map (B, in, [Z,] Y, X) to (B, out, [Z,] Y, X): one convolution, in which every sample is a group."""
        weight, bias = self.scaled(modality)
        plain, samples = self.plain, x.shape[0]
        x, arithmetic = sound(x)
        with arithmetic:
            out: Tensor = GROUPED[x.ndim - 2](
                x.reshape(1, -1, *x.shape[2:]),
                weight.flatten(0, 1),
                bias.flatten(),
                stride=plain.stride,
                padding=plain.padding,
                groups=samples,
            )
        return out.reshape(samples, -1, *out.shape[2:])

    @torch.no_grad()
    def fixed(self, modality: Tensor) -> nn.Module:
        """Give a plain convolution, which can be fused with a normalisation behind it."""
        conv = copy.deepcopy(self.plain)
        weight, bias = self.scaled(modality[None])
        conv.weight, conv.bias = nn.Parameter(weight[0]), nn.Parameter(bias[0])
        return conv


class Film(ModalityLayer):
    """Feature-wise linear modulation: x'[c] = (1 + g[c]) x[c] + h[c], where (g, h) = A m; A is 0 at the start."""

    def __init__(self, channels: int, modalities: int) -> None:
        super().__init__()
        # Without an offset, which would do the same as the rows of A together.
        self.modulation = nn.Linear(modalities, 2 * channels, bias=False)
        nn.init.zeros_(self.modulation.weight)

    def forward(self, x: Tensor, modality: Tensor) -> Tensor:
        """Keep the shape."""
        modulation: Tensor = self.modulation(modality.to(self.modulation.weight.dtype))
        scale, shift = modulation.reshape(len(x), -1, *[1] * (x.ndim - 2)).chunk(2, dim=1)
        return x * (1 + scale) + shift

    @torch.no_grad()
    def fixed(self, modality: Tensor) -> nn.Module:
        """Give a layer with these scales and shifts."""
        scale, shift = self.modulation(modality.to(self.modulation.weight.dtype)).chunk(2)
        return ChannelAffine(1 + scale, shift)


class ChannelAffine(nn.Module):
    """Channels (C,) times a fixed scale, plus a fixed shift."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        window = (1,) * (x.ndim - 2)
        return x * self.scale.reshape(-1, *window) + self.shift.reshape(-1, *window)


class Block(nn.Sequential):
    """Layers one after another, of which `ModalityLayer`s get the modality."""

    def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        """Apply the layers; `modality` may be left out if none is a `ModalityLayer`."""
        for layer in self:
            x = layer(x, modality) if isinstance(layer, ModalityLayer) else layer(x)
        return x


def double_conv(dims: int, inputs: int, outputs: int, dynamic: int = 0, film: int = 0) -> Block:
    """Two 3-wide convolutions, each with batch normalisation and ReLU.

    Parameters
    ----------
    dims : 2 or 3
        Spatial dimensions.
    inputs, outputs : int
        Channels.
    dynamic, film : int
        Number of modalities on which the first convolution, or the channels before the last ReLU, depend; 0 for
        none.
    """
    first = CONV[dims](inputs, outputs, 3, padding=1)
    return Block(
        DynamicConv(first, dynamic) if dynamic else first,
        NORM[dims](outputs),
        nn.ReLU(inplace=True),
        CONV[dims](outputs, outputs, 3, padding=1),
        NORM[dims](outputs),
        *([Film(outputs, film)] if film else []),
        nn.ReLU(inplace=True),
    )


class Conditioned(AroundNetwork):
    """A copy of a conditioned network with a fixed modality, whose forward takes `x` alone.

    The scaled kernels of dynamic convolutions are plain convolutions here and the modulation of FiLM is a fixed one,
    so that what prediction and export do with networks, such as fusing normalisations, goes for this one, too.

    Parameters
    ----------
    network : StainNetwork
        One with `modalities` > 0; it is copied and stays as it is.
    modality : (modalities,) tensor
        1 at the fixed modality, 0 elsewhere.

    Raises
    ------
    ValueError
        If the network is not conditioned, or `modality` has another length.

    Examples
    --------
    >>> import torch
    >>> from spotlight.networks import Conditioned, FNet
    >>> network = FNet(depth=1, mult_chan=2, modalities=3, conditioning="film").eval()
    >>> brightfield = torch.tensor([1.0, 0.0, 0.0])
    >>> x = torch.rand(1, 1, 4, 8, 8)
    >>> with torch.no_grad():
    ...     same = torch.allclose(Conditioned(network, brightfield)(x), network(x, brightfield[None]), atol=1e-5)
    >>> same
    True
    """

    def __init__(self, network: StainNetwork, modality: Tensor) -> None:
        super().__init__(network, modalities=0)
        if not network.modalities or modality.shape != (network.modalities,):
            raise ValueError(
                f"`modality` must have shape ({network.modalities},) for this network, and a "
                f"network without modalities takes none. Received: shape {tuple(modality.shape)}."
            )
        self.network = copy.deepcopy(network)
        self.adds_input = network.adds_input
        self.network.modalities, self.network.conditioning = 0, "none"
        for parent in list(self.network.modules()):
            for name, layer in list(parent.named_children()):
                if isinstance(layer, ModalityLayer):
                    setattr(parent, name, layer.fixed(modality))
        self.train(network.training)

    def compute(self, x: Tensor, modality: Tensor | None) -> Tensor:
        """Apply the network, whose modality is fixed."""
        return self.network.compute(x, modality)
