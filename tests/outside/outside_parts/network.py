"""A network."""

from typing import Literal

from pydantic import Field

from spotlight.networks import NetworkSettings, StainNetwork


class NetSettings(NetworkSettings):
    """Two convolutions."""

    architecture: Literal["outside_net"] = "outside_net"
    width: int = Field(4, ge=1, description="Channels between them.")

    def build(self, dims: int, stains: int = 1, modalities: int = 0) -> StainNetwork:
        return make_class()(dims, self.width, stains, modalities, self.conditioning)

    def describe(self) -> str:
        return f"two convolutions with {self.width} channels"

    @property
    def memory_width(self) -> int:
        return self.width


def make_class() -> type[StainNetwork]:
    """Import PyTorch when a network is built, and not when settings are read."""
    from outside_parts.two_convolutions import TwoConvolutions

    return TwoConvolutions
