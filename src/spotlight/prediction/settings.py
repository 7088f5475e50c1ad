"""How stains are computed."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from spotlight.settings import Settings


class PredictionSettings(Settings):
    """How a stack is cut into tiles and computed.

    Examples
    --------
    >>> from spotlight.prediction import PredictionSettings
    >>> PredictionSettings(tile=(32, 256, 256), device="cpu").overlap is None
    True
    """

    tile: tuple[PositiveInt, ...] | None = Field(
        None,
        description="Most voxels per axis of the network's grid; left out: of tiles with at most so many `voxels`, "
        "and for which there is memory, those with which least is computed twice.",
    )
    voxels: PositiveInt | None = Field(
        None,
        description="Most voxels of a tile whose edges are left out; itself left out: 10 million, or 1 million in two "
        "dimensions. Not for exact tiles, which are as large as memory allows.",
    )
    window: PositiveInt | None = Field(
        None,
        description="Planes that the network sees at once: a window of so many slides over the stack, and every plane "
        "gets the mean of all windows that hold it. Left out: the network's own, or none.",
    )
    window_step: PositiveInt = Field(
        1, description="Planes from one window to the next: 1 is slowest and smoothest, a whole window fastest."
    )
    overlap: tuple[NonNegativeInt, ...] | Literal["exact"] | None = Field(
        None,
        description="Least overlap of tiles, over which they are blended; left out: a quarter of the tile in Y and X "
        "and half of it in Z, at most 64. "
        "'exact' overlaps them by all that the network sees, so that the result is that of the whole stack at once.",
    )
    blend: Literal["linear", "gaussian"] = Field(
        "linear",
        description="Weights of tiles where they overlap: falling linearly towards the neighbour, or a Gaussian around "
        "each tile's centre, of an eighth of its edge (for networks whose output is best there, as in pix2pix).",
    )
    precision: Literal["auto", "float32", "bf16"] = Field(
        "auto",
        description="Arithmetic of the network. 'auto' tries bfloat16 on a piece of the stack, and takes it where it "
        "is faster and its difference to float32 is below a hundredth of the stain's spread; what it took is recorded.",
    )
    device: str = Field(
        "auto", description="'auto' (a GPU if there is one), 'gpu', 'cpu', or as PyTorch names it: 'cuda:1', 'mps'."
    )
    augment: bool = Field(False, description="Mean over the eight flips and quarter turns in YX, eight times the work.")
    spread: bool = Field(
        False,
        description="Add a second channel: the standard deviation over flips, turns and the members of an ensemble.",
    )
