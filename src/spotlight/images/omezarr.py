"""Reading OME-Zarr 0.4 and 0.5: images, labels, plates with wells and fields, and bioformats2raw collections."""

import asyncio
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from spotlight.addresses import Address
from spotlight.errors import SpotlightError
from spotlight.images.facts import AXES, Facts, Scene
from spotlight.images.formats import ZARR, explained_reading
from spotlight.images.lazy import WORKERS
from spotlight.images.units import read_lengths, read_number, seconds
from spotlight.installation import missing_package

NAMES = {
    **{letter.lower(): letter for letter in AXES},
    **{"time": "T", "channel": "C", "depth": "Z", "plane": "Z", "slice": "Z", "height": "Y", "row": "Y"},
    **{"width": "X", "column": "X"},
}
"""Letters of axes by names of which the meaning is clear, in small letters."""
TYPES = {"time": "T", "channel": "C", "space": "ZYX"}
"""Letters of axes by OME-Zarr's types of axes."""
PIECE_BYTES = 2**20
"""Chunks are read together until they have about this size."""


class Level:
    """The pixel values of one resolution level."""

    def __init__(self, path: Path, array: "zarr.Array[Any]") -> None:
        self.path = path
        self.array = array
        self.shape = tuple(array.shape)
        self.dtype = array.dtype

    def __getitem__(self, index: tuple[int | slice, ...]) -> Any:
        with explained_reading(self.path, "OME-Zarr"):
            if isinstance(self.path, Address):  # a connection belongs to the event loop that Zarr made it in
                return self.array[index]
            return _region(self.array, index)


def _region(array: "zarr.Array[Any]", index: tuple[int | slice, ...]) -> NDArray[Any]:
    """Read a region piece by piece, so that little beside the result is in memory."""
    kind = np.dtype(array.dtype)
    step = list(array.chunks)
    for axis in reversed(range(len(step))):
        step[axis] *= max(1, PIECE_BYTES // (int(np.prod(step, dtype=np.int64)) * kind.itemsize))
    out = np.empty([i.stop - i.start for i in index if isinstance(i, slice)], kind)
    pieces = deque(_pieces(index, step))
    # Each thread holds its piece compressed, decompressed and cut; all of them about half of what the result needs.
    threads = out.nbytes // (10 * int(np.prod(step, dtype=np.int64)) * kind.itemsize)
    threads = max(1, min(threads, WORKERS, len(pieces)))

    def next_piece() -> tuple[Any, Any] | None:
        with suppress(IndexError):
            return pieces.popleft()
        return None

    async def take() -> None:
        asyncio.get_running_loop().set_default_executor(_Here())
        for place, to in iter(next_piece, None):
            out[to] = await array.async_array.getitem(place)

    with ThreadPoolExecutor(threads) as pool:
        for job in [pool.submit(asyncio.run, take()) for _ in range(threads)]:
            job.result()
    return out


class _Here(ThreadPoolExecutor):
    """Does what it is given at once and in the same thread, which then needs neither others nor their memory."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(function(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


def _pieces(
    index: tuple[int | slice, ...], step: list[int]
) -> Iterator[tuple[tuple[int | slice, ...], tuple[slice, ...]]]:
    """Cut a region along a grid: every piece's place in the array and in the region."""
    axes: list[list[tuple[int | slice, slice | None]]] = []
    for part, size in zip(index, step, strict=True):
        if isinstance(part, slice):
            edges = [part.start, *range(part.start // size * size + size, part.stop, size), part.stop]
            cuts = itertools.pairwise(edges)
            axes.append([(slice(a, b), slice(a - part.start, b - part.start)) for a, b in cuts])
        else:
            axes.append([(part, None)])
    for places in itertools.product(*axes):
        yield tuple(p for p, _ in places), tuple(to for _, to in places if to is not None)


def scenes(path: Path) -> list[Scene]:
    """List the images of an OME-Zarr folder, or of a part of one; see `spotlight.images.scenes`."""
    with explained_reading(path, "OME-Zarr"):
        node = open_node(path)
        if isinstance(node, zarr.Array):
            return [Scene(path.name, partial(_bare, path, node))]
        found = [Scene(name or _own_name(path, group), partial(_facts, path, group)) for name, group in _images(node)]
        if not found:
            raise SpotlightError(
                f"{path}: is a Zarr group without OME metadata of an image, plate or labels. Give an OME-Zarr, or the "
                "path of an array inside of it."
            )
        return found


def open_node(path: Path) -> "zarr.Group | zarr.Array[Any]":
    """Open the group or array at a path or an address, to read."""
    return zarr.open(str(path), mode="r", storage_options=_reach(path) if isinstance(path, Address) else None)


def _reach(address: Address) -> dict[str, Any]:
    """Make sure that a Zarr is at an address; returns how to connect to it.

    To s3 with the credentials that are set up for AWS, or without if there are none. Zarr asks for several files at
    once, and where nothing answers it leaves requests behind.
    """
    try:
        from fsspec.core import url_to_fs

        options = {}
        if address.scheme == "s3":
            from botocore.session import get_session

            options["anon"] = get_session().get_credentials() is None
        system, root = url_to_fs(str(address), **options)
    except ImportError as error:
        raise missing_package(f"{address}: reading from addresses", error, "remote") from error
    for mark in ZARR.marks:
        with suppress(FileNotFoundError):
            system.cat_file(f"{root}/{mark}")
            return options
    raise SpotlightError(f"{address}: no OME-Zarr is there ({', '.join(ZARR.marks)} are not found). Check the address.")


def ome_attributes(group: zarr.Group) -> dict[str, Any]:
    """The group's OME metadata, which version 0.5 keeps under a key of its own."""
    attributes = dict(group.attrs)
    ome = attributes.get("ome", attributes)
    return ome if isinstance(ome, dict) else {}


def _images(group: zarr.Group) -> Iterator[tuple[str, zarr.Group]]:
    """Every image at or below a group, with its path from there."""
    ome = ome_attributes(group)
    if "multiscales" in ome:
        yield "", group
    elif "plate" in ome:
        for well in ome["plate"]["wells"]:
            if well["path"] not in group:  # listed, but not acquired
                continue
            for field, image in _images(_child(group, well["path"])):
                yield f"{well['path']}/{field}", image
    elif "well" in ome:
        for image in ome["well"]["images"]:
            yield image["path"], _child(group, image["path"])
    elif "labels" in ome:
        for name in ome["labels"]:
            yield name, _child(group, name)
    elif "bioformats2raw.layout" in ome:
        listed = ome_attributes(_child(group, "OME")).get("series") if "OME" in group else None
        for name in listed or sorted((key for key in group.group_keys() if key.isdecimal()), key=int):
            yield name, _child(group, name)


def _child(group: zarr.Group, name: str) -> zarr.Group:
    child = group[name]
    if not isinstance(child, zarr.Group):
        raise SpotlightError(f"{name} is an array where a group was expected")
    return child


def _own_name(path: Path, group: zarr.Group) -> str:
    return str(ome_attributes(group)["multiscales"][0].get("name") or path.name)


def _facts(path: Path, group: zarr.Group) -> Facts:
    with explained_reading(path, "OME-Zarr"):
        ome = ome_attributes(group)
        image = ome["multiscales"][0]
        level = image["datasets"][0]
        array = group[level["path"]]
        assert isinstance(array, zarr.Array)
        listed = image.get("axes") or []
        axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in listed]
        if len(axes) != array.ndim:
            axes = [{}] * array.ndim
        letters = _letters(axes)
        lengths = read_lengths(_stated_lengths(image, level, axes, letters))
        names = [channel.get("label") for channel in (ome.get("omero") or {}).get("channels") or []]
        channels = tuple(map(str, names)) if all(names) else ()
        called = tuple(str(axis.get("name", "")) for axis in axes)
        interval = _frame_interval(image, level, axes, letters)
        return Facts(
            Level(path, array), letters, channels, *lengths, "image-label" in ome, called, frame_interval=interval
        )


def _letters(axes: list[dict[str, Any]]) -> str:
    """One letter per axis: by its name, by its type where this leaves no doubt, else a digit of its own.

    Where two of three axes of space are known, the type tells which is the third.
    """
    letters = [NAMES.get(str(axis.get("name", "")).lower(), "") for axis in axes]
    for kind, known in TYPES.items():
        unclear = [n for n, axis in enumerate(axes) if axis.get("type") == kind and not letters[n]]
        left = [letter for letter in known if letter not in letters]
        if len(unclear) == len(left) == 1:
            letters[unclear[0]] = left[0]
    return "".join(
        letter if letter and letters.count(letter) == 1 else str(number % 10) for number, letter in enumerate(letters)
    )


def _stated_lengths(
    image: dict[str, Any], level: dict[str, Any], axes: list[dict[str, Any]], letters: str
) -> dict[str, tuple[Any, str]]:
    """Length and unit of every axis that may be one of space, as the file has them."""
    stated: dict[str, tuple[Any, str]] = {}
    for place, (letter, axis) in enumerate(zip(letters, axes, strict=True)):
        factors = _factors(image, level, place, len(axes))
        if letter in "TC" or axis.get("type", "space") != "space" or not factors:
            continue
        numbers = [read_number(factor) for factor in factors]
        known = [n for n in numbers if n is not None]
        length = math.prod(known) if len(known) == len(numbers) else factors
        stated[letter] = (length, str(axis.get("unit") or ""))
    return stated


def _factors(image: dict[str, Any], level: dict[str, Any], place: int, count: int) -> list[Any]:
    """What stands in the scales for one of so many axes."""
    steps = [*(level.get("coordinateTransformations") or []), *(image.get("coordinateTransformations") or [])]
    scales = [step.get("scale") for step in steps if step.get("type") == "scale"]
    return [scale[place] if isinstance(scale, list) and len(scale) == count else scale for scale in scales]


def _frame_interval(
    image: dict[str, Any], level: dict[str, Any], axes: list[dict[str, Any]], letters: str
) -> float | None:
    """Seconds from one timepoint to the next, if they are stated with a unit."""
    if "T" not in letters:
        return None
    place = letters.index("T")
    numbers = [read_number(factor) or 0 for factor in _factors(image, level, place, len(axes))]
    return seconds(math.prod(numbers), str(axes[place].get("unit") or ""))


def _bare(path: Path, array: "zarr.Array[Any]") -> Facts:
    names = getattr(array.metadata, "dimension_names", None) or (None,) * array.ndim
    axes = [{"name": name or ""} for name in names]
    return Facts(Level(path, array), _letters(axes), names=tuple(axis["name"] for axis in axes))
