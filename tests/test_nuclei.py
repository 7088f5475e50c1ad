"""Nuclei of files: what the functions find in stacks, written for each image."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skimage import draw

from spotlight import SpotlightError, Stack, measure, nuclei, read, segment, segment_files
from spotlight.nuclei import SegmentedFile
from spotlight.plain_yaml import load_yaml
from spotlight.segmentation import SegmentationSettings

SIZE = (0.7, 0.7)


def field(seed: int, *centers: tuple[int, int]) -> Stack:
    """Two channels: nothing, and disks in noise."""
    image = np.full((2, 64, 80), 10.0, np.float32)
    for center in centers:
        image[1][draw.disk(center, 10)] = 200
    image += np.random.default_rng(seed).normal(0, 2, image.shape).astype(np.float32)
    return Stack(image, "CYX", SIZE, ("BF", "DNA"))


def test_each_image_gets_labels_tables_and_settings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fields = {"a": field(0, (20, 20), (40, 55)), "b": field(1)}
    for name, stack in fields.items():
        stack.save(tmp_path / "images" / f"{name}.ome.tif")
    settings, calls = SegmentationSettings(min_size=50), []
    found = segment_files(
        tmp_path / "images", tmp_path / "out", settings, channel="DNA", progress=lambda *call: calls.append(call)
    )
    assert [(one.part.name, one.labels.name) for one in found] == [("a", "a-labels.ome.tif"), ("b", "b-labels.ome.tif")]
    assert calls == [("segmenting", done, 2, {}) for done in range(3)]
    for one in found:
        stack = read(one.part.path, channel="DNA")
        labels = segment(stack, settings)
        np.testing.assert_array_equal(read(one.labels), labels)
        nuclei = pd.read_parquet(one.tables[1])
        wanted = measure(labels, stack)
        pd.testing.assert_frame_equal(nuclei.drop(columns="contrast"), wanted)
        assert len(pd.read_csv(one.tables[0])) == len(wanted)
        assert load_yaml(one.record)["settings"]["min_size"] == 50
        assert load_yaml(one.record)["doubts"] == list(one.doubts)
    assert len(pd.read_parquet(found[0].tables[1])) == 2
    assert "nothing stands out" in found[1].doubts[0]
    assert f"b: {found[1].doubts[0]}" in caplog.messages


def test_what_is_there_is_kept_and_an_image_that_fails_stops_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "ac":
        field(0, (20, 20)).save(tmp_path / "images" / f"{name}.ome.tif")
    (tmp_path / "images" / "b.ome.tif").write_bytes((tmp_path / "images" / "a.ome.tif").read_bytes()[:5000])

    def find(**options: object) -> tuple[list[SegmentedFile], list[str]]:
        found = segment_files(tmp_path / "images", tmp_path / "out", channel="DNA", **options)  # type: ignore[arg-type]
        return found, [one.state for one in found]

    found, states = find()
    assert states == ["made", "failed", "made"]
    assert "truncated or damaged" in found[1].reason
    assert any(message.startswith("b: ") for message in caplog.messages)
    assert not found[1].labels.exists()
    # Labels that were mended by hand stay, too.
    mended = read(found[0].labels)
    replace(mended, array=mended.data * 7).save(found[0].labels)
    again, states = find()
    assert states == ["kept", "failed", "kept"]
    assert (again[0].doubts, read(again[0].labels).data.max()) == (found[0].doubts, 7)
    # Anything that the labels depend on makes them anew, and so does an absent file.
    assert find(settings=SegmentationSettings(min_size=51))[1] == ["made", "failed", "made"]
    assert find(settings=SegmentationSettings(min_size=51), features="full")[1] == ["made", "failed", "made"]
    field(1, (40, 40)).save(tmp_path / "images" / "a.ome.tif")
    found, states = find(settings=SegmentationSettings(min_size=51), features="full")
    assert states == ["made", "failed", "kept"]
    found[2].tables[0].unlink()
    assert find(settings=SegmentationSettings(min_size=51), features="full")[1] == ["kept", "failed", "made"]
    for damaged in ("{", "[1, 2]", ""):
        found[2].record.write_text(damaged)
        assert find(settings=SegmentationSettings(min_size=51), features="full")[1] == ["kept", "failed", "made"]


def test_what_speaks_against_labels_that_are_kept_is_said_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = field(0).save(tmp_path / "empty.ome.tif")
    for state in ("made", "kept"):
        caplog.clear()
        (one,) = segment_files(path, tmp_path / "out", channel="DNA")
        assert one.state == state
        assert [f"empty: {doubt}" for doubt in one.doubts] == caplog.messages != []


def test_labels_of_one_kind_do_not_pass_for_those_of_another_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = field(0, (20, 20), (40, 55)).save(tmp_path / "a.ome.tif")
    segment_files(path, tmp_path / "out", channel="DNA")

    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr(nuclei, "write_table", stop)
        with pytest.raises(KeyboardInterrupt):
            segment_files(path, tmp_path / "out", SegmentationSettings(min_size=5000), channel="DNA")
    assert read(tmp_path / "out" / "a-labels.ome.tif").data.max() == 0
    (one,) = segment_files(path, tmp_path / "out", channel="DNA")
    assert (one.state, read(one.labels).data.max()) == ("made", 2)


def test_what_is_stated_of_files_is_used(tmp_path: Path) -> None:
    image = field(0, (20, 20)).data[1]
    np.save(tmp_path / "a.npy", image.T)
    stated = {"axes": "XY", "voxel_size": SIZE}
    (one,) = segment_files(tmp_path / "a.npy", tmp_path / "out", **stated, form="ome.zarr", features="full")  # type: ignore[arg-type]
    assert one.labels.name == "a-labels.ome.zarr"
    np.testing.assert_array_equal(read(one.labels), segment(image, voxel_size=SIZE))
    assert "touches_border" in pd.read_csv(one.tables[0])
    with pytest.raises(SpotlightError, match="does not state its axes"):
        segment_files(tmp_path / "a.npy", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_labels_of_an_earlier_run_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = field(0, (30, 30)).save(tmp_path / "a.ome.tif")
    segment_files(path, tmp_path / "out", channel="DNA")
    assert "earlier run" not in caplog.text
    segment_files(path, tmp_path / "out", channel="DNA", form="ome.zarr")
    assert "a-labels.ome.tif: is of an earlier run; the tables beside it are now those of" in caplog.text
