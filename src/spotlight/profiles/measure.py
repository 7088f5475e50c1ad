"""Size and shape of every instance, in physical units."""

import itertools
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat
from scipy import ndimage
from skimage import measure as skmeasure
from skimage.segmentation import relabel_sequential

from spotlight.errors import SpotlightError
from spotlight.images import Stack, as_stack
from spotlight.images.frames import each_frame
from spotlight.images.pieces import doubt_pieces
from spotlight.images.same_field import require_match
from spotlight.profiles.mesh import MESH_FEATURES, SURFACE_FEATURES, mesh_features, surface_features
from spotlight.profiles.regions import REGION_FEATURES, region_features
from spotlight.profiles.surface import find_surface
from spotlight.settings import Settings

log = logging.getLogger("spotlight")

SHAPE_3D = ("volume", "height", "width", "elongation", "long_axis", "short_axis", *SURFACE_FEATURES)
SHAPE_2D = ("area", "perimeter", "circularity", "long_axis", "short_axis", "eccentricity", "solidity")
FEATURES = {3: SHAPE_3D, 2: SHAPE_2D}
"""Columns of the quick table that describe size and shape, by number of dimensions."""
FULL_FEATURES = {3: (*SHAPE_3D, *REGION_FEATURES[3], *MESH_FEATURES), 2: (*SHAPE_2D, *REGION_FEATURES[2])}
"""Columns of the full table that describe size and shape, by number of dimensions."""
INTENSITIES = ("mean_intensity", "std_intensity", "min_intensity", "max_intensity", "integrated_intensity")
"""Columns of the full table that an intensity image adds; the quick one has the first."""

LEAST_SMOOTHING = 0.8
"""In longest edges of a voxel: less leaves its staircase, more draws in the ends of a long body."""

MANY = 1 << 20
"""Labels above this are renumbered before they are looked for: finding them takes memory for every number below."""


class ProfileSettings(Settings):
    """What is measured of every nucleus.

    Examples
    --------
    >>> from spotlight.profiles import ProfileSettings
    >>> ProfileSettings(features="full").smoothing_um
    0.6
    """

    features: Literal["quick", "full"] = Field(
        "quick",
        description="quick: size and shape. full: also scikit-image's region properties and, in three dimensions, the "
        "features of the mesh with curvature that the paper's profiles are made of; about four times as slow.",
    )
    smoothing_um: PositiveFloat = Field(
        0.6,
        description="Gaussian that takes the voxels' staircase off the surface of the full set, in µm; two voxels of "
        "the paper's 0.29 µm, where mean curvature and area of an ellipsoid as large as a nucleus are within 1 %.",
    )


def measure(
    labels: Stack | NDArray[Any],
    intensity: Stack | NDArray[Any] | None = None,
    settings: ProfileSettings | None = None,
    *,
    axes: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
) -> pd.DataFrame:
    """Measure every instance of a label stack.

    Lengths are in µm if the voxel size is known, else in pixels. In three dimensions:

    - ``volume`` of the voxels; ``surface`` of the body's smooth surface, see
      `spotlight.profiles.surface.find_surface`; ``sphericity`` π^(1/3) (6 volume)^(2/3) / surface; ``solidity``:
      volume inside the surface over that of its convex hull;
    - ``height`` and ``width``: full axial and lateral size of the ellipsoid with the same second moments,
      2 √5 σ_z and 2 √5 (σ_y² σ_x² - σ_yx²)^(1/4); ``elongation`` is their ratio;
    - ``long_axis``, ``short_axis``: longest and shortest axis of that ellipsoid.

    In two dimensions: ``area``, ``perimeter``, ``circularity`` 4π area / perimeter², the axes of the ellipse,
    ``eccentricity`` and ``solidity``.

    The full set adds what docs/profiles.md lists. The surface is smoothed by the settings' Gaussian or, if that is
    longer, one of 0.8 of the longest edge of a voxel, and by one of two pixels where the voxel size is unknown.

    Parameters
    ----------
    labels : Stack or ndarray
        Axes ZYX or YX, whole numbers, 0 for background. Gaps in the numbers do not matter. Of a time-lapse, axes TZYX
        or TYX, each frame is measured by itself.
    intensity : Stack or ndarray, optional
        On the same grid; adds ``mean_intensity`` and, in the full set, the other `INTENSITIES`. They mean something
        only in the units of the camera: a stain in the network's units, or scaled stack by stack, has none to compare.
    settings : ProfileSettings, optional
        Which features, and how smooth.
    axes, voxel_size : optional
        What arrays do not state; see `spotlight.images.as_stack`.

    Returns
    -------
    pandas.DataFrame
        One row per label with ``label``, the centroid (``z``, ``y``, ``x``) and the features; no row if there is no
        label. Of a time-lapse, the first column is ``frame``, zero-based. The full set says in ``touches_border``
        whether a body ends at the border: it is measured as it is seen, closed there.

    Raises
    ------
    SpotlightError
        If the labels are not whole numbers from 0 to 2⁶³ - 1, are a mask, or the intensity is not on their grid or
        states another voxel size; or if the voxel size of an array is not stated.

    Examples
    --------
    >>> import numpy as np
    >>> import spotlight
    >>> labels = np.zeros((8, 24, 24), np.uint8)
    >>> labels[2:6, 4:12, 4:12], labels[2:6, 14:20, 14:22] = 1, 2
    >>> spotlight.measure(labels, voxel_size=(0.5, 0.5, 0.5))["volume"].tolist()
    [32.0, 24.0]
    """
    settings = settings or ProfileSettings()
    full = settings.features == "full"
    labels = as_stack(labels, axes, voxel_size, source="labels").channel(None)
    if "T" in labels.axes:
        return _measure_frames(labels, intensity, settings, axes)
    dims = labels.data.ndim
    values = None
    if intensity is not None:
        size = None if isinstance(intensity, Stack) else labels.voxel_size
        image = as_stack(intensity, axes, size, sized=False, source="intensity").timepoint().channel()
        if image.shape != labels.shape:
            raise SpotlightError(
                f"{image.source}: has shape {image.shape}, but the labels have {labels.shape}. Give an image on their "
                "grid."
            )
        if image.voxel_size is not None and labels.voxel_size is not None:
            require_match(labels, image)
        labels = replace(labels, voxel_size=labels.voxel_size or image.voxel_size)
        values = image.data
    labels.doubt_voxel_size()
    spacing = labels.voxel_size or (1.0,) * dims
    smoothing = max(settings.smoothing_um, LEAST_SMOOTHING * max(spacing)) if labels.voxel_size else 2.0
    rows = []
    for number, box, inside in _bodies(labels):
        body = np.pad(inside, 1)
        places = np.argwhere(body) * spacing
        start = np.array([s.start - 1 for s in box]) * spacing
        row = {"label": number, **dict(zip(labels.axes.lower(), places.mean(0) + start, strict=True))}
        if full:
            row["touches_border"] = any(s.start == 0 or s.stop == n for s, n in zip(box, labels.shape, strict=True))
        row |= (_describe_3d if dims == 3 else _describe_2d)(body, places, spacing)
        if full:
            row |= region_features(inside, spacing)
        if dims == 3:
            surface = find_surface(inside, spacing, smoothing)
            row |= surface_features(surface.vertices, surface.faces)
            row |= mesh_features(surface) if full else {}
        if values is not None:
            row |= _describe_intensity(values[box][inside].astype(np.float64), float(np.prod(spacing)))
        rows.append(row)
    columns = dict.fromkeys(labels.axes.lower(), float) | ({"touches_border": bool} if full else {})
    columns |= dict.fromkeys((FULL_FEATURES if full else FEATURES)[dims], float)
    columns |= dict.fromkeys(INTENSITIES[: None if full else 1] if values is not None else (), float)
    return pd.DataFrame(rows, columns=["label", *columns]).astype({"label": int, **columns})


def _measure_frames(
    labels: Stack, intensity: Stack | NDArray[Any] | None, settings: ProfileSettings, axes: str | None
) -> pd.DataFrame:
    """Measure every frame of a time-lapse; the table has the column ``frame``."""
    images: Iterator[Stack | None] = itertools.repeat(None)
    if intensity is not None:
        size = None if isinstance(intensity, Stack) else labels.voxel_size
        image = as_stack(intensity, axes, size, sized=False, source="intensity").channel()
        if image.axes != labels.axes or image.shape != labels.shape:
            raise SpotlightError(
                f"{image.source}: has {image.axes} {image.shape}, but the labels have {labels.axes} {labels.shape}. "
                "Give an image of the same frames, on their grid."
            )
        images = each_frame(image)
    tables = [measure(frame, image, settings) for frame, image in zip(each_frame(labels), images, strict=False)]
    for number, table in enumerate(tables):
        table.insert(0, "frame", number)
    return pd.concat(tables, ignore_index=True)


def _bodies(labels: Stack) -> Iterator[tuple[int, tuple[slice, ...], NDArray[np.bool_]]]:
    """Every label with its box and, inside of it, its voxels."""
    data = labels.data
    if not np.issubdtype(data.dtype, np.integer):
        raise SpotlightError(
            f"{labels.source}: labels must be whole numbers. Received: {data.dtype}. If every value is whole, save "
            "them as an integer type; if this is an image, segment it first."
        )
    if not data.any():
        return
    if data.max() > np.iinfo(np.int64).max:
        raise SpotlightError(
            f"{labels.source}: labels must be below 2⁶³, but the highest is {data.max()}. Number them anew, for "
            "example with skimage.segmentation.relabel_sequential."
        )
    if data.min() < 0:
        raise SpotlightError(
            f"{labels.source}: labels must be 0 or more, but the lowest is {data.min()}. Make what is not a nucleus 0."
        )
    if doubt := doubt_pieces(labels):
        log.warning("%s: %s", labels.source, doubt)
    names = None
    if data.max() > MANY:
        data, _, names = relabel_sequential(data)
    for number, box in enumerate(ndimage.find_objects(data.astype(np.int32, copy=False)), start=1):
        if box is not None:
            yield number if names is None else int(names[number]), box, data[box] == number


def _describe_intensity(values: NDArray[np.float64], voxel: float) -> dict[str, float]:
    return {
        "mean_intensity": float(values.mean()),
        "std_intensity": float(values.std()),
        "min_intensity": float(values.min()),
        "max_intensity": float(values.max()),
        "integrated_intensity": float(values.sum()) * voxel,
    }


def _moments(places: NDArray[Any], spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Covariance of a body made of boxes: that of the voxel centres plus that of one voxel."""
    centered = places - places.mean(0)
    return np.asarray(centered.T @ centered / len(places) + np.diag(np.square(spacing)) / 12)


def _describe_3d(_: NDArray[np.bool_], places: NDArray[Any], spacing: tuple[float, ...]) -> dict[str, float]:
    covariance = _moments(places, spacing)
    axes = 2 * np.sqrt(5 * np.linalg.eigvalsh(covariance))
    # A voxel staircase has a tenth more surface than the body it stands for; a little blur takes the steps off.
    height = 2 * np.sqrt(5 * covariance[0, 0])
    width = 2 * np.sqrt(5) * np.linalg.det(covariance[1:, 1:]) ** 0.25
    return {
        "volume": len(places) * float(np.prod(spacing)),
        "height": height,
        "width": width,
        "elongation": height / width,
        "long_axis": axes[-1],
        "short_axis": axes[0],
    }


def _perimeter(body: NDArray[np.bool_], spacing: tuple[float, ...]) -> float:
    """Crofton's perimeter from lines in four directions, those of a pixel's edges and diagonals.

    Lines in direction θ that lie d apart cross the outline n times; its length is the sum of n d Δθ / 2 (Legland et
    al. 2007, Image Analysis and Stereology 26:83). For square pixels it is scikit-image's ``perimeter_crofton``.
    """
    steps = ((0, 1), (1, 1), (1, 0), (1, -1))
    angles = [np.arctan2(dy * spacing[0], dx * spacing[1]) for dy, dx in steps]
    between = np.diff([*angles, np.pi])
    length = 0.0
    for number, (dy, dx) in enumerate(steps):
        crossings = np.count_nonzero(body != np.roll(body, (dy, dx), (0, 1)))
        apart = float(np.prod(spacing)) / float(np.hypot(dy * spacing[0], dx * spacing[1]))
        length += crossings * apart * (between[number - 1] + between[number]) / 4
    return length


def _describe_2d(body: NDArray[np.bool_], places: NDArray[Any], spacing: tuple[float, ...]) -> dict[str, float]:
    small, large = np.linalg.eigvalsh(_moments(places, spacing))
    area = len(places) * float(np.prod(spacing))
    perimeter = _perimeter(body, spacing)
    return {
        "area": area,
        "perimeter": perimeter,
        "circularity": 4 * np.pi * area / perimeter**2,
        "long_axis": 4 * np.sqrt(large),
        "short_axis": 4 * np.sqrt(small),
        "eccentricity": np.sqrt(1 - small / large),
        "solidity": float(skmeasure.regionprops(body.astype(np.uint8))[0].solidity),
    }
