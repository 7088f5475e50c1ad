"""What all writers need: a stack block by block, its values converted, and the levels of a pyramid."""

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.images.formats import Kind
from spotlight.images.stack import Stack

log = logging.getLogger("spotlight")

SLAB_BYTES = 16 * 2**20
"""About how much of a stack is in memory at a time."""

SMALLEST_LEVEL = 1024
"""Pyramids are halved in Y and X until both are at most this."""

STRIP = 64
"""Rows that are halved at a time, few enough for the processor's cache."""


def storable(stack: Stack, kind: Kind | None, path: Path) -> np.dtype[Any]:
    """Type in which a stack's values are stored: the one asked for, or one that readers know and that loses nothing."""
    if kind is not None:
        return np.dtype(kind)
    own = stack.dtype
    if own.kind == "b":
        return np.dtype(np.uint8)
    if own.kind == "f" and own.itemsize in (2, 4):
        return np.dtype(np.float32)
    if own.kind in "iu":
        narrow = np.dtype(np.int32 if own.kind == "i" else np.uint32)
        if own.itemsize <= 4 or _fits(stack, narrow):
            return own if own.itemsize <= 4 else narrow
    raise SpotlightError(
        f"{path}: {own} values cannot be stored without loss. Convert them to float32 or an integer type of at most "
        "32 bit."
    )


def _fits(stack: Stack, narrow: np.dtype[Any]) -> bool:
    limits = np.iinfo(narrow)
    return all(limits.min <= block.min() and block.max() <= limits.max for _, block in blocks(stack, stack.dtype))


def blocks(
    stack: Stack, kind: np.dtype[Any], planes: int | None = None, rows: int | None = None
) -> Iterator[tuple[tuple[int | slice, ...], NDArray[Any]]]:
    """Go through a stack in blocks, in the order of its axes.

    Parameters
    ----------
    stack : Stack
        In memory, or still in its file.
    kind : dtype
        Values are converted to it, rounded and clipped where it is an integer type; how many were clipped is logged.
    planes : int, optional
        Planes along Z per block; left out: about `SLAB_BYTES`.
    rows : int, optional
        Rows along Y per block; left out: all.

    Yields
    ------
    (index, ndarray)
        Where the block belongs, and its values with axes ZYX or YX.
    """
    shape = stack.shape
    volume = stack.axes.endswith("ZYX")
    depth = shape[-3] if volume else 1
    step = planes or max(1, SLAB_BYTES // max(1, shape[-1] * shape[-2] * kind.itemsize))
    tall = rows or shape[-2]
    leading = np.ndindex(*shape[: -3 if volume else -2])
    places = list(itertools.product(leading, range(0, depth, step), range(0, shape[-2], tall)))
    clipped = 0
    for number, (place, z, y) in enumerate(places, start=1):
        cut = (slice(z, min(z + step, depth)),) if volume else ()
        index = (*place, *cut, slice(y, min(y + tall, shape[-2])))
        block, lost = converted(np.asarray(stack.values[index]), kind)
        clipped += lost
        if clipped and number == len(places):
            share = 100 * clipped / np.prod(shape, dtype=np.int64)
            log.warning(
                "%s: %.3g %% of the values were outside the range of %s and clipped.", stack.source, share, kind
            )
        yield index, block


def converted(block: NDArray[Any], kind: np.dtype[Any]) -> tuple[NDArray[Any], int]:
    """Convert values to a type, rounded and clipped where it is an integer type; gives also how many were clipped."""
    if block.dtype == kind or kind.kind == "f" or np.can_cast(block.dtype, kind):
        return block.astype(kind, copy=False), 0
    limits = np.iinfo(kind)
    whole = np.rint(block) if block.dtype.kind == "f" else block
    lost = int(np.count_nonzero(~((whole >= limits.min) & (whole <= limits.max))))
    return np.nan_to_num(np.clip(whole, limits.min, limits.max)).astype(kind), lost


def extent(block: NDArray[Any]) -> tuple[float, float]:
    """Smallest and largest value that is a number; the one above the other if none is."""
    if block.dtype.kind != "f":
        return float(block.min()), float(block.max())
    finite = np.isfinite(block)
    return float(block.min(initial=np.inf, where=finite)), float(block.max(initial=-np.inf, where=finite))


def pyramid_depth(shape: tuple[int, ...]) -> int:
    """How often a stack is halved in Y and X so that both are at most `SMALLEST_LEVEL`."""
    return max(0, int(np.ceil(np.log2(max(shape[-2:]) / SMALLEST_LEVEL))))


def halved(block: NDArray[Any], labels: bool) -> NDArray[Any]:
    """Halve a block in Y and X: means of 2 x 2 pixels, or for labels the first of them.

    Odd sizes are rounded up; the last row or column is then that of its own pixels.
    """
    if labels:
        return block[..., ::2, ::2]
    height, width = block.shape[-2:]
    kind = block.dtype
    # Sums of four values of up to 16 bits are whole numbers of 24 bits at most, which float32 holds.
    wide = np.float64 if kind.kind in "iu" and kind.itemsize > 2 else np.float32
    small = np.empty((*block.shape[:-2], -(-height // 2), -(-width // 2)), kind)
    for place in np.ndindex(*block.shape[:-2]):
        for y in range(0, height, STRIP):
            strip = block[place][y : y + STRIP]
            if len(strip) % 2 or width % 2:
                strip = np.pad(strip, [(0, n % 2) for n in strip.shape], mode="edge")
            rows = np.add(strip[::2], strip[1::2], dtype=wide)
            mean = (rows[:, ::2] + rows[:, 1::2]) / 4
            small[place][y // 2 : (y + STRIP) // 2] = np.rint(mean) if kind.kind in "iu" else mean
    return small
