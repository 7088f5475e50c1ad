"""Connectedness of masks: centrelines, and numbers of components, loops and cavities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spotlight.metrics.cards import MASKS, Card
from spotlight.metrics.checks import check_spacing, planes
from spotlight.metrics.masks import check_mask, check_masks, components

CARDS = {
    "cl_dice": Card(
        *("clDice", "harmonic mean of the shares of each centreline that lie in the other mask", "high", MASKS),
        key=True,
    ),
    "length_error": Card(
        *("length error", "relative error of the length of the centreline", "zero", MASKS, "%"),
        undefined="the true mask is empty",
        form="{:+.1%}",
    ),
    "betti_0_error": Card(
        *("b0 error", "difference of the numbers of components", "low", MASKS),
        form="{:.1f}",
        caution="A component that is missed and one that is invented cancel each other",
    ),
    "betti_1_error": Card("b1 error", "difference of the numbers of loops", "low", MASKS, form="{:.1f}"),
}


def cl_dice(
    truth: NDArray[Any], mask: NDArray[Any], spacing: Sequence[float] | None = None, *, whole: bool = True
) -> float:
    """Agreement of centrelines, clDice.

    With S the skeletons of the masks A (true) and B (found), the sensitivity is |S_A ∩ B| / |S_A|, the precision
    |S_B ∩ A| / |S_B|, and clDice their harmonic mean. A gap costs little; `betti_errors` counts it.

    Parameters
    ----------
    truth, mask : (Z, Y, X) or (Y, X) ndarray
        The true mask and the found one: booleans, or 0 and 1.
    spacing : sequence of float, optional
        Voxel size by axis, in any unit. With it, both masks are brought to cubic voxels first, of the shortest edge,
        since a centreline along a coarse axis has too few voxels. Without it, voxels are taken to be cubic.
    whole : bool
        Whether every component keeps a centreline; see `skeleton`. Challenges score without.

    Returns
    -------
    float
        0 to 1. 1 if both masks are empty, 0 if one is: what is missed altogether is no missing value. NaN if there is
        no centreline, which needs ``whole=False``.

    Raises
    ------
    SpotlightError
        If the shapes differ, an array is no mask, or `spacing` is no voxel size.

    References
    ----------
    S. Shit et al., CVPR 2021, 16560. Skeletons: T.-C. Lee et al., CVGIP 56, 462 (1994), in scikit-image.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import cl_dice
    >>> line = np.ones((1, 1, 4), bool)
    >>> cl_dice(line, np.array([[[1, 1, 1, 0]]]))
    0.8571428571428571
    """
    a, b = (cubic(one, spacing) for one in check_masks(truth, mask))
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    sensitivity, precision = (_share_inside(skeleton(one, whole=whole), other) for one, other in ((a, b), (b, a)))
    both = sensitivity + precision
    return 2 * sensitivity * precision / both if both else both


def length_error(truth: NDArray[Any], mask: NDArray[Any], spacing: Sequence[float] | None = None) -> float:
    """Relative error of the length of the centreline, |S_B| / |S_A| - 1 in voxels of the skeletons.

    Parameters
    ----------
    truth, mask : (Z, Y, X) or (Y, X) ndarray
        The true mask and the found one: booleans, or 0 and 1.
    spacing : sequence of float, optional
        As in `cl_dice`.

    Returns
    -------
    float
        -1 or more; NaN if the true mask is empty.

    Raises
    ------
    SpotlightError
        If the shapes differ, an array is no mask, or `spacing` is no voxel size.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import length_error
    >>> length_error(np.ones((1, 1, 4)), np.array([[[1, 1, 1, 0]]]))
    -0.25
    """
    true, found = (np.count_nonzero(skeleton(cubic(one, spacing))) for one in check_masks(truth, mask))
    return float(found / true - 1) if true else float("nan")


def betti_numbers(mask: NDArray[Any]) -> tuple[int, int, int]:
    """Numbers of components, loops and cavities of a mask.

    Voxels of the mask are connected to 26 neighbours, those of the background to 6, and what lies outside the array is
    background. b0 counts components and b2 the parts of the background but one; b1 = b0 + b2 - χ, where χ is the
    Euler number.

    Parameters
    ----------
    mask : (Z, Y, X) or (Y, X) ndarray
        Booleans, or 0 and 1. An image is taken as a stack of one plane, so b1 counts its holes and b2 is 0.

    Returns
    -------
    b0, b1, b2 : int

    Raises
    ------
    SpotlightError
        If the array is no mask.

    Examples
    --------
    A square ring:

    >>> import numpy as np
    >>> from spotlight.metrics import betti_numbers
    >>> betti_numbers(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]]))
    (1, 1, 0)
    """
    from skimage.measure import euler_number

    padded = np.pad(planes(check_mask(mask)), 1)
    b0 = int(ndimage.label(padded, np.ones((3, 3, 3), bool))[1])
    b2 = int(ndimage.label(~padded)[1]) - 1
    return b0, b0 + b2 - int(euler_number(padded, connectivity=3)), b2


def betti_errors(truth: NDArray[Any], mask: NDArray[Any]) -> tuple[int, int, int]:
    """Absolute differences of the Betti numbers of two masks; see `betti_numbers`.

    Only numbers are compared: a component that is missed and one that is invented give no error.

    Parameters
    ----------
    truth, mask : (Z, Y, X) or (Y, X) ndarray
        The true mask and the found one: booleans, or 0 and 1.

    Returns
    -------
    b0, b1, b2 : int
        Errors of the numbers of components, loops and cavities.

    Raises
    ------
    SpotlightError
        If the shapes differ, or an array is no mask.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import betti_errors
    >>> betti_errors(np.array([[1, 1, 1]]), np.array([[1, 0, 1]]))
    (1, 0, 0)
    """
    (a0, a1, a2), (b0, b1, b2) = (betti_numbers(one) for one in check_masks(truth, mask))
    return abs(b0 - a0), abs(b1 - a1), abs(b2 - a2)


def skeleton(mask: NDArray[np.bool_], *, whole: bool = True) -> NDArray[np.bool_]:
    """Thin a mask to lines of one voxel of the same connectedness.

    An image is thinned as scikit-image does by default (Zhang and Suen 1984), a stack as in Lee et al. 1994.
    scikit-image's version of the latter deletes components whose width is even, such as a rod of 2 x 2 x 20 voxels.
    With `whole`, these are thinned again with one layer more on one side, and keep at least their innermost voxel.
    """
    from skimage.morphology import skeletonize

    lines = np.asarray(skeletonize(mask), np.bool_)
    if not whole or mask.ndim == 2:
        return lines
    parts = components(mask)
    kept = np.zeros(int(parts.max()) + 1, bool)
    kept[parts[lines]] = True
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        if not kept[number]:
            part = np.pad(parts[box] == number, 1)
            lines[box] |= _thin_again(part)[1:-1, 1:-1, 1:-1]
    return lines


def _thin_again(part: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Thin a component that thinning deletes; it has a margin of one voxel."""
    from skimage.morphology import skeletonize

    for axis in range(part.ndim):
        line: NDArray[np.bool_] = skeletonize(part | np.roll(part, 1, axis)) & part
        if line.any():
            return line
    depth = ndimage.distance_transform_edt(part)
    return np.asarray(np.arange(part.size).reshape(part.shape) == np.argmax(depth), np.bool_)


def cubic(mask: NDArray[np.bool_], spacing: Sequence[float] | None) -> NDArray[np.bool_]:
    """Bring a mask to cubic voxels of its shortest edge; every new voxel has the value of the nearest old one."""
    if spacing is None:
        return mask
    size = check_spacing(spacing, mask.ndim)
    for axis, edge in enumerate(size):
        count = round(mask.shape[axis] * edge / min(size))
        if count != mask.shape[axis]:
            mask = mask.take(((np.arange(count) + 0.5) * mask.shape[axis] / count).astype(np.intp), axis)
    return mask


def _share_inside(line: NDArray[np.bool_], mask: NDArray[np.bool_]) -> float:
    length = np.count_nonzero(line)
    return float(np.count_nonzero(line & mask) / length) if length else float("nan")
