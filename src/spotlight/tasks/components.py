"""Labels from probabilities: a threshold, connected components, a least size, and a watershed where bodies touch."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spotlight.errors import SpotlightError
from spotlight.images import Stack

SMOOTH = 1.0
"""Standard deviation in voxels of the Gaussian on distances, so that a rough border does not cut a body."""


def label_components(
    probability: NDArray[Any],
    threshold: float = 0.5,
    least_voxels: int = 1,
    split: bool = False,
    spacing: tuple[float, ...] | None = None,
) -> NDArray[np.int32]:
    """Number the connected pieces of where a probability reaches a threshold.

    Voxels that share a face, an edge or a corner are connected (26 neighbours in three dimensions, 8 in two).

    Parameters
    ----------
    probability : (Z, Y, X) or (Y, X) array
        From 0 to 1.
    threshold : float
        What belongs to the structure has at least this probability.
    least_voxels : int
        Smaller pieces are left out.
    split : bool
        Cut bodies that touch: a watershed on the distance to the background, from its maxima.
    spacing : tuple of float, optional
        Edge lengths of a voxel, for the distance; left out: cubic voxels.

    Returns
    -------
    (Z, Y, X) or (Y, X) int32
        0 outside, 1, 2, ... inside.

    Examples
    --------
    >>> label_components(np.array([[0.9, 0.1, 0.2], [0.1, 0.8, 0.3], [0.1, 0.1, 0.1]]))
    array([[1, 0, 0],
           [0, 1, 0],
           [0, 0, 0]], dtype=int32)
    """
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    values = np.asarray(probability)
    inside = values >= threshold
    neighbours = np.ones((3,) * inside.ndim, bool)
    labels = np.empty(inside.shape, np.int32)
    ndimage.label(inside, neighbours, output=labels)
    if split and labels.any():
        distance = ndimage.distance_transform_edt(inside, sampling=spacing)
        distance = ndimage.gaussian_filter(distance, SMOOTH)
        peaks = peak_local_max(distance, min_distance=2, labels=labels, exclude_border=False)
        seeds = np.zeros(inside.shape, np.int32)
        seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        labels = watershed(-distance, seeds, mask=inside, connectivity=neighbours)
    sizes = np.bincount(labels.ravel())
    kept = sizes >= least_voxels
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return numbers[labels]


def find_labels(
    probability: Stack, threshold: float = 0.5, least_voxels: int = 1, split: bool | Collection[str] = False
) -> Stack:
    """Label every structure of a stack of probabilities; see `label_components`.

    Parameters
    ----------
    probability : Stack
        What a model of the task "segment" predicts; each channel is a structure.
    threshold, least_voxels
        See `label_components`.
    split : bool or collection of str
        Whether bodies that touch are cut: in all channels, or in those of these names.

    Returns
    -------
    Stack
        int32, with the axes, voxel size and channels of the probabilities.

    Raises
    ------
    SpotlightError
        If `split` names a channel that is not there.
    """
    names = probability.channels
    chosen = set(names if split is True else split or ())
    if unknown := sorted(chosen - set(names)):
        raise SpotlightError(
            f"{probability.source}: has no structure {', '.join(map(repr, unknown))} to split. It has: "
            f"{', '.join(names)}."
        )
    data = probability.data
    each = data if "C" in probability.axes else data[None]
    found = [
        label_components(values, threshold, least_voxels, (*names, "")[number] in chosen, probability.voxel_size)
        for number, values in enumerate(each)
    ]
    array = np.stack(found) if "C" in probability.axes else found[0]
    return replace(probability, array=array, origin=f"Labels: {probability.origin}", labels=True)
