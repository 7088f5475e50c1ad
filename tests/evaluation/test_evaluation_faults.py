"""Stacks on which little or nothing can be scored, through the whole evaluation: docs/evaluation.md has the table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.typing import NDArray
from scipy import ndimage

from spotlight import SpotlightError, write_report
from spotlight.evaluation import EvaluationSettings, evaluate
from spotlight.evaluation.sets import score_all_features
from spotlight.images import Stack
from spotlight.metrics import compare_nuclei
from spotlight.pairs import Pair, read_pairs
from spotlight.plain_yaml import load_yaml
from spotlight.report.summary import headline
from spotlight.segmentation import SegmentationSettings

SHAPE = (12, 60, 64)
SETTINGS = EvaluationSettings(segmentation=SegmentationSettings(clear_border=False, min_size=20), data_range=(0, 1000))
RATIOS = ["ap50", "mean_ap", "precision50", "recall50", "panoptic_quality"]
ERRORS = ["volume_error", "elongation_error", "height_error", "width_error", "sphericity_error"]
FEATURE_COLUMNS = [
    *("feature", "nuclei", "true_median", "median", "bias", "relative_error", "scaled_error", "correlation"),
    *("method", "seed"),
]
PROFILES = ["profile_error", "profile_distance", "profile_distance_to_target"]


def nuclei(count: int, shape: tuple[int, ...] = SHAPE) -> NDArray[np.uint16]:
    """Labels of up to four ellipsoids."""
    labels = np.zeros(shape, np.uint16)
    grid = np.indices(shape)
    for number, (y, x) in enumerate([(15, 16), (15, 46), (44, 16), (44, 46)][:count], start=1):
        body = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, (shape[0] / 2, y, x), (4, 10, 9 + number), strict=True))
        labels[body <= 1] = number
    return labels


def image(labels: NDArray[np.uint16], seed: int = 0) -> NDArray[np.float32]:
    """A bright body per label, blurred, with noise."""
    clean = ndimage.gaussian_filter(100 + 600 * (labels > 0).astype(np.float32), 1)
    return np.random.default_rng(seed).normal(clean, 5).astype(np.float32)


def scored(folder: Path, target: NDArray, stain: NDArray, labels: NDArray | None) -> "pd.Series[float]":
    """Scores of a stain of another tool."""
    images = {"target": target, "stain": stain} | ({} if labels is None else {"labels": labels})
    for kind, array in images.items():
        Stack(array, "ZYX", (0.5, 0.5, 0.5), labels=kind == "labels").save(folder / kind / "a.ome.tif")
    files = {kind: folder / kind / "a.ome.tif" for kind in images if kind != "stain"}
    pair = Pair(name="a", input=files["target"], **files, split="test")
    scores = evaluate([pair], {"tool": folder / "stain"}, folder / "out", SETTINGS).scores
    return scores.set_index("method").loc["tool"]


@pytest.mark.parametrize(
    ("true", "found", "ratios"),
    [(0, 0, [np.nan] * 5), (0, 3, [0, 0, 0, np.nan, 0]), (3, 0, [0, 0, np.nan, 0, 0])],
    ids=["in both", "in the truth", "in the stain"],
)
@pytest.mark.slow
def test_no_nuclei(true: int, found: int, ratios: list[float], tmp_path: Path) -> None:
    stain = image(nuclei(found)) if found else np.full(SHAPE, 7, np.float32)
    row = scored(tmp_path, image(nuclei(4)), stain, nuclei(true))
    assert row[["true_nuclei", "found_nuclei", "splits", "merges"]].tolist() == [true, found, 0, 0]
    assert row[RATIOS].tolist() == pytest.approx(ratios, nan_ok=True)
    assert row[[*ERRORS, *PROFILES[:2]]].isna().all()
    assert np.isfinite(row["psnr"])
    features = pd.read_csv(tmp_path / "out" / "features.csv")
    assert list(features) == FEATURE_COLUMNS
    write_report(tmp_path / "out")


def test_features_have_their_columns_where_no_nucleus_matches() -> None:
    one = pd.DataFrame({"label": [1], "volume": [100.0]})
    none = compare_nuclei(one, one, np.empty((0, 2), int), ["volume"]).assign(method="", seed=0)
    assert list(score_all_features(none, {"volume": (0.0, 200.0)})) == FEATURE_COLUMNS


def test_one_nucleus(tmp_path: Path) -> None:
    row = scored(tmp_path, image(nuclei(1)), image(nuclei(1), 1), nuclei(1))
    assert row[RATIOS[0]] == row["recall50"] == 1
    assert row[["true_nuclei", "found_nuclei"]].tolist() == [1, 1]
    assert np.isfinite(row[ERRORS].tolist()).all()
    # A range of one nucleus has no width.
    assert row[PROFILES].isna().all()
    features = pd.read_csv(tmp_path / "out" / "features.csv")
    assert features.empty
    assert list(features) == FEATURE_COLUMNS


def test_gaps_in_the_numbers_change_nothing(tmp_path: Path) -> None:
    labels = nuclei(3)
    gaps = np.array([0, 7, 900, 40_000], np.uint16)[labels]
    plain, odd = (
        scored(tmp_path / name, image(labels), image(labels, 1), given) for name, given in (("a", labels), ("b", gaps))
    )
    pd.testing.assert_series_equal(odd, plain)


def test_labels_that_are_none(tmp_path: Path) -> None:
    labels, stain = nuclei(3), image(nuclei(3), 1)
    whole = scored(tmp_path / "float", image(labels), stain, labels.astype(np.float32))
    assert whole["true_nuclei"] == 3
    with pytest.raises(SpotlightError, match=r"labels/a.*whole numbers"):
        scored(tmp_path / "half", image(labels), stain, labels + np.float32(0.5))
    with pytest.raises(SpotlightError, match=r"labels/a.*must not be negative; found -1"):
        scored(tmp_path / "negative", image(labels), stain, labels.astype(np.int16) - 1)


def test_a_stack_smaller_than_windows(tmp_path: Path) -> None:
    labels = nuclei(3)[3:8]
    row = scored(tmp_path, image(labels), image(labels, 1), labels)
    assert row[["ssim", "ssim_foreground", "micro_ms3im", "micro_ms3im_foreground"]].isna().all()
    assert np.isfinite(row[["psnr", "pearson", "spectral_pearson", "mean_ap"]].tolist()).all()


def test_constant_slices(tmp_path: Path) -> None:
    target, stain = image(nuclei(3)), image(nuclei(3), 1)
    target[:2], stain[-2:] = 100, 100
    row = scored(tmp_path, target, stain, nuclei(3))
    assert np.isfinite(row[["psnr", "nrmse", "pearson", "ssim", "spectral_pearson", "mean_ap"]].tolist()).all()
    record = yaml.safe_load((tmp_path / "out" / "evaluation.yaml").read_text())
    (remark,) = (said for said in record["stacks"][0]["remarks"] if said.startswith("target: frc_um"))
    assert remark.endswith("of 12 planes have none: the image is constant or too small to hold a shell")


@pytest.mark.parametrize("which", ["target", "stain"])
def test_nan(which: str, tmp_path: Path) -> None:
    images = {"target": image(nuclei(3)), "stain": image(nuclei(3), 1)}
    images[which][0, 0, 0] = np.nan
    with pytest.raises(SpotlightError, match=rf"{which}.*NaN"):
        scored(tmp_path, **images, labels=nuclei(3))


@pytest.mark.parametrize("which", ["stain", "labels"])
def test_shapes_that_differ(which: str, tmp_path: Path) -> None:
    images = {"target": image(nuclei(3)), "stain": image(nuclei(3), 1), "labels": nuclei(3)}
    images[which] = images[which][:, :-1]
    with pytest.raises(SpotlightError, match=rf"{which}.*\(12, 59, 64\)"):
        scored(tmp_path, **images)


def test_stains_missing_for_some_rows(tmp_path: Path) -> None:
    pairs = []
    for name in ("a", "b", "c"):
        Stack(image(nuclei(3)), "ZYX", (0.5, 0.5, 0.5)).save(tmp_path / "target" / f"{name}.ome.tif")
        file = tmp_path / "target" / f"{name}.ome.tif"
        pairs.append(Pair(name=name, input=file, target=file, split="test"))
    Stack(image(nuclei(3)), "ZYX", (0.5, 0.5, 0.5)).save(tmp_path / "stain" / "b.ome.tif")
    with pytest.raises(SpotlightError, match="missing 2 of 3: a, c"):
        evaluate(pairs, {"tool": tmp_path / "stain"}, tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out").exists()


def test_a_target_that_is_constant(tmp_path: Path) -> None:
    with pytest.raises(SpotlightError, match="is constant"):
        scored(tmp_path, np.full(SHAPE, 7, np.float32), image(nuclei(3)), nuclei(3))


@pytest.mark.parametrize("value", [0, 1], ids=["no foreground", "all foreground"])
@pytest.mark.slow
def test_foreground_that_is_nothing_or_all(value: int, tmp_path: Path) -> None:
    files = {kind: tmp_path / kind / "a.ome.tif" for kind in ("target", "tool", "foreground")}
    masks = {"foreground": np.full(SHAPE, value, np.uint8)}
    for kind, array in ({"target": image(nuclei(3)), "tool": image(nuclei(3), 1)} | masks).items():
        Stack(array, "ZYX", (0.5, 0.5, 0.5), labels=kind == "foreground").save(files[kind])
    pair = Pair("a", files["target"], files["target"], foreground=files["foreground"], split="test")
    settings = SETTINGS.model_copy(update={"thresholds": 3})
    result = evaluate([pair], {"tool": tmp_path / "tool"}, tmp_path / "out", settings)
    row = result.scores.set_index("method").loc["tool"]
    assert result.sweep.empty
    for name in ("psnr", "pearson", "ssim"):
        assert row[f"{name}_foreground"] == pytest.approx(row[name] if value else np.nan, nan_ok=True)
    write_report(tmp_path / "out")


@pytest.mark.slow
def test_a_target_without_nuclei_is_doubted(tmp_path: Path) -> None:
    """What a threshold finds in noise is no truth: it is left out, and table, record and page say so."""
    noise = np.random.default_rng(0).normal(100, 5, SHAPE).astype(np.float32)
    row = scored(tmp_path, noise, image(nuclei(2)), None)
    assert row[["true_nuclei", "found_nuclei"]].tolist() == [0, 2]
    (entry,) = load_yaml(tmp_path / "out" / "evaluation.yaml")["stacks"]
    assert any("target: nothing stands out" in doubt for doubt in entry["segmentation_doubts"])
    assert "nothing stands out" in write_report(tmp_path / "out").read_text()


@pytest.mark.slow
def test_what_lies_outside_of_a_region_does_not_matter(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    """A model is asked whether it takes the part that is judged, not the whole file."""
    (pair,) = (pair for pair in read_pairs(manifest) if pair.split == "test")
    channels = dict(zip(("Brightfield", "DNA"), pair.read_both(), strict=True))
    halves = {
        name: np.concatenate([one.data, np.full_like(one.data, np.nan, np.float32)], -1, dtype=np.float32)
        for name, one in channels.items()
    }
    files = {
        name: Stack(half, "ZYX", channels["DNA"].voxel_size, (name,)).save(tmp_path / f"{name}.ome.tif")
        for name, half in halves.items()
    }
    half = Pair("half", files["Brightfield"], files["DNA"], split="test", region=":, :, 0:64")
    scores = evaluate([half], {"tiny": model_folder}, tmp_path / "out", SETTINGS).scores
    assert scores["psnr"].notna().all()
    with pytest.raises(SpotlightError, match="NaN or infinite"):
        evaluate([replace(half, region=None)], {"tiny": model_folder}, tmp_path / "whole", SETTINGS)


def test_what_predict_writes_can_be_judged(tmp_path: Path) -> None:
    labels = nuclei(4)
    for kind, values in (("target", image(labels)), ("stain", image(labels, 1))):
        name = "a-stain" if kind == "stain" else "a"
        Stack(values, "ZYX", (0.5, 0.5, 0.5)).save(tmp_path / kind / f"{name}.ome.tif")
    file = tmp_path / "target" / "a.ome.tif"
    halves = [
        Pair(f"a-{side}", input=file, target=file, split="test", region=f":, :, {columns}")
        for side, columns in (("left", "0:32"), ("right", "32:64"))
    ]
    scores = evaluate(halves, {"tool": tmp_path / "stain"}, tmp_path / "out", SETTINGS).scores
    assert scores["stack"].tolist() == ["a-left", "a-right"]  # a stain of the whole input is cut
    whole = Pair("a", input=file, target=file, split="test")
    scores = evaluate([whole], {"tool": tmp_path / "stain"}, tmp_path / "whole", SETTINGS).scores
    assert scores["pearson"].item() > 0.9
    Stack(image(labels), "ZYX", (0.5, 0.5, 0.5)).save(tmp_path / "stain" / "a.ome.zarr")
    with pytest.raises(
        SpotlightError,
        match="each of a-stain.ome.tif, a.ome.zarr may be the stain of a. Give a folder with",
    ):
        evaluate([whole], {"tool": tmp_path / "stain"}, tmp_path / "two", SETTINGS)


@pytest.mark.slow
def test_means_say_where_the_fluorescence_is_the_truth_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pairs = []
    for name, count in (("a", 4), ("b", 3)):
        found = nuclei(count)
        for kind, array in (("target", image(found)), ("stain", image(found, 1)), ("labels", found)):
            Stack(array, "ZYX", (0.5, 0.5, 0.5), labels=kind == "labels").save(tmp_path / kind / f"{name}.ome.tif")
        files = {kind: tmp_path / kind / f"{name}.ome.tif" for kind in ("target", "labels")}
        pairs.append(Pair(name, input=files["target"], split="test", **files))
    pairs[1] = replace(pairs[1], labels=None)
    result = evaluate(pairs, {"tool": tmp_path / "stain"}, tmp_path / "out", SETTINGS)
    assert "1 of 2 stacks have no labels" in caplog.text
    of_target = result.scores[result.scores["method"] == "target"].set_index("stack")["mean_ap"]
    assert of_target.notna().to_dict() == {"a": True, "b": False}
    assert "the fluorescence itself 0.700 (1 of 2)" in headline(result.scores)
