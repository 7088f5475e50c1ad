"""Settings of the losses: each builds its loss and describes it. Free of torch until one is built."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from spotlight.errors import SpotlightError
from spotlight.given import path_of, recall, remember, wanted
from spotlight.registry import Registry
from spotlight.settings import Settings

if TYPE_CHECKING:
    from spotlight.losses.batch import Loss


class LossSettings(Settings):
    """What the settings of every loss can do.

    A loss of another package extends this class, names itself by ``kind: Literal["my_name"] = "my_name"``, and is
    registered by an entry point of the group ``spotlight.losses``; see docs/extending.md.

    Examples
    --------
    >>> from spotlight.losses import LOSSES
    >>> loss = LOSSES.parse({"kind": "l1-ssim", "structure": 0.5})
    >>> loss.compares, list(loss.terms)
    ('intensities', ['l1', 'ssim'])
    """

    kind: str
    terms: ClassVar[Mapping[str, str]] = {}
    """The terms that the loss gives beside its total, and what people call them: columns of the log, and curves."""
    compares: ClassVar[str] = "intensities"
    """What a prediction is compared with: "intensities", "masks", "classes", or "any" of them; a task says what it
    has."""

    @abstractmethod
    def build(self) -> "Loss":
        """Return the loss as a function of the prediction for the rows of a batch, that batch, and the progress."""

    @abstractmethod
    def describe(self) -> str:
        """Say in words for people what is minimised, with sources."""

    def needs(self) -> dict[str, Any]:
        """Return settings of the preparation that the loss depends on, such as ``{"cells": True}``."""
        return {}

    def require_patch(self, patch: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]], divisor: int) -> None:
        """Raise a `SpotlightError` if patches of this size do not do; all do by default.

        Parameters
        ----------
        patch : tuple of int
            Voxels per axis.
        shapes : mapping
            Shapes of the stacks on the network's grid by their names.
        divisor : int
            Every side of a patch is a multiple of it.
        """


LOSSES: Registry[LossSettings] = Registry("loss", "spotlight.losses", LossSettings, "kind", "spotlight")
"""All losses; Spotlight's where plain values do not say which."""
LossField = Annotated[SerializeAsAny[LossSettings], BeforeValidator(LOSSES.parse), LOSSES]
"""A loss as a field of other settings."""


@LOSSES.register
class MseSettings(LossSettings):
    """Mean squared error over all voxels: F-net's loss (Ounkomol et al. 2018).

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import Batch, MseSettings
    >>> target = torch.zeros(1, 1, 2, 2)
    >>> batch = Batch(target, target, target > 0, torch.zeros(1))
    >>> MseSettings().build()(target + 2, batch).total.item()
    4.0
    """

    kind: Literal["mse"] = "mse"

    def build(self) -> "Loss":
        """See `LossSettings.build`."""
        from spotlight.losses.pixels import mse_loss

        return lambda prediction, batch, progress=1.0: mse_loss(prediction, batch.target)

    def describe(self) -> str:
        """See `LossSettings.describe`."""
        return "mean squared error over all voxels (Ounkomol et al. 2018)"


@LOSSES.register
class SpotlightLossSettings(LossSettings):
    """Spotlight's loss (Kalinin et al. 2025, section 2 and A.4) and what the paper leaves open.

    There is no threshold here: it belongs to the normalisation of the target, and every batch brings it along.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import Batch, SpotlightLossSettings
    >>> target = torch.tensor([[[[-1.0, -1.0, 1.0, 1.0]]]])
    >>> batch = Batch(target, target, target > 0, torch.zeros(1))
    >>> everywhere = torch.ones_like(target)  # all is stained as foreground
    >>> for background in (0.0, 0.5):  # the paper's loss, and one that sees the background
    ...     settings = SpotlightLossSettings(background=background)
    ...     print(round(settings.build()(everywhere, batch).total.item(), 2))
    0.17
    0.67
    """

    kind: Literal["spotlight"] = "spotlight"
    terms: ClassVar[Mapping[str, str]] = {
        "masked_mse": "masked squared error",
        "dice": "Dice loss",
        "background": "background above the threshold",
        "instances": "loss per nucleus",
        "mse": "squared error of all voxels",
    }
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
        "there is no foreground. 0 is the paper, whose short runs can stay where everything is foreground.",
    )
    margin: float = Field(
        0.0,
        ge=0,
        description="How far below the threshold the background term pulls the background, in standard deviations of "
        "the target. With 0 a voxel that may be a nucleus is stained above the threshold, however small the chance.",
    )
    average: Literal["masks", "voxels"] = Field(
        "masks",
        description="What the squared errors of foreground and background are averaged over: each over its own mask "
        "(paper), or both over all voxels. With 'masks', and 6 % foreground, a foreground voxel weighs 16 times one of "
        "the background, so that whatever may be a nucleus is stained as one; 'voxels' weighs all alike.",
    )
    settle: tuple[float, float] | None = Field(
        None,
        description="Shares of the run between which this loss gives way to plain squared error over all voxels, in "
        "which the run then ends: nuclei are found by the one and brightness is learnt by the other. Left out: never.",
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
    def _settles_within_the_run(self) -> Self:
        if self.settle is not None and not 0 <= self.settle[0] < self.settle[1] <= 1:
            raise ValueError(f"settle must be two rising shares from 0 to 1, not {self.settle}")
        return self

    @model_validator(mode="after")
    def _instances_need_a_probability(self) -> Self:
        if self.instances != "none" and self.reading == "literal":
            raise ValueError("instances need a probability, which the reading 'literal' does not give")
        return self

    def build(self) -> "Loss":
        """See `LossSettings.build`."""
        from spotlight.losses.spotlight import spotlight_loss

        return lambda prediction, batch, progress=1.0: spotlight_loss(
            prediction, batch.target, batch.mask, batch.threshold, self, batch.cells, batch.components, progress
        )

    def describe(self) -> str:
        """See `LossSettings.describe`."""
        over = "" if self.average == "masks" else ", averaged over all voxels (not in the paper)"
        terms = [f"{self.weight:g} masked squared error{over}", f"{1 - self.weight:g} Dice"]
        if self.background:
            terms.append(f"{self.background:g} background above T (not in the paper)")
        if self.instances != "none":
            terms.append(f"{self.instance_weight:g} {self.instances} (not in the paper)")
        settle = ""
        if self.settle is not None:
            first, last = self.settle
            settle = f", from {first:.0%} to {last:.0%} of the run replaced by squared error over all voxels"
        start = "" if self.k_start is None else f" from {self.k_start:g}"
        return (
            f"{' + '.join(terms)}{settle}; soft threshold of k{start} {self.k:g} in the reading {self.reading!r}, sums "
            f"per {self.reduction} (Kalinin et al. 2025: 0.5, 0.5, k -0.95; readings: docs/method.md)"
        )

    def needs(self) -> dict[str, Any]:
        """See `LossSettings.needs`."""
        return {} if self.instances == "none" else {"cells": True}


@LOSSES.register
class L1Settings(LossSettings):
    """Mean absolute error, with less weight on a target's darkest and brightest pixels (Liu et al. 2024, eq. 2).

    Examples
    --------
    >>> from spotlight.losses import L1Settings
    >>> L1Settings(weight=1, percentiles=None).describe()
    '1 times the mean absolute error (Liu et al. 2024)'
    >>> L1Settings(percentiles=(1, 99)).needs()  # which percentiles the prepared stacks must know
    {'percentiles': (1.0, 99.0)}
    """

    kind: Literal["l1"] = "l1"
    terms: ClassVar[Mapping[str, str]] = {"l1": "mean absolute error"}
    weight: float = Field(100.0, gt=0, description="Weight of the error beside an adversarial loss. Paper: 100.")
    percentiles: tuple[float, float] | None = Field(
        (2.0, 99.8),
        description="Percentiles of the whole target between which pixels have the weight 1; none: all pixels have it.",
    )
    outside: float = Field(0.1, ge=0, le=1, description="Weight of the pixels at and beyond them. Paper: 0.1.")

    def build(self) -> "Loss":
        """See `LossSettings.build`."""
        from spotlight.losses.pixels import l1_loss

        return lambda prediction, batch, progress=1.0: l1_loss(prediction, batch.target, batch.percentiles, self)

    def describe(self) -> str:
        """See `LossSettings.describe`."""
        if self.percentiles is None:
            return f"{self.weight:g} times the mean absolute error (Liu et al. 2024)"
        low, high = self.percentiles
        return (
            f"{self.weight:g} times the mean absolute error, of weight 1 between percentiles {low:g} and {high:g} of "
            f"the whole target and {self.outside:g} elsewhere (Liu et al. 2024)"
        )

    def needs(self) -> dict[str, Any]:
        """See `LossSettings.needs`."""
        return {"percentiles": self.percentiles}


OFFERED = ("mask", "threshold", "cells", "progress", "batch")
"""What a function can take, by the names of its parameters, beside prediction and target."""


@LOSSES.register
class FunctionLossSettings(LossSettings):
    """A function that a caller gave in Python, as ``loss=my_function``; made by `FunctionLossSettings.of`.

    It is called with the predictions and targets, both (N, 1, [Z,] Y, X), and gives a scalar tensor. It may also
    have parameters with the names in `OFFERED`.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import Batch, FunctionLossSettings
    >>> settings = FunctionLossSettings.of(torch.nn.HuberLoss())  # what train(..., loss=torch.nn.HuberLoss()) does
    >>> settings.source
    'torch.nn.modules.loss:HuberLoss'
    >>> target = torch.zeros(1, 1, 2, 2)
    >>> batch = Batch(target, target, target > 0, torch.zeros(1))
    >>> settings.build()(torch.full_like(target, 3.0), batch).total.item()  # 3 - 1/2
    2.5
    """

    kind: Literal["function"] = "function"
    compares: ClassVar[str] = "any"
    source: str = Field(description="Module and name of the function.")
    sha256: str = Field("", description="SHA-256 of its source.")

    @classmethod
    def of(cls, given: Any) -> Self:
        """Record a function, or another object that can be called, such as ``torch.nn.HuberLoss()``.

        Raises
        ------
        SpotlightError
            If it is a class.
        """
        if isinstance(given, type):
            raise SpotlightError(
                f"loss is the class {path_of(given)}. Give an object of it, such as {given.__name__}()."
            )
        return cls(**remember(given))

    def build(self) -> "Loss":
        """See `LossSettings.build`."""
        from spotlight.losses.pixels import LossTerms

        function = recall(self.source, self.sha256, "loss")
        names = wanted(function, OFFERED)

        def loss(prediction: Any, batch: Any, progress: float = 1.0) -> LossTerms:
            offered = batch._asdict() | {"batch": batch, "progress": progress}
            total = function(prediction, batch.target, **{name: offered[name] for name in names})
            if getattr(total, "ndim", None) != 0:
                raise SpotlightError(
                    f"the loss {self.source} must give a scalar tensor. Received: "
                    f"{tuple(total.shape) if hasattr(total, 'shape') else type(total).__name__}. Take the mean."
                )
            return LossTerms(total, {})

        return loss

    def describe(self) -> str:
        """See `LossSettings.describe`."""
        return f"the function {self.source}, source {self.sha256[:12]}"

    def needs(self) -> dict[str, Any]:
        """See `LossSettings.needs`."""
        return {"cells": True} if "cells" in wanted(recall(self.source, self.sha256, "loss"), OFFERED) else {}


LOSSES.of_given = FunctionLossSettings.of
