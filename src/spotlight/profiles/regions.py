"""Features of the voxels themselves: scikit-image's region properties."""

import numpy as np
from numpy.typing import NDArray
from skimage.measure import regionprops

_BOTH = (
    "area_bbox",
    "area_filled",
    "axis_major_length",
    "axis_minor_length",
    "equivalent_diameter_area",
    "euler_number",
    "extent",
)
REGION_FEATURES = {
    3: (*_BOTH, *(f"inertia_tensor_eigvals-{i}" for i in range(3))),
    2: (*_BOTH, *(f"inertia_tensor_eigvals-{i}" for i in range(2)), "area_convex", "feret_diameter_max"),
}
"""Columns that `region_features` gives, by number of dimensions.

In three dimensions the convex hull and Feret's diameter are those of the mesh: scikit-image takes seconds a nucleus.
"""


def region_features(body: NDArray[np.bool_], spacing: tuple[float, ...]) -> dict[str, float]:
    """Measure the voxels of a body, under the names of `skimage.measure.regionprops`.

    Parameters
    ----------
    body : (Z, Y, X) or (Y, X) bool ndarray
        At least one voxel.
    spacing : tuple of float
        Edges of a voxel in µm; "area" is a volume in three dimensions.
    """
    (region,) = regionprops(body.astype(np.uint8), spacing=spacing)
    values: dict[str, float] = {}
    for name in REGION_FEATURES[body.ndim]:
        stem, _, index = name.partition("-")
        value = getattr(region, stem)
        values[name] = float(value[int(index)] if index else value)
    return values
