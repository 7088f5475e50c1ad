"""Tubes in space: vessels that branch and join, and the processes of microglia.

A tube is a curve of points with a radius at each. Lengths are in µm, arrays are ZYX, voxel centres lie at whole numbers
of voxels, and all randomness comes from one generator.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spotlight.simulation.phantom import FloatArray

Points = NDArray[np.float64]
Extent = tuple[float, float, float]
"""Size of the volume along Z, Y and X."""

CHUNK = 2_000
"""Points that are drawn at once."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Points of many tubes.

    Attributes
    ----------
    points : (n, 3) float64
        Positions, Z, Y, X.
    radii : (n,) float64
        Of the tube there.
    number : (n,) int
        Which segment the point belongs to, from 0.
    """

    points: Points
    radii: Points
    number: NDArray[np.int_]


def join(curves: list[tuple[Points, Points]]) -> Curves:
    """Put segments together: positions and radii of each."""
    if not curves:
        return Curves(np.zeros((0, 3)), np.zeros(0), np.zeros(0, int))
    number = np.repeat(np.arange(len(curves)), [len(points) for points, _ in curves])
    return Curves(np.concatenate([p for p, _ in curves]), np.concatenate([r for _, r in curves]), number)


def walk(
    start: Points, direction: Points, length: float, persistence: float, step: float, rng: np.random.Generator
) -> Points:
    """Walk in space; the correlation of directions falls as exp(-distance / persistence). Returns (n, 3), n ≥ 1."""
    count = max(1, round(length / step))
    turns = rng.normal(0, np.sqrt(step / persistence), (count, 3))
    points = np.empty((count + 1, 3))
    points[0] = start
    for n, turn in enumerate(turns, start=1):
        direction = direction + turn
        direction = direction / np.linalg.norm(direction)
        points[n] = points[n - 1] + step * direction
    return points


def any_direction(rng: np.random.Generator) -> Points:
    """Draw a direction, all alike."""
    vector = rng.normal(0, 1, 3)
    return np.asarray(vector / np.linalg.norm(vector))


def vessel_tree(
    extent: Extent,
    radius: float,
    least: float,
    exponent: float,
    persistence: float,
    step: float,
    rng: np.random.Generator,
) -> list[tuple[Points, Points]]:
    """Grow a vessel from a side of the volume until its branches are as thin as capillaries.

    The radii of two branches obey Murray's law, r^m = a^m + b^m with a share of .35 to .65 each.

    Parameters
    ----------
    extent : (float, float, float)
        Size of the volume.
    radius, least : float
        Of the root, and where branches end.
    exponent : float
        Murray's m, about 3.
    persistence, step : float
        Of the walks, and the distance between points.
    rng : numpy.random.Generator
        The source of all randomness.
    """
    size = np.array(extent)
    inward = any_direction(rng)
    waiting: list[tuple[Points, Points, float]] = [
        (size * rng.uniform(0.2, 0.8, 3) - inward * size.max() * 0.7, inward, radius)
    ]
    found: list[tuple[Points, Points]] = []
    while waiting:
        start, direction, now = waiting.pop()
        if now < least or len(found) > 200:
            continue
        points = walk(start, direction, now * rng.uniform(8, 25), persistence, step, rng)
        found.append((points, np.full(len(points), now)))
        onward = points[-1] - points[-2]
        onward = onward / np.linalg.norm(onward)
        share = rng.uniform(0.35, 0.65)
        for part in (share, 1 - share):
            bent = onward + rng.normal(0, 0.45, 3)
            waiting.append((points[-1], bent / np.linalg.norm(bent), now * part ** (1 / exponent)))
    return found


def capillaries(
    extent: Extent, mm_per_mm3: float, radius: float, step: float, rng: np.random.Generator
) -> list[tuple[Points, Points]]:
    """Make a mesh: random nodes, each joined to its three nearest ones by a bent tube.

    Parameters
    ----------
    extent : (float, float, float)
        Size of the volume; nodes lie up to 60 µm outside it.
    mm_per_mm3 : float
        Length of all capillaries in a volume; about 900 in cortex.
    radius, step : float
        Mean radius, and the distance between points.
    rng : numpy.random.Generator
        The source of all randomness.
    """
    margin = 60.0
    size = np.array(extent) + 2 * margin
    # Of n nodes in a volume, two edges each of about 0.7 n^(-1/3): their length is about 1.4 n^(2/3).
    density = (mm_per_mm3 * 1e-6 / 1.4) ** 1.5
    nodes = rng.uniform(0, 1, (max(5, round(density * float(size.prod()))), 3)) * size - margin
    apart = np.linalg.norm(nodes[:, None] - nodes[None], axis=2)
    near = np.argsort(apart, axis=1)[:, 1:4]
    edges = sorted({(min(a, b), max(a, b)) for a, row in enumerate(near.tolist()) for b in row})
    found = []
    for a, b in edges:
        length = float(apart[a, b])
        middle = (nodes[a] + nodes[b]) / 2 + rng.normal(0, 0.2 * length, 3)
        t = np.linspace(0, 1, max(2, round(1.2 * length / step)))[:, None]
        points = (1 - t) ** 2 * nodes[a] + 2 * t * (1 - t) * middle + t**2 * nodes[b]
        found.append((points, np.full(len(points), radius * rng.lognormal(0, 0.15))))
    return found


def processes(
    centre: Points, reach: float, count: int, step: float, rng: np.random.Generator
) -> list[tuple[Points, Points]]:
    """Grow the processes of a microglial cell: walks from its middle, thinner outward, that branch a few times."""
    found = []
    for _ in range(count):
        waiting = [(centre, any_direction(rng), reach * rng.uniform(0.6, 1.2), rng.uniform(1.2, 2.2))]
        branches = int(rng.integers(2, 5))
        while waiting:
            start, direction, length, radius = waiting.pop()
            points = walk(start, direction, length, 25.0, step, rng)
            found.append((points, np.linspace(radius, 0.4 * radius, len(points))))
            if branches:
                branches -= 1
                at = int(len(points) * rng.uniform(0.3, 0.8))
                bent = points[at] - points[max(at - 1, 0)] + step * rng.normal(0, 0.8, 3)
                left = length * (1 - at / len(points)) + 3
                waiting.append((points[at], bent / max(np.linalg.norm(bent), 1e-9), left, 0.6 * radius))
    return found


def draw_tubes(
    curves: Curves, values: Points, shape: tuple[int, int, int], voxel_um: tuple[float, float, float]
) -> FloatArray:
    """Draw tubes: voxels whose centre lies within the radius of a point, and the voxel of every point.

    Parameters
    ----------
    curves : Curves
        Points, no further apart than voxels.
    values : (n,) float64
        Of each point, above 0; where several reach, the greatest counts.
    shape, voxel_um : tuple
        Of the volume.

    Returns
    -------
    (Z, Y, X) float32
        0 outside.
    """
    voxel = np.array(voxel_um)
    volume = np.zeros(shape, np.float32)
    inside = ((curves.points > -curves.radii[:, None]) & (curves.points < voxel * shape + curves.radii[:, None])).all(1)
    points, radii, values = curves.points[inside], curves.radii[inside], values[inside]
    wide = np.ceil(radii / voxel.min()).astype(int)
    for width in np.unique(wide):
        reach = np.ceil(width * voxel.min() / voxel).astype(int) + 1
        offsets = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), -1).reshape(-1, 3)
        own = np.flatnonzero(wide == width)
        size = max(1, CHUNK * 200 // len(offsets))
        for first in range(0, len(own), size):
            some = own[first : first + size]
            centre = np.rint(points[some] / voxel).astype(int)
            spots = centre[:, None] + offsets
            distance = np.linalg.norm(spots * voxel - points[some, None], axis=2)
            drawn = (distance <= radii[some, None]) | (offsets == 0).all(1)
            drawn &= ((spots >= 0) & (spots < shape)).all(2)
            which, _ = np.nonzero(drawn)
            np.maximum.at(volume, tuple(spots[drawn].T), values[some][which].astype(np.float32))
    return volume
