"""Settings of the loss that blurs a stain before it compares. Free of torch until it is built."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, model_validator

from spotlight.errors import SpotlightError
from spotlight.losses.settings import LOSSES, LossSettings
from spotlight.psf import PsfSettings, fluorescence_psf, gaussian_psf, read_psf

if TYPE_CHECKING:
    from spotlight.losses.batch import Loss


@LOSSES.register
class SharpLossSettings(LossSettings):
    """Squared error of the stain *blurred by the microscope*: the stain is the dye, sharper than its target.

    It needs targets centred on their offset (``preparation.target_center: offset``), a network whose stains are never
    below it (``network.positive``), and cubic voxels. The point spread function is computed from the optics, unless a
    Gaussian (`sigma_um`) or a measured one (`file`) is given.

    Examples
    --------
    >>> from spotlight.losses import SharpLossSettings
    >>> SharpLossSettings(sigma_um=(0.8, 0.3, 0.3)).describe()
    '1 squared error of the stain blurred by a PSF that is a Gaussian of 0.8, 0.3, 0.3 µm'
    >>> SharpLossSettings(sigma_um=(0.8, 0.3, 0.3)).psf().shape  # voxels of 0.29 µm
    (25, 11, 11)
    """

    kind: Literal["sharp"] = "sharp"
    terms: ClassVar[Mapping[str, str]] = {
        "blurred_mse": "squared error of the blurred stain",
        "foreground": "Spotlight's loss of the blurred stain",
        "variation": "total variation of the stain",
    }
    optics: PsfSettings = Field(PsfSettings(), description="The microscope; those of the simulation by default.")
    sigma_um: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(
        None, description="Instead of the optics: standard deviations of a Gaussian along Z, Y and X."
    )
    file: Path | None = Field(
        None, description="Instead of the optics: a measured point spread function, ZYX in an .npy file on that grid."
    )
    sha256: str = Field("", description="SHA-256 of that file; recorded when it is first read.")
    voxel_um: float = Field(0.29, gt=0, description="Edge of the voxels: preparation.grid.")
    whole_depth: bool = Field(
        True,
        description="Patches span the stacks along Z, and there is no dye above and below. False: beyond a patch there "
        "is its mirror image, along Z as in the plane.",
    )
    foreground: float = Field(
        0.0, ge=0, le=1, description="Share of Spotlight's loss, as the default has it, of the blurred stain."
    )
    variation: float = Field(
        0.0, ge=0, description="Weight of the mean absolute difference of neighbouring voxels of the stain, per axis."
    )

    @model_validator(mode="before")
    @classmethod
    def _file_is_recorded(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("file") and not values.get("sha256"):
            path = Path(str(values["file"]))
            if not path.is_file():
                raise ValueError(f"file: there is no file {path}. Give the path of a measured point spread function")
            return {**values, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        return values

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.sigma_um is not None and self.file is not None:
            raise ValueError("give sigma_um or file, not both")
        return self

    def psf(self) -> NDArray[np.float32]:
        """Return the point spread function, ZYX, of odd sizes, with the sum 1."""
        if self.file is not None:
            return read_psf(self.file, self.sha256)
        if self.sigma_um is not None:
            return gaussian_psf(self.sigma_um, self.voxel_um)
        return fluorescence_psf(self.optics, self.voxel_um)

    def build(self) -> "Loss":
        """See `LossSettings.build`."""
        from spotlight.losses.sharp import Blur, sharp_loss

        blur = Blur(self.psf(), self.whole_depth)
        return lambda prediction, batch, progress=1.0: sharp_loss(
            prediction, batch.target, batch.mask, batch.threshold, blur, self
        )

    def describe(self) -> str:
        """See `LossSettings.describe`."""
        if self.file is not None:
            source = f"as measured in {self.file.name}"
        elif self.sigma_um is not None:
            source = f"that is a Gaussian of {', '.join(f'{s:g}' for s in self.sigma_um)} µm"
        else:
            source = f"of NA {self.optics.objective_na:g} at {self.optics.emission_um:g} µm"
        more = f" + {self.foreground:g} of Spotlight's loss of the same" if self.foreground else ""
        prior = f" + {self.variation:g} total variation" if self.variation else ""
        return f"{1 - self.foreground:g} squared error of the stain blurred by a PSF {source}{more}{prior}"

    def require_patch(self, patch: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]], divisor: int) -> None:
        """See `LossSettings.require_patch`."""
        if len(patch) != 3:
            raise SpotlightError(
                "the loss 'sharp' blurs along three axes. Received: two-dimensional stacks. Use the loss 'spotlight'."
            )
        halves = [side // 2 for side in self.psf().shape]
        deepest = max(shape[0] for shape in shapes.values())
        if self.whole_depth and patch[0] < deepest // divisor * divisor:
            raise SpotlightError(
                f"with loss.whole_depth, patches span the stacks along Z, of up to {deepest} planes. Received: patches "
                f"of {patch}. Set patches.size to ({deepest // divisor * divisor}, ...), or loss.whole_depth to false."
            )
        short = [n - 2 * half for n, half in zip(patch, halves, strict=True)][1 if self.whole_depth else 0 :]
        if min(short) < 1:
            least = [2 * half + divisor for half in halves]
            raise SpotlightError(
                f"in patches of {patch} every voxel receives light from beyond the patch, as half a point spread "
                f"function has {tuple(halves)} voxels. Set patches.size to at least ({', '.join(map(str, least))}), or "
                "give a smaller point spread function (loss.sigma_um)."
            )
