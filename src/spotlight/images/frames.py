"""Frames of a time-lapse, one after another."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from spotlight.images.joining import SideBySide
from spotlight.images.lazy import LazyArray
from spotlight.images.slabs import Array
from spotlight.images.stack import Stack


def each_frame(stack: Stack) -> Iterator[Stack]:
    """Go through the timepoints of a stack; one without the axis T is a single frame."""
    if "T" not in stack.axes:
        yield stack
        return
    for number in range(stack.shape[0]):
        yield replace(stack[number], source=f"{stack.source} (timepoint {number})")


def join_frames(frames: Sequence[Array], like: Stack, interval: float | None) -> Stack:
    """Join arrays of one shape along T; each stays where it is until it is read.

    Parameters
    ----------
    frames : sequence of arrays
        In their order.
    like : Stack
        What is known of each of them: axes without T, voxel size, channels.
    interval : float or None
        Seconds from one to the next.

    Examples
    --------
    >>> import numpy as np
    >>> frame = Stack(np.zeros((8, 8)), "YX", (0.5, 0.5))
    >>> join_frames([frame.data, frame.data], frame, 300.0).axes
    'TYX'
    """
    return replace(like, array=LazyArray.of(SideBySide(frames)), axes=f"T{like.axes}", frame_interval=interval)


def doubts_of_frames(doubts: Sequence[Sequence[str]]) -> list[str]:
    """Give the doubts of the first frame that has any, and say how many more frames have some.

    Examples
    --------
    >>> doubts_of_frames([[], ["much noise"], ["much noise"]])
    ['much noise (timepoint 1, and 1 more)']
    """
    doubted = [number for number, found in enumerate(doubts) if found]
    if not doubted:
        return []
    more = f", and {len(doubted) - 1} more" if len(doubted) > 1 else ""
    return [f"{doubt} (timepoint {doubted[0]}{more})" for doubt in doubts[doubted[0]]]
