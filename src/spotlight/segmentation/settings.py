"""Settings that all segmenters share, what a segmenter must do, and the registry of all of them."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, SerializeAsAny

from spotlight.registry import Registry
from spotlight.settings import Settings

WIDEST = 15.0
"""The greatest size over the least, where the settings set no least: that of their defaults."""


class InstanceSettings(Settings):
    """Preparation and clean-up, and what a segmenter does between them.

    Lengths are in µm, volumes in µm³ (areas in µm² for two-dimensional stacks). The defaults suit nuclei of cultured
    human cells; sources are the settings that the author of Spotlight states for this task (500 and 7500 voxels of
    0.58 µm).

    A segmenter of another package extends this class, names itself by ``method: Literal["my_name"] = "my_name"``, and
    is registered by an entry point of the group ``spotlight.segmenters``; see docs/extending.md.

    Examples
    --------
    >>> from spotlight.segmentation import SEGMENTERS
    >>> SEGMENTERS.names()
    ('cellpose', 'watershed')
    >>> settings = SEGMENTERS.parse({"method": "watershed", "min_size": 30.0})
    >>> settings.unit, settings.clear_border
    ('um', True)
    """

    method: str
    unit: Literal["um", "px"] = Field(
        "um",
        description="Of all lengths and sizes. 'px': pixels of the stack's own grid, on which it is then segmented. "
        "With 'um', a stack without a voxel size is taken to have nuclei of the expected size (docs/instances.md).",
    )
    voxel_um: float | None = Field(
        0.58,
        gt=0,
        description="Working grid, isotropic, half of the 0.29 µm that the paper trains on; None works on the stack's "
        "own, as unit 'px' does.",
    )
    clahe_clip: float = Field(0.015, ge=0, description="Clip limit of the histogram equalisation; 0 leaves it out.")
    median_px: int = Field(3, ge=1, description="Median window on the working grid; 1 is none.")
    min_size: float = Field(98.0, ge=0, description="Smaller instances are removed.")
    max_size: float = Field(1463.0, gt=0, description="Larger instances are removed.")
    max_hole: float = Field(
        10.0, ge=0, description="Holes up to this size are filled, in a mask and in every instance."
    )
    least_contrast: float = Field(
        2.5,
        ge=0,
        description="Instances that rise above the background by less are left out, in standard deviations of the "
        "smoothed background: bodies of noise hardly reach it, nuclei exceed it (docs/instances.md); 0 keeps all.",
    )
    clear_border: bool = Field(True, description="Remove what touches the Y or X border of the stack.")

    @abstractmethod
    def segment(self, image: NDArray[np.float32], spacing: tuple[float, ...]) -> NDArray[np.int32]:
        """Find bodies in a prepared image; what is too small, too large, faint or cut is removed afterwards.

        Parameters
        ----------
        image : (Z, Y, X) or (Y, X) float32
            On the working grid, after the median and, if `equalised`, from 0 to 1 with even contrast.
        spacing : tuple of float
            Voxel edges in µm.

        Returns
        -------
        int32 ndarray
            Labels from 1, 0 for background.
        """

    @property
    def equalised(self) -> bool:
        """Whether the image is prepared with even contrast; otherwise it keeps the intensities of the stack."""
        return True

    def expected_diameter(self, dims: int) -> float:
        """Diameter in `unit` of a typical nucleus: of the ball (the disk) in the middle, by ratio, of the sizes kept.

        Parameters
        ----------
        dims : 2 or 3
            Dimensions of the stack.
        """
        largest = self.max_size if math.isfinite(self.max_size) else WIDEST * max(self.min_size, 1.0)
        size = float(np.sqrt(max(self.min_size, largest / WIDEST) * largest))
        return float(2 * np.sqrt(size / np.pi) if dims == 2 else np.cbrt(6 * size / np.pi))

    def candidates(self, diameter: float) -> Mapping[str, tuple[Any, ...]]:
        """Return the values that tuning tries, by setting, in the order in which they are tried.

        Parameters
        ----------
        diameter : float
            Of a typical nucleus in `unit`, for settings that are lengths.
        """
        return {"clahe_clip": (0.0, 0.005, 0.015, 0.03)}

    def sized(self, diameter: float) -> Self:
        """Return these settings for nuclei of another diameter, where they depend on it.

        Parameters
        ----------
        diameter : float
            In `unit`.
        """
        return self


SEGMENTERS: Registry[InstanceSettings] = Registry(
    "method", "spotlight.segmenters", InstanceSettings, "method", "watershed"
)
"""All segmenters; the watershed where plain values do not say which."""
MethodSettings = Annotated[SerializeAsAny[InstanceSettings], BeforeValidator(SEGMENTERS.parse), SEGMENTERS]
"""A segmenter as a field of other settings."""


def rounded(value: float) -> float:
    """Round to three significant digits."""
    return float(f"{value:.3g}")
