"""What every comparison of two images asks of them first."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spotlight.errors import SpotlightError


def check_image(image: NDArray[Any], name: str) -> None:
    """Refuse what is no finite 2D or 3D image.

    Raises
    ------
    SpotlightError
        If the image has not two or three axes, is empty, complex, or holds NaN or infinite values.
    """
    if image.ndim not in (2, 3) or image.size == 0:
        raise SpotlightError(f"{name} must be an image of axes YX or ZYX, not of shape {image.shape}.")
    if image.dtype.kind not in "buif":
        raise SpotlightError(f"{name} must hold real numbers, not {image.dtype}. Convert it first.")
    if image.dtype.kind == "f":
        # Plane by plane: a mask of the whole stack is not worth its memory.
        bad = sum(plane.size - int(np.count_nonzero(np.isfinite(plane))) for plane in planes(image))
        if bad:
            raise SpotlightError(
                f"{name} has {bad} voxels that are NaN or infinite, which no metric is defined for. "
                "Crop them away, or give them a value, in both images alike."
            )


def check_pair(target: NDArray[Any], stain: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> None:
    """Refuse images that cannot be compared voxel by voxel.

    Raises
    ------
    SpotlightError
        If the shapes differ, the mask is not of booleans, or an image is none (see `check_image`).
    """
    if target.shape != stain.shape:
        raise SpotlightError(
            f"target {target.shape} and stain {stain.shape} must have one shape. Resample one onto the other's grid."
        )
    if mask is not None and mask.shape != target.shape:
        raise SpotlightError(
            f"mask {mask.shape} and target {target.shape} must have one shape. Resample one onto the other's grid."
        )
    if mask is not None and mask.dtype != np.bool_:
        raise SpotlightError(f"the mask must hold booleans, not {mask.dtype}. Compare it with a threshold first.")
    check_image(target, "target")
    check_image(stain, "stain")


def check_spacing(spacing: Sequence[float], axes: int) -> tuple[float, ...]:
    """Refuse what is no voxel size.

    Raises
    ------
    SpotlightError
        If there is not one positive number for every axis.
    """
    size = tuple(float(step) for step in spacing)
    if len(size) != axes or not all(math.isfinite(step) and step > 0 for step in size):
        raise SpotlightError(
            f"spacing must be {axes} positive numbers, the voxel size in µm along every axis of the image; "
            f"it is {size}."
        )
    return size


def subtract(image: NDArray[Any], center: float) -> NDArray[np.float32]:
    """Subtract in double precision and keep single, without a copy in double."""
    result = np.empty(image.shape, np.float32)
    np.subtract(image, np.float64(center), out=result, casting="unsafe")
    return result


def planes(image: NDArray[Any]) -> NDArray[Any]:
    """See a 2D image as a stack of one plane."""
    return image if image.ndim == 3 else image[np.newaxis]
