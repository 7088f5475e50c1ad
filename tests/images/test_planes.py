"""Stacks whose planes were saved as timepoints or channels: what they may be is said, and the axes that a person states
reach every file."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from typer.testing import CliRunner

from spotlight import SpotlightError, load_model
from spotlight.cli import app
from spotlight.evaluation.methods import Method
from spotlight.images import Stack, images_in, read, read_like
from spotlight.images.planes import planes_hint
from spotlight.pairs import Pair, check, read_pairs
from spotlight.pairs.manifest import write_manifest
from spotlight.pairs.proposal import propose_pairs
from spotlight.prediction import PredictionSettings, find_parts

RNG = np.random.default_rng(0)
DATA = RNG.integers(100, 4000, (8, 24, 32)).astype(np.uint16)
LABELS = np.zeros((8, 24, 32), np.uint16)
LABELS[1:4, 4:12, 4:12] = 1
SIZE = {"PhysicalSizeX": 0.3, "PhysicalSizeY": 0.3, "PhysicalSizeZ": 0.3}


def write(path: Path, data: NDArray[Any], axes: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, data, ome=True, metadata={"axes": axes, **SIZE}, photometric="minisblack")
    return path


@pytest.mark.parametrize(
    ("axes", "shape", "channels", "size", "said"),
    [
        ("TYX", (12, 8, 8), (), {}, "12 timepoints of the file may be planes .* axes='ZYX'"),
        ("TYX", (12, 8, 8), (), {"Z": 0.3}, "12 timepoints of the file are probably planes"),
        ("CYX", (12, 8, 8), (), {}, "12 channels of the file may be planes .* axes='ZYX'"),
        ("TCYX", (12, 2, 8, 8), ("BF", "DNA"), {}, "12 timepoints .* axes='ZCYX'"),
        ("TCZYX", (12, 2, 1, 8, 8), (), {}, "12 timepoints .* axes='ZCTYX'"),
        ("YXT", (8, 8, 12), (), {}, "axes='YXZ'"),
        ("TZYX", (12, 4, 8, 8), (), {}, None),
        ("TYX", (1, 8, 8), (), {}, None),
        ("CYX", (3, 8, 8), ("DNA", "Actin", "ER"), {}, None),
        ("CYX", (2, 8, 8), (), {}, None),
        ("CZYX", (5, 4, 8, 8), (), {}, None),
        ("YX", (8, 8), (), {}, None),
    ],
)
def test_what_may_be_planes(
    axes: str, shape: tuple[int, ...], channels: tuple[str, ...], size: dict[str, float], said: str | None
) -> None:
    hint = planes_hint(axes, shape, channels, size)
    if said is None:
        assert hint == ""
    else:
        with pytest.raises(SpotlightError, match=said):
            raise SpotlightError(hint)


@pytest.mark.parametrize("axes", ["TYX", "CYX"])
def test_a_model_of_stacks_says_how_to_state_planes(tmp_path: Path, model_folder: Path, axes: str) -> None:
    path = write(tmp_path / "frames.ome.tif", DATA, axes)
    model = load_model(model_folder)
    chosen: dict[str, Any] = {"time": 0} if axes == "TYX" else {"channel": 0}
    for which in ({}, chosen):
        with pytest.raises(SpotlightError, match="are probably planes of a stack.*axes='ZYX'.*--axes ZYX"):
            model.predict(path, **which)
    both = write(tmp_path / "both.ome.tif", np.stack([DATA, DATA], 1), "TCYX")
    assert model.predict(both, axes="ZCYX", channel=0).shape == DATA.shape
    stack = read(path, axes="ZYX")
    assert (stack.axes, stack.hint, stack.voxel_size) == ("ZYX", "", pytest.approx((0.3, 0.3, 0.3)))
    np.testing.assert_array_equal(stack.data, DATA)


def test_axes_of_an_array_are_taken_over_those_of_a_stack(model_folder: Path) -> None:
    model = load_model(model_folder)
    image = RNG.normal(500, 50, (32, 40, 40))
    stain = model.predict(Stack(image, "ZYX", (0.29,) * 3), channel=0)
    again = model.predict(Stack(image, "TYX", (0.29,) * 2), axes="ZYX", voxel_size=(0.29,) * 3)
    np.testing.assert_array_equal(again.data, stain.data)


def test_stored_axes_of_length_1_are_in_what_is_to_be_stated(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=DATA[:, None, None])
    axes = [{"name": n, "type": t} for n, t in zip("tczyx", ("time", "channel", *["space"] * 3), strict=True)]
    levels = [{"path": "0", "coordinateTransformations": []}]
    group.attrs.update({"multiscales": [{"version": "0.4", "axes": axes, "datasets": levels}]})
    with pytest.raises(SpotlightError, match="axes='ZCTYX'"):
        read(tmp_path / "a.ome.zarr").timepoint()
    np.testing.assert_array_equal(read(tmp_path / "a.ome.zarr", axes="ZCTYX").data, DATA)


def test_a_time_series_that_nobody_chose_is_doubted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = [write(tmp_path / f"f{n}.ome.tif", DATA, "TYX") for n in range(3)]
    with caplog.at_level(logging.WARNING, "spotlight"):
        assert [part.frames for part in find_parts(files)] == [8] * 3
    (said,) = caplog.messages
    assert "--axes ZYX" in said
    assert "2 more files" in said
    caplog.clear()
    with caplog.at_level(logging.WARNING, "spotlight"):
        find_parts(files, time=2)
        find_parts(files, axes="TYX")
        assert [part.time for part in find_parts(files, axes="ZYX")] == [None] * 3
    assert caplog.messages == []


@pytest.fixture
def field(tmp_path: Path) -> Pair:
    """Images with good axes, labels and foreground saved as frames."""
    image = write(tmp_path / "bf.ome.tif", DATA, "ZYX")
    target = write(tmp_path / "dna.ome.tif", DATA + LABELS * 3000, "ZYX")
    labels = write(tmp_path / "labels.ome.tif", LABELS, "TYX")
    mask = write(tmp_path / "mask.ome.tif", (LABELS > 0).astype(np.uint8), "CYX")
    return Pair("f", image, target, labels=labels, foreground=mask)


@pytest.mark.parametrize("stated", [{"axes": "ZYX"}, {"mask_axes": "ZYX"}])
def test_axes_reach_labels_and_masks_of_a_manifest(tmp_path: Path, field: Pair, stated: dict[str, str]) -> None:
    (plain,) = read_pairs(write_manifest([field], tmp_path / "a.csv"))
    target = plain.read_target()
    for wrong in (plain.read_labels, plain.read_foreground):
        with pytest.raises(SpotlightError, match="probably planes of a stack.*mask_axes"):
            wrong(target)
    (pair,) = read_pairs(write_manifest([Pair(**{**vars(field), **stated})], tmp_path / "b.csv"))
    labels, mask = pair.read_labels(target), pair.read_foreground(target)
    assert labels is not None
    assert mask is not None
    np.testing.assert_array_equal(labels.data, LABELS)
    np.testing.assert_array_equal(mask.data, LABELS > 0)


def test_labels_that_state_good_axes_keep_them(tmp_path: Path, field: Pair) -> None:
    """The images are stored otherwise, and state nothing."""
    np.save(tmp_path / "both.npy", np.stack([DATA, DATA]).transpose(0, 2, 3, 1))  # CYXZ
    labels = write(tmp_path / "good.ome.tif", LABELS, "ZYX")
    np.save(tmp_path / "labels.npy", LABELS)
    np.save(tmp_path / "turned.npy", LABELS.transpose(1, 2, 0))
    both = Pair("f", tmp_path / "both.npy", tmp_path / "both.npy", input_channel="0", target_channel="1", axes="CYXZ")
    for file, mask_axes in ((labels, None), (tmp_path / "labels.npy", None), (tmp_path / "turned.npy", "YXZ")):
        pair = Pair(**{**vars(both), "labels": file, "mask_axes": mask_axes})
        image, target = pair.read_both()
        np.testing.assert_array_equal(image.data, DATA)
        found = pair.read_labels(target)
        assert found is not None
        np.testing.assert_array_equal(found.data, LABELS)
    one = Pair("f", tmp_path / "turned.npy", tmp_path / "turned.npy", axes="YXZ", labels=tmp_path / "turned.npy")
    found = one.read_labels(one.read_target())
    assert found is not None
    np.testing.assert_array_equal(found.data, LABELS)


def test_stains_of_other_tools_take_the_axes_too(tmp_path: Path, field: Pair) -> None:
    target = field.read_target()
    stain = write(tmp_path / "stains" / "f.ome.tif", DATA, "TYX")
    method = Method("other", 0, "other", None, {"f": stain}, "")
    with pytest.raises(SpotlightError, match="probably planes"):
        method.stain(field, target, target, PredictionSettings())
    pair = Pair(**{**vars(field), "axes": "ZYX"})
    np.testing.assert_array_equal(method.stain(pair, target, target, PredictionSettings())[0].data, DATA)
    np.save(tmp_path / "f.npy", DATA)
    np.testing.assert_array_equal(read_like(tmp_path / "f.npy", target).data, DATA)


def test_axes_reach_the_files_of_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "data"
    for n in range(2):
        write(folder / f"f{n}.ome.tif", np.stack([DATA, DATA[::-1]], 1), "TCYX")
    with caplog.at_level(logging.WARNING, "spotlight"):
        assert len(read_pairs(folder, "0", "1")) == 16
    assert "--axes ZCYX" in caplog.text
    pairs = read_pairs(folder, "0", "1", axes="ZCYX")
    assert [pair.name for pair in pairs] == ["f0", "f1"]
    np.testing.assert_array_equal(pairs[1].read_target().data, DATA[::-1])
    manifest = write_manifest([Pair("f", folder / "f0.ome.tif", folder / "f0.ome.tif")], tmp_path / "m.csv")
    assert read_pairs(manifest, axes="ZCYX")[0].axes == "ZCYX"
    assert not check(pairs).findings["subject"].eq("unusable").any()


def test_init_says_that_frames_may_be_planes(tmp_path: Path) -> None:
    for n in range(2):
        write(tmp_path / f"f{n}_bf.ome.tif", DATA, "TYX")
        write(tmp_path / f"f{n}_dna.ome.tif", DATA, "TYX")
    assert any(
        "time series of single planes: 4 files" in r and "--axes ZYX" in r for r in propose_pairs(tmp_path).reasons
    )
    stated = propose_pairs(tmp_path, axes="ZYX")
    assert not any("time series" in reason for reason in stated.reasons)
    assert [pair.axes for pair in stated.pairs] == ["ZYX", "ZYX"]


def test_commands_take_axes(tmp_path: Path, field: Pair) -> None:
    frames = {name: write(tmp_path / f"{name}.ome.tif", DATA + n, "TYX") for n, name in enumerate(("a_bf", "a_dna"))}
    manifest = write_manifest([Pair("a", frames["a_bf"], frames["a_dna"], labels=field.labels)], tmp_path / "m.csv")
    run = CliRunner()
    refused = run.invoke(app, ["check", str(manifest), "--to", str(tmp_path / "c"), "--workers", "1"])
    assert "probably planes of a stack" in refused.output
    checked = run.invoke(app, ["check", str(manifest), "--to", str(tmp_path / "c"), "--workers", "1", "--axes", "ZYX"])
    assert "unusable" not in checked.output
    (tmp_path / "e.yaml").write_text("network: {depth: 2, mult_chan: 4}\npreparation: {grid: native}\n")
    planned = ["train", str(manifest), "--to", str(tmp_path / "t"), "--explain", "--no-probe"]
    planned += ["--settings", str(tmp_path / "e.yaml")]
    assert run.invoke(app, [*planned, "--axes", "ZYX"]).exit_code == 0
    done = run.invoke(app, ["segment", str(frames["a_dna"]), "--to", str(tmp_path / "s"), "--axes", "ZYX"])
    assert done.exit_code == 0, done.output
    assert read(tmp_path / "s" / "a_dna-labels.ome.tif").axes == "ZYX"
    assert [part.name for part in images_in(frames["a_dna"])] == [f"a_dna-t{t}" for t in range(8)]
