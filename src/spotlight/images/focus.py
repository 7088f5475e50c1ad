"""Planes of a stack by what they show: the one in focus, and projections of all."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spotlight.images.lazy import LazyArray

FINE_PX, COARSE_PX = 1.0, 4.0
"""Widths of the Gaussians between which detail is counted; finer is the camera's noise."""


class Projection:
    """The greatest or the mean value along Z of an array of axes ZYX, computed where it is read.

    The mean is float32; the greatest value has the array's own type.

    Parameters
    ----------
    array : ndarray or LazyArray
        Axes ZYX.
    mean : bool
        Take the mean, else the greatest value.
    """

    def __init__(self, array: NDArray[Any] | LazyArray, mean: bool) -> None:
        self.array, self.mean = array, mean
        self.shape = array.shape[1:]
        self.dtype: np.dtype[Any] = np.dtype(np.float32) if mean else array.dtype

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        planes = (np.asarray(self.array[(z, *index)]) for z in range(self.array.shape[0]))
        if not self.mean:
            found = next(planes)
            for plane in planes:
                found = np.maximum(found, plane)
            return np.asarray(found)
        total = np.asarray(sum(plane.astype(np.float64) for plane in planes))
        return np.asarray(total / self.array.shape[0], np.float32)


def best_focus(array: NDArray[Any] | LazyArray) -> int:
    """Find the plane in focus: that with most detail between 1 and 4 pixels, in proportion to its brightness.

    It holds for fluorescence, and for transmitted light of which contrast rises towards the focus, as in phase contrast
    and DIC. In brightfield, thin cells have least contrast in focus.

    Parameters
    ----------
    array : ndarray or LazyArray
        Axes ZYX; read plane by plane.
    """
    detail = []
    for z in range(array.shape[0]):
        plane = np.asarray(array[z]).astype(np.float32)
        band = ndimage.gaussian_filter(plane, FINE_PX) - ndimage.gaussian_filter(plane, COARSE_PX)
        detail.append(float(band.var() / max(abs(float(plane.mean(dtype=np.float64))), 1e-12)))
    return int(np.argmax(detail))
