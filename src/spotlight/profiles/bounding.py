"""The smallest simple bodies around a cloud of points: ball, box in any direction, cylinder in any direction."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from trimesh.bounds import oriented_bounds

Points = NDArray[np.float64]


def spread_directions(count: int) -> Points:
    """Unit vectors spread evenly over the sphere along a Fibonacci spiral; the first half is one hemisphere."""
    along = 1 - (2 * np.arange(count) + 1) / count
    angle = np.pi * (1 + np.sqrt(5)) * np.arange(count)
    across = np.sqrt(1 - along**2)
    return np.stack([along, across * np.cos(angle), across * np.sin(angle)], axis=1)


DIRECTIONS = spread_directions(100)
AXES = spread_directions(400)[:200]


def outermost(points: Points) -> Points:
    """Reduce points to the outermost ones in 100 directions: enough to find a direction in, not to measure."""
    numbers = np.unique((points @ DIRECTIONS.T).argmax(axis=0))
    return np.asarray(points[numbers])


def enclosing_ball(points: Points) -> tuple[Points, float]:
    """Centre and radius of the smallest ball around points, or of the smallest circle in two dimensions.

    The ball of a few points is grown by the point farthest outside until none is left (Gärtner 1999, ESA,
    LNCS 1643:325). The radius grows with every step, so it ends, usually after less than ten.
    """
    center, radius = points.mean(axis=0), 0.0
    support = [int(np.square(points - center).sum(axis=1).argmax())]
    center = points[support[0]]
    while True:
        squares = np.square(points - center).sum(axis=1)
        farthest = int(squares.argmax())
        distance = float(np.sqrt(squares[farthest]))
        if distance <= radius * (1 + 1e-9):
            return center, radius
        grown = _smallest_ball(points, support, farthest)
        if grown is None or grown[1] <= radius:  # nothing but rounding is left
            return center, distance
        center, radius, support = grown


def _smallest_ball(points: Points, inside: list[int], outside: int) -> tuple[Points, float, list[int]] | None:
    """Smallest ball around a handful of points that has the one outside on its surface, and which points hold it."""
    best = None
    others = points[inside] - points[outside]
    for count in range(1, min(len(inside), points.shape[1]) + 1):
        for chosen in combinations(range(len(inside)), count):
            spans = others[list(chosen)]
            gram = spans @ spans.T
            if abs(np.linalg.det(gram)) <= 1e-12 * np.prod(np.diag(gram)):
                continue
            offset = spans.T @ np.linalg.solve(gram, np.diag(gram) / 2)
            square = float(offset @ offset)
            contains = np.square(others - offset).sum(axis=1) <= square * (1 + 1e-9)
            if contains.all() and (best is None or square < best[1]):
                best = (points[outside] + offset, square, [*(inside[i] for i in chosen), outside])
    return best and (best[0], float(np.sqrt(best[1])), best[2])


def oriented_box_volume(points: Points, outer: Points) -> float:
    """Volume of a small box around points, in any direction.

    The direction is trimesh's for the points `outer`, see `outermost`; the size is that of all points.
    """
    rotation = oriented_bounds(outer)[0][:3, :3]
    return float(np.prod(np.ptp(points @ rotation.T, axis=0)))


def cylinder_volume(points: Points, outer: Points) -> float:
    """Volume of a small cylinder around points, in any direction.

    The axis is the best for the points `outer`, see `outermost`: of 200 all around, the ten that promise most are
    tried, and the best of them is turned a little. The size is that of all points.
    """
    tried = AXES[_cylinder_volumes(outer, AXES).argsort()[:10]]
    best = tried[np.argmin([_cylinder_volume(outer, axis) for axis in tried])]
    right, up = _across(best)
    turned = minimize(
        lambda turn: _cylinder_volume(outer, best + turn[0] * right + turn[1] * up),
        [0, 0],
        method="Nelder-Mead",
        options={"initial_simplex": [[0, 0], [0.1, 0], [0, 0.1]], "maxfev": 20},
    ).x
    return _cylinder_volume(points, best + turned[0] * right + turned[1] * up)


def _cylinder_volume(points: Points, axis: Points) -> float:
    """Volume of the smallest cylinder around points along an axis."""
    axis = axis / np.linalg.norm(axis)
    _, radius = enclosing_ball(points @ np.stack(_across(axis), axis=1))
    return float(np.pi * radius**2 * np.ptp(points @ axis))


def _across(axes: Points) -> tuple[Points, Points]:
    """Two unit vectors at right angles to each axis and to one another."""
    helper = np.eye(3)[np.abs(axes).argmin(axis=-1)]
    first = np.cross(axes, helper)
    first /= np.linalg.norm(first, axis=-1, keepdims=True)
    return first, np.cross(axes, first)


def _cylinder_volumes(points: Points, axes: Points) -> Points:
    """Volumes of cylinders around points along many axes, at most a few percent too large.

    The circle's centre moves towards the farthest point, ever less (Badoiu and Clarkson 2003, SODA).
    """
    right, up = (across @ points.T for across in _across(axes))
    center_right, center_up = ((side.min(axis=1) + side.max(axis=1)) / 2 for side in (right, up))
    smallest = np.full(len(axes), np.inf)
    every = np.arange(len(axes))
    for number in range(8):
        to_right, to_up = right - center_right[:, None], up - center_up[:, None]
        squares = to_right**2 + to_up**2
        farthest = squares.argmax(axis=1)
        smallest = np.minimum(smallest, squares[every, farthest])
        center_right += to_right[every, farthest] / (number + 6)
        center_up += to_up[every, farthest] / (number + 6)
    return np.asarray(np.pi * smallest * np.ptp(points @ axes.T, axis=0))


def largest_distance(points: Points, outer: Points) -> float:
    """Largest distance between two points: the best of `outer`, then from end to end until it grows no more."""
    squares = np.square(outer[:, None] - outer[None]).sum(axis=2)
    end = outer[np.unravel_index(squares.argmax(), squares.shape)[0]]
    largest = 0.0
    while True:
        distances = np.linalg.norm(points - end, axis=1)
        if distances.max() <= largest:
            return largest
        largest, end = float(distances.max()), points[distances.argmax()]
