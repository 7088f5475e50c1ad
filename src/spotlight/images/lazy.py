"""Arrays that stay in their file until a region of them is asked for."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import EllipsisType
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from spotlight.errors import SpotlightError

log = logging.getLogger("spotlight")

WORKERS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""Threads that compress and decompress."""

Index = int | slice | EllipsisType


class Source(Protocol):
    """What a file format offers: the shape and type of an array, and regions of it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis."""

    @property
    def dtype(self) -> Any:
        """Type of the values."""

    def __getitem__(self, index: tuple[int | slice, ...]) -> Any:
        """Read a region; one whole number or contiguous slice per axis."""


@dataclass(frozen=True)
class LazyArray:
    """A view of a source: indexing and transposing cost nothing, `numpy.asarray` reads just what is left.

    Attributes
    ----------
    source : Source
        Where the values are.
    index : tuple of int or slice
        What is left of every axis of the source; slices have a start, a stop and no step.
    order : tuple of int
        Order of the axes that are left.
    """

    source: Source
    index: tuple[int | slice, ...]
    order: tuple[int, ...]

    @classmethod
    def of(cls, source: Source) -> "LazyArray":
        """View all of a source."""
        return cls(source, tuple(slice(0, n) for n in source.shape), tuple(range(len(source.shape))))

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis that is left."""
        lengths = [i.stop - i.start for i in self.index if isinstance(i, slice)]
        return tuple(lengths[axis] for axis in self.order)

    @property
    def ndim(self) -> int:
        """Number of axes that are left."""
        return len(self.order)

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, in the machine's byte order; truth values are 0 and 1."""
        kind = np.dtype(self.source.dtype)
        return np.dtype(np.uint8) if kind.kind == "b" else kind.newbyteorder("=")

    def transpose(self, order: tuple[int, ...]) -> "LazyArray":
        """Change the order of the axes."""
        return LazyArray(self.source, self.index, tuple(self.order[axis] for axis in order))

    def __getitem__(self, key: Index | tuple[Index, ...]) -> "LazyArray":
        """Take a region by whole numbers, contiguous slices and an ellipsis."""
        keys = key if isinstance(key, tuple) else (key,)
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            keys = (*keys[:at], *[slice(None)] * (self.ndim - len(keys) + 1), *keys[at + 1 :])
        if len(keys) > self.ndim:
            raise IndexError(f"{len(keys)} indices for {self.ndim} axes")
        kept = [axis for axis, i in enumerate(self.index) if isinstance(i, slice)]
        index, order = list(self.index), list(self.order)
        for axis, part in zip(self.order, keys, strict=False):
            place = kept[axis]
            base = self.index[place]
            assert isinstance(base, slice)
            length = base.stop - base.start
            if isinstance(part, slice):
                start, stop, step = part.indices(length)
                if step != 1:
                    raise IndexError("regions of a file are contiguous: slices take no step")
                index[place] = slice(base.start + start, base.start + max(start, stop))
            else:
                number = int(part)  # type: ignore[arg-type]
                if not -length <= number < length:
                    raise IndexError(f"index {number} is out of range for {length} values")
                index[place] = base.start + number % length
                order.remove(axis)
        gone = [axis for axis in self.order if axis not in order]
        return LazyArray(self.source, tuple(index), tuple(a - sum(g < a for g in gone) for a in order))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read the values."""
        if copy is False:
            raise ValueError("the values of a file cannot be read without a copy")
        return np.asarray(self.source[self.index]).transpose(self.order).astype(dtype or self.dtype, copy=False)


@contextmanager
def no_problems(path: Path) -> Iterator[None]:
    """Make errors of what tifffile logs as errors while it carries on."""
    problems: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            problems.append(record.getMessage())

    handler = Collect(logging.ERROR)
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
    if problems:
        raise SpotlightError(f"{path}: the TIFF file is damaged ({problems[0]}). Copy it again from its source.")


@cache
def tell(text: str) -> None:
    """Warn once, however often a file is opened."""
    log.warning(text)
