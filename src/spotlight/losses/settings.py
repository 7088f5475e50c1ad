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
    average: Literal["masks", "voxels"] = Field(
        "masks",
        description="What the squared errors of foreground and background are averaged over: each over its own mask "
        "(paper), or both over all voxels. With 'masks', and 6 % foreground, a foreground voxel weighs 16 times one of "
        "the background, so that whatever may be a nucleus is stained as one; 'voxels' weighs all alike.",
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


class L1Settings(Settings):
    """Mean absolute error, with less weight on a target's darkest and brightest pixels (Liu et al. 2024, eq. 2)."""

    kind: Literal["l1"] = "l1"
    weight: float = Field(100.0, gt=0, description="Weight of the error beside an adversarial loss. Paper: 100.")
    percentiles: tuple[float, float] | None = Field(
        (2.0, 99.8),
        description="Percentiles of the whole target between which pixels have the weight 1; none: all pixels have it.",
    )
    outside: float = Field(0.1, ge=0, le=1, description="Weight of the pixels at and beyond them. Paper: 0.1.")


class AdversarialSettings(Settings):
    """A discriminator per stain that looks at input and stain together (Isola et al. 2017, Liu et al. 2024)."""

    weight: float = Field(1.0, gt=0, description="Weight of the generator's adversarial loss. Paper: 1.")
    kind: Literal["bce", "least squares"] = Field(
        "bce", description="Binary cross-entropy of the patch-wise verdicts, or their squared error (Mao et al. 2017)."
    )
    width: int = Field(64, ge=1, le=1024, description="Channels of the discriminators' first layer.")
    learning_rate: float = Field(2e-4, gt=0, description="The discriminators', with Adam and the run's schedule.")


LossSettings = Annotated[MseSettings | L1Settings | SpotlightLossSettings, Field(discriminator="kind")]
