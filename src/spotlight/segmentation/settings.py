"""What every method of segmentation has in common: the prepared image, and what counts as a nucleus."""

from typing import Literal

from pydantic import Field

from spotlight.settings import Settings


class InstanceSettings(Settings):
    """Preparation and clean-up. Lengths are in µm, volumes in µm³ (areas in µm² for two-dimensional stacks).

    The defaults suit nuclei of cultured human cells; sources are the settings that the author of Spotlight states for
    this task (500 and 7500 voxels of 0.58 µm).
    """

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
