"""What is evaluated, and how."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, SerializeAsAny, model_validator

from spotlight.foreground import ForegroundSettings
from spotlight.metrics.resolution_curve import ONE_IMAGE, TWO_IMAGES, ResolutionSettings
from spotlight.prediction import PredictionSettings
from spotlight.profiles import ProfileSettings
from spotlight.segmentation import SEGMENTERS, InstanceSettings, MethodSettings, SegmentationSettings
from spotlight.settings import Settings


class EvaluationSettings(Settings):
    """What is evaluated, and how. The same for the target and for all methods.

    Examples
    --------
    >>> from spotlight.evaluation import EvaluationSettings
    >>> EvaluationSettings(split="val", thresholds=25).resolution
    True
    """

    split: Literal["train", "val", "test"] = Field("test", description="Rows of the manifest to evaluate.")
    foreground: ForegroundSettings = Field(ForegroundSettings(), description="Mask of the foreground metrics.")
    segmentation: MethodSettings = Field(SegmentationSettings(), description="How nuclei are found.")
    second: Annotated[SerializeAsAny[InstanceSettings] | None, BeforeValidator(SEGMENTERS.parse), SEGMENTERS] = Field(
        None, description="A second way to find nuclei, of which only the agreement of instances is scored."
    )
    complete_labels: bool = Field(
        True,
        description="Whether the labels name every nucleus. If not, found ones that touch none of them do not count.",
    )
    profiles: ProfileSettings = Field(ProfileSettings(), description="What is measured of every nucleus.")
    any_voxel_size: bool = Field(False, description="Stain stacks whose voxels are unlike those of the training, too.")
    prediction: PredictionSettings = Field(
        PredictionSettings(precision="float32"), description="How stains are computed: alike on all machines."
    )
    metrics: tuple[str, ...] | None = Field(
        None, description="Metrics of other packages to compute, by name; left out: all that are installed."
    )
    data_range: tuple[float, float] | None = Field(
        None, description="Intensities that PSNR and SSIM refer to; left out: those of the first model's training set."
    )
    resolution: bool = Field(True, description="Measure resolution by Fourier shell and ring correlation.")
    one_image: ResolutionSettings = Field(ONE_IMAGE, description="Fourier correlation within one image.")
    two_images: ResolutionSettings = Field(TWO_IMAGES, description="Fourier correlation of target and stain.")
    thresholds: NonNegativeInt = Field(
        0, description="Intensities of the threshold sweep, from the background of the target to its foreground."
    )
    range_stacks: PositiveInt = Field(
        8, description="Training stacks whose nuclei give the range of every feature in profiles."
    )
    pictured: NonNegativeInt = Field(2, description="Stacks whose input and target are kept for the page's pictures.")

    @model_validator(mode="before")
    @classmethod
    def _former_name_of_second(cls, values: Any) -> Any:
        """Read ``cellpose: ...``, as the field was named when Cellpose was the only second way."""
        if not isinstance(values, dict) or "cellpose" not in values:
            return values
        former = values["cellpose"]
        second = {"method": "cellpose", **former} if isinstance(former, dict) else former
        return {name: value for name, value in values.items() if name != "cellpose"} | {"second": second}
