"""Writing OME-TIFF files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from spotlight.files import atomic_file
from spotlight.images.blocks import blocks, halved, pyramid_depth, storable
from spotlight.images.formats import Kind
from spotlight.images.lazy import WORKERS
from spotlight.images.stack import Stack

TILE = 256
BUFFER = 8 * 2**20
"""Bytes that are compressed at a time, on all cores."""

PIXELS_PER_CM = 1e4
"""Of a pixel of 1 µm."""

LEVEL = 1
"""Of zlib: on microscope images 6 takes two to four times as long and saves 4 % at most."""


def write_tiff(stack: Stack, path: str | Path, kind: Kind | None = None) -> Path:
    """Write a stack as a tiled, losslessly compressed OME-TIFF; see `spotlight.images.write`."""
    path = Path(path)
    stored = storable(stack, kind, path)
    metadata: dict[str, Any] = {"axes": stack.axes}
    if stack.voxel_size is not None:
        for axis, length in zip(stack.spatial_axes, stack.voxel_size, strict=True):
            metadata[f"PhysicalSize{axis}"] = length
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    if stack.frame_interval and "T" in stack.axes:
        metadata |= {"TimeIncrement": stack.frame_interval, "TimeIncrementUnit": "s"}
    if stack.channels:
        metadata["Channel"] = {"Name": [_plain(name) for name in stack.channels]}
        if stack.colors:
            metadata["Channel"]["Color"] = [_signed(color) for color in stack.colors]
    if stack.origin:
        metadata["Description"] = _plain(stack.origin)
    depth = pyramid_depth(stack.shape)
    tiled = depth > 0 or min(stack.shape[-2:]) > TILE
    options: dict[str, Any] = {
        "dtype": stored,
        "tile": (TILE, TILE) if tiled else None,
        "compression": "zlib",
        "compressionargs": {"level": LEVEL},
        # Bio-Formats knows no predictor for real numbers; ImageJ, which opens what is not tiled, overlooks predictors.
        "predictor": tiled and stored.kind != "f",
        "maxworkers": WORKERS,
        "photometric": "minisblack",
        "buffersize": BUFFER,
    }
    # Classic TIFF ends at 4 GiB; compressed size is not known before, and a pyramid adds a third.
    large = np.prod(stack.shape, dtype=np.int64) * stored.itemsize > 2**31
    with atomic_file(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=bool(large), ome=True) as writer:
        for level in range(depth + 1):
            shape = (*stack.shape[:-2], *(-(-n // 2**level) for n in stack.shape[-2:]))
            own: dict[str, Any] = {"subifds": depth, "metadata": metadata} if level == 0 else {"subfiletype": 1}
            if stack.voxel_size is not None:  # for programs that know no OME-XML, such as ImageJ without Bio-Formats
                height, width = (PIXELS_PER_CM / size / 2**level for size in stack.voxel_size[-2:])
                if max(height, width) < 2**32:  # what the tag can hold; real pixels are far from it
                    own |= {"resolution": (width, height), "resolutionunit": "CENTIMETER"}
            planes = _planes(stack, stored, level)
            writer.write(_tiles(planes) if tiled else planes, shape=shape, **own, **options)
    return path


def _planes(stack: Stack, stored: np.dtype[Any], level: int) -> Iterator[NDArray[Any]]:
    """Every plane of a level of the pyramid; the stack is read anew for each level, which keeps memory flat."""
    for _, block in blocks(stack, stored):
        for plane in block.reshape(-1, *block.shape[-2:]):
            for _ in range(level):
                plane = halved(plane, stack.labels)
            yield np.ascontiguousarray(plane)


def _tiles(planes: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    for plane in planes:
        for y in range(0, plane.shape[0], TILE):
            for x in range(0, plane.shape[1], TILE):
                yield plane[y : y + TILE, x : x + TILE]


def _plain(text: str) -> str:
    """Text without the control characters that XML cannot hold."""
    return "".join(c for c in text if c.isprintable())


def _signed(color: str) -> int:
    """A colour RRGGBB as OME-XML has it: RGBA in a signed number of 32 bit."""
    return int(np.array(int(f"{color}FF", 16), np.uint32).view(np.int32))
