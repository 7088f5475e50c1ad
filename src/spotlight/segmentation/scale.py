"""The scale of images that state no voxel size: by how large their nuclei are in pixels.

Settings are in µm. Read as pixels they would be wrong by an unknown factor, so a typical nucleus of the image is taken
to be as large as the settings expect one to be.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters

from spotlight.segmentation.settings import InstanceSettings

SMOOTHING_PX = (1.0, 2.0, 4.0, 8.0)
"""Gaussians along Y and X before the threshold; the first that leaves bodies much larger than itself is taken."""
LARGER = 9.0
"""Diameter of such bodies in Gaussians; what is left of noise has about 6."""


def scale_by_image(image: NDArray[np.float32], settings: InstanceSettings) -> tuple[float, ...] | None:
    """Edges that a voxel has in µm if the bodies in an image are nuclei as the settings expect them.

    Bodies are what Otsu's threshold of the slightly smoothed image leaves. The mean distance to the outline tells their
    radius, and hardly sees whether they touch: it is a third of a disk's radius, and in sections of a ball 0.29 of the
    ball's. Along Z, the mean run through bodies is compared with that along Y and X.

    Parameters
    ----------
    image : (Z, Y, X) or (Y, X) float32
        Fluorescence.
    settings : InstanceSettings
        See `expected_diameter`.

    Returns
    -------
    tuple of float or None
        One for each axis; Y and X have the same. None if nothing in the image is larger than its noise.
    """
    for sigma in SMOOTHING_PX:
        smooth = ndimage.gaussian_filter(image, [0] * (image.ndim - 2) + [sigma] * 2)
        if smooth.min() == smooth.max():
            return None
        scale = scale_by_mask(smooth > filters.threshold_otsu(smooth), settings)
        if scale is not None and settings.expected_diameter(image.ndim) / scale[-1] >= LARGER * sigma:
            return scale
    return None


def scale_by_mask(mask: NDArray[np.bool_], settings: InstanceSettings) -> tuple[float, ...] | None:
    """Edges in µm from the mask of the bodies; see `scale_by_image`."""
    planes = mask if mask.ndim == 3 else mask[None]
    inside = [ndimage.distance_transform_edt(plane)[plane] for plane in planes if plane.any()]
    if not inside:
        return None
    # To the outline from a pixel's centre is half a pixel less than to the next pixel's.
    share = 1 / 3 if mask.ndim == 2 else np.pi * 3 / 8 / (4 / 3) / 3
    diameter = 2 * max(0.5, float(np.concatenate(inside).mean()) - 0.5) / share
    lateral = settings.expected_diameter(mask.ndim) / diameter
    if mask.ndim == 2:
        return lateral, lateral
    run_z, run_y, run_x = (_mean_run(mask, axis) for axis in range(3))
    return lateral * (run_y + run_x) / 2 / run_z, lateral, lateral


def _mean_run(mask: NDArray[np.bool_], axis: int) -> float:
    """Mean number of voxels in a row along an axis."""
    starts = np.count_nonzero(np.diff(mask.astype(np.int8), axis=axis, prepend=0) == 1)
    return float(np.count_nonzero(mask) / starts)
