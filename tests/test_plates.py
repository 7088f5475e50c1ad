"""A plate stays a plate: stained, segmented and measured, killed on the way, and read by others."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from numpy.typing import NDArray
from ome_zarr.io import parse_url
from ome_zarr.reader import Multiscales, Reader
from yaozarrs import validate_zarr_store

from command_line import PLAIN, run_command
from plates import VOXEL, contents, write_plate
from spotlight import SpotlightError, load_model, read, segment_plate
from spotlight.images import Stack, scenes
from spotlight.images.plates import beside, list_labels, well_name
from spotlight.nuclei import Search
from spotlight.pairs import read_pairs
from spotlight.prediction import PredictionSettings, StainOptions, find_parts, stain_files
from spotlight.segmentation import SegmentationSettings
from spotlight.tracking import TrackingSettings

FIELDS = [f"{row}/{column}/{field}" for row in "AB" for column in ("01", "02") for field in "01"]
LARGE = SegmentationSettings(max_size=1e5, least_contrast=0)
"""The small model draws one large and faint body."""
OPTIONS = StainOptions(kind="uint16", settings=PredictionSettings(precision="float32", device="cpu"))


@pytest.fixture(scope="module")
def plate(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Brightfield of four wells with two fields each."""
    seen = [pair.read_input().data[:16] for pair in read_pairs(manifest)]
    images = {name: np.roll(seen[n % len(seen)], 7 * n, axis=2) for n, name in enumerate(FIELDS)}
    return write_plate(tmp_path_factory.mktemp("plates") / "plate.ome.zarr", images)


@pytest.fixture(scope="module")
def stained(plate: Path, model_folder: Path) -> Path:
    to = plate.with_name("stained.ome.zarr")
    results = stain_files(load_model(model_folder), find_parts([plate]), to, OPTIONS)
    assert [(result.state, result.path) for result in results] == [("made", to / name) for name in FIELDS]
    return to


def balls(shift: int) -> NDArray[np.uint16]:
    """Two nuclei of known size and brightness."""
    z, y, x = np.ogrid[:24, :64, :64]
    image = np.random.default_rng(shift).normal(100, 3, (24, 64, 64))
    for n, (cy, cx) in enumerate([(20, 20 + shift), (44, 40)]):
        image += (400 + 100 * n) * ((z - 12) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < 11**2)
    return image.astype(np.uint16)


@pytest.fixture
def nuclei(tmp_path: Path) -> Path:
    """Fluorescence of two wells with two fields each."""
    names = ["B/03/0", "B/03/1", "C/11/0", "C/11/1"]
    return write_plate(tmp_path / "dna.ome.zarr", {name: balls(n) for n, name in enumerate(names)})


def test_a_stained_plate_is_a_plate_of_the_same_fields(plate: Path, stained: Path, model_folder: Path) -> None:
    assert [scene.name for scene in scenes(stained)] == FIELDS
    model = load_model(model_folder)
    for name in (FIELDS[0], FIELDS[-1]):
        alone = model.predict(plate / name, settings=OPTIONS.settings)
        np.testing.assert_array_equal(read(stained, scene=name).data, np.rint(alone.data).clip(0, 65535))
        assert read(stained / name).voxel_size == read(plate / name).voxel_size
    assert {p.name for p in stained.parent.iterdir()} == {"plate.ome.zarr", "stained.ome.zarr"}
    (again,) = {result.state for result in stain_files(model, find_parts([plate]), stained, OPTIONS)}
    assert again == "kept"
    ours, theirs = (zarr.open_group(path, mode="r").attrs["ome"] for path in (stained, plate))
    assert ours == theirs


def test_other_programs_read_it(stained: Path) -> None:
    validate_zarr_store(str(stained))
    (node,) = list(Reader(parse_url(str(stained), mode="r"))())[:1]
    assert node.data[0].shape[-2:] == (128, 128)  # two by two wells, each shown by its first field
    np.testing.assert_array_equal(np.asarray(node.data[0][..., :64, 64:]).squeeze(), read(stained / "A/02/0").data)
    image = Reader(parse_url(str(stained / "B/01/1"), mode="r"))
    (found,) = [node for node in image() if any(isinstance(spec, Multiscales) for spec in node.specs)]
    np.testing.assert_array_equal(np.asarray(found.data[0]), read(stained / "B/01/1").data)


def test_what_cannot_become_a_plate_is_refused(
    plate: Path, stained: Path, model_folder: Path, nuclei: Path, tmp_path: Path
) -> None:
    model = load_model(model_folder)
    file = Stack(np.zeros((8, 32, 32), np.uint16), "ZYX", (0.29,) * 3)
    alone = file.save(tmp_path / "alone.ome.tif")
    for images, to, message in (
        ([plate], plate, "is the input, which would be overwritten"),
        ([plate, nuclei], tmp_path / "new.ome.zarr", "images of 2 files"),
        ([alone], tmp_path / "new.ome.zarr", "is no OME-Zarr plate"),
        ([nuclei], stained, "a plate of other rows, columns or name"),
        ([plate], file.save(tmp_path / "image.ome.zarr"), "something that is no plate"),
    ):
        with pytest.raises(SpotlightError, match=message):
            stain_files(model, find_parts(images), to, OPTIONS)
    assert not (tmp_path / "new.ome.zarr").exists()
    other = StainOptions(kind="uint16", flatten=True, settings=OPTIONS.settings)
    results = stain_files(model, find_parts([plate], scene="A/01/0"), stained, other)
    assert "is there already, from other options (flatten)" in results[0].reason


def test_one_table_of_all_nuclei(nuclei: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "layout.csv").write_text("well,compound,dose,batch\nb3,=DMSO,0,007\nD4,drug,1.5,008\n")
    before = contents(nuclei)
    found = segment_plate(nuclei, tmp_path / "labels.ome.zarr", wells=tmp_path / "layout.csv")
    assert contents(nuclei) == before  # nothing is written into the input unasked
    assert "says nothing of the wells C11; their cells are empty. It has wells that the plate lacks: D4." in caplog.text
    table = found.table
    assert list(table.columns[:7]) == ["plate", "well", "field", "compound", "dose", "batch", "label"]
    assert table[["plate", "well", "field"]].drop_duplicates().values.tolist() == [
        ["screen 1", well, field] for well in ("B03", "C11") for field in "01"
    ]
    assert len(table) == 8
    assert set(table["compound"][table["well"] == "B03"]) == {"=DMSO"}
    assert set(table["compound"][table["well"] == "C11"]) == {""}
    assert table["dose"].isna().sum() == 4
    assert set(table["batch"]) == {"007", ""}
    expected = 4 / 3 * np.pi * (11 * 0.29) ** 3
    np.testing.assert_allclose(table["volume"], expected, rtol=0.25)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "labels-nuclei.parquet"), table)
    csv = pd.read_csv(tmp_path / "labels-nuclei.csv", dtype={"field": str})
    np.testing.assert_allclose(csv["volume"], table["volume"], rtol=1e-5)
    for name in ("B/03/0", "C/11/1"):
        labels = read(tmp_path / "labels.ome.zarr", scene=name)
        assert labels.labels
        well, field = well_name(name[:4]), name[-1]
        rows = table[(table["well"] == well) & (table["field"] == field)]
        volumes = np.bincount(labels.data.ravel())[1:] * 0.29**3
        np.testing.assert_allclose(rows["volume"], volumes)


def test_labels_go_into_the_plate_where_that_is_asked_for(nuclei: Path) -> None:
    before = contents(nuclei)
    first = segment_plate(nuclei, nuclei)
    after = contents(nuclei)
    assert {name: after[name] for name in before} == before
    assert all("/labels/" in name for name in after.keys() - before.keys())
    assert {p.name for p in nuclei.parent.iterdir()} == {"dna.ome.zarr", "dna-nuclei.csv", "dna-nuclei.parquet"}
    (node, *_) = [n for n in Reader(parse_url(str(nuclei / "B/03/0"), mode="r"))() if "properties" in n.metadata]
    rows = first.table[(first.table["well"] == "B03") & (first.table["field"] == "0")]
    assert {label: row["volume"] for label, row in node.metadata["properties"].items()} == dict(
        zip(rows["label"], rows["volume"], strict=True)
    )
    again = segment_plate(nuclei, nuclei)
    assert (again.kept, again.failed) == (4, {})
    pd.testing.assert_frame_equal(again.table, first.table)
    assert segment_plate(nuclei, nuclei, SegmentationSettings(smoothing_um=1.0)).kept == 0
    # What others made is never replaced.
    group = zarr.open_group(nuclei / "B/03/0/labels/nuclei", mode="r+")
    del group.attrs["spotlight"]
    with pytest.raises(SpotlightError, match="was not written by `spotlight segment`"):
        segment_plate(nuclei, nuclei)


@pytest.mark.slow
def test_time_lapses_of_a_plate_stay_time_lapses(model_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("laptrack", reason="laptrack is not installed")
    fields = {name: np.stack([balls(n), balls(n + 3)]) for n, name in enumerate(("B/03/0", "C/11/0"))}
    plate = write_plate(tmp_path / "lapse.ome.zarr", fields)
    stained = tmp_path / "stained.ome.zarr"
    (state,) = {one.state for one in stain_files(load_model(model_folder), find_parts([plate]), stained, OPTIONS)}
    assert state == "made"
    found = segment_plate(plate, plate, tracking=TrackingSettings())
    segment_plate(plate, tmp_path / "labels.ome.zarr")
    for path in (stained, plate, tmp_path / "labels.ome.zarr"):
        validate_zarr_store(str(path))
    for name in fields:
        for stack in (
            read(stained / name),
            read(plate / name / "labels" / "nuclei"),
            read(tmp_path / "labels.ome.zarr" / name),
        ):
            assert (stack.axes, stack.shape, stack.frame_interval) == ("TZYX", (2, 24, 64, 64), 300)
    # A row for each nucleus and frame; the label is the nucleus's number through time.
    assert found.table[["well", "frame", "label"]].values.tolist() == [
        [well, frame, label] for well in ("B03", "C11") for frame in (0, 1) for label in (1, 2)
    ]
    assert list(found.table.columns[:5]) == ["plate", "well", "field", "frame", "label"]
    ways = found.table.groupby(["well", "label"])["x"].agg(lambda x: x.iloc[1] - x.iloc[0])
    assert sorted(ways) == pytest.approx([0, 0, 3 * VOXEL[2], 3 * VOXEL[2]], abs=0.2)
    again = segment_plate(plate, plate, tracking=TrackingSettings())
    assert again.kept == 2
    pd.testing.assert_frame_equal(again.table, found.table)
    assert segment_plate(plate, plate).kept == 0  # without tracks these are other labels
    with pytest.raises(SpotlightError, match="none of these has"):
        segment_plate(plate, plate, time=0, tracking=TrackingSettings())


def test_odd_values_survive_in_labels(nuclei: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Search.in_one

    def odd(*given: object) -> object:
        found, table = measured(*given)  # type: ignore[arg-type]
        table.loc[0, "contrast"], table.loc[1, "contrast"] = np.inf, np.nan
        return found, table.assign(third=[1 / 3] * len(table), flag=[True] * len(table))

    monkeypatch.setattr(Search, "in_one", odd)
    first = segment_plate(nuclei, nuclei)
    again = segment_plate(nuclei, nuclei)
    assert again.kept == 4
    pd.testing.assert_frame_equal(again.table, first.table, check_exact=True)


def test_wells_that_do_not_fit_are_told(nuclei: Path, tmp_path: Path) -> None:
    path = tmp_path / "layout.csv"
    for text, message in (
        ("position,dose\nB03,1\n", "has no column 'well'"),
        ("well,dose\nB03,1\nb3,2\n", "has the well B3 twice"),
        ("well,dose\nE05,1\n", "has none of the plate's wells"),
        ("well,volume\nB03,1\n", "has a column 'volume'"),
        ("well,area\nB03,1\n", "has a column 'area'"),
        ("well,dose,dose\nB03,1,2\n", "needs a name of its own"),
    ):
        path.write_text(text)
        with pytest.raises(SpotlightError, match=message):
            segment_plate(nuclei, tmp_path / "labels.ome.zarr", wells=path)
    assert not (tmp_path / "labels.ome.zarr").exists()  # nothing was segmented before it was told
    with pytest.raises(SpotlightError, match=r"ends in \.csv"):
        segment_plate(nuclei, tmp_path / "labels.ome.zarr", tables=["table.xlsx"])


def test_names_for_other_tools(nuclei: Path, tmp_path: Path) -> None:
    (tmp_path / "layout.csv").write_text("well,dose\nB03,1\nC11,2\n")
    to = tmp_path / "cells.parquet"
    done = run_command(
        *("segment", nuclei, "--to", nuclei, "--wells", tmp_path / "layout.csv"),
        *("--table", to, "--names", "pycytominer", "--features", "full"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{nuclei}: 8 nuclei in 4 fields", str(to)]
    columns = list(pd.read_parquet(to).columns)
    about = ["Plate", "Well", "Site", "dose", "ObjectNumber", "Location_Center_Z", "Location_Center_Y"]
    about += ["Location_Center_X", "TouchesBorder"]
    assert [name for name in columns if name.startswith("Metadata_")] == [f"Metadata_{name}" for name in about]
    assert {"Nuclei_volume", "Nuclei_mean_intensity"} <= set(columns)
    assert all(name.startswith(("Metadata_", "Nuclei_")) for name in columns)
    done = run_command("segment", nuclei, "--to", tmp_path / "folder", "--names", "pycytominer")
    assert (done.returncode, "end --to in .ome.zarr" in done.stderr) == (2, True)


def test_anndata(nuclei: Path, tmp_path: Path) -> None:
    path = tmp_path / "nuclei.h5ad"
    try:
        import anndata
    except ImportError:
        with pytest.raises(SpotlightError, match=r"needs the package anndata.*\[anndata\]"):
            segment_plate(nuclei, nuclei, tables=[path])
        assert not (nuclei / "B/03/0/labels").exists()  # it is told before the work
        return
    found = segment_plate(nuclei, nuclei, tables=[path], naming="pycytominer")
    read_back = anndata.read_h5ad(path)
    np.testing.assert_array_equal(read_back[:, "Nuclei_volume"].X.ravel(), found.table["volume"])
    assert list(read_back.obs["Metadata_Well"]) == list(found.table["well"])


def test_a_field_that_fails_does_not_stop_the_rest(nuclei: Path, tmp_path: Path) -> None:
    array = zarr.open_array(nuclei / "B/03/1/0", mode="r")
    (chunk, *_) = [file for file in (nuclei / "B/03/1/0/c").rglob("*") if file.is_file()]
    chunk.write_bytes(b"damaged")
    assert array.ndim == 3
    to = tmp_path / "labels.ome.zarr"
    done = run_command("segment", nuclei, "--to", to)
    assert done.returncode == 1
    assert "1 of 4 failed" in done.stderr
    assert "B/03/1: " in done.stderr
    assert [scene.name for scene in scenes(to)] == ["B/03/0", "C/11/0", "C/11/1"]
    validate_zarr_store(str(to))


def test_a_folder_in_an_ome_zarr_is_refused(plate: Path, model_folder: Path) -> None:
    done = run_command("predict", model_folder, plate, "--to", plate / "stains")
    assert (done.returncode, "lies in an OME-Zarr" in done.stderr) == (2, True)
    assert not (plate / "stains").exists()


def test_hidden_files_lie_beside_a_plate_and_listings_know_no_other(tmp_path: Path) -> None:
    assert beside(tmp_path / "a.ome.tif") == tmp_path / "a.ome.tif"
    assert beside(tmp_path / "p.ome.zarr" / "B" / "03" / "0") == tmp_path / "p.ome.zarr-B-03-0"
    image = Stack(np.zeros((8, 32, 32), np.uint16), "ZYX", (0.29,) * 3).save(tmp_path / "a.ome.zarr")
    for name in ("one", "two", "one"):
        list_labels(image, name)
    assert zarr.open_group(image / "labels", mode="r").attrs["ome"] == {"version": "0.5", "labels": ["one", "two"]}


@pytest.mark.slow
def test_what_a_kill_leaves_of_a_listing_is_removed(stained: Path, tmp_path: Path) -> None:
    """A kill between writing a group and renaming it, in a plate in the making and in labels."""
    out, again = tmp_path / "labels.ome.zarr", tmp_path / "again.ome.zarr"
    left = ".zarr.json.0123abcd.part"
    out.mkdir()
    (out / left).touch()  # before the first field was listed
    segment_plate(stained, out, LARGE)
    segment_plate(stained, again, LARGE)
    assert contents(out) == contents(again)
    for group in (out, out / scenes(out)[0].name.rpartition("/")[0]):
        (group / left).touch()
    own = Path(shutil.copytree(stained, tmp_path / "own.ome.zarr"))
    segment_plate(own, own, LARGE)
    before = contents(own)
    (own / scenes(own)[0].name / "labels" / left).touch()
    assert segment_plate(own, own, LARGE).kept == len(scenes(own))
    assert segment_plate(stained, out, LARGE).kept == len(scenes(out))
    assert (contents(own), contents(out)) == (before, contents(again))


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(plate: Path, stained: Path, model_folder: Path, tmp_path: Path) -> None:
    """Killed again and again, both commands give what one run gives, and what is listed is always whole."""
    (tmp_path / "predict.yaml").write_text(OPTIONS.settings.to_yaml())
    (tmp_path / "segment.yaml").write_text(LARGE.to_yaml())
    expected = segment_plate(stained, stained, LARGE).table
    out = tmp_path / "stained.ome.zarr"
    predict = ["predict", str(model_folder), str(plate), "--to", str(out), "--settings", "predict.yaml"]
    segment = ["segment", str(out), "--to", str(out), "--settings", "segment.yaml"]
    for command, pattern in (([*predict, "--dtype", "uint16"], "*/*/*"), (segment, "*/*/*/labels/nuclei")):
        for count in (1, 5):
            process = subprocess.Popen(
                [sys.executable, "-m", "spotlight", *command],
                cwd=tmp_path,
                env=os.environ | PLAIN,
                stderr=subprocess.PIPE,
            )
            end = time.monotonic() + 120
            while process.poll() is None and len(list(out.glob(f"{pattern}/zarr.json"))) < count:
                assert time.monotonic() < end
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            for scene in scenes(out) if (out / "zarr.json").exists() else []:
                read(out, scene=scene.name).data  # noqa: B018
        done = run_command(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "already" in done.stdout
    assert contents(out) == contents(stained)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "stained-nuclei.parquet"), expected)
    # The lock of a field that was finished when the kill came stays until the field is worked on again.
    assert {path.name for path in tmp_path.iterdir() if path.suffix not in (".part", ".lock")} == {
        *("stained.ome.zarr", "stained-nuclei.csv", "stained-nuclei.parquet", "predict.yaml", "segment.yaml"),
    }
    validate_zarr_store(str(out))
    assert len(expected) >= len(FIELDS) // 2
    assert json.loads((out / "zarr.json").read_text())["attributes"]["ome"]["plate"]["name"] == "screen 1"
