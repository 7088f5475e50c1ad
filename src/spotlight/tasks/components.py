"""Labels from probabilities: a threshold, connected components, a least size, and a watershed where bodies touch."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.images.joining import separate
from spotlight.images.slabs import Allocate, Array, in_memory, slabs

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

    Voxels that share a face, an edge or a corner are connected (26 neighbours in three dimensions, 8 in two). Numbers
    are in the order of the first voxels.

    Parameters
    ----------
    probability : (Z, Y, X) or (Y, X) array
        From 0 to 1.
    threshold : float
        What belongs to the structure has at least this probability.
    least_voxels : int
        Smaller pieces are left out.
    split : bool
        Cut bodies that touch: a watershed on the distance to where their piece ends, from its maxima.
    spacing : tuple of float, optional
        Edge lengths of a voxel, for the distance; left out: cubic voxels.

    Returns
    -------
    (Z, Y, X) or (Y, X) int32
        0 outside, 1, 2, ... inside.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.tasks import label_components
    >>> label_components(np.array([[0.9, 0.1, 0.2], [0.1, 0.8, 0.3], [0.1, 0.1, 0.1]]))
    array([[1, 0, 0],
           [0, 1, 0],
           [0, 0, 0]], dtype=int32)
    """
    values = np.asarray(probability)
    out = np.empty(values.shape, np.int32)
    _label_into(out, values, threshold, least_voxels, split, spacing)
    return out


def _label_into(
    out: NDArray[np.int32],
    probability: Array,
    threshold: float,
    least_voxels: int,
    split: bool,
    spacing: tuple[float, ...] | None,
) -> None:
    """Label slab by slab, and join what touches across their seams; numbers are those of labelling all at once.

    Both arrays may be in files. Beside a slab, memory holds a few numbers per piece, and to split, one piece at a time.
    """
    count, seams = 0, [np.zeros((0, 2), np.int64)]
    boxes: list[tuple[slice, ...]] = []
    above: NDArray[np.int32] | None = None
    for slab in slabs(out.shape):
        inside = np.asarray(probability[slab.inner]) >= threshold
        found = np.empty(inside.shape, np.int32)
        added = int(ndimage.label(inside, np.ones((3,) * inside.ndim, bool), output=found))
        if split:
            boxes += [_moved(box, slab.inner.start) for box in ndimage.find_objects(found)]
        found[found > 0] += count
        if above is not None:
            seams.append(_touching(above, found[0]))
        out[slab.inner], above = found, found[-1]
        count += added
    pieces = _joined(count, np.concatenate(seams))
    if split:
        _renumber(out, pieces)
        count = _cut_each(out, _boxes_of(pieces, boxes), spacing)
        pieces = np.arange(count + 1)
    sizes = np.zeros(pieces.max() + 1, np.int64)
    for slab in slabs(out.shape):
        sizes += np.bincount(pieces[out[slab.inner]].ravel(), minlength=len(sizes))
    kept = sizes >= least_voxels
    kept[0] = False
    _renumber(out, np.where(kept, np.cumsum(kept), 0)[pieces])


def _touching(above: NDArray[np.int32], below: NDArray[np.int32]) -> NDArray[np.int64]:
    """Pairs of numbers of two neighbouring planes whose voxels share a face, an edge or a corner; (pairs, 2)."""
    padded = np.pad(above, 1)
    found = []
    for shift in np.ndindex((3,) * below.ndim):
        other = padded[tuple(slice(s, s + n) for s, n in zip(shift, below.shape, strict=True))]
        both = (other > 0) & (below > 0)
        found.append(np.unique(np.stack([other[both], below[both]], 1), axis=0))
    return np.concatenate(found).astype(np.int64)


def _joined(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the pieces, in the order of their first parts; returns the piece of each part, and 0 for 0."""
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count + 1, count + 1))
    _, part_of = connected_components(graph, directed=False)
    _, first, piece = np.unique(part_of, return_index=True, return_inverse=True)
    order = np.empty(len(first), np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    return np.asarray(order[piece])  # 0 touches nothing, and is the first


def _renumber(out: NDArray[np.int32], numbers: NDArray[np.int64]) -> None:
    """Replace every number in an array, slab by slab."""
    table = numbers.astype(np.int32)
    for slab in slabs(out.shape):
        out[slab.inner] = table[out[slab.inner]]


def _moved(box: tuple[slice, ...], planes: int) -> tuple[slice, ...]:
    return (slice(box[0].start + planes, box[0].stop + planes), *box[1:])


def _boxes_of(pieces: NDArray[np.int64], boxes: list[tuple[slice, ...]]) -> list[tuple[slice, ...]]:
    """Bounding boxes of pieces, of those of their parts."""
    found: dict[int, tuple[slice, ...]] = {}
    for piece, box in zip(pieces[1:].tolist(), boxes, strict=True):
        known = found.get(piece, box)
        found[piece] = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(known, box, strict=True))
    return [found[number] for number in sorted(found)]


def _cut_each(out: NDArray[np.int32], boxes: list[tuple[slice, ...]], spacing: tuple[float, ...] | None) -> int:
    """Cut every piece by itself; returns how many there are then. New numbers are negative until all are cut."""
    count = 0
    for number, box in enumerate(boxes, start=1):
        around = tuple(slice(max(0, s.start - 1), min(n, s.stop + 1)) for s, n in zip(box, out.shape, strict=True))
        region = out[around]
        inside = np.asarray(region == number)
        bodies = _cut(inside, spacing)
        region[inside] = -(bodies[inside] + count)
        count += int(bodies.max())
    for slab in slabs(out.shape):
        out[slab.inner] = -out[slab.inner]
    return count


def _cut(inside: NDArray[np.bool_], spacing: tuple[float, ...] | None) -> NDArray[np.int32]:
    """Cut a piece into bodies, 1, 2, ...: a watershed from the maxima of the distance to where it ends."""
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(inside, sampling=spacing), SMOOTH)
    piece = inside.astype(np.int32)
    peaks = peak_local_max(distance, min_distance=2, labels=piece, exclude_border=False)
    if len(peaks) < 2:
        return piece
    seeds = np.zeros(inside.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(watershed(-distance, seeds, mask=inside, connectivity=np.ones((3,) * inside.ndim, bool)))


def find_labels(
    probability: Stack,
    threshold: float = 0.5,
    least_voxels: int = 1,
    split: bool | Collection[str] = False,
    allocate: Allocate = in_memory,
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
    allocate : callable
        Makes the array "labels"; with one that makes files, stacks need not fit into memory.

    Returns
    -------
    Stack
        int32, with the axes, voxel size and channels of the probabilities.

    Raises
    ------
    SpotlightError
        If `split` names a channel that is not there.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack
    >>> from spotlight.tasks import find_labels
    >>> probability = Stack(np.array([[0.9, 0.8, 0.1, 0.0, 0.7]], np.float32), "YX", (0.5, 0.5))
    >>> find_labels(probability).data.tolist()
    [[1, 1, 0, 0, 2]]
    >>> find_labels(probability, threshold=0.5, least_voxels=2).data.tolist()
    [[1, 1, 0, 0, 0]]
    """
    names = probability.channels
    chosen = set(names if split is True else split or ())
    if unknown := sorted(chosen - set(names)):
        raise SpotlightError(
            f"{probability.source}: has no structure {', '.join(map(repr, unknown))} to split. It has: "
            f"{', '.join(names)}."
        )
    channels = separate(probability)
    several = "C" in probability.axes
    out = allocate("labels", probability.shape, np.int32)
    for one, labels, name in zip(channels, out if several else [out], names or ("",), strict=True):
        _label_into(labels, one.values, threshold, least_voxels, name in chosen, probability.voxel_size)
    return replace(probability, array=out, origin=f"Labels: {probability.origin}", labels=True)
