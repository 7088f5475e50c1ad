"""Whether bodies stand out from their background by more than noise does.

Any threshold divides noise, too, and equalised contrast hides that nothing was there. What noise gives differs from
nuclei in how far its bodies rise above the background, in units of the background's own spread. A body is an average
over many voxels, so both are compared after smoothing by a part of its radius: nuclei that are brighter by half a
standard deviation of the voxels then rise by 5, bodies of white noise by up to 2.3, of blurred noise by up to 3.1.
The spread is that below the background's median, which haze and missed nuclei leave alone. docs/instances.md has the
figures.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SMOOTHING = (0.15, 0.3)
"""Gaussians in radii of a typical body: the shorter for crowded fields, whose haze the longer takes for background."""


def find_contrast(
    image: NDArray[np.float32], labels: NDArray[np.int32], background: NDArray[np.bool_], spacing: tuple[float, ...]
) -> NDArray[np.float64]:
    """How far every body rises above the background, in standard deviations of the background.

    Parameters
    ----------
    image : (Z, Y, X) or (Y, X) float32
        Intensities as they are, not equalised.
    labels : (Z, Y, X) or (Y, X) int32
        1 to n, each at least once.
    background : (Z, Y, X) or (Y, X) bool
        Where no body is, even one that was left out.
    spacing : tuple of float
        Voxel edges.

    Returns
    -------
    (n,) ndarray
        The greater contrast of two smoothings; infinite if the background is even or there is none.
    """
    count = int(labels.max(initial=0))
    if count == 0 or not background.any():
        return np.full(count, np.inf)
    volume = float(np.median(np.bincount(labels.ravel())[1:])) * float(np.prod(spacing))
    radius = np.sqrt(volume / np.pi) if image.ndim == 2 else np.cbrt(3 * volume / (4 * np.pi))
    found = np.zeros(count)
    for share in SMOOTHING:
        smooth = ndimage.gaussian_filter(image, [share * radius / s for s in spacing])
        around = smooth[background]
        low, middle = np.percentile(around, [100 * 0.158655, 50])
        spread = float(middle - low) or float(around.std())
        rise = ndimage.mean(smooth, labels, np.arange(1, count + 1)) - middle
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.fmax(found, np.asarray(rise) / spread)
    return found
