"""Settings of the networks of VisCy: UNeXt2 and FCMAE. Free of torch until one is built."""

import math
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from spotlight.networks.settings import BYTES_PER_VOXEL, NETWORKS, NetworkSettings

if TYPE_CHECKING:
    from spotlight.networks.base import StainNetwork


class _UNeXtSettings(NetworkSettings):
    """What UNeXt2 and FCMAE have in common."""

    conditioning: Literal["none"] = Field("none", description="It cannot take the modality of its input.")
    depths: tuple[PositiveInt, ...] = Field((3, 3, 9, 3), description="Blocks of every stage of the encoder.")
    widths: tuple[PositiveInt, ...] = Field((96, 192, 384, 768), description="Channels of every stage of the encoder.")
    window: PositiveInt = Field(
        5, description="Planes that it sees at once, of stacks; deeper stacks are stained window by window."
    )
    stem: tuple[PositiveInt, PositiveInt] = Field(
        (5, 4), description="Planes and pixels that the first convolution makes one place of."
    )

    @model_validator(mode="after")
    def _sizes_go_together(self) -> Self:
        planes, pixels = self.stem
        first, window = self.widths[0], self.window
        if len(self.depths) != len(self.widths) or len(self.widths) < 2 or any(width % 4 for width in self.widths[1:]):
            raise ValueError(
                "depths and widths need one number for each of two or more stages, and widths after the first are "
                f"multiples of 4, since pixels are shuffled by 2. Received: {self.depths}, {self.widths}"
            )
        if window % planes or first % (window // planes):
            raise ValueError(
                f"the first convolution takes {planes} planes (stem), which must divide the window of {window}, and "
                f"its {first} channels (widths) must be a multiple of the {window // planes or 1} places in depth"
            )
        if self.architecture == "unext2" and pixels != 4:
            raise ValueError(f"the head of UNeXt2 enlarges by 4, so the second number of stem must be 4, not {pixels}")
        return self

    def build(self, dims: int, stains: int = 1, modalities: int = 0, in_channels: int = 1) -> "StainNetwork":
        """Build it; see `NetworkSettings.build`."""
        from spotlight.networks.unext import UNeXt

        if modalities:
            raise ValueError(
                f"the network {self.architecture} takes no modality. Set modalities to 'unified' or 'separate'."
            )
        kind: Any = self.architecture
        return UNeXt(dims, kind, self.depths, self.widths, self.window, self.stem, stains, in_channels)

    def describe(self) -> str:
        """See `NetworkSettings.describe`."""
        name = "UNeXt2" if self.architecture == "unext2" else "FCMAE"
        return (
            f"{name} with {'-'.join(map(str, self.depths))} blocks of {'-'.join(map(str, self.widths))} channels (Liu "
            f"et al. 2025: 3-3-9-3, 96-192-384-768) for windows of {self.window} planes, begun from random weights"
        )

    @property
    def memory_width(self) -> int:
        """See `NetworkSettings.memory_width`; here, per plane of a window."""
        return math.ceil(self._bytes_per_pixel(self.window) / self.window / BYTES_PER_VOXEL[3])

    def step_memory(self, patch: tuple[int, ...]) -> int:
        """See `NetworkSettings.step_memory`; the planes of a patch are folded into channels."""
        return math.prod(patch[-2:]) * math.ceil(self._bytes_per_pixel(self.window if len(patch) == 3 else 1))

    def _bytes_per_pixel(self, window: int) -> float:
        """What a training step needs per pixel, for two stains: 25 values per channel of every block, as measured."""
        down: float = sum(d * w / 4**n for n, (d, w) in enumerate(zip(self.depths, self.widths, strict=True)))
        up: float = sum(2 * w / 4**n for n, w in list(enumerate(self.widths))[1:-1])
        pixels = self.stem[1] ** 2
        return 4 * 25 * (down + up + 4 * pixels * (window + 2)) / pixels


@NETWORKS.register
class UNeXt2Settings(_UNeXtSettings):
    """UNeXt2 (Liu et al. 2025), a U-Net of ConvNeXt-V2 blocks that takes windows of planes.

    Examples
    --------
    >>> from spotlight.networks import UNeXt2Settings
    >>> settings = UNeXt2Settings(depths=(1, 1), widths=(8, 16), window=5)
    >>> settings.build(dims=3).window
    5
    """

    architecture: Literal["unext2"] = "unext2"


@NETWORKS.register
class FcmaeSettings(_UNeXtSettings):
    """The network of VisCy's masked autoencoder (Liu et al. 2025): UNeXt2 with a head that has no weights.

    Examples
    --------
    >>> from spotlight.networks import FcmaeSettings
    >>> settings = FcmaeSettings(depths=(1, 1), widths=(8, 16), window=5)
    >>> network = settings.build(dims=3, in_channels=2)
    >>> network.window, network.in_channels
    (5, 2)
    """

    architecture: Literal["fcmae"] = "fcmae"
