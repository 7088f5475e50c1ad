"""Stacks that turn on the page: maximum projections from all sides, as one picture per stack."""

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spotlight.images.pictures import data_uri

VIEWS = 36
"""Directions in a full turn, one every 10 degrees."""
TALLEST, WIDEST = 96, 160
"""Pixels of one view at most, down and across."""
MOST_VIEWS = 3
"""Stacks that are pictured at full size; with more of them, all are smaller, so that a page stays as light."""
QUALITY = 50
"""Of the WebP: at this size its faults are not seen beside the noise."""


def turning_picture(volumes: Mapping[str, NDArray[np.uint8]], scale: tuple[float, ...] | None) -> dict[str, Any]:
    """Project stacks of one field from all sides around the Y axis, and put all views into one picture.

    Only half a turn is stored: seen from behind, a maximum projection is its own mirror image.

    Parameters
    ----------
    volumes : mapping of str to (Z, Y, X) ndarray of uint8
        What is shown of each stack, on one grid.
    scale : tuple of float or None
        Edge lengths of the voxels, ZYX in µm; None: cubes.

    Returns
    -------
    dict
        ``image``, a data URI with a row per stack and a column per direction of the first half of a turn; ``names`` of
        the rows; ``columns``; ``width`` and ``height`` of one view in pixels.
    """
    share = min(1.0, math.sqrt(MOST_VIEWS / len(volumes)))
    rows = []
    for volume in volumes.values():
        cubic = cubic_volume(volume, scale or (1.0, 1.0, 1.0), TALLEST * share, WIDEST * share)
        rows.append(np.concatenate([projection(cubic, 360 * n / VIEWS) for n in range(VIEWS // 2)], axis=1))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(buffer, "WEBP", quality=QUALITY, method=6)
    return {
        "image": data_uri(buffer.getvalue(), "image/webp"),
        "names": list(volumes),
        "columns": VIEWS // 2,
        "width": rows[0].shape[1] // (VIEWS // 2),
        "height": rows[0].shape[0],
    }


def cubic_volume(
    volume: NDArray[np.uint8], scale: tuple[float, ...], tallest: float, widest: float
) -> NDArray[np.uint8]:
    """Resample a volume to cubic voxels, few enough that no projection is larger than stated.

    Planes and depth are averaged where they shrink and interpolated where they grow; Y and X never grow. The numbers of
    voxels along Z and X are odd, so that the axis of the turn goes through the middle of a voxel.

    Parameters
    ----------
    volume : (Z, Y, X) ndarray
        Values from 0 to 255.
    scale : tuple of float
        Edge lengths of its voxels, ZYX.
    tallest, widest : float
        Pixels of a projection at most, down and across.

    Returns
    -------
    (Z, Y, X) ndarray of uint8
    """
    depth, height, width = (count * edge for count, edge in zip(volume.shape, scale, strict=True))
    edge = max(height / tallest, math.hypot(depth, width) / widest, *scale[1:])
    planes, rows, columns = (max(1, round(length / edge)) for length in (depth, height, width))
    planes, columns = planes | 1, columns | 1
    small = np.stack([_resized(plane, columns, rows) for plane in volume])
    return _resized(small.reshape(len(small), -1), rows * columns, planes).reshape(planes, rows, columns)


def _resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.uint8)


def projection(volume: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    """Project the maximum of a volume that was turned around its Y axis.

    Rays cross the planes that they meet most steeply, ZY or XY, and take the value there by linear interpolation along
    the other axis (the shear of Lacroute and Levoy 1994). At 0 degrees the view is along Z, at 90 along X.

    Parameters
    ----------
    volume : (Z, Y, X) ndarray of uint8
        Cubic voxels; odd numbers of them along Z and X.
    degrees : float
        By how much it is turned.

    Returns
    -------
    (Y, U) ndarray of uint8
        As wide at every angle, with a margin of one dark pixel.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.report.turning import projection
    >>> volume = np.zeros((3, 1, 3), np.uint8)
    >>> volume[0, 0, 2] = 9  # in the first plane, on the right
    >>> projection(volume, 0).tolist()
    [[0, 0, 0, 0, 9, 0, 0]]
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    reach = math.ceil(math.hypot(volume.shape[0] - 1, volume.shape[2] - 1) / 2) + 1
    across = np.arange(-reach, reach + 1)
    slices, along, crossed = volume.transpose(0, 2, 1), cos, sin
    if abs(sin) > abs(cos):
        slices, along, crossed = volume.transpose(2, 0, 1), sin, cos
    # In the picture, a step within a plane is `along` pixels, and a step to the next plane `crossed`.
    middle = [(size - 1) / 2 for size in slices.shape[:2]]
    numbers = np.arange(len(slices))[:, None]
    places = (across - (numbers - middle[0]) * crossed) / along + middle[1]
    places = np.clip(np.round(places, 9), -1, slices.shape[1])  # beyond the edges lie the zeros of the padding
    before = np.floor(places).astype(np.intp)
    weight = (places - before).astype(np.float32)[..., None]
    padded = np.pad(slices, ((0, 0), (1, 2), (0, 0)))
    left, right = padded[numbers, before + 1], padded[numbers, before + 2]
    brightest = (left + weight * (right.astype(np.float32) - left)).max(axis=0)
    return np.asarray(np.rint(brightest), np.uint8).T
