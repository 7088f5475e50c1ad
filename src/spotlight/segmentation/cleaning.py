"""What counts as a nucleus: borders, sizes and holes of instances, the same for all methods and for curated labels."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.images.pieces import doubt_pieces
from spotlight.segmentation.scale import scale_by_mask
from spotlight.segmentation.settings import InstanceSettings
from spotlight.segmentation.watershed import SegmentationSettings


def clean_labels(
    labels: NDArray[np.int32], spacing: tuple[float, ...], settings: InstanceSettings
) -> NDArray[np.int32]:
    """Remove labels at the Y and X borders and of implausible size, fill their holes, and number them 1 to n.

    Parameters
    ----------
    labels : (Z, Y, X) or (Y, X) int32
        0 for background; numbers may be missing.
    spacing : tuple of float
        Voxel edges in µm.
    settings : InstanceSettings
        `min_size`, `max_size`, `max_hole` and `clear_border` are used.

    Returns
    -------
    int32 ndarray
        The same shape, labels 1 to n.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.segmentation import SegmentationSettings, clean_labels
    >>> labels = np.zeros((10, 10), np.int32)
    >>> labels[:3, :3], labels[4:8, 4:8], labels[8, 1] = 1, 2, 3  # cut by the border, whole, a speck
    >>> settings = SegmentationSettings(min_size=4.0, max_size=50.0)
    >>> clean = clean_labels(labels, (1.0, 1.0), settings)
    >>> np.unique(clean).tolist(), int((clean == 1).sum())
    ([0, 1], 16)
    """
    voxel = float(np.prod(spacing))
    sizes = np.bincount(labels.ravel()) * voxel
    keep = (sizes >= settings.min_size) & (sizes <= settings.max_size) & (sizes > 0)
    if settings.clear_border:
        for edge in (labels[..., 0, :], labels[..., -1, :], labels[..., 0], labels[..., -1]):
            keep[np.unique(edge)] = False
    keep[0] = False
    clean = np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]
    hole = int(settings.max_hole / voxel)
    if hole > 0:
        for number, box in enumerate(ndimage.find_objects(clean), start=1):
            if box is not None:
                _fill_holes(clean[box], number, hole)
    return clean


def _fill_holes(labels: NDArray[np.int32], number: int, largest: int) -> None:
    """Give a label the background that it encloses, in place; `labels` is cut out around it."""
    outside, count = ndimage.label(labels != number)
    sides = [np.take(outside, end, axis) for axis in range(labels.ndim) for end in (0, -1)]
    enclosed = np.ones(count + 1, bool)
    enclosed[np.unique(np.concatenate([side.ravel() for side in sides]))] = False
    enclosed[0] = False
    if enclosed.any():
        holes, _ = ndimage.label(enclosed[outside] & (labels == 0))
        small = np.bincount(holes.ravel()) <= largest
        small[0] = False
        labels[small[holes]] = number


def resize_labels(labels: NDArray[np.int32], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Bring labels to another grid over the same field with smooth outlines.

    Each label's mask is interpolated linearly, and a voxel takes the label with the greatest value of at least one
    half; taking the nearest voxel instead would leave steps that distort surface and sphericity.

    Parameters
    ----------
    labels : (Z, Y, X) or (Y, X) int32
    shape : tuple of int
        Of the result, whose outer voxel edges coincide with those of `labels`.

    Returns
    -------
    int32 ndarray
        The same numbers; a label too small for the new grid is lost.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.segmentation import resize_labels
    >>> resize_labels(np.ones((4, 4), np.int32), (8, 8)).shape
    (8, 8)
    """
    if labels.shape == tuple(shape):
        return labels
    scale = [new / old for new, old in zip(shape, labels.shape, strict=True)]
    result = np.zeros(shape, np.int32)
    best = np.full(shape, np.nextafter(np.float32(0.5), np.float32(0)), np.float32)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        target = tuple(
            slice(max(0, math.floor((b.start - 1) * s)), min(n, math.ceil((b.stop + 1) * s)))
            for b, s, n in zip(box, scale, shape, strict=True)
        )
        source = tuple(slice(max(0, b.start - 2), b.stop + 2) for b in box)
        value = (labels[source] == number).astype(np.float32)
        for axis, (t, s, o) in enumerate(zip(target, scale, source, strict=True)):
            places = (np.arange(t.start, t.stop) + 0.5) / s - 0.5 - o.start
            value = np.moveaxis(np.tensordot(_hats(places, value.shape[axis]), value, axes=(1, axis)), 0, axis)
        wins = value > best[target]
        result[target][wins] = number
        best[target][wins] = value[wins]
    return result


def _hats(places: NDArray[np.float64], length: int) -> NDArray[np.float32]:
    """The matrix of linear interpolation at places along an axis; beyond its ends the last value goes on."""
    distance = np.abs(np.clip(places, 0, length - 1)[:, None] - np.arange(length))
    return np.asarray(np.maximum(0, 1 - distance), np.float32)


def renumber(labels: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Number labels 1 to n in the same order, where numbers may be missing but none is negative."""
    if labels.max() < labels.size:
        present = np.bincount(labels.ravel().astype(np.intp, copy=False)) > 0  # numpy 2.0 refuses uint64
        present[0] = False
        return np.asarray(np.cumsum(present, dtype=np.int32)[labels])
    found, where = np.unique(labels, return_inverse=True)
    return np.asarray(where + (found[0] > 0), np.int32).reshape(labels.shape)


def clean_truth(
    labels: Stack, settings: InstanceSettings | None = None, scale: tuple[float, ...] | None = None
) -> Stack:
    """Bring given labels to what a segmentation could find: the same border, size and hole rules on their own grid.

    Parameters
    ----------
    labels : Stack
        Axes ZYX or YX; whole numbers of any type, 0 for background, with gaps or without.
    settings : InstanceSettings
        Those of the segmentation; the watershed's defaults if left out.
    scale : tuple of float, optional
        Edges in µm to assume for labels without a voxel size; left out, such that they have the size that the settings
        expect.

    Returns
    -------
    Stack
        int32 labels 1 to n on the grid of `labels`, 0 for background.

    Raises
    ------
    SpotlightError
        If a label is a fraction, NaN or negative, or the labels are a mask.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack
    >>> from spotlight.segmentation import clean_truth
    >>> labels = np.zeros((20, 40, 40), np.uint16)
    >>> labels[5:15, 10:20, 10:20], labels[5:15, 30:, 30:] = 7, 9  # the second is cut by the border
    >>> clean = clean_truth(Stack(labels, "ZYX", (0.5, 0.5, 0.5)))
    >>> np.unique(clean.data).tolist()
    [0, 1]
    """
    data = labels.data
    if not np.issubdtype(data.dtype, np.integer):
        if data.dtype.kind not in "bf":
            raise SpotlightError(f"{labels.source}: labels must be whole numbers. Received: {data.dtype}.")
        labels.require_finite()
        if not np.array_equal(np.rint(data), data):
            raise SpotlightError(f"{labels.source}: labels must be whole numbers; found fractions.")
        data = data.astype(np.int64)
    if data.min() < 0:
        raise SpotlightError(f"{labels.source}: labels must not be negative; found {data.min()}.")
    doubt_pieces(replace(labels, array=data))
    settings = settings or SegmentationSettings()
    spacing = labels.known_voxel_size() or scale or scale_by_mask(data > 0, settings)
    if settings.unit == "px" or spacing is None:
        spacing = (1.0,) * len(labels.axes)
    clean = clean_labels(renumber(data), spacing, settings)
    return Stack(clean, labels.axes, labels.voxel_size, ("labels",), labels.source, labels=True)
