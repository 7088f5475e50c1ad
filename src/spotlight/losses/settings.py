"""Settings of the losses, free of torch."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from spotlight.settings import Settings


class MseSettings(Settings):
    """Mean squared error over all voxels: F-net's loss (Ounkomol et al. 2018)."""

    kind: Literal["mse"] = "mse"


class SpotlightLossSettings(Settings):
    """Spotlight's loss (Kalinin et al. 2025, section 2 and A.4) and what the paper leaves open.

    There is no threshold here: it belongs to the normalisation of the target, and every batch brings it along.
    """

    kind: Literal["spotlight"] = "spotlight"
    weight: float = Field(
        0.5, ge=0, le=1, description="λ: share of the masked squared error; the rest is Dice. Paper: 0.5."
    )
    k: float = Field(-0.95, gt=-1, lt=0, description="Sharpness of the soft threshold. Paper: -0.95.")
    k_start: float | None = Field(
        None,
        gt=-1,
        lt=0,
        description="Sharpness at the first step, from which the slope at the threshold rises evenly on a logarithmic "
        "scale to that of k at half of the run. Left out: k throughout, as in the paper.",
    )
    reading: Literal["clamp", "affine", "literal", "smooth"] = Field(
        "clamp",
        description="How the soft threshold becomes a probability. 'clamp' is what the first author published later; "
        "'affine' keeps gradients on both sides of the threshold up to a distance of 1, 'smooth' at any distance; "
        "'literal' is the printed formula with its pole guarded.",
    )
    reduction: Literal["sample", "batch"] = Field(
        "sample", description="Sums per sample, then their mean (author's later code), or over the whole batch."
    )
    background: float = Field(
        0.0,
        ge=0,
        description="Weight of a one-sided background term, the mean square of what rises above the threshold where "
        "there is no foreground. 0 is the paper; without it short runs can stay where everything is foreground.",
    )
    instances: Literal["none", "cc-dice", "blob"] = Field(
        "none",
        description="A Dice term that weighs every nucleus alike, whatever its size: CC-Dice (arXiv:2511.17146) or "
        "blob loss (Kofler et al. 2023) on the softly thresholded prediction. Not in the paper.",
    )
    instance_weight: float = Field(0.5, ge=0, description="Weight of that term.")
    empty: Literal["skip", "mse"] = Field(
        "skip",
        description="A sample without foreground adds nothing, or its plain squared error (author's later code).",
    )

    @model_validator(mode="after")
    def _instances_need_a_probability(self) -> Self:
        if self.instances != "none" and self.reading == "literal":
            raise ValueError("instances need a probability, which the reading 'literal' does not give")
        return self


LossSettings = Annotated[MseSettings | SpotlightLossSettings, Field(discriminator="kind")]
