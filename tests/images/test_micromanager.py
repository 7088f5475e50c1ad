"""Stacks of Micro-Manager: what their index and summary say, and an index that does not fit."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from micromanager_files import DATA, PLANES, write_stack
from spotlight.errors import SpotlightError
from spotlight.images import images_in, read, scenes


def test_planes_names_and_sizes_are_those_of_index_and_summary(tmp_path: Path) -> None:
    stack = read(write_stack(tmp_path / "a_MMStack.ome.tif"))
    assert (stack.axes, stack.channels, stack.voxel_size) == ("CZYX", ("BF", "DAPI"), (0.5, 0.2, 0.2))
    np.testing.assert_array_equal(stack.data, DATA)
    unsized = read(write_stack(tmp_path / "b_MMStack.ome.tif", PixelSize_um=0, ChNames=None))
    assert (unsized.channels, unsized.voxel_size) == ((), None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": lambda rows: rows[:4]}, "index names 4 planes, 4 of them where the file has pages, but .* 6 pages"),
        ({"index": lambda rows: [(*row[:4], row[4] + 2) for row in rows]}, "index names 6 planes, 0 of them where"),
        ({"gap": 8}, "another program has changed the file"),
        ({"Frames": 2**31, "Slices": 2**31}, "index and summary state 9223372036854775808 planes, but the file has 6"),
    ],
)
def test_an_index_that_does_not_fit_is_refused_until_the_axes_are_stated(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    file = write_stack(tmp_path / "a_MMStack.ome.tif", **options)
    with pytest.raises(SpotlightError, match=message):
        read(file)
    np.testing.assert_array_equal(read(file, axes="ZYX").data, np.swapaxes(DATA, 0, 1).reshape(6, 8, 10))


def test_a_stopped_acquisition_is_told_and_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "spotlight"):
        stack = read(write_stack(tmp_path / "a_MMStack.ome.tif", Frames=4, Slices=5))
    assert "3 of 5 slices, 1 of 4 frames" in caplog.text
    np.testing.assert_array_equal(stack.data, DATA)


def test_planes_that_were_skipped_are_no_zeros(tmp_path: Path) -> None:
    file = write_stack(
        tmp_path / "a_MMStack.ome.tif", {place: plane for place, plane in PLANES.items() if place[:2] != (0, 2)}
    )
    np.testing.assert_array_equal(read(file, channel="DAPI").data, DATA[1])
    with pytest.raises(SpotlightError, match="plane 4 of 6 is missing"):
        read(file, channel="BF").data  # noqa: B018


def test_stage_positions_are_images_each_listed_once(tmp_path: Path) -> None:
    both = {(c, z, 0, p): DATA[c, z] + p for p in range(2) for z in range(3) for c in range(2)}
    file = write_stack(tmp_path / "one_MMStack.ome.tif", both, Positions=2)
    np.testing.assert_array_equal(read(file, scene=1).data, DATA + 1)
    for position in range(2):
        own = {place: plane for place, plane in both.items() if place[3] == position}
        write_stack(tmp_path / f"two_MMStack_Pos{position}.ome.tif", own, Positions=2, Prefix="two")
    files = [tmp_path / f"two_MMStack_Pos{position}.ome.tif" for position in range(2)]
    assert [len(scenes(path)) for path in files] == [2, 2]
    assert [part.scene for path in files for part in images_in(path)] == ["0", "1"]
    np.testing.assert_array_equal(read(files[0], scene=1).data, DATA + 1)
