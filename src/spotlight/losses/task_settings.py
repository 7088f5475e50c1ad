"""Settings of losses of tasks other than staining, and of partners of a training: a teacher, a discriminator."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from spotlight.losses.settings import LOSSES, LossSettings
from spotlight.settings import Settings

if TYPE_CHECKING:
    from spotlight.losses.batch import Loss


@LOSSES.register
class MaskLossSettings(LossSettings):
    """Cross-entropy and Dice of masks, for each structure over all annotated voxels of a batch.

    Examples
    --------
    >>> from spotlight.losses import MaskLossSettings
    >>> MaskLossSettings(dice=0).describe().split(" over ")[0]
    '1 cross-entropy + 0 Dice of every structure,'
    >>> list(MaskLossSettings().terms)  # columns of log.csv
    ['cross_entropy', 'dice']
    """

    kind: Literal["masks"] = "masks"
    compares: ClassVar[str] = "masks"
    terms: ClassVar[Mapping[str, str]] = {"cross_entropy": "cross-entropy", "dice": "Dice loss"}
    cross_entropy: float = Field(1.0, ge=0, description="Weight of the cross-entropy.")
    dice: float = Field(1.0, ge=0, description="Weight of the Dice loss.")
    smoothing: float = Field(1.0, gt=0, description="Added to both sums of the Dice coefficient, in voxels.")

    def build(self) -> "Loss":
        """See `LossSettings.build`."""
        from spotlight.losses.masks import mask_loss, structure_means

        def loss(prediction: Any, batch: Any, progress: float = 1.0) -> Any:
            rows = list(batch.rows_of().values()) or [slice(None)]
            return structure_means(
                [mask_loss(prediction[row], batch.target[row], batch.mask[row], self) for row in rows]
            )

        return loss

    def describe(self) -> str:
        """See `LossSettings.describe`."""
        return (
            f"{self.cross_entropy:g} cross-entropy + {self.dice:g} Dice of every structure, over the annotated voxels "
            "of the batch (Isensee et al. 2021: 1, 1)"
        )


@LOSSES.register
class HiddenLossSettings(LossSettings):
    """Smooth L1 on what was hidden of the input, each patch divided by its own deviation; for pretraining.

    Examples
    --------
    >>> from spotlight.losses import HiddenLossSettings
    >>> HiddenLossSettings().describe()
    'smooth L1 on hidden voxels, in standard deviations of their patch'
    >>> HiddenLossSettings(beta=0, scaled=False).describe()
    'L1 on hidden voxels, in standard deviations of the stack'
    """

    kind: Literal["hidden"] = "hidden"
    compares: ClassVar[str] = "what was hidden"
    beta: float = Field(1.0, ge=0, description="Error from which it grows linearly; 0: everywhere (L1).")
    scaled: bool = Field(True, description="Divide each patch by its own standard deviation.")

    def build(self) -> "Loss":
        """See `LossSettings.build`."""
        from spotlight.losses.hidden import hidden_loss

        return lambda prediction, batch, progress=1.0: hidden_loss(
            prediction, batch.target, batch.mask, self.beta, self.scaled
        )

    def describe(self) -> str:
        """See `LossSettings.describe`."""
        unit = "their patch" if self.scaled else "the stack"
        return f"{'smooth ' if self.beta else ''}L1 on hidden voxels, in standard deviations of {unit}"


@LOSSES.register
class StructureLossSettings(LossSettings):
    """Mean absolute error, and a share of the structural similarity that is lacking (Zhao et al. 2017).

    Examples
    --------
    >>> from spotlight.losses import StructureLossSettings
    >>> StructureLossSettings(structure=0.5).describe().split(",")[0]
    'mean absolute error + 0.5 (1 - structural similarity)'
    """

    kind: Literal["l1-ssim"] = "l1-ssim"
    terms: ClassVar[Mapping[str, str]] = {"l1": "mean absolute error", "ssim": "structural similarity"}
    structure: float = Field(0.2, ge=0, description="Weight of one less the structural similarity.")

    def build(self) -> "Loss":
        """See `LossSettings.build`."""
        from spotlight.losses.structure import structure_loss

        return lambda prediction, batch, progress=1.0: structure_loss(prediction, batch.target, self)

    def describe(self) -> str:
        """See `LossSettings.describe`."""
        return (
            f"mean absolute error + {self.structure:g} (1 - structural similarity), for images whose range is 1 (Zhao "
            "et al. 2017: a weighted sum of the two)"
        )


@LOSSES.register
class ClassLossSettings(LossSettings):
    """Cross-entropy of the class of a patch.

    Examples
    --------
    >>> from spotlight.losses import ClassLossSettings
    >>> settings = ClassLossSettings()
    >>> settings.compares, settings.describe()
    ('classes', 'cross-entropy of the class of a patch')
    """

    kind: Literal["classes"] = "classes"
    compares: ClassVar[str] = "classes"
    terms: ClassVar[Mapping[str, str]] = {"accuracy": "share of patches named right"}

    def build(self) -> "Loss":
        """See `LossSettings.build`; the prediction is that of all classes."""
        from torch import tensor

        from spotlight.losses.classes import class_loss

        return lambda prediction, batch, progress=1.0: class_loss(
            prediction, tensor([output for _, output in batch.rows])
        )

    def describe(self) -> str:
        """See `LossSettings.describe`."""
        return "cross-entropy of the class of a patch"


class TeacherSettings(Settings):
    """A teacher in pretraining, the running average of the network (training.ema), to whom nothing is hidden.

    The weights are those of the published light-sheet model without text (Scheinfeld et al., arXiv:2605.26026).

    Examples
    --------
    >>> from spotlight.losses import TeacherSettings
    >>> from spotlight.training import protocol
    >>> experiment = protocol("lsm-2026")
    >>> experiment.teacher == TeacherSettings(), experiment.training.ema  # the teacher is a running average
    (True, 0.996)
    >>> TeacherSettings(weight=0.5).reconstruction
    0.2
    """

    terms: ClassVar[Mapping[str, str]] = {"distillation": "distance from the teacher's features"}

    weight: float = Field(0.29, gt=0, description="Weight of that distance. Paper: 0.29.")
    reconstruction: float = Field(0.2, ge=0, description="Weight of the loss beside it. Paper: 0.20.")
    student_temperature: float = Field(0.1, gt=0, description="Of the network's channels. Paper: 0.1.")
    teacher_temperature: float = Field(0.1, gt=0, description="Of the teacher's. Paper: 0.1.")


class AdversarialSettings(Settings):
    """A discriminator per stain that looks at input and stain together (Isola et al. 2017, Liu et al. 2024).

    Examples
    --------
    >>> from spotlight.losses import AdversarialSettings
    >>> from spotlight.training import protocol
    >>> experiment = protocol("lightmycells-2024")
    >>> experiment.adversarial.weight, experiment.loss.weight  # of the verdict and of the absolute error
    (1.0, 100.0)
    >>> gentle = AdversarialSettings(kind="least squares", weight=0.5)
    >>> experiment.model_copy(update={"adversarial": gentle}).adversarial.kind
    'least squares'
    """

    terms: ClassVar[Mapping[str, str]] = {
        "verdict": "verdict of the discriminators",
        "discriminator": "loss of the discriminators",
    }

    weight: float = Field(1.0, gt=0, description="Weight of the generator's adversarial loss. Paper: 1.")
    kind: Literal["bce", "least squares"] = Field(
        "bce", description="Binary cross-entropy of the patch-wise verdicts, or their squared error (Mao et al. 2017)."
    )
    width: int = Field(64, ge=1, le=1024, description="Channels of the discriminators' first layer.")
    learning_rate: float = Field(2e-4, gt=0, description="The discriminators', with Adam and the run's schedule.")
