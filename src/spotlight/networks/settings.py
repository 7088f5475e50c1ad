"""Settings of the networks: each builds its network and describes it. Free of torch until one is built."""

import math
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny

from spotlight.errors import SpotlightError
from spotlight.given import path_of, recall_class, remember
from spotlight.registry import Registry
from spotlight.settings import Settings

if TYPE_CHECKING:
    from spotlight.networks.base import StainNetwork

BYTES_PER_VOXEL = {2: 110, 3: 60}
"""Memory of F-net's training step by dimensions, per voxel of a patch and channel; see benchmarks/memory.py."""

Conditioning = Literal["none", "dynamic", "film"]
ConditioningField = Annotated[
    Conditioning,
    Field(
        description="How the network takes the modality of its input: not at all; by a first convolution whose "
        "kernels depend on it ('dynamic', Liu et al. 2024); or by scales and shifts of the channels of every level of "
        "the encoder ('film', Perez et al. 2018)."
    ),
]


class NetworkSettings(Settings):
    """What the settings of every network can do.

    A network of another package extends this class, names itself by ``architecture: Literal["my_name"] = "my_name"``,
    and is registered by an entry point of the group ``spotlight.networks``; see docs/extending.md.

    Examples
    --------
    >>> from spotlight.networks import NETWORKS
    >>> settings = NETWORKS.parse({"architecture": "fnet", "depth": 2})
    >>> settings.build(dims=2).divisor, settings.memory_width
    (4, 32)
    """

    architecture: str
    conditioning: ConditioningField = "none"

    @abstractmethod
    def build(self, dims: int, stains: int = 1, modalities: int = 0, in_channels: int = 1) -> "StainNetwork":
        """Build the network.

        Parameters
        ----------
        dims : 2 or 3
            Spatial dimensions of the stacks.
        stains : int
            Channels of the output.
        modalities : int
            Number of modalities, for settings whose `conditioning` is not "none", and 0 for others.
        in_channels : int
            Channels of the input.

        Raises
        ------
        ValueError
            If the network does not go with the dimensions, or the conditioning with the number of modalities.
        """

    @abstractmethod
    def describe(self) -> str:
        """Name the network, its sizes, and where its initial weights come from, in words for people."""

    @property
    def bounded(self) -> bool:
        """Whether the output stays within -1 and 1, so that only targets within them can be learnt."""
        return False

    @property
    @abstractmethod
    def memory_width(self) -> int:
        """Channels at full resolution of the F-net whose training step needs as much memory."""

    def step_memory(self, patch: tuple[int, ...]) -> int:
        """Bytes that a training step needs for each patch of a batch."""
        return math.prod(patch) * self.memory_width * BYTES_PER_VOXEL[len(patch)]


NETWORKS: Registry[NetworkSettings] = Registry("network", "spotlight.networks", NetworkSettings, "architecture", "fnet")
"""All networks; F-net where plain values do not say which, as before there were others."""
NetworkField = Annotated[SerializeAsAny[NetworkSettings], BeforeValidator(NETWORKS.parse), NETWORKS]
"""A network as a field of other settings."""


@NETWORKS.register
class FNetSettings(NetworkSettings):
    """F-net (Ounkomol et al. 2018). The published network has depth 4 and 32 channels.

    Examples
    --------
    >>> from spotlight.networks import FNetSettings
    >>> settings = FNetSettings(depth=3, mult_chan=16)  # a laptop's
    >>> sum(weights.numel() for weights in settings.build(dims=3).parameters())
    1445953
    """

    architecture: Literal["fnet"] = "fnet"
    depth: int = Field(4, ge=1, le=7, description="How often the image is halved.")
    mult_chan: int = Field(32, ge=1, le=1024, description="Channels at the first level, doubled at each further one.")
    block: Literal["plain", "residual"] = Field(
        "plain",
        description="Two convolutions as published, or with a shortcut around them (1-wide where channels change).",
    )
    init: Literal["fnet", "torch"] = Field(
        "fnet", description="Initial weights: N(0, 0.02) as published, or PyTorch's."
    )
    positive: bool = Field(
        False, description="A softplus behind the last layer, so that a stain is never below 0; for the loss 'sharp'."
    )

    def build(self, dims: int, stains: int = 1, modalities: int = 0, in_channels: int = 1) -> "StainNetwork":
        """Build an F-net; see `NetworkSettings.build`."""
        from spotlight.networks.fnet import FNet

        return FNet(
            dims,
            self.depth,
            self.mult_chan,
            stains,
            self.block,
            self.init,
            modalities,
            self.conditioning,
            self.positive,
            in_channels,
        )

    def describe(self) -> str:
        """See `NetworkSettings.describe`."""
        start = "N(0, 0.02)" if self.init == "fnet" else "PyTorch's initial weights"
        blocks = ", residual blocks" if self.block == "residual" else ""
        return (
            f"F-net of depth {self.depth} with {self.mult_chan} channels{blocks} (Ounkomol et al. 2018: 4, 32), begun "
            f"from {start}{', with a softplus at the end' if self.positive else ''}"
        )

    @property
    def width(self) -> int:
        """Channels at full resolution."""
        return self.mult_chan

    @property
    def memory_width(self) -> int:
        """Width of the F-net whose training step needs as much memory."""
        return self.width


@NETWORKS.register
class Pix2PixSettings(NetworkSettings):
    """The generator of pix2pix with a decoder per stain (Liu et al. 2024, arXiv:2406.15716); two dimensions only.

    Examples
    --------
    >>> from spotlight.networks import Pix2PixSettings
    >>> Pix2PixSettings().bounded, Pix2PixSettings(tanh=False).bounded
    (True, False)
    >>> Pix2PixSettings(width=4, blocks=1).build(dims=2, stains=4).stains
    4
    """

    architecture: Literal["pix2pix"] = "pix2pix"
    width: int = Field(64, ge=1, le=1024, description="Channels at full resolution; four times as many in the trunk.")
    blocks: int = Field(9, ge=0, le=64, description="Residual blocks. The paper has 9, its published code 12.")
    dropout: float = Field(0.5, ge=0, lt=1, description="Share dropped in every residual block while training.")
    tanh: bool = Field(
        True,
        description="End in a hyperbolic tangent, for targets within -1 and 1. Standardised targets have no such "
        "bounds, and need it off.",
    )

    def build(self, dims: int, stains: int = 1, modalities: int = 0, in_channels: int = 1) -> "StainNetwork":
        """Build the generator; see `NetworkSettings.build`."""
        from spotlight.networks.pix2pix import Pix2PixGenerator

        if dims != 2:
            raise ValueError(
                f"the network pix2pix is for two-dimensional images. Received: {dims} dimensions. Set "
                "network.architecture to 'fnet' or 'unetpp', or give single planes."
            )
        return Pix2PixGenerator(
            self.width, self.blocks, stains, self.dropout, self.tanh, modalities, self.conditioning, in_channels
        )

    def describe(self) -> str:
        """See `NetworkSettings.describe`."""
        return (
            f"pix2pix of {self.blocks} blocks with {self.width} channels (Liu et al. 2024: 9, 64), begun from "
            "PyTorch's initial weights"
        )

    @property
    def bounded(self) -> bool:
        """See `NetworkSettings.bounded`."""
        return self.tanh

    @property
    def memory_width(self) -> int:
        """Width of the F-net whose training step needs as much memory: that of four stains, as benchmarks/memory.py."""
        return 7 * self.width // 4


@NETWORKS.register
class UNetPlusPlusSettings(NetworkSettings):
    """UNet++ (Zhou et al. 2019, arXiv:1912.05074). The published network has depth 4 and 32 channels.

    Examples
    --------
    >>> from spotlight.networks import UNetPlusPlusSettings
    >>> UNetPlusPlusSettings(depth=3, width=8).build(dims=2).divisor
    8
    """

    architecture: Literal["unetpp"] = "unetpp"
    depth: int = Field(4, ge=1, le=6, description="How often the image is halved.")
    width: int = Field(32, ge=1, le=1024, description="Channels at full resolution, doubled at each further level.")

    def build(self, dims: int, stains: int = 1, modalities: int = 0, in_channels: int = 1) -> "StainNetwork":
        """Build a UNet++; see `NetworkSettings.build`."""
        from spotlight.networks.unetpp import UNetPlusPlus

        return UNetPlusPlus(dims, self.depth, self.width, stains, modalities, self.conditioning, in_channels)

    def describe(self) -> str:
        """See `NetworkSettings.describe`."""
        return (
            f"UNet++ of depth {self.depth} with {self.width} channels (Zhou et al. 2019: 4, 32), begun from PyTorch's "
            "initial weights"
        )

    @property
    def memory_width(self) -> int:
        """Width of the F-net whose training step needs as much memory: it has two nodes at full resolution."""
        return -(-self.width * (self.depth + 1) // 2)


@NETWORKS.register
class ModuleSettings(NetworkSettings):
    """A PyTorch module that a caller gave in Python, as ``network=MyNetwork``; made by `ModuleSettings.of`.

    It maps (B, in_channels, [Z,] Y, X) to (B, stains, [Z,] Y, X). Attributes that it may have, as `StainNetwork` has
    them: ``divisor``, without which it is measured; ``reach``, without which every value is taken to depend on all of
    its tile; ``memory_width``, without which it is 32.

    Examples
    --------
    >>> import functools
    >>> import torch
    >>> from spotlight.networks import ModuleSettings
    >>> layer = functools.partial(torch.nn.Conv3d, in_channels=1, out_channels=1, kernel_size=3, padding=1)
    >>> settings = ModuleSettings.of(layer)  # what train(..., network=layer) does
    >>> settings.source, settings.arguments["kernel_size"]
    ('torch.nn.modules.conv:Conv3d', 3)
    """

    architecture: Literal["module"] = "module"
    source: str = Field(description="Module and name of its class.")
    sha256: str = Field("", description="SHA-256 of the source of its class.")
    arguments: dict[str, Any] = Field({}, description="Keyword arguments of its class.")

    @classmethod
    def of(cls, given: Any) -> Self:
        """Record a class, ``functools.partial(MyNetwork, width=8)``, or a module whose class needs no arguments.

        Raises
        ------
        SpotlightError
            If nothing could find or build it again when the model is loaded.
        """
        from torch import nn

        made, arguments = given, {}
        if isinstance(given, partial):
            made, arguments = given.func, dict(given.keywords)
        kind = made if isinstance(made, type) else type(made)
        path = path_of(kind)
        if not issubclass(kind, nn.Module) or (isinstance(given, partial) and (given.args or made is not kind)):
            raise SpotlightError(
                "network must be settings, a name, a class of torch.nn.Module, or functools.partial of one with "
                f"keyword arguments. Received: {given!r}."
            )
        if path.startswith("__main__:") or "<locals>" in path:
            raise SpotlightError(
                f"the network {path} could not be found again when the model is loaded. Put the class at the top level "
                "of a file of its own, such as my_network.py, and import it from there."
            )
        if made is not kind:
            try:
                same = _shapes(kind()) == _shapes(made)
            except TypeError:
                same = False
            if not same:
                raise SpotlightError(
                    f"the network is an object whose class {path} needs arguments, which cannot be read from it. Give "
                    f"the class with its arguments: network=functools.partial({kind.__name__}, ...)."
                )
        plain = (bool, int, float, str, list, tuple, type(None))
        if bad := [name for name, value in arguments.items() if not isinstance(value, plain)]:
            raise SpotlightError(
                f"arguments of the network must be numbers, texts, or lists of them, so that model.yaml can record "
                f"them. Change: {', '.join(bad)}."
            )
        return cls(**remember(made, kind), arguments=arguments)

    def build(self, dims: int, stains: int = 1, modalities: int = 0, in_channels: int = 1) -> "StainNetwork":
        """Build it; see `NetworkSettings.build`."""
        from torch import nn

        from spotlight.networks.module import ModuleNetwork, copy_of

        if modalities:
            raise ValueError(f"the network {self.source} takes no modality. Set modalities to 'unified' or 'separate'.")
        found = recall_class(self.source, self.sha256, nn.Module)
        module = copy_of(found) if isinstance(found, nn.Module) else found(**self.arguments)
        return ModuleNetwork(module, dims, stains, self.source, in_channels)

    def describe(self) -> str:
        """See `NetworkSettings.describe`."""
        said = ", ".join(f"{name} {value}" for name, value in self.arguments.items())
        return f"{self.source}{f' ({said})' if said else ''}, source {self.sha256[:12]}"

    @property
    def memory_width(self) -> int:
        """That of its class, or 32."""
        from torch import nn

        return int(getattr(recall_class(self.source, self.sha256, nn.Module), "memory_width", 32))


def _shapes(module: Any) -> dict[str, Any]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


NETWORKS.of_given = ModuleSettings.of
