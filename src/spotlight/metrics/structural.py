"""Structural similarity in 2D and 3D, plane by plane in single precision."""

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spotlight.metrics.checks import check_pair, planes, subtract

WINDOW = 7
"""Edge of the uniform window in voxels, as in scikit-image."""

K1, K2 = 0.01, 0.03
"""Stabilisers of Wang et al. 2004, in units of the data range."""


def structural_similarity(
    target: NDArray[Any], stain: NDArray[Any], mask: NDArray[np.bool_] | None = None, *, data_range: float
) -> tuple[float, float]:
    """Mean structural similarity of two images, on the whole and on the foreground.

    With means µ, sample variances s² and the covariance s_xy over windows of 7 voxels along every axis,
    SSIM = (2 µ_x µ_y + C1)(2 s_xy + C2) / ((µ_x² + µ_y² + C1)(s_x² + s_y² + C2)), C = (K · data_range)². It is averaged
    over all voxels whose window lies inside the image, as scikit-image does, and over those of them that are
    foreground. (cubic asks that the whole window be foreground: of a mask with noise that leaves few voxels or none,
    and never the outline of an object.)

    Parameters
    ----------
    target, stain : (Z, Y, X) or (Y, X) ndarray
        Intensities on one scale; a 2D image is compared in windows of 7x7.
    mask : ndarray of bool, optional
        Foreground.
    data_range : float
        The range of intensities that the stabilisers refer to.

    Returns
    -------
    whole, foreground : float
        -1 to 1. NaN where there is nothing to average: an axis is shorter than 7 voxels, or all foreground is within 3
        voxels of the border.

    Raises
    ------
    SpotlightError
        If the images cannot be compared.

    References
    ----------
    Z. Wang et al., IEEE Trans. Image Process. 13, 600 (2004).

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import structural_similarity
    >>> image = np.random.default_rng(0).random((16, 16))
    >>> round(float(structural_similarity(image, image, data_range=1.0)[0]), 3)
    1.0
    """
    check_pair(target, stain, mask)
    if min(target.shape) < WINDOW:
        return float("nan"), float("nan")
    # Around 0, single precision resolves local variances that a camera's offset would drown.
    center = (float(target.mean(dtype=np.float64)), float(stain.mean(dtype=np.float64)))
    volume = WINDOW**target.ndim
    depth = WINDOW if target.ndim == 3 else 1
    fields: deque[list[NDArray[np.float32]]] = deque(maxlen=depth)
    edge = slice(WINDOW // 2, -(WINDOW // 2))
    whole, foreground, voxels, covered = 0.0, 0.0, 0, 0
    for z, (x, y) in enumerate(zip(planes(target), planes(stain), strict=True)):
        fields.append(_window_sums(x, y, center))
        if len(fields) < depth:
            continue
        sums = [sum(plane[1:], start=plane[0]) / np.float32(volume) for plane in zip(*fields, strict=True)]
        similarity = _similarity(sums, center, data_range, volume)
        whole += float(similarity.sum(dtype=np.float64))
        voxels += similarity.size
        if mask is not None:
            inside = planes(mask)[z - depth // 2][edge, edge]
            foreground += float(similarity[inside].sum(dtype=np.float64))
            covered += int(np.count_nonzero(inside))
    return whole / voxels, foreground / covered if covered else float("nan")


def _window_sums(x: NDArray[Any], y: NDArray[Any], center: tuple[float, float]) -> list[NDArray[np.float32]]:
    """Sums over the window of both images, of their squares together, and of their product, in one plane."""
    x, y = subtract(x, center[0]), subtract(y, center[1])
    return [window_sum(field) for field in (x, y, x * x + y * y, x * y)]


def window_sum(plane: NDArray[Any]) -> NDArray[Any]:
    """Sum a plane over the 7x7 windows that lie inside it, in four additions an axis."""
    for _ in range(2):
        twos = plane[:-1] + plane[1:]
        fours = twos[:-2] + twos[2:]
        plane = (fours[:-3] + twos[4:-1] + plane[6:]).T
    return plane


def _similarity(
    means: list[NDArray[np.float32]], center: tuple[float, float], data_range: float, volume: int
) -> NDArray[np.float32]:
    x, y, squares, product = means
    sample = np.float32(volume / (volume - 1))
    covariance = sample * (product - x * y)
    variances = sample * (squares - x * x - y * y)
    x, y = x + np.float32(center[0]), y + np.float32(center[1])
    c1, c2 = np.float32((K1 * data_range) ** 2), np.float32((K2 * data_range) ** 2)
    similarity: NDArray[np.float32] = (
        (2 * x * y + c1) * (2 * covariance + c2) / ((x * x + y * y + c1) * (variances + c2))
    )
    return similarity
