"""Whether labels number bodies, or are a mask that has one number for all of them."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spotlight.errors import SpotlightError
from spotlight.images.frames import each_frame, join_frames
from spotlight.images.stack import Stack

LARGE = 0.2
"""A piece counts from this part of its label's largest piece: specks beside a nucleus do not."""
MASK = 3
"""Large pieces per label from which labels are a mask; an anaphase under one number has two."""
MANY = 1 << 20


def doubt_pieces(labels: Stack) -> str:
    """Say so if labels are in several large pieces, as bodies are not.

    Parameters
    ----------
    labels : Stack
        Whole numbers of 0 or more, 0 for background.

    Returns
    -------
    str
        A sentence that names some of these labels, or nothing.

    Raises
    ------
    SpotlightError
        If there are so many pieces that this is a mask.
    """
    data = _compact(labels.data)
    total, several = 0, []
    for number, box in enumerate(ndimage.find_objects(data), start=1):
        if box is not None:
            count = _large_pieces(data[box] == number)
            total += 1
            if count > 1:
                several.append((int(labels.data[box][data[box] == number][0]), count))
    pieces = total - len(several) + sum(count for _, count in several)
    if not several:
        return ""
    shown = ", ".join(f"{number} in {count}" for number, count in several[:3])
    remedy = "number the pieces one by one: spotlight label MASK --to LABELS"
    if pieces >= MASK * total:
        raise SpotlightError(
            f"{labels.source}: is a mask, not labels: {total} numbers for {pieces} bodies that do not touch (label "
            f"{shown} pieces). To measure bodies, {remedy}; if it says where the signal is, name it in the manifest's "
            "foreground column."
        )
    return (
        f"{len(several)} of {total} labels are in several large pieces (label {shown}), and are measured as one body "
        f"each. If they are several bodies, {remedy}."
    )


def label_pieces(mask: Stack) -> Stack:
    """Number the bodies of a mask: voxels of one value that touch, if only at a corner.

    Parameters
    ----------
    mask : Stack
        Axes ZYX or YX; 0 or False for background, any other value for bodies. What has different values stays apart.
        Of a time-lapse, each frame is numbered by itself.

    Returns
    -------
    Stack
        int32 labels 1 to n on the same grid.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack, label_pieces
    >>> label_pieces(Stack(np.array([[1, 1, 0, 1]], np.uint8), "YX", (0.3, 0.3))).data.tolist()
    [[1, 1, 0, 2]]
    """
    from skimage.measure import label

    if "T" in mask.axes:
        frames = [label_pieces(frame) for frame in each_frame(mask)]
        return replace(join_frames([one.data for one in frames], frames[0], mask.frame_interval), source=mask.source)
    mask = mask.channel(None)
    mask.require_finite()
    data = mask.data
    if not np.issubdtype(data.dtype, np.integer):
        data = np.unique(data, return_inverse=True)[1].reshape(data.shape) * (data != 0)
    numbers = np.asarray(label(data, connectivity=data.ndim), np.int32)
    return replace(mask, array=numbers, channels=("labels",), colors=(), labels=True)


def _compact(data: NDArray[Any]) -> NDArray[np.int32]:
    """Labels as int32, renumbered if the numbers are too large to have a place each."""
    if data.max(initial=0) <= MANY:
        return data.astype(np.int32, copy=False)
    found, where = np.unique(data, return_inverse=True)
    return np.asarray(where + (found[0] > 0), np.int32).reshape(data.shape)


def _large_pieces(body: NDArray[np.bool_]) -> int:
    pieces, count = ndimage.label(body, np.ones((3,) * body.ndim))
    if count < 2:
        return int(count)
    sizes = np.bincount(pieces.ravel())[1:]
    return int(np.count_nonzero(sizes >= LARGE * sizes.max()))
