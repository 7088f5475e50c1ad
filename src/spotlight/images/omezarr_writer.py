"""Writing OME-Zarr 0.5: images, and labels of images."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from yaozarrs import v05
from yaozarrs.write.v05 import prepare_image

from spotlight.errors import SpotlightError
from spotlight.files import atomic_folder
from spotlight.images.blocks import blocks, extent, halved, pyramid_depth, storable
from spotlight.images.formats import Kind, explained_reading, is_labels_of_an_image, is_zarr
from spotlight.images.omezarr import ome_attributes, scenes
from spotlight.images.plates import list_labels
from spotlight.images.stack import Stack

CHUNK = (8, 256, 256)
SHARD = (16, 256, 1024)
"""Chunks of larger images are kept in shards of this size, so that there are not too many files."""
SHARDED_BYTES = 2**30
BAND_BYTES = 16 * 2**20
"""About how much of a level is written at a time."""
WHITE = "FFFFFF"


def write_omezarr(stack: Stack, path: str | Path, kind: Kind | None = None) -> Path:
    """Write a stack as OME-Zarr 0.5 with a pyramid; see `spotlight.images.write`.

    Memory is that of a slab of 16 planes and its smaller levels.
    """
    path = Path(path)
    if is_labels_of_an_image(path):
        return _write_labels(stack, path, kind)
    _require_replaceable(path)
    with atomic_folder(path) as temporary:
        _write(stack, temporary, path, kind)
    return path


def _require_replaceable(path: Path) -> None:
    """What is overwritten must be one image without anything else in it."""
    if not path.exists():
        return
    with explained_reading(path, "OME-Zarr"):
        group = zarr.open_group(str(path), mode="r") if is_zarr(path) else None
    if group is None or "multiscales" not in ome_attributes(group) or "labels" in group:
        raise SpotlightError(
            f"{path}: is there already and is not an OME-Zarr of one image alone. Choose another name."
        )


def _write(stack: Stack, to: Path, name: Path, kind: Kind | None) -> None:
    stored = storable(stack, kind, name)
    count = pyramid_depth(stack.shape) + 1
    shapes = [(*stack.shape[:-2], *(-(-n // 2**level) for n in stack.shape[-2:])) for level in range(count)]
    chunks = _block(stack, CHUNK)
    large = np.prod(stack.shape, dtype=np.int64) * stored.itemsize > SHARDED_BYTES
    shards = tuple(-(-n // c) * c for n, c in zip(_block(stack, SHARD), chunks, strict=True)) if large else None
    _, arrays = prepare_image(
        to,
        _metadata(stack, name, count),
        [(shape, stored) for shape in shapes],
        extra_attributes={"spotlight": {"origin": stack.origin}} if stack.origin else None,
        chunks=chunks,
        shards=shards,
        writer="zarr",
    )
    across = SHARD[0] * SHARD[1] * stack.shape[-1] * stored.itemsize
    rows = SHARD[1] * max(1, BAND_BYTES // across)
    levels = [arrays[str(level)] for level in range(count)]
    waiting: list[list[NDArray[Any]]] = [[] for _ in levels]
    low, high = np.inf, -np.inf
    with ThreadPoolExecutor(1) as beside:
        written: Future[None] = Future()
        written.set_result(None)
        for index, block in blocks(stack, stored, SHARD[0], rows):  # the next band is read while one is written
            lowest, highest = extent(block)
            low, high = min(low, lowest), max(high, highest)
            written.result()
            written = beside.submit(_put, levels, waiting, 0, index, block, rows, stack.labels)
        written.result()
    if low <= high:
        _set_window(to, low, high)


def _put(
    levels: list[Any],
    waiting: list[list[NDArray[Any]]],
    level: int,
    index: tuple[int | slice, ...],
    block: NDArray[Any],
    rows: int,
    labels: bool,
) -> None:
    """Write a band of whole rows, and hand it on to the next level, where it is written when a band is together."""
    across = block.shape[-1] if levels[level].shards is None else SHARD[-1]
    for x in range(0, block.shape[-1], across):
        levels[level][(*index, slice(x, x + across))] = block[..., x : x + across]
    if level + 1 < len(levels):
        *place, band = index
        assert isinstance(band, slice)
        waiting[level].append(halved(block, labels))
        stop = -(-band.stop // 2)
        if stop % rows == 0 or band.stop == levels[level].shape[-2]:
            together = np.concatenate(waiting[level], axis=-2)
            waiting[level].clear()
            _put(levels, waiting, level + 1, (*place, slice(stop - together.shape[-2], stop)), together, rows, labels)


def _block(stack: Stack, size: tuple[int, int, int]) -> tuple[int, ...]:
    """A chunk or shard size for the axes of a stack: no larger than the stack, one along T and C."""
    spatial = size[-len(stack.spatial_axes) :]
    leading = len(stack.axes) - len(spatial)
    return (*(1,) * leading, *(min(n, s) for n, s in zip(stack.shape[leading:], spatial, strict=True)))


def _metadata(stack: Stack, name: Path, count: int) -> v05.Image:
    axes: list[Any] = []
    for letter in stack.axes:
        if letter == "T":
            axes.append(v05.TimeAxis(name="t", unit="second" if stack.frame_interval else None))
        elif letter == "C":
            axes.append(v05.ChannelAxis(name="c"))
        else:
            axes.append(v05.SpaceAxis(name=letter.lower(), unit="micrometer" if stack.voxel_size else None))
    size = stack.voxel_size or (1.0,) * len(stack.spatial_axes)
    lead = len(axes) - len(size)
    datasets = []
    for level in range(count):
        factors = [2**level if letter in "YX" else 1 for letter in stack.axes]
        lengths = [*((stack.frame_interval or 1.0) if letter == "T" else 1.0 for letter in stack.axes[:lead]), *size]
        scale = [length * factor for length, factor in zip(lengths, factors, strict=True)]
        steps: list[Any] = [v05.ScaleTransformation(scale=scale)]
        if level and not stack.labels:
            # The centre of a mean of pixels lies between them.
            moved = [length * (factor - 1) / 2 for length, factor in zip(lengths, factors, strict=True)]
            steps.append(v05.TranslationTransformation(translation=moved))
        datasets.append(v05.Dataset(path=str(level), coordinateTransformations=steps))
    multiscale = v05.Multiscale(name=name.name.split(".")[0], axes=axes, datasets=datasets)
    if stack.labels:
        return v05.LabelImage.model_validate({"multiscales": [multiscale], "image-label": {}})
    if not stack.channels:
        return v05.Image(multiscales=[multiscale])
    colors = stack.colors or (WHITE,) * len(stack.channels)
    window = v05.OmeroWindow(min=0, max=1, start=0, end=1)
    channels = [
        v05.OmeroChannel(label=label, color=color, window=window)
        for label, color in zip(stack.channels, colors, strict=True)
    ]
    return v05.Image(multiscales=[multiscale], omero=v05.Omero(channels=channels))


def _set_window(to: Path, low: float, high: float) -> None:
    """Tell viewers the range of the values, which is known only after they were written."""
    group = zarr.open_group(str(to), mode="r+")
    ome: Any = group.attrs["ome"]
    for channel in ome.get("omero", {}).get("channels", []):
        channel["window"] = {"min": low, "max": high, "start": low, "end": high}
    group.attrs["ome"] = ome


def _write_labels(stack: Stack, path: Path, kind: Kind | None) -> Path:
    """Write labels beside the image they belong to, and list them there."""
    image = path.parent.parent
    with explained_reading(image, "OME-Zarr"):
        group = zarr.open_group(str(image), mode="r")
        if "multiscales" not in ome_attributes(group) or group.metadata.zarr_format != 3:
            raise SpotlightError(f"{image}: is not an OME-Zarr 0.5 image, so that labels cannot be added to it.")
    if not stack.labels:
        raise SpotlightError(f"{path}: only instance labels belong there. Give a stack of labels.")
    field = scenes(image)[0].load()
    sizes = dict(zip(field.axes, field.array.shape, strict=True))
    if any(sizes.get(axis, 1) != n for axis, n in zip(stack.axes, stack.shape, strict=True)):
        raise SpotlightError(
            f"{path}: labels of {stack.axes} {stack.shape} do not fit the image's {field.found} {field.array.shape}."
        )
    with atomic_folder(path) as temporary:
        _write(stack, temporary, path, kind)
    list_labels(image, path.name)
    return path
