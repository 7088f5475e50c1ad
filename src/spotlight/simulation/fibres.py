"""Fibres and spots inside adherent cells: mitochondria, microtubules, actin and droplets.

Fibres are random walks over the plane that stay in their cell. They are drawn into a volume of anisotropic voxels.
Lengths are in µm, arrays are ZYX.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spotlight.simulation.adherent import AdherentCellSettings, Bodies, between
from spotlight.simulation.phantom import FloatArray, _noise

STEP_UM = 0.15
"""Distance between the points of a fibre."""

Points = NDArray[np.float64]


def mitochondria(
    bodies: Bodies,
    shape: tuple[int, int, int],
    voxel_um: tuple[float, float],
    settings: AdherentCellSettings,
    rng: np.random.Generator,
) -> FloatArray:
    """Make winding tubules of 0.5 µm, densest around the nucleus, never in it; (Z, Y, X), 1 inside."""
    free = (bodies.edge > 1.0) & (bodies.apart > 0.4)
    starts, owners = _starts(bodies, free, np.exp(-bodies.apart / 5), settings.mitochondria_per_cell, voxel_um[1], rng)
    count = len(starts)
    length = rng.gamma(4, settings.mitochondrion_um / 4, count)
    angle = rng.uniform(0, 2 * np.pi, count)
    walk, alive = _walk(starts, angle, length, owners, free, bodies, voxel_um[1], 0.35, 1.0, rng)
    level = rng.uniform(0.25, 0.7, count)
    points = _lift(walk, level, bodies, voxel_um[1])
    strength = rng.uniform(0.7, 1.2, count)
    volume = draw(points[alive], np.broadcast_to(strength, alive.shape)[alive], shape, voxel_um, (0.22, 0.2))
    return np.minimum(volume, np.float32(1.3))


def microtubules(
    bodies: Bodies,
    shape: tuple[int, int, int],
    voxel_um: tuple[float, float],
    settings: AdherentCellSettings,
    rng: np.random.Generator,
) -> FloatArray:
    """Make long, slightly curved filaments that radiate from a centrosome beside the nucleus; (Z, Y, X)."""
    free = bodies.edge > 0.4
    near = (bodies.apart > 0.8) & (bodies.apart < 1.8) & (bodies.edge > 1.5)
    roots, cells = _starts(bodies, near, np.exp(bodies.edge / 2), 1, voxel_um[1], rng)
    number = settings.microtubules_per_cell
    owners = np.repeat(cells, number)
    starts = np.repeat(roots, number, axis=0) + rng.normal(0, 0.4, (len(owners), 2))
    # Some filaments are detached from the centrosome.
    away = rng.uniform(0, 1, len(owners)) < 0.6
    angle = rng.uniform(0, 2 * np.pi, len(owners))
    offset = away * rng.uniform(0, 18, len(owners))
    length = np.where(away, rng.gamma(3, 4, len(owners)), rng.gamma(4, 6, len(owners)))
    starts = starts + offset[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)
    angle = angle + away * rng.normal(0, 0.5, len(owners))
    walk, alive = _walk(starts, angle, length, owners, free, bodies, voxel_um[1], 0.09, 0.5, rng)
    points = _lift(walk, rng.uniform(0.1, 0.6, len(owners)), bodies, voxel_um[1])
    return draw(points[alive], np.ones(int(alive.sum())), shape, voxel_um, (0.12, 0.1))


def actin(
    bodies: Bodies,
    inside: FloatArray,
    voxel_um: tuple[float, float],
    settings: AdherentCellSettings,
    rng: np.random.Generator,
) -> FloatArray:
    """Make a rim, stress fibres along the cell's long axis under the nucleus, arcs and a thin cortex; (Z, Y, X)."""
    pixel = voxel_um[1]
    free = bodies.edge > 0.3
    each = settings.stress_fibres_per_cell
    middles, owners = _starts(bodies, bodies.edge > 0.8, np.ones_like(bodies.edge), each, pixel, rng)
    count = len(middles)
    angle = bodies.axes[owners - 1] + rng.normal(0, 0.13, count)
    length = rng.gamma(4, 1.7, count)
    volume = np.zeros(inside.shape, np.float32)
    strength = rng.lognormal(-0.3, 0.5, count)
    for way in (0.0, np.pi):
        walk, alive = _walk(middles, angle + way, length, owners, free, bodies, pixel, 0.02, 0.0, rng)
        points = np.concatenate([np.full((*walk.shape[:2], 1), 0.25), walk], axis=2)
        weight = np.broadcast_to(strength, alive.shape)[alive]
        volume += draw(points[alive], weight, inside.shape, voxel_um, (0.15, 0.14))
    patchy = np.exp(0.5 * _noise(bodies.edge.shape, 1.5 / pixel, rng))
    rim = np.exp(-(((bodies.edge - 0.3) / 0.35) ** 2)) * patchy
    arcs = 0.25 * np.exp(-(((bodies.edge - 2.8) / 0.35) ** 2)) * np.clip(patchy - 0.9, 0, None)
    thin = between(np.maximum(bodies.height - 0.3, 0), bodies.height, inside.shape[0], voxel_um[0])
    mesh = np.exp(0.5 * _noise(bodies.edge.shape, 0.3 / pixel, rng))
    return np.asarray(volume + inside * (rim + arcs) * (bodies.cells > 0) + 0.12 * thin * mesh, np.float32)


def droplets(
    bodies: Bodies,
    shape: tuple[int, int, int],
    voxel_um: tuple[float, float],
    settings: AdherentCellSettings,
    rng: np.random.Generator,
) -> FloatArray:
    """Make round droplets and vesicles of about 0.5 µm, mostly near the nucleus; (Z, Y, X)."""
    free = (bodies.edge > 1.0) & (bodies.apart > 0.5)
    starts, _ = _starts(bodies, free, np.exp(-bodies.apart / 4), settings.droplets_per_cell, voxel_um[1], rng)
    points = _lift(starts[None], rng.uniform(0.3, 0.7, len(starts)), bodies, voxel_um[1])[0]
    # A single point is as bright as a fibre of 0.5 µm.
    weights = rng.lognormal(0, 0.5, len(starts)) * 0.5 / STEP_UM
    return np.minimum(draw(points, weights, shape, voxel_um, (0.22, 0.2)), np.float32(1.5))


def _starts(
    bodies: Bodies,
    free: NDArray[np.bool_],
    density: FloatArray,
    per_cell: int,
    pixel: float,
    rng: np.random.Generator,
) -> tuple[Points, NDArray[np.int_]]:
    """Draw positions in every cell by a density over the plane: (n, 2) in µm, and their cells.

    A cell that is only partly in the field gets fewer positions.
    """
    places, owners = [], []
    sizes = np.bincount(bodies.cells.ravel())
    usual = np.median(sizes[1:][sizes[1:] > 0]) if (sizes[1:] > 0).any() else 1
    for number in range(1, len(sizes)):
        spots = np.argwhere(free & (bodies.cells == number))
        count = max(1, round(per_cell * min(1.5, sizes[number] / usual))) if per_cell > 1 else per_cell
        if not len(spots):
            continue
        chance = density[tuple(spots.T)].astype(float)
        chosen = rng.choice(len(spots), count, p=chance / chance.sum())
        places.append((spots[chosen] + rng.uniform(-0.5, 0.5, (count, 2))) * pixel)
        owners.append(np.full(count, number))
    if not places:
        return np.zeros((0, 2)), np.zeros(0, int)
    return np.concatenate(places), np.concatenate(owners)


def _walk(
    starts: Points,
    angle: Points,
    length: Points,
    owners: NDArray[np.int_],
    free: NDArray[np.bool_],
    bodies: Bodies,
    pixel: float,
    wobble: float,
    turn: float,
    rng: np.random.Generator,
) -> tuple[Points, NDArray[np.bool_]]:
    """Walk over the plane in steps of `STEP_UM`, with a curvature that drifts.

    If the next step is not free, or leaves the fibre's own cell, the fibre turns at random, with a spread of `turn` in
    radians; if `turn` is 0, it ends. Returns the positions (steps, n, 2) in µm, and whether the fibre exists there.
    """
    place, angle = starts.copy(), angle.copy()
    curvature = rng.normal(0, wobble, len(starts))
    steps = int(np.ceil(length.max(initial=0) / STEP_UM))
    places, alive = np.zeros((steps, len(starts), 2)), np.zeros((steps, len(starts)), bool)
    limit = np.array(free.shape) - 1

    def may_be(at: Points) -> NDArray[np.bool_]:
        spot = np.rint(at / pixel).astype(int)
        y, x = np.clip(spot, 0, limit).T
        return np.asarray(((spot >= 0) & (spot <= limit)).all(1) & free[y, x] & (bodies.cells[y, x] == owners))

    going = may_be(place)
    for step in range(steps):
        curvature = 0.92 * curvature + rng.normal(0, 0.4 * wobble, len(starts))
        angle = angle + STEP_UM * curvature
        ahead = place + STEP_UM * np.stack([np.sin(angle), np.cos(angle)], 1)
        good = may_be(ahead)
        going &= step * STEP_UM < length
        if turn:
            angle = np.where(good, angle, angle + rng.normal(0, turn, len(starts)))
        else:
            going &= good
        place = np.where((good & going)[:, None], ahead, place)
        places[step], alive[step] = place, good & going
    return places, alive


def _lift(walk: Points, level: Points, bodies: Bodies, pixel: float) -> Points:
    """Add a height to positions (steps, n, 2): a share of the cell's height, but below the nucleus."""
    y, x = np.clip(np.rint(walk / pixel).astype(int), 0, np.array(bodies.height.shape) - 1).transpose(2, 0, 1)
    height = np.minimum(bodies.height[y, x], 4.0) * level
    height = np.where(bodies.nuclei[y, x] > 0, 0.6 * bodies.bottom[y, x], height)
    smooth = ndimage.uniform_filter1d(height, 9, axis=0) if len(height) > 1 else height
    return np.concatenate([np.maximum(smooth, 0.15)[..., None], walk], axis=2)


def draw(
    points: NDArray[np.float64],
    weights: NDArray[np.float64],
    shape: tuple[int, int, int],
    voxel_um: tuple[float, float],
    sigma_um: tuple[float, float],
) -> FloatArray:
    """Draw points (n, 3), in µm, as Gaussian spots with the given sigmas in z and in the plane; (Z, Y, X).

    Points of weight 1 at distances of `STEP_UM` along a curve make a fibre with the value 1 on its axis.
    """
    step, pixel = voxel_um
    place = points / np.array([step, pixel, pixel]) - np.array([0.5, 0, 0])
    floor = np.floor(place).astype(int)
    share = place - floor
    volume = np.zeros(int(np.prod(shape)))
    for corner in np.ndindex(2, 2, 2):
        spot = floor + corner
        part = np.prod(np.where(corner, share, 1 - share), axis=1) * weights
        # Nothing lies below the coverslip: points there are moved into the first slice.
        spot[:, 0] = np.clip(spot[:, 0], 0, shape[0] - 1)
        good = ((spot[:, 1:] >= 0) & (spot[:, 1:] < shape[1:])).all(1)
        volume += np.bincount(np.ravel_multi_index(tuple(spot[good].T), shape), part[good], len(volume))
    sigma = (sigma_um[0] / step, sigma_um[1] / pixel, sigma_um[1] / pixel)
    # Linear interpolation onto the grid has already widened the spots.
    spread = [np.hypot(s, np.sqrt(1 / 6)) for s in sigma]
    blurred = ndimage.gaussian_filter(volume.reshape(shape), sigma, truncate=3)
    return np.asarray(blurred * (2 * np.pi * spread[0] * spread[1] * STEP_UM / pixel), np.float32)
