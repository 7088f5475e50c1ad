"""The smooth closed surface of a body of voxels, and how it bends.

A mask says where a body is, not where its surface lies between the voxels, and the staircase of a mesh around it has a
tenth more area than the body and no curvature that means anything. The mask is therefore blurred by a Gaussian of a
length in µm, the same along all axes whatever the voxels' edges, and the surface is a level of what results:

- the level that has as many voxels above it as the body has, so that smoothing moves volume but does not take it away;
- through the inverse of the normal distribution first, which turns the blurred step of a flat face into the distance
  from it: linear, so that interpolating it between voxels and differencing it are accurate.

Its mean and Gaussian curvature are those of a level set (Goldman 2005, Computer Aided Geometric Design 22:632).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import brentq
from scipy.special import ndtri
from skimage.measure import marching_cubes
from skimage.transform import downscale_local_mean

FEWEST = 8
"""Voxels across a body that are left when they are put together."""
VOLUME_TOLERANCE = 0.005


@dataclass(frozen=True, eq=False)
class Surface:
    """A closed triangle mesh with outward normals, and its curvature.

    Attributes
    ----------
    vertices : (n, 3) ndarray
        ZYX in the unit of the voxel's edges, from an arbitrary origin.
    faces : (m, 3) int ndarray
        Vertex numbers of each triangle.
    distance : (Z, Y, X) ndarray
        Distance from the surface, growing outwards, of which the mesh is a level.
    step : (3,) ndarray
        Edges of its voxels.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    distance: NDArray[Any]
    step: NDArray[np.float64]

    @cached_property
    def areas(self) -> NDArray[np.float64]:
        """Third of the area of the triangles around each vertex: its share of the surface, (n,)."""
        thirds = np.repeat(triangle_areas(self.vertices, self.faces) / 3, 3)
        return np.bincount(self.faces.ravel(), thirds, len(self.vertices)).astype(float)

    @cached_property
    def curvatures(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Larger and smaller principal curvature at each vertex, both (n,), positive where the body is convex."""
        return _principal_curvatures(self.distance, self.step, self.vertices / self.step)

    def mean(self, values: NDArray[np.float64]) -> float:
        """Average of a quantity given at the vertices over the surface, each weighted by its area."""
        return float(np.average(values, weights=self.areas))


def find_surface(body: NDArray[np.bool_], spacing: tuple[float, ...], smoothing: float) -> Surface:
    """Find the smooth surface of a body.

    Parameters
    ----------
    body : (Z, Y, X) bool ndarray
        At least one voxel; what lies outside the array is background, so the surface is closed.
    spacing : tuple of float
        Edges of a voxel.
    smoothing : float
        Standard deviation of the Gaussian, in the unit of `spacing`; at most half the radius of the ball of the body's
        volume is used, since a longer one would make any body a drop.

    Returns
    -------
    Surface
        With the volume of the body's voxels, within 0.5 %.
    """
    edges = np.asarray(spacing, float)
    volume = np.count_nonzero(body) * edges.prod()
    smoothing = min(smoothing, np.cbrt(3 * volume / (4 * np.pi)) / 2)
    # The blur leaves nothing that voxels of its own length do not show, so finer ones are put together.
    factors = np.clip((smoothing / edges).astype(int), 1, np.maximum(1, np.array(body.shape) // FEWEST))
    step = edges * factors
    share = downscale_local_mean(body.astype(np.float32), tuple(factors)).astype(np.float32)
    margin = np.ceil(3 * smoothing / step).astype(int) + 2
    blurred = ndimage.gaussian_filter(np.pad(share, [(m, m) for m in margin]), smoothing / step, mode="constant")
    inside = max(1, round(np.count_nonzero(body) / int(factors.prod())))
    ranked = np.partition(blurred.ravel(), [blurred.size - inside - 1, blurred.size - inside])
    level = ranked[blurred.size - inside - 1 : blurred.size - inside + 1].mean()
    distance = smoothing * (ndtri(level) - ndtri(np.clip(blurred, 1e-7, 1 - 1e-7)))
    distance = np.pad(distance, 1, constant_values=distance.max())  # so that every level of it is closed
    vertices, faces = _level_of_volume(distance, step, volume)
    return Surface(vertices, faces, distance, step)


def _level_of_volume(
    distance: NDArray[Any], step: NDArray[np.float64], volume: float
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Mesh of level 0 or, where its volume is off by more than `VOLUME_TOLERANCE`, of a level near it that fits."""

    def mesh(level: float) -> tuple[NDArray[np.float64], NDArray[Any]]:
        vertices, faces, _, _ = marching_cubes(distance, level, gradient_direction="descent")
        return vertices * step, faces

    level, lowest, highest = 0.0, 0.999 * float(distance.min()), 0.999 * float(distance.max())
    for _ in range(3):
        found = mesh(level)
        missing = volume - enclosed_volume(*found)
        if abs(missing) <= VOLUME_TOLERANCE * volume:
            return found
        area = float(triangle_areas(*found).sum())
        level = float(np.clip(level + missing / area, lowest, highest))
    # Near a speck, levels are not distances.
    accuracy = 1e-4 * float(step.min())
    return mesh(brentq(lambda level: enclosed_volume(*mesh(level)) - volume, lowest, highest, xtol=accuracy))


def enclosed_volume(vertices: NDArray[Any], faces: NDArray[Any]) -> float:
    """Volume inside a closed mesh: the sum of the signed tetrahedra from the origin to each face."""
    a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    return abs(float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum())) / 6


def triangle_areas(vertices: NDArray[np.float64], faces: NDArray[Any]) -> NDArray[np.float64]:
    """Area of every triangle of a mesh."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)


def _principal_curvatures(
    distance: NDArray[Any], step: NDArray[np.float64], points: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Principal curvatures of the level sets of `distance`, growing outwards, at (n, 3) `points` between two voxels.

    Mean curvature (|g|² tr H - gᵀ H g) / 2|g|³ and Gaussian gᵀ adj(H) g / |g|⁴ with gradient g and second
    derivatives H; the principal ones are mean ± sqrt(mean² - Gaussian).
    """
    strides = np.array([distance.shape[1] * distance.shape[2], distance.shape[2], 1])
    corner = np.floor(points + 1e-3).astype(int)
    axis = (points - corner).argmax(axis=1)
    weight = np.take_along_axis(points - corner, axis[:, None], axis=1)[:, 0].astype(np.float64)
    first = corner @ strides
    second = first + strides[axis]
    flat = distance.ravel()

    def near(shift: int) -> NDArray[np.float64]:
        return np.asarray((1 - weight) * flat[first + shift] + weight * flat[second + shift])

    middle = near(0)
    gradient = np.empty((len(points), 3))
    hessian = np.empty((len(points), 3, 3))
    for i in range(3):
        up, down = near(strides[i]), near(-strides[i])
        gradient[:, i] = (up - down) / (2 * step[i])
        hessian[:, i, i] = (up - 2 * middle + down) / step[i] ** 2
        for j in range(i):
            same, other = strides[i] + strides[j], strides[i] - strides[j]
            mixed = near(same) + near(-same) - near(other) - near(-other)
            hessian[:, i, j] = hessian[:, j, i] = mixed / (4 * step[i] * step[j])
    steepness = np.maximum(np.linalg.norm(gradient, axis=1), 1e-6)
    normal = gradient / steepness[:, None]
    along = _between(normal, hessian)
    mean = (np.trace(hessian, axis1=1, axis2=2) - along) / (2 * steepness)
    adjugate = np.stack([np.cross(hessian[:, (i + 1) % 3], hessian[:, (i + 2) % 3]) for i in range(3)], axis=1)
    gaussian = _between(normal, adjugate) / steepness**2
    half = np.sqrt(np.maximum(mean**2 - gaussian, 0))
    # A radius below half a step is not resolved: where lobes of a body touch, it would be nil.
    limit = 2 / step.min()
    return np.clip(mean + half, -limit, limit), np.clip(mean - half, -limit, limit)


def _between(vectors: NDArray[np.float64], matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return vᵀ M v of each vector and matrix."""
    return np.asarray((vectors * (matrices @ vectors[:, :, None])[:, :, 0]).sum(axis=1))
