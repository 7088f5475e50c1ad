"""Size and shape of every instance, in physical units."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from skimage import measure as skmeasure

from spotlight.errors import SpotlightError
from spotlight.images import Stack

SHAPE_3D = ("volume", "surface", "sphericity", "height", "width", "elongation", "long_axis", "short_axis", "solidity")
SHAPE_2D = ("area", "perimeter", "circularity", "long_axis", "short_axis", "eccentricity", "solidity")
FEATURES = {3: SHAPE_3D, 2: SHAPE_2D}
"""Columns of the table that describe size and shape, by number of dimensions."""


def measure(labels: Stack, intensity: Stack | None = None) -> pd.DataFrame:
    """Measure every instance of a label stack.

    Lengths are in µm if the voxel size is known, else in pixels. In three dimensions:

    - ``volume``; ``surface`` of the marching-cubes mesh of the body blurred by 0.8 voxels; ``sphericity``
      π^(1/3) (6 volume)^(2/3) / surface;
    - ``height`` and ``width``: full axial and lateral size of the ellipsoid with the same second moments,
      2 √5 σ_z and 2 √5 (σ_y² σ_x² - σ_yx²)^(1/4); ``elongation`` is their ratio;
    - ``long_axis``, ``short_axis``: longest and shortest axis of that ellipsoid; ``solidity``: volume of the
      mesh over that of its convex hull.

    In two dimensions: ``area``, ``perimeter``, ``circularity`` 4π area / perimeter², the axes of the ellipse,
    ``eccentricity`` and ``solidity``.

    Parameters
    ----------
    labels : Stack
        Axes ZYX or YX, whole numbers, 0 for background.
    intensity : Stack, optional
        On the same grid; adds ``mean_intensity``.

    Returns
    -------
    pandas.DataFrame
        One row per label with ``label``, the centroid (``z``, ``y``, ``x``) and the features.
    """
    labels = labels.channel(None)
    if not np.issubdtype(labels.data.dtype, np.integer):
        raise SpotlightError(f"{labels.source}: labels must be whole numbers. Received: {labels.data.dtype}.")
    if intensity is not None and intensity.channel(None).shape != labels.shape:
        raise SpotlightError(f"{intensity.source}: has shape {intensity.shape}, but the labels have {labels.shape}.")
    dims = labels.data.ndim
    spacing = labels.voxel_size or (1.0,) * dims
    values = None if intensity is None else intensity.channel(None).data
    columns = ["label", *labels.axes.lower(), *FEATURES[dims], *(["mean_intensity"] if values is not None else [])]
    describe = _describe_3d if dims == 3 else _describe_2d
    rows = []
    for number, box in enumerate(ndimage.find_objects(labels.data.astype(np.int32)), start=1):
        if box is None:
            continue
        body = np.pad(labels.data[box] == number, 1)
        places = np.argwhere(body) * spacing
        start = np.array([s.start - 1 for s in box]) * spacing
        row = {"label": number, **dict(zip(labels.axes.lower(), places.mean(0) + start, strict=True))}
        row |= describe(body, places, spacing)
        if values is not None:
            row["mean_intensity"] = float(values[box][labels.data[box] == number].mean())
        rows.append(row)
    return pd.DataFrame(rows, columns=columns).astype({"label": int})


def _moments(places: NDArray[Any], spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Covariance of a body made of boxes: that of the voxel centres plus that of one voxel."""
    centered = places - places.mean(0)
    return np.asarray(centered.T @ centered / len(places) + np.diag(np.square(spacing)) / 12)


def _describe_3d(body: NDArray[np.bool_], places: NDArray[Any], spacing: tuple[float, ...]) -> dict[str, float]:
    covariance = _moments(places, spacing)
    axes = 2 * np.sqrt(5 * np.linalg.eigvalsh(covariance))
    volume = len(places) * float(np.prod(spacing))
    # A voxel staircase has a tenth more surface than the body it stands for; a little blur takes the steps off.
    smooth = ndimage.gaussian_filter(np.pad(body, 2).astype(np.float32), 0.8)
    if smooth.max() <= 0.5:  # a body of one plane or one voxel does not outlast the blur
        smooth = np.pad(body, 2).astype(np.float32)
    vertices, faces, _, _ = skmeasure.marching_cubes(smooth, 0.5, spacing=spacing)
    surface = float(skmeasure.mesh_surface_area(vertices, faces))
    height = 2 * np.sqrt(5 * covariance[0, 0])
    width = 2 * np.sqrt(5) * np.linalg.det(covariance[1:, 1:]) ** 0.25
    return {
        "volume": volume,
        "surface": surface,
        "sphericity": np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / surface,
        "height": height,
        "width": width,
        "elongation": height / width,
        "long_axis": axes[-1],
        "short_axis": axes[0],
        "solidity": _mesh_volume(vertices, faces) / float(ConvexHull(vertices).volume),
    }


def _mesh_volume(vertices: NDArray[Any], faces: NDArray[Any]) -> float:
    """Volume inside a closed mesh: the sum of the signed tetrahedra from the origin to each face."""
    a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    return abs(float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum())) / 6


def _describe_2d(body: NDArray[np.bool_], places: NDArray[Any], spacing: tuple[float, ...]) -> dict[str, float]:
    small, large = np.linalg.eigvalsh(_moments(places, spacing))
    area = len(places) * float(np.prod(spacing))
    perimeter = float(skmeasure.perimeter_crofton(body, directions=4)) * float(np.sqrt(np.prod(spacing)))
    return {
        "area": area,
        "perimeter": perimeter,
        "circularity": 4 * np.pi * area / perimeter**2,
        "long_axis": 4 * np.sqrt(large),
        "short_axis": 4 * np.sqrt(small),
        "eccentricity": np.sqrt(1 - small / large),
        "solidity": float(skmeasure.regionprops(body.astype(np.uint8))[0].solidity),
    }
