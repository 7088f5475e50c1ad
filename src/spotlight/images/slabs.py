"""Working through a stack slab by slab, so that it need not fit into memory."""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from spotlight.errors import SpotlightError
from spotlight.images.lazy import LazyArray

Array = NDArray[Any] | LazyArray
"""Values in memory, in a memory-mapped file, or in the user's file."""

AnyArray = TypeVar("AnyArray", bound=Array)

Allocate = Callable[[str, tuple[int, ...], DTypeLike], NDArray[Any]]
"""Makes an array of a name, shape and type: in memory, or as a file."""

LARGEST = 1e18
"""No intensity is greater: the squares of larger ones leave single precision, in which images are computed."""

SLAB_VOXELS = 2**25
"""Voxels that are worked on at once; a smaller stack is one slab. At least one plane is."""


NUMBERS = "buif"
"""Kinds of NumPy types that pixel values can have."""
REMEDIES = {
    "c": "Convert them first: numpy.abs, numpy.real or numpy.angle",
    "O": "Convert them with astype to a type of numbers, such as float32",
    "V": "Give one of the fields as an array of its own",
}


def as_numbers(array: AnyArray, name: str) -> AnyArray:
    """Give an array whose values are whole or real numbers; truth values are 0 and 1.

    Raises
    ------
    SpotlightError
        If it is not an array, values are of another type, or some of them are masked.
    """
    kind = getattr(array, "dtype", None)
    if kind is None:
        raise SpotlightError(
            f"{name}: an image is a NumPy array. Received: {type(array).__name__}. Convert it with numpy.asarray."
        )
    if kind.kind not in NUMBERS:
        raise SpotlightError(
            f"{name}: holds values of type {kind}, but images are of whole or real numbers. "
            f"{REMEDIES.get(kind.kind, 'Give an array of intensities')}."
        )
    if np.ma.is_masked(array):
        raise SpotlightError(f"{name}: some values are masked. Replace them with the array's method filled.")
    return array.view(np.uint8) if isinstance(array, np.ndarray) and kind.kind == "b" else array  # type: ignore[return-value]


def in_memory(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Make an array in memory; see `Allocate`."""
    return np.empty(shape, dtype)


def in_files(folder: Path) -> Allocate:
    """Make arrays as mapped files ``NAME.npy`` in a folder; their space on the disk is reserved at once."""

    def allocate(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        path = folder / f"{name}.npy"
        made = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
        if hasattr(os, "posix_fallocate"):
            # Writing to a mapped file kills the process if the disk is full; this says so before.
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return made

    return allocate


@dataclass(frozen=True)
class Slab:
    """A range of planes.

    Attributes
    ----------
    inner : slice
        The planes that it stands for, along the first axis.
    outer : slice
        The same with the planes around that a filter needs.
    crop : slice
        Where the inner planes are among the outer ones.
    """

    inner: slice
    outer: slice
    crop: slice


def slabs(shape: tuple[int, ...], halo: int = 0) -> Iterator[Slab]:
    """Cut an array into slabs along its first axis; `halo` planes more belong to each where there are any."""
    planes = max(1, SLAB_VOXELS // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], planes):
        stop = min(start + planes, shape[0])
        first, last = max(0, start - halo), min(shape[0], stop + halo)
        yield Slab(slice(start, stop), slice(first, last), slice(start - first, stop - first))


def block_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """Planes and rows of blocks of a (Z, Y, X) array: whole planes, or of large ones bands in which 32 planes fit."""
    _, tall, wide = shape
    rows = min(tall, max(64, SLAB_VOXELS // (32 * wide)))
    return max(1, SLAB_VOXELS // (rows * wide)), rows


def is_slab(array: Array) -> bool:
    """Whether an array is small enough to be worked on at once."""
    return array.size <= SLAB_VOXELS


def values_of(array: Array) -> Iterator[NDArray[Any]]:
    """Read an array slab by slab."""
    for slab in slabs(array.shape):
        yield np.asarray(array[slab.inner])


def copy_values(array: Array, allocate: Allocate) -> NDArray[Any]:
    """Copy an array slab by slab."""
    out = allocate("copy", array.shape, array.dtype)
    for slab in slabs(array.shape):
        out[slab.inner] = np.asarray(array[slab.inner])
    return out
