"""Settings of the networks, free of torch."""

from typing import Literal

from pydantic import Field

from spotlight.settings import Settings


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
