"""Features of the smooth surface of a nucleus: size, bounding bodies, compactness, curvature."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from trimesh.triangles import mass_properties

from spotlight.profiles.bounding import (
    cylinder_volume,
    enclosing_ball,
    largest_distance,
    oriented_box_volume,
    outermost,
)
from spotlight.profiles.surface import Surface, enclosed_volume, triangle_areas

SURFACE_FEATURES = ("surface", "sphericity", "solidity")
"""Columns that `surface_features` gives."""
MESH_FEATURES = (
    "mesh_volume",
    "box_short",
    "box_middle",
    "box_long",
    "box_diagonal",
    "box_volume",
    "oriented_box_volume",
    "cylinder_volume",
    "ball_volume",
    "hull_volume",
    "hull_area",
    "inertia_1",
    "inertia_2",
    "inertia_3",
    "mesh_extent",
    "gaussian_curvature",
    "mean_curvature",
    "shape_index",
    "curvedness",
    "feret_diameter_max",
)
"""Columns that `mesh_features` gives."""


def surface_features(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> dict[str, float]:
    """Area of a closed mesh in µm², sphericity π^(1/3) (6 volume)^(2/3) / area, and volume over that of its hull."""
    area, volume = float(triangle_areas(vertices, faces).sum()), enclosed_volume(vertices, faces)
    return {
        "surface": area,
        "sphericity": np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area,
        "solidity": volume / float(ConvexHull(vertices).volume),
    }


def mesh_features(surface: Surface) -> dict[str, float]:
    """Measure the smooth surface of a body.

    With `surface_features`, these are the 20 features of cubic's ``feature.mesh``, the library of the paper's authors,
    and three more. They differ from its values on purpose: lengths are in µm, not in voxels; the mesh is closed
    where a nucleus touches the border; it is smooth, where cubic's is a staircase with a tenth more area; and curvature
    is curvature, averaged over the area, where cubic averages over the vertices the angles within one voxel of each.

    Parameters
    ----------
    surface : Surface
        From `spotlight.profiles.surface.find_surface`.

    Returns
    -------
    dict
        One number for each of `MESH_FEATURES`. ``shape_index`` is 2/π arctan((k1 + k2) / (k1 - k2)) of the principal
        curvatures k1 >= k2, positive where the body is convex, so that 1 is a ball, 0.5 a ridge, 0 a saddle, -0.5 a
        rut and -1 a cup; ``curvedness`` is sqrt((k1² + k2²) / 2) (Koenderink and van Doorn 1992, Image and Vision
        Computing 10:557). Both are averages over the surface.
    """
    return shape_of_mesh(surface.vertices, surface.faces) | _curvature(surface)


def shape_of_mesh(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> dict[str, float]:
    """Measure a closed mesh: all of `MESH_FEATURES` but curvature.

    Parameters
    ----------
    vertices : (n, 3) ndarray
        In µm.
    faces : (m, 3) int ndarray
        Triangles with outward normals.
    """
    hull = ConvexHull(vertices)
    corners = vertices[hull.vertices]
    outer = outermost(corners)
    box = np.sort(np.ptp(corners, axis=0))
    solid = mass_properties(vertices[faces])
    volume = float(solid["volume"])
    _, radius = enclosing_ball(corners)
    inertia = np.linalg.eigvalsh(solid["inertia"])
    return {
        "mesh_volume": volume,
        **dict(zip(("box_short", "box_middle", "box_long"), map(float, box), strict=True)),
        "box_diagonal": float(np.linalg.norm(box)),
        "box_volume": float(box.prod()),
        "oriented_box_volume": oriented_box_volume(corners, outer),
        "cylinder_volume": cylinder_volume(corners, outer),
        "ball_volume": 4 / 3 * np.pi * radius**3,
        "hull_volume": float(hull.volume),
        "hull_area": float(hull.area),
        **{f"inertia_{number}": float(value) for number, value in enumerate(inertia, start=1)},
        "mesh_extent": volume / float(box.prod()),
        "feret_diameter_max": largest_distance(corners, outer),
    }


def _curvature(surface: Surface) -> dict[str, float]:
    large, small = surface.curvatures
    return {
        "gaussian_curvature": surface.mean(large * small),
        "mean_curvature": surface.mean((large + small) / 2),
        "shape_index": surface.mean(2 / np.pi * np.arctan2(large + small, large - small)),
        "curvedness": surface.mean(np.sqrt((large**2 + small**2) / 2)),
    }
