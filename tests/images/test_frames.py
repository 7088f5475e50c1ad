"""The axis T: the frame interval as files state it, and stacks of frames."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from spotlight import Stack, read
from spotlight.images.frames import doubts_of_frames, each_frame, join_frames
from spotlight.images.pieces import label_pieces
from spotlight.images.units import seconds

DATA = np.arange(3 * 4 * 8 * 8, dtype=np.uint16).reshape(3, 4, 8, 8)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        ("5", "min", 300.0),
        (250, "ms", 0.25),
        ("1,5", "s", 1.5),
        (2, "hours", 7200.0),
        (3, "µs", 3e-6),
        (1, "", None),
        (0, "s", None),
        (-2, "s", None),
        (float("nan"), "s", None),
        (float("inf"), "s", None),
        ("often", "s", None),
        (5, "fortnights", None),
    ],
)
def test_times_are_read_in_seconds(value: object, unit: str, expected: float | None) -> None:
    assert seconds(value, unit) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("ending", ["ome.tif", "ome.zarr"])
def test_a_frame_interval_is_written_and_read_back(tmp_path: Path, ending: str) -> None:
    stack = Stack(DATA, "TZYX", (2.0, 0.5, 0.5), frame_interval=90.5)
    back = read(stack.save(tmp_path / f"a.{ending}"))
    assert back.frame_interval == 90.5
    assert back[1:].frame_interval == 90.5
    assert back[1].frame_interval is None
    assert "frame interval: 90.5 s" in repr(back)
    unstated = Stack(DATA, "TZYX", (2.0, 0.5, 0.5)).save(tmp_path / f"b.{ending}")
    assert read(unstated).frame_interval is None


def test_other_programs_state_it_in_their_ways(tmp_path: Path) -> None:
    facts = {"axes": "TZYX", "finterval": 5.0, "tunit": "min", "spacing": 2.0, "unit": "um"}
    tifffile.imwrite(tmp_path / "ij.tif", DATA, imagej=True, resolution=(2, 2), metadata=facts)
    assert read(tmp_path / "ij.tif").frame_interval == 300
    ome = {"axes": "TZYX", "TimeIncrement": 200.0, "TimeIncrementUnit": "ms"}
    tifffile.imwrite(tmp_path / "a.ome.tif", DATA, metadata=ome)
    assert read(tmp_path / "a.ome.tif").frame_interval == pytest.approx(0.2)
    for unit, expected in (("minute", 120.0), (None, None)):
        group = zarr.open_group(tmp_path / f"{unit}.zarr", mode="w", zarr_format=2)
        group.create_array("0", data=DATA)
        axes = [{"name": n, "type": t} for n, t in zip("tzyx", ("time", *["space"] * 3), strict=True)]
        axes[0] |= {"unit": unit} if unit else {}
        scale = [{"type": "scale", "scale": [2.0, 2.0, 0.5, 0.5]}]
        levels = [{"path": "0", "coordinateTransformations": scale}]
        group.attrs.update({"multiscales": [{"version": "0.4", "axes": axes, "datasets": levels}]})
        assert read(tmp_path / f"{unit}.zarr").frame_interval == expected


def test_frames_are_taken_apart_and_joined() -> None:
    stack = Stack(DATA, "TZYX", (2.0, 0.5, 0.5), source="movie", frame_interval=60.0)
    frames = list(each_frame(stack))
    assert [frame.source for frame in frames] == [f"movie (timepoint {number})" for number in range(3)]
    joined = join_frames([frame.data for frame in frames], frames[0], 60.0)
    assert (joined.axes, joined.frame_interval) == ("TZYX", 60.0)
    np.testing.assert_array_equal(joined.data, DATA)
    np.testing.assert_array_equal(joined[1, 2:].data, DATA[1, 2:])
    (alone,) = each_frame(stack[0])
    assert alone.axes == "ZYX"
    assert doubts_of_frames([[], []]) == []
    assert doubts_of_frames([[], ["a", "b"], ["a"], ["c"]]) == [
        "a (timepoint 1, and 2 more)",
        "b (timepoint 1, and 2 more)",
    ]


def test_bodies_of_a_mask_are_numbered_frame_by_frame() -> None:
    mask = np.zeros((2, 4, 9), np.uint8)
    mask[:, :2, :2] = mask[1, :2, 5:7] = 1
    labels = label_pieces(Stack(mask, "TYX", frame_interval=60.0))
    assert (labels.axes, labels.labels, labels.frame_interval) == ("TYX", True, 60.0)
    assert [frame.max() for frame in labels.data] == [1, 2]
