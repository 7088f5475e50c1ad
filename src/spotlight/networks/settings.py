"""Settings of the networks, free of torch."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from spotlight.settings import Settings

Conditioning = Literal["none", "dynamic", "film"]
ConditioningField = Annotated[
    Conditioning,
    Field(
        description="How the network is told the modality of its input: not at all; by a first convolution whose "
        "kernels depend on it ('dynamic', Liu et al. 2024); or by scales and shifts of the channels of every level of "
        "the encoder ('film', Perez et al. 2018)."
    ),
]


class FNetSettings(Settings):
    """F-net (Ounkomol et al. 2018). The published network has depth 4 and 32 channels."""

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
    conditioning: ConditioningField = "none"

    @property
    def width(self) -> int:
        """Channels at full resolution."""
        return self.mult_chan

    @property
    def memory_width(self) -> int:
        """Width of the F-net whose training step needs as much memory."""
        return self.width


class Pix2PixSettings(Settings):
    """The generator of pix2pix with a decoder per stain (Liu et al. 2024, arXiv:2406.15716); two dimensions only."""

    architecture: Literal["pix2pix"] = "pix2pix"
    width: int = Field(64, ge=1, le=1024, description="Channels at full resolution; four times as many in the trunk.")
    blocks: int = Field(9, ge=0, le=64, description="Residual blocks. The paper has 9, its published code 12.")
    dropout: float = Field(0.5, ge=0, lt=1, description="Share dropped in every residual block while training.")
    tanh: bool = Field(
        True,
        description="End in a hyperbolic tangent, for targets within -1 and 1. Standardised targets have no such "
        "bounds, and need it off.",
    )
    conditioning: ConditioningField = "none"

    @property
    def memory_width(self) -> int:
        """Width of the F-net whose training step needs as much memory: that of four stains, as benchmarks/memory.py."""
        return 7 * self.width // 4


class UNetPlusPlusSettings(Settings):
    """UNet++ (Zhou et al. 2019, arXiv:1912.05074). The published network has depth 4 and 32 channels."""

    architecture: Literal["unetpp"] = "unetpp"
    depth: int = Field(4, ge=1, le=6, description="How often the image is halved.")
    width: int = Field(32, ge=1, le=1024, description="Channels at full resolution, doubled at each further level.")
    conditioning: ConditioningField = "none"

    @property
    def memory_width(self) -> int:
        """Width of the F-net whose training step needs as much memory: it has two nodes at full resolution."""
        return -(-self.width * (self.depth + 1) // 2)


def _architecture(values: Any) -> Any:
    """What tells the settings apart; F-net where nothing is said, as before there were others."""
    return values.get("architecture", "fnet") if isinstance(values, dict) else getattr(values, "architecture", None)


NetworkSettings = Annotated[
    Annotated[FNetSettings, Tag("fnet")]
    | Annotated[Pix2PixSettings, Tag("pix2pix")]
    | Annotated[UNetPlusPlusSettings, Tag("unetpp")],
    Discriminator(
        _architecture,
        custom_error_type="architecture",
        custom_error_message="architecture must be 'fnet', 'pix2pix' or 'unetpp'",
    ),
]
