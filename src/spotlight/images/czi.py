"""Reading Zeiss CZI files by pylibCZIrw (extra ``czi``)."""

import itertools
import struct
import weakref
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pylibCZIrw.czi import CziReader

from spotlight.errors import SpotlightError
from spotlight.images.colour import RGB
from spotlight.images.facts import Facts, Scene
from spotlight.images.units import read_lengths

KINDS = {"Gray8": np.uint8, "Gray16": np.uint16, "Gray32Float": np.float32}
COLOURS = {"Bgr24": np.uint8, "Bgr48": np.uint16, "Bgr96Float": np.float32}
"""Of colour cameras; each pixel has blue first."""
MAX_DIMENSIONS = 40
"""Of a piece of a plane; libCZI has room for so many."""


class CziScene:
    """The pixel values of one scene, axes TCZYX, with S of a colour camera; tiles of a mosaic are put together."""

    def __init__(self, path: Path, reader: CziReader, scene: int | None, box: Any, sizes: dict[str, tuple[int, int]]):
        self.path, self.reader, self.scene, self.box = path, reader, scene, box
        self.first = {axis: sizes.get(axis, (0, 1))[0] for axis in "TCZ"}
        counts = [sizes[axis][1] - sizes[axis][0] if axis in sizes else 1 for axis in "TCZ"]
        self.shape: tuple[int, ...] = (*counts, box.h, box.w)
        there: set[tuple[int, ...]] = set()

        def note(number: int, piece: Any) -> bool:
            place = piece.coordinate.to_dict()
            if place.get("S", scene) == scene:
                there.add(tuple(place.get(axis, 0) for axis in "TCZ"))
            return True

        reader.enumerate_subblocks(note)
        if np.prod(counts, dtype=np.float64) != len(there):  # libCZI gives zeros for planes that are not there
            raise SpotlightError(
                f"{path}: is damaged or incomplete: {dict(zip('TCZ', counts, strict=True))} planes are stated, but "
                f"only {len(there)} are there. Copy it again from its source, or leave it out."
            )
        kinds = set(reader.pixel_types.values())
        known = KINDS | COLOURS
        if len(kinds) != 1 or not kinds <= set(known):
            raise SpotlightError(
                f"{path}: has channels of types {sorted(kinds)}; one of {sorted(known)} for all channels can be read. "
                "Export it as OME-TIFF, or its channels one by one."
            )
        kind = kinds.pop()
        self.dtype = np.dtype(known[kind])
        self.axes = "TCZYXS" if kind in COLOURS else "TCZYX"
        self.shape = (*self.shape, 3) if kind in COLOURS else self.shape

    def __getitem__(self, index: tuple[int | slice, ...]) -> Any:
        ranges = [range(n)[i] if isinstance(i, slice) else [i] for i, n in zip(index, self.shape, strict=True)]
        rows, columns = ranges[3], ranges[4]
        roi = (self.box.x + columns[0], self.box.y + rows[0], len(columns), len(rows))
        values = np.empty([len(r) for r in ranges], self.dtype)
        for place in itertools.product(*(enumerate(r) for r in ranges[:3])):
            plane = {axis: self.first[axis] + n for axis, (_, n) in zip("TCZ", place, strict=True)}
            at = tuple(i for i, _ in place)
            pixels = self.reader.read(roi=roi, plane=plane, scene=self.scene)
            values[at] = pixels[..., ranges[5]] if len(ranges) > 5 else pixels[..., 0]
        return values[tuple(0 if isinstance(i, int) else slice(None) for i in index)]


def scenes(path: Path) -> list[Scene]:
    """List the scenes of a CZI file; see `spotlight.images.scenes`."""
    _require_sane_entries(path)
    reader = CziReader(str(path))
    weakref.finalize(reader, _close, reader._czi_reader)
    boxes = reader.scenes_bounding_rectangle_no_pyramid
    found: list[tuple[int | None, Any]] = sorted(boxes.items()) or [(None, reader.total_bounding_rectangle_no_pyramid)]
    return [Scene(str(number or 0), partial(_facts, path, reader, number, box)) for number, box in found]


def _require_sane_entries(path: Path) -> None:
    """Follow the directory once: libCZI overruns memory where absurd sizes or numbers of dimensions are stated.

    The places are those of the CZI specification: a segment has a head of 32 bytes that begins with its name.
    """
    end = path.stat().st_size
    with path.open("rb") as file:
        file.seek(84)
        (directory,) = struct.unpack("<q", file.read(8))
        _require_segment(path, file, directory, b"ZISRAWDIRECTORY")
        (count,) = struct.unpack("<i", file.read(4))
        place = directory + 32 + 128
        for _ in range(count):
            file.seek(place)
            schema, piece = struct.unpack("<2s4xq", file.read(14))
            place += _entry_size(path, file, place, schema)
            room = _require_segment(path, file, piece, b"ZISRAWSUBBLOCK")
            *sizes, schema = struct.unpack("<iiq2s", file.read(18))
            needed = max(256, 16 + _entry_size(path, file, piece + 48, schema)) + sum(sizes)
            if min(sizes) < 0 or needed > room or piece + 32 + needed > end:
                raise SpotlightError(
                    f"{path}: is damaged or incomplete: the piece of a plane at byte {piece} states {sizes} "
                    f"bytes of metadata, attachments and values, but there is room for {min(room, end - piece - 32)}. "
                    "Copy it again from its source."
                )


def _require_segment(path: Path, file: BinaryIO, place: int, name: bytes) -> int:
    """Go behind a segment's head, and give the bytes that are allocated for what follows."""
    file.seek(max(place, 0))
    head = file.read(32)
    if place < 0 or head[:16].rstrip(b"\0") != name:
        raise SpotlightError(
            f"{path}: is damaged or incomplete: {name.decode()} should be at byte {place}, but is not there. Copy "
            "it again from its source."
        )
    return int.from_bytes(head[16:24], "little", signed=True)


def _entry_size(path: Path, file: BinaryIO, place: int, schema: bytes) -> int:
    """Bytes of the entry of a piece of a plane."""
    if schema == b"DE":
        return 128
    file.seek(place + 28)
    dimensions = int.from_bytes(file.read(4), "little", signed=True)
    if schema != b"DV" or not 0 < dimensions <= MAX_DIMENSIONS:
        raise SpotlightError(
            f"{path}: is damaged: the piece of a plane at byte {place} states {dimensions} dimensions, in the "
            f"layout {schema!r}. Copy it again from its source."
        )
    return 32 + 20 * dimensions


def _close(reader: Any) -> None:
    reader.close()


def _facts(path: Path, reader: CziReader, number: int | None, box: Any) -> Facts:
    array = CziScene(path, reader, number, box, reader.total_bounding_box_no_pyramid)
    document = reader.metadata["ImageDocument"]["Metadata"]
    dimensions = document["Information"]["Image"].get("Dimensions") or {}
    listed = _as_list((dimensions.get("Channels") or {}).get("Channel"))
    names = [str(channel.get("@Name") or "") for channel in listed]
    scaling = _as_list(((document.get("Scaling") or {}).get("Items") or {}).get("Distance"))
    lengths = {item["@Id"]: (item["Value"], "m") for item in scaling if item["@Id"] in "ZYX" and item.get("Value")}
    named, samples = tuple(names) if all(names) else (), RGB[::-1] if "S" in array.axes else ()
    return Facts(array, array.axes, named, *read_lengths(lengths), samples=samples)


def _as_list(item: Any) -> list[dict[str, Any]]:
    """Turn what an XML converter gives for no, one or several elements into a list."""
    return [] if item is None else item if isinstance(item, list) else [item]
