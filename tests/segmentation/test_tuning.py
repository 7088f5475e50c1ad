"""Tuning of segmentation on curated labels, in Python and on the command line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from typer.testing import CliRunner

from spotlight.cli import app
from spotlight.errors import SpotlightError
from spotlight.images import Stack, read
from spotlight.metrics import score_instances
from spotlight.pairs import Pair, read_manifest
from spotlight.segmentation import CellposeSettings, SegmentationSettings, clean_truth, read_settings, segment
from spotlight.segmentation.tuning import fit_sizes, tune

VOXEL = (0.58, 0.58, 0.58)


def rods(seed: int) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """Long bumpy nuclei on a dim background, which seeds that are close together split; image and labels."""
    rng = np.random.default_rng(seed)
    shape = (15, 54, 56)
    bumps = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5) * 2
    labels = np.zeros(shape, np.uint16)
    grid = np.indices(shape)
    for number, (y, x) in enumerate([(9, 15), (9, 40), (27, 16), (26, 41), (44, 15), (45, 40)], start=1):
        center = np.array([7, y, x]) + rng.integers(-1, 2, 3)
        distance = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, center, (5, 6, 11), strict=True))
        labels[(distance + bumps < 1) & (labels == 0)] = number
    labels = np.where(ndimage.binary_opening(labels > 0), labels, 0).astype(np.uint16)
    image = ndimage.gaussian_filter(np.where(labels > 0, 200.0, 40.0), 0.7) + rng.normal(0, 10, shape)
    return image.astype(np.float32), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of two labelled training stacks, one without labels, and one to test."""
    folder = tmp_path_factory.mktemp("rods")
    rows = ["input,target,labels,split"]
    for number, split in enumerate(["train", "train", "train", "test"]):
        image, labels = rods(number)
        Stack(image, "ZYX", VOXEL).save(folder / f"image-{number}.ome.tif")
        Stack(labels, "ZYX", VOXEL, labels=True).save(folder / f"labels-{number}.ome.tif")
        curated = "" if number == 2 else f"labels-{number}.ome.tif"
        rows.append(f"image-{number}.ome.tif,image-{number}.ome.tif,{curated},{split}")
    (folder / "pairs.csv").write_text("\n".join(rows))
    return folder


def quality(pair: Pair, settings: SegmentationSettings) -> float:
    target = pair.read_target()
    truth = pair.read_labels(target)
    assert truth is not None
    found = segment(target, settings)
    return score_instances(clean_truth(truth, settings).data, found.data).mean_average_precision


@pytest.mark.slow
def test_tuned_settings_are_better_where_they_were_not_tuned(folder: Path) -> None:
    steps = []
    tuning = tune(folder / "pairs.csv", finer=True, progress=lambda *step: steps.append(step))
    assert tuning.stacks == ("image-0", "image-1")
    assert tuning.score > tuning.first_score + 0.05
    assert set(tuning.tried["voxel_um"]) == {0.58}  # the stacks are no finer
    assert tuning.score == pytest.approx(tuning.tried["mean_ap"].max())
    assert tuning.first_score == pytest.approx(tuning.tried["mean_ap"].iloc[0])
    assert isinstance(tuning.settings, SegmentationSettings)
    training, *_, held_out = read_manifest(folder / "pairs.csv")
    start = tuning.settings.model_copy(update=SegmentationSettings().model_dump(include=set(tuning.tried.columns)))
    assert quality(held_out, tuning.settings) > quality(held_out, start)
    scores = [
        quality(pair, tuning.settings)
        for pair in (training, replace(training, target=folder / "image-1.ome.tif", labels=folder / "labels-1.ome.tif"))
    ]
    assert tuning.score == pytest.approx(np.mean(scores))
    assert {work for work, *_ in steps} == {"tuning"}
    assert all(done <= total for _, done, total, _ in steps)


def test_sizes_and_diameter_are_those_of_the_curated_nuclei() -> None:
    labels = np.zeros((10, 40, 60), np.uint16)
    for number, (start, edge) in enumerate([(2, 6), (12, 7), (22, 8), (34, 8)], start=1):
        labels[1 : 1 + edge, 3 : 3 + edge, start : start + edge] = 5 * number
    labels[2:9, 30:40, 40:50] = 99  # touches the border
    fitted, diameter = fit_sizes(CellposeSettings(), [Stack(labels, "ZYX", (2.0, 0.5, 0.5))])
    sizes = np.array([6, 7, 8, 8]) ** 3 / 2
    assert fitted.min_size == pytest.approx(0.5 * np.percentile(sizes, 5), rel=0.01)
    assert fitted.max_size == pytest.approx(1.5 * np.percentile(sizes, 99), rel=0.01)
    assert np.pi / 6 * diameter**3 == pytest.approx(np.median(sizes))
    assert isinstance(fitted, CellposeSettings)
    assert fitted.diameter_um == pytest.approx(diameter, rel=0.01)
    flat, width = fit_sizes(SegmentationSettings(), [Stack(labels[3], "YX", (0.5, 0.5))])
    assert flat.min_size == pytest.approx(0.5 * 9, rel=0.1)
    assert np.pi / 4 * width**2 == pytest.approx(np.median([9, 12.25, 16, 16]))


def test_a_fixed_threshold_leaves_out_what_only_otsu_needs() -> None:
    fixed = SegmentationSettings(threshold="fixed", value=100.0)
    left_out = set(SegmentationSettings().candidates(10)) - set(fixed.candidates(10))
    assert left_out == {"clahe_clip", "otsu_factor", "own_threshold"}
    assert SegmentationSettings().candidates(10)["voxel_um"] == (0.58, 0.29)
    assert "voxel_um" not in SegmentationSettings(unit="px").candidates(10)
    assert fixed.candidates(20)["seed_distance_um"] == tuple(2 * v for v in fixed.candidates(10)["seed_distance_um"])


def test_refusals(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    pairs = read_manifest(folder / "pairs.csv")
    with pytest.raises(SpotlightError, match="no pair has the split 'val'.*'test', 'train'"):
        tune(pairs, split="val")
    with pytest.raises(SpotlightError, match="none of the 1 pairs of split 'train' has curated labels"):
        tune(pairs[2:])
    nothing = folder / "nothing.ome.tif"
    Stack(np.zeros((15, 54, 56), np.uint16), "ZYX", VOXEL).save(nothing)
    with pytest.raises(SpotlightError, match="have no nucleus.*clear_border"):
        tune([replace(pairs[0], labels=nothing)])
    with caplog.at_level("WARNING"):
        assert tune(pairs, SegmentationSettings(threshold="fixed", value=120.0), most_stacks=1).stacks == ("image-0",)
    assert "1 of 2 labelled stacks" in caplog.text


@pytest.mark.slow
def test_incomplete_labels(folder: Path) -> None:
    """Where half of the nuclei have no label, those that were found without one are no reason for other settings."""
    pair = read_manifest(folder / "pairs.csv")[0]
    assert pair.labels is not None
    labels = read(pair.labels)
    some = folder / "some.ome.tif"
    Stack(np.where(labels.data % 2, labels.data, 0).astype(np.uint16), "ZYX", VOXEL).save(some)
    half = [replace(pair, labels=some)]
    settings = SegmentationSettings(threshold="fixed", value=120.0)
    assert tune(half, settings, complete=False).score > tune(half, settings).score + 0.2


@pytest.mark.slow
def test_the_command_writes_settings_that_it_takes(folder: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.yaml"
    start.write_text("threshold: fixed\nvalue: 120\nclear_border: false\n")
    command = ["segment", str(folder / "pairs.csv"), "--tune", "--to", str(tmp_path), "--settings", str(start)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "on 2 stacks" in result.output
    written = tmp_path / "segmentation.yaml"
    assert written.read_text().startswith("# Tuned on 12 curated nuclei of image-0, image-1:")
    settings = read_settings(written)
    assert isinstance(settings, SegmentationSettings)
    assert (settings.value, settings.clear_border) == (120, False)
    assert (tmp_path / "tuning.csv").read_text().startswith("seed_distance_um,")
    image = str(folder / "image-3.ome.tif")
    found = CliRunner().invoke(app, ["segment", image, "--to", str(tmp_path), "--settings", str(written)])
    assert found.exit_code == 0, found.output
    assert read(tmp_path / "image-3-labels.ome.tif").data.max() >= 5
    refused = CliRunner().invoke(app, [*command, "--method", "cellpose"])
    assert isinstance(refused.exception, SpotlightError)
    assert "leave out --method" in str(refused.exception)


def test_without_voxel_sizes_settings_are_tuned_in_pixels() -> None:
    labels = Stack(rods(0)[1], "ZYX")
    start = SegmentationSettings(clear_border=False)
    settings, diameter = fit_sizes(start, [labels])
    same, in_um = fit_sizes(start, [replace(labels, voxel_size=VOXEL)])
    assert settings.unit == "px"
    assert diameter == pytest.approx(in_um / VOXEL[0], rel=1e-3)
    assert settings.max_size == pytest.approx(same.max_size / VOXEL[0] ** 3, rel=0.01)
    assert settings.seed_distance_um == pytest.approx(0.3 * diameter, rel=0.01)
    assert segment(Stack(rods(0)[0], "ZYX"), settings).data.max() > 0
    with pytest.raises(SpotlightError, match="some do not"):
        fit_sizes(start, [labels, replace(labels, voxel_size=VOXEL)])
