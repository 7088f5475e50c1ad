"""What every network here is: `StainNetwork`, which turns stacks of transmitted light into one channel per stain."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

THIN, WIDE = 8, 64
"""Planes up to which, and pixels of Y or X beyond which, gradients are computed in float32; see `sound`."""


def sound(x: Tensor) -> tuple[Tensor, AbstractContextManager[object]]:
    """Input of a convolution, and what to compute it in: float32 where PyTorch's bfloat16 is not sound on a processor.

    With torch 2.13 and AVX512-bf16, gradients of weights hold memory that was never written if the input has one or two
    planes, as on the innermost level of the published F-net, which is a hundredth of the work; with one plane of one
    channel the values are wrong, too. With up to eight planes of more than about 90 rows, gradients are wrong or
    written beyond their end, which ends the process (seen for 4 x 96 x 96 voxels; not for 4 x 90 x 90, nor 9 planes).
    """
    if x.ndim == 5 and torch.is_autocast_enabled("cpu") and x.device.type == "cpu":
        planes, *edges = x.shape[2:]
        if planes <= 2 or (planes <= THIN and max(edges) > WIDE and torch.is_grad_enabled()):
            return x.float(), torch.autocast("cpu", enabled=False)
    return x, nullcontext()


class Conv3d(nn.Conv3d):
    """A convolution that is computed where it is `sound`."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (N, C, Z, Y, X)."""
        input, arithmetic = sound(input)
        with arithmetic:
            return super().forward(input)


CONV: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: Conv3d}
UPCONV: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORM: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class StainNetwork(nn.Module, ABC):
    """A network with one or several channels of input and a channel of output per stain.

    Parameters
    ----------
    dims : 2 or 3
        Spatial dimensions.
    width : int
        Channels at full resolution.
    stains : int
        Channels of the output.
    modalities : int
        Number of modalities that the network takes as a second input; 0 if it takes none.
    conditioning : "none", "dynamic" or "film"
        How it uses the modality; see `spotlight.networks.conditioning`.
    in_channels : int
        Channels of the input.

    Attributes
    ----------
    dims, width, stains, modalities, conditioning, in_channels
        As given.
    adds_input : bool
        Whether the first channel of the input is added to every output, so that the network gives a correction;
        False, unless a task sets it.
    pools : bool
        Whether the network gives one number per output and patch, instead of an image.

    Raises
    ------
    ValueError
        If a number is out of range, or `conditioning` and `modalities` contradict each other.

    Examples
    --------
    >>> import torch
    >>> from spotlight.networks import StainNetwork
    >>> class Line(StainNetwork):
    ...     divisor, reach = 1, 0  # any shape; a voxel depends on itself alone
    ...     def __init__(self, stains=1):
    ...         super().__init__(dims=3, width=1, stains=stains, modalities=0, conditioning="none")
    ...         self.head = torch.nn.Conv3d(1, stains, 1)
    ...     def compute(self, x, modality):
    ...         return self.head(x)
    ...     def encoder_parts(self):
    ...         return []
    ...     def all_but_head_parts(self):
    ...         return []
    >>> network = Line(stains=2)
    >>> network.begin_at([0.5, 2.0])
    >>> network(torch.zeros(1, 1, 5, 7, 9))[0, :, 0, 0, 0].tolist()
    [0.5, 2.0]
    """

    def __init__(
        self, dims: int, width: int, stains: int, modalities: int, conditioning: str, in_channels: int = 1
    ) -> None:
        super().__init__()
        if dims not in (2, 3) or stains < 1 or in_channels < 1:
            raise ValueError(
                "a network needs 2 or 3 spatial dimensions, at least one stain and at least one input channel. "
                f"Received: {dims}, {stains} and {in_channels}."
            )
        if modalities < 0 or (modalities > 0) != (conditioning != "none"):
            raise ValueError(
                "a network whose conditioning is 'dynamic' or 'film' needs the number of modalities, and one whose "
                f"conditioning is 'none' has 0. Received: conditioning {conditioning!r} with {modalities} modalities. "
                "Change network.conditioning, or state the modality of the data."
            )
        self.dims = dims
        self.width = width
        self.stains = stains
        self.modalities = modalities
        self.conditioning = conditioning
        self.in_channels = in_channels
        self.adds_input = False
        self.pools = False

    @property
    def memory_width(self) -> int:
        """Width of the F-net that needs as much memory to compute."""
        return self.width

    @property
    @abstractmethod
    def divisor(self) -> int:
        """Every spatial axis of the input must be a multiple of this; of a window of planes, Y and X."""

    @property
    def window(self) -> int | None:
        """Planes that the network takes at once, not more and not fewer; None if it takes any number."""
        return None

    @property
    def whole(self) -> bool:
        """Whether it is to be given stacks as a whole, never tiles."""
        return False

    @property
    def divisors(self) -> tuple[int, ...]:
        """Of what every spatial axis of a tile must be a multiple."""
        each = (self.divisor,) * self.dims
        return each if self.window is None else (1, *each[1:])

    @property
    def layout(self) -> torch.memory_format:
        """Memory layout of weights and images in which it is fastest."""
        return channels_last(self.dims)

    @property
    @abstractmethod
    def reach(self) -> int | None:
        """Voxels along an axis, to either side, on which a voxel of the output can depend at most.

        None if it depends on all of the input, as instance normalisation makes it.
        """

    @abstractmethod
    def encoder_parts(self) -> list[nn.Module]:
        """Modules that stay as they are where the encoder is frozen."""

    @abstractmethod
    def all_but_head_parts(self) -> list[nn.Module]:
        """Modules that stay as they are where only the last layer of every stain is trained."""

    def last_layers(self) -> Sequence[nn.Module]:
        """Return the layers whose sizes depend on the stains: those of the head, in the outputs' order."""
        kept = {id(module) for part in self.all_but_head_parts() for module in part.modules()}
        return [m for m in self.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d)) and id(m) not in kept]

    @torch.no_grad()
    def begin_at(self, values: Sequence[float]) -> None:
        """Let every output be a constant, that of its number, until the head has learnt something.

        The last layers get weights 0, and the values as their biases.

        Parameters
        ----------
        values : sequence of float
            One for each output.

        Raises
        ------
        ValueError
            If the network has no layer with a bias as the last of every output.
        """
        last = [one for one in self.last_layers() if isinstance(one, (nn.Conv2d, nn.Conv3d, nn.Linear))]
        if sum(len(layer.weight) for layer in last) != len(values) or any(layer.bias is None for layer in last):
            raise ValueError(f"{type(self).__name__} has no layer with a bias as the last of every output")
        left = list(values)
        for layer in last:
            assert layer.bias is not None
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor([left.pop(0) for _ in range(len(layer.weight))]))

    @abstractmethod
    def compute(self, x: Tensor, modality: Tensor | None) -> Tensor:
        """Compute `forward`; the modality has been checked."""

    def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        """Map (B, in_channels, [Z,] Y, X) to (B, stains, [Z,] Y, X).

        Parameters
        ----------
        x : (B, in_channels, [Z,] Y, X) tensor
            Normalised transmitted light; every spatial axis a multiple of `divisor`.
        modality : (B, modalities) tensor, optional
            Which modality each sample is, 1 there and 0 elsewhere; given exactly if `modalities` is not 0.

        Raises
        ------
        ValueError
            If the modality is missing, not taken or of another shape.
        """
        if modality is None and self.modalities:
            raise ValueError(
                f"this network is conditioned on {self.modalities} modalities and needs them: give a (batch, "
                f"{self.modalities}) tensor, or fix the modality by Conditioned(network, modality)."
            )
        if modality is not None and not self.modalities:
            raise ValueError("this network is not conditioned on the modality. Leave `modality` out.")
        if modality is not None and modality.shape != (x.shape[0], self.modalities):
            raise ValueError(
                f"`modality` must have {self.modalities} numbers for each of {x.shape[0]} samples. "
                f"Received: shape {tuple(modality.shape)}."
            )
        found = self.compute(x, modality)
        return found + x[:, :1] if self.adds_input else found


class AroundNetwork(StainNetwork):
    """Another use of a network: all that it does not change is the network's own.

    Parameters
    ----------
    network : StainNetwork
        What is used.
    modalities : int
        As of `StainNetwork`; that of the network unless it is given.
    """

    def __init__(self, network: StainNetwork, modalities: int | None = None) -> None:
        conditioning = network.conditioning if modalities is None or modalities else "none"
        modalities = network.modalities if modalities is None else modalities
        super().__init__(network.dims, network.width, network.stains, modalities, conditioning, network.in_channels)
        self.network = network

    @property
    def memory_width(self) -> int:
        """That of the network."""
        return self.network.memory_width

    @property
    def divisor(self) -> int:
        """That of the network."""
        return self.network.divisor

    @property
    def window(self) -> int | None:
        """That of the network."""
        return self.network.window

    @property
    def whole(self) -> bool:
        """That of the network."""
        return self.network.whole

    @property
    def layout(self) -> torch.memory_format:
        """That of the network."""
        return self.network.layout

    @property
    def reach(self) -> int | None:
        """That of the network."""
        return self.network.reach

    def encoder_parts(self) -> list[nn.Module]:
        """Those of the network."""
        return self.network.encoder_parts()

    def all_but_head_parts(self) -> list[nn.Module]:
        """Those of the network."""
        return self.network.all_but_head_parts()

    def last_layers(self) -> Sequence[nn.Module]:
        """Those of the network."""
        return self.network.last_layers()


def channels_last(dims: int) -> torch.memory_format:
    """Memory layout in which convolutions are fastest, for two- or three-dimensional stacks.

    Parameters
    ----------
    dims : 2 or 3
        Spatial dimensions.

    Returns
    -------
    torch.memory_format
        ``channels_last`` or ``channels_last_3d``, for `torch.nn.Module.to` and `torch.Tensor.to`.

    Examples
    --------
    >>> import torch
    >>> from spotlight.networks import channels_last
    >>> channels_last(3) is torch.channels_last_3d
    True
    """
    return torch.channels_last_3d if dims == 3 else torch.channels_last
