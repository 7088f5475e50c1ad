"""Time-lapses: one stain and one table for all frames, and an interrupted run goes on at the next frame."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from spotlight import SpotlightError, Stack, load_model, measure, read, segment, segment_files
from spotlight.images.frames import each_frame
from spotlight.model import InputDescription, ModelDescription, TargetDescription, save_model
from spotlight.networks import FNet, FNetSettings
from spotlight.prediction import Model, PredictionSettings, StainOptions, find_parts, stain_files

SIZE = (0.5, 0.25, 0.25)
OPTIONS = StainOptions(settings=PredictionSettings(precision="float32"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """An untrained network, whose stain depends on its input nevertheless."""
    torch.manual_seed(0)
    network = FNet(3, depth=1, mult_chan=2).eval()
    target = TargetDescription(channel="DNA", normalised_range=(-1.0, 4.0), intensity_range=(100.0, 900.0))
    description = ModelDescription(
        network=FNetSettings(depth=1, mult_chan=2), input=InputDescription(axes="ZYX", grid="native"), target=target
    )
    return load_model(save_model(tmp_path_factory.mktemp("models") / "tiny", description, network))


def movie(frames: int = 3) -> Stack:
    values = np.random.default_rng(0).poisson(900, (frames, 8, 32, 32)).astype(np.uint16)
    return Stack(values, "TZYX", SIZE, ("Brightfield",), frame_interval=300.0)


@pytest.mark.parametrize("form", ["ome.tif", "ome.zarr"])
def test_a_time_lapse_is_stained_as_one(model: Model, tmp_path: Path, form: str) -> None:
    stack = movie()
    path = stack.save(tmp_path / f"movie.{form}")
    (part,) = find_parts([path])
    assert (part.name, part.frames, part.time) == ("movie", 3, None)
    options = replace(OPTIONS, form=form)
    (done,) = stain_files(model, [part], tmp_path / "stains", options)
    stain = read(done.path)
    assert (done.path.name, stain.axes, stain.shape) == (f"movie-stain.{form}", "TZYX", stack.shape)
    assert (stain.voxel_size, stain.channels, stain.frame_interval) == (SIZE, ("DNA (virtual)",), 300.0)
    for number, frame in enumerate(each_frame(stack)):
        alone = model.predict(frame, settings=OPTIONS.settings)
        np.testing.assert_array_equal(stain.data[number], alone.data)
    assert sorted(file.name for file in done.path.parent.iterdir()) == [done.path.name, f"{done.path.name}.json"]
    assert json.loads((tmp_path / f"stains/{done.path.name}.json").read_text())["frames"] == 3
    (again,) = stain_files(model, [part], tmp_path / "stains", options)
    assert again.state == "kept"


def test_a_spread_is_a_channel_of_every_frame(model: Model, tmp_path: Path) -> None:
    settings = OPTIONS.settings.model_copy(update={"augment": True, "spread": True})
    (done,) = stain_files(
        model, find_parts([movie(2).save(tmp_path / "m.ome.tif")]), tmp_path, replace(OPTIONS, settings=settings)
    )
    stain = read(done.path)
    assert (stain.axes, stain.shape[:2]) == ("TCZYX", (2, 2))
    assert stain.channels == ("DNA (virtual)", "DNA (virtual), spread")


def test_a_stopped_run_goes_on_at_the_frame(model: Model, tmp_path: Path) -> None:
    """A frame that was kept is taken as it is: the values that are put in its place here are in the stain."""
    stack = movie()
    parts = find_parts([stack.save(tmp_path / "movie.ome.tif")])

    def stop(work: str, done: int, total: int, figures: dict[str, float]) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stain_files(model, parts, tmp_path / "stains", OPTIONS, progress=stop)
    (folder,) = (tmp_path / "stains").glob(".*.part")
    assert {file.name for file in folder.glob("*.npy")} == {"frame-0.npy", "frame-1.npy"}
    np.save(folder / "frame-0.npy", np.full((8, 32, 32), 7, np.float32))
    assert json.loads((folder / "choice.json").read_text())["precision"] == "float32"
    (done,) = stain_files(model, parts, tmp_path / "stains", OPTIONS)
    stain = read(done.path).data
    assert np.all(stain[0] == 7)
    np.testing.assert_array_equal(stain[2], model.predict(stack[2], settings=OPTIONS.settings).data)
    assert not list((tmp_path / "stains").glob(".*.part"))


def test_one_timepoint_is_still_an_image_of_its_own(model: Model, tmp_path: Path) -> None:
    parts = find_parts([movie().save(tmp_path / "movie.ome.tif")], time=1)
    (done,) = stain_files(model, parts, tmp_path, OPTIONS)
    assert (done.path.name, read(done.path).axes) == ("movie-t1-stain.ome.tif", "ZYX")


def cells(frames: int = 3) -> Stack:
    """One more nucleus in each frame."""
    z, y, x = np.ogrid[:16, :40, :100]
    values = np.random.default_rng(0).normal(100, 3, (frames, 16, 40, 100)).astype(np.float32)
    for number in range(frames):
        for middle in 20 + 28 * np.arange(number + 1):
            values[number] += 400 * ((z - 8) ** 2 + (y - 20) ** 2 + (x - middle) ** 2 < 49)
    return Stack(values, "TZYX", (0.5,) * 3, ("DNA",), frame_interval=300.0)


def test_nuclei_of_a_time_lapse_are_in_one_file_and_one_table(tmp_path: Path) -> None:
    stack = cells()
    path = stack.save(tmp_path / "movie.ome.tif")
    (found,) = segment_files(path, tmp_path / "nuclei")
    labels = read(found.labels)
    assert (found.labels.name, labels.axes, labels.frame_interval) == ("movie-labels.ome.tif", "TZYX", 300.0)
    table = pd.read_parquet(found.tables[1])
    assert table["frame"].tolist() == [0, 1, 1, 2, 2, 2]
    in_memory = segment(stack)
    np.testing.assert_array_equal(labels.data, in_memory.data)
    pd.testing.assert_frame_equal(table.drop(columns="contrast"), measure(in_memory, stack), rtol=1e-5)
    assert len(list(found.labels.parent.iterdir())) == 4
    assert yaml.safe_load(found.record.read_text())["nuclei"] == 6


def test_segmenting_goes_on_at_the_frame(tmp_path: Path) -> None:
    path = cells().save(tmp_path / "movie.ome.tif")

    def stop(work: str, done: int, total: int, figures: dict[str, float]) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_files(path, tmp_path / "nuclei", progress=stop)
    (folder,) = (tmp_path / "nuclei").glob(".*.part")
    kept = np.load(folder / "frame-0.npy")
    np.save(folder / "frame-0.npy", kept * 9)
    (found,) = segment_files(path, tmp_path / "nuclei")
    assert read(found.labels).data[0].max() == 9
    assert read(found.labels).data[1].max() == 2


def test_labels_and_images_of_other_frames_are_not_measured_together() -> None:
    labels = segment(cells(2))
    with pytest.raises(SpotlightError, match="image of the same frames"):
        measure(labels, cells(3))
