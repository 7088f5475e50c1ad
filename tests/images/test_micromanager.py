"""Stacks of Micro-Manager, written here by the format's description: header, index, summary, and pages of 162 bytes."""

import json
import logging
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.images import images_in, read, scenes

DATA = np.random.default_rng(0).integers(1, 4000, (2, 3, 8, 10)).astype(np.uint16)  # CZYX
SUMMARY = {
    **{"MicroManagerVersion": "2.0.3", "Channels": 2, "Slices": 3, "Frames": 1, "Positions": 1, "TimeFirst": False},
    **{"SlicesFirst": True, "ChNames": ["BF", "DAPI"], "PixelSize_um": 0.2, "z-step_um": -0.5},
}
PLANES = {(c, z, 0, 0): DATA[c, z] for z in range(3) for c in range(2)}
Rows = list[tuple[int, int, int, int, int]]


def write(
    path: Path,
    planes: Mapping[tuple[int, int, int, int], NDArray[np.uint16]] = PLANES,
    index: Callable[[Rows], Rows] = lambda rows: rows,
    gap: int = 0,
    **summary: Any,
) -> Path:
    """Write planes by channel, slice, frame and position; `gap` bytes lie between a page's header and its values."""
    text = json.dumps(SUMMARY | summary).encode()
    text += b" " * (len(text) % 2)
    shown = json.dumps({}).encode()
    start = 40 + len(text)
    content = bytearray(start)
    rows: Rows = []
    height, width = DATA.shape[2:]
    for number, (place, plane) in enumerate(planes.items(), start=1):
        page = len(content)
        tags = {254: 0, 256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: page + 162 + gap, 277: 1, 278: height}
        tags |= {279: plane.nbytes, 282: 1, 283: 1}
        after = 0 if number == len(planes) else page + 162 + gap + plane.nbytes
        header = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        header += struct.pack("<HHII", 51123, 2, len(text), 40)
        content += struct.pack("<H", 13) + header + struct.pack("<I", after) + bytes(gap) + plane.tobytes()
        rows.append((*place, page))
    shown_at, rows = len(content), index(rows)
    content += struct.pack("<II", 347834724, len(shown)) + shown
    index_at = len(content)
    content += struct.pack("<II", 3453623, len(rows)) + b"".join(struct.pack("<5I", *row) for row in rows)
    content[:40] = b"II*\0" + struct.pack(
        "<9I", start, 54773648, index_at, 483765892, shown_at, 0, 0, 2355492, len(text)
    )
    content[40:start] = text
    path.write_bytes(content)
    return path


def test_planes_names_and_sizes_are_those_of_index_and_summary(tmp_path: Path) -> None:
    stack = read(write(tmp_path / "a_MMStack.ome.tif"))
    assert (stack.axes, stack.channels, stack.voxel_size) == ("CZYX", ("BF", "DAPI"), (0.5, 0.2, 0.2))
    np.testing.assert_array_equal(stack.data, DATA)
    unsized = read(write(tmp_path / "b_MMStack.ome.tif", PixelSize_um=0, ChNames=None))
    assert (unsized.channels, unsized.voxel_size) == ((), None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": lambda rows: rows[:4]}, "index names 4 planes, 4 of them where the file has pages, but .* 6 pages"),
        ({"index": lambda rows: [(*row[:4], row[4] + 2) for row in rows]}, "index names 6 planes, 0 of them where"),
        ({"gap": 8}, "another program has changed the file"),
    ],
)
def test_an_index_that_does_not_fit_is_refused_until_the_axes_are_stated(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    file = write(tmp_path / "a_MMStack.ome.tif", **options)
    with pytest.raises(SpotlightError, match=message):
        read(file)
    np.testing.assert_array_equal(read(file, axes="ZYX").data, np.swapaxes(DATA, 0, 1).reshape(6, 8, 10))


def test_a_stopped_acquisition_is_told_and_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "spotlight"):
        stack = read(write(tmp_path / "a_MMStack.ome.tif", Frames=4, Slices=5))
    assert "3 of 5 slices, 1 of 4 frames" in caplog.text
    np.testing.assert_array_equal(stack.data, DATA)


def test_planes_that_were_skipped_are_no_zeros(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a_MMStack.ome.tif", {place: plane for place, plane in PLANES.items() if place[:2] != (0, 2)}
    )
    np.testing.assert_array_equal(read(file, channel="DAPI").data, DATA[1])
    with pytest.raises(SpotlightError, match="plane 4 of 6 is missing"):
        read(file, channel="BF").data  # noqa: B018


def test_stage_positions_are_images_each_listed_once(tmp_path: Path) -> None:
    both = {(c, z, 0, p): DATA[c, z] + p for p in range(2) for z in range(3) for c in range(2)}
    file = write(tmp_path / "one_MMStack.ome.tif", both, Positions=2)
    np.testing.assert_array_equal(read(file, scene=1).data, DATA + 1)
    for position in range(2):
        own = {place: plane for place, plane in both.items() if place[3] == position}
        write(tmp_path / f"two_MMStack_Pos{position}.ome.tif", own, Positions=2, Prefix="two")
    files = [tmp_path / f"two_MMStack_Pos{position}.ome.tif" for position in range(2)]
    assert [len(scenes(path)) for path in files] == [2, 2]
    assert [part.scene for path in files for part in images_in(path)] == ["0", "1"]
    np.testing.assert_array_equal(read(files[0], scene=1).data, DATA + 1)
