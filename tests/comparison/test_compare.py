"""Evaluating and comparing several methods: what is kept, what is done again, what is said."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import ndimage

from spotlight import SpotlightError, write_report
from spotlight.comparison import Comparison, compare
from spotlight.evaluation import EvaluationSettings, evaluate
from spotlight.images import Stack, read
from spotlight.metrics import (
    fit_micro_ms3im,
    fourier_shell,
    fourier_shell_of_two,
    score_instances,
    score_micro_ms3im,
    score_pixels,
)
from spotlight.pairs import Pair, read_manifest
from spotlight.prediction import load_model
from spotlight.segmentation import SegmentationSettings, clean_truth, segment
from spotlight.training import protocol

SETTINGS = EvaluationSettings(segmentation=SegmentationSettings(clear_border=False, min_size=20), thresholds=3)


def stamps(folder: Path) -> dict[str, int]:
    return {str(f.relative_to(folder)): f.stat().st_mtime_ns for f in (folder / "judged").rglob("facts.json")}


@pytest.mark.slow
def test_only_what_is_new_is_judged(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    first = evaluate(manifest, {"one": model_folder}, tmp_path, SETTINGS)
    before = stamps(tmp_path)
    again = evaluate(manifest, {"one": model_folder}, tmp_path, SETTINGS)
    pd.testing.assert_frame_equal(again.scores, first.scores)
    assert stamps(tmp_path) == before
    model = load_model(model_folder)
    both = evaluate(manifest, {"one": model_folder, "two": model}, tmp_path, SETTINGS)
    after = stamps(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[1] for name in set(after) - set(before)} == {"two", ".sets"}
    columns = [name for name in both.scores if name != "method"]
    one, two = (both.scores[both.scores["method"] == name][columns].reset_index(drop=True) for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two)
    with_weights = next(model.networks[0].parameters())
    with_weights.data += 0.01
    evaluate(manifest, {"one": model_folder, "two": model}, tmp_path, SETTINGS)
    changed = {name for name, time in stamps(tmp_path).items() if after[name] != time}
    assert {name.split("/")[1] for name in changed} == {"two", ".sets"}


@pytest.mark.slow
def test_what_was_killed_half_way_goes_on(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    whole = evaluate(manifest, {"one": model_folder}, tmp_path / "a", SETTINGS)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "judged" / "one")
    (tmp_path / "b" / "scores.csv").unlink()
    pd.testing.assert_frame_equal(
        evaluate(manifest, {"one": model_folder}, tmp_path / "b", SETTINGS).scores, whole.scores
    )
    facts = next((tmp_path / "b" / "judged" / "one").rglob("facts.json"))
    facts.write_text("{")
    with pytest.raises(SpotlightError, match="is damaged"):
        evaluate(manifest, {"one": model_folder}, tmp_path / "b", SETTINGS)


@pytest.mark.slow
def test_processes_find_the_same(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    pairs = [replace(pair, split="test") for pair in read_manifest(manifest)[:2]]
    alone = evaluate(pairs, {"one": model_folder}, tmp_path / "a", SETTINGS)
    together = evaluate(pairs, {"one": model_folder}, tmp_path / "b", SETTINGS, workers=2)
    pd.testing.assert_frame_equal(together.scores, alone.scores, rtol=1e-4)


@pytest.mark.slow
def test_stains_of_another_tool(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    (pair,) = (pair for pair in read_manifest(manifest) if pair.split == "test")
    image, target = pair.read_both()
    target.save(tmp_path / "perfect" / f"{pair.name}.ome.zarr")
    methods = {"one": model_folder, "perfect": tmp_path / "perfect"}
    rows = evaluate(manifest, methods, tmp_path / "out", SETTINGS).scores.set_index("method")
    assert rows.loc["perfect", "psnr"] == np.inf
    assert rows.loc["perfect", "pearson_foreground"] == pytest.approx(1)
    assert rows.loc["perfect", "mean_ap"] == rows.loc["target", "mean_ap"]
    with pytest.raises(SpotlightError, match="data_range"):
        evaluate(manifest, {"perfect": tmp_path / "perfect"}, tmp_path / "alone", SETTINGS)
    stated = SETTINGS.model_copy(update={"data_range": (0, 1000)})
    assert "psnr" in evaluate(manifest, {"perfect": tmp_path / "perfect"}, tmp_path / "alone", stated).scores
    with pytest.raises(SpotlightError, match=f"missing 1 of 1: {pair.name}"):
        evaluate(manifest, {"none": tmp_path}, tmp_path / "out", SETTINGS)
    image.crop((slice(0, 8), slice(None), slice(None))).save(tmp_path / "small" / f"{pair.name}.ome.tif")
    with pytest.raises(SpotlightError, match="must show the same field on the same grid"):
        evaluate(manifest, {"one": model_folder, "small": tmp_path / "small"}, tmp_path / "out", SETTINGS)


@pytest.mark.slow
def test_a_second_image_is_the_ceiling(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    (pair,) = (pair for pair in read_manifest(manifest) if pair.split == "test")
    _, target = pair.read_both()
    noise = np.random.default_rng(0).normal(0, 3, target.shape)
    again = replace(target, array=np.clip(target.data + noise, 0, None).astype(np.uint16))
    again.save(tmp_path / "again.ome.tif")
    twice = replace(pair, repeat=tmp_path / "again.ome.tif", target_channel=pair.target_channel)
    rows = evaluate([twice], {"one": model_folder}, tmp_path / "out", SETTINGS).scores.set_index("method")
    low, high = load_model(model_folder).description.target.intensity_range
    mask = read(tmp_path / "out" / "labels" / "foreground" / f"{pair.name}.ome.tif").data > 0
    expected = score_pixels(target.data, again.data, mask, high - low, target.voxel_size)
    assert rows.loc["repeat", "psnr_foreground"] == pytest.approx(expected["psnr_foreground"])
    assert rows.loc["repeat", "psnr"] > rows.loc["one", "psnr"]


@pytest.mark.slow
def test_the_sweep_is_what_a_flattened_stain_scores(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    result = evaluate(manifest, {"one": model_folder}, tmp_path, SETTINGS)
    (pair,) = (pair for pair in read_manifest(manifest) if pair.split == "test")
    assert result.sweep["position"].tolist() == [-0.25, 0.5, 1.25]
    row = result.sweep.iloc[1]
    stain = read(tmp_path / "stains" / "one" / f"{pair.name}.ome.tif")
    even = replace(stain, array=np.maximum(stain.data, np.float32(row["threshold"])))
    _, target = pair.read_both()
    labels = pair.read_labels(target)
    assert labels is not None
    truth = clean_truth(labels, SETTINGS.segmentation)  # type: ignore[arg-type]
    scores = score_instances(truth.data, segment(even, SETTINGS.segmentation).data)  # type: ignore[arg-type]
    assert row["mean_ap"] == pytest.approx(scores.mean_average_precision, nan_ok=True)
    mask = target.data >= yaml.safe_load((tmp_path / "evaluation.yaml").read_text())["stacks"][0]["threshold"]
    low, high = load_model(model_folder).description.target.intensity_range
    expected = score_pixels(target.data, even.data, mask, high - low, target.voxel_size)
    assert row["psnr"] == pytest.approx(expected["psnr"])
    shells = fourier_shell(even.data, even.voxel_size)
    shared = fourier_shell_of_two(target.data, even.data, even.voxel_size)
    for direction in ("xy", "z"):
        assert row[f"fsc_{direction}_um"] == pytest.approx(shells[direction].resolution, nan_ok=True)
        assert row[f"fsc_of_two_{direction}_um"] == pytest.approx(shared[direction].resolution, nan_ok=True)


@pytest.mark.slow
def test_the_sweep_takes_the_fit_of_all_stains(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images: dict[str, list[np.ndarray]] = {"target": [], "stain": []}
    pairs = []
    for name in ("a", "b"):
        target = ndimage.gaussian_filter((rng.random((6, 180, 184)) > 0.999) * 5e5, (1, 5, 5))
        stain = 0.5 * ndimage.gaussian_filter(target, 1) + 20
        images["target"].append(rng.poisson(target + 50).astype(np.float32))
        images["stain"].append(stain.astype(np.float32))
        for kind, stacks in images.items():
            Stack(stacks[-1], "ZYX", (0.5, 0.3, 0.3)).save(tmp_path / kind / f"{name}.ome.tif")
        file = tmp_path / "target" / f"{name}.ome.tif"
        pairs.append(Pair(name=name, input=file, target=file, split="test"))
    settings = EvaluationSettings(thresholds=3, resolution=False, data_range=(0, 1000))
    result = evaluate(pairs, {"other": tmp_path / "stain"}, tmp_path / "out", settings)
    fit = fit_micro_ms3im(images["target"], images["stain"])
    masks = [read(tmp_path / "out" / "labels" / "foreground" / f"{pair.name}.ome.tif").data > 0 for pair in pairs]
    modes = [(np.median(t[~m]), np.median(t[m])) for t, m in zip(images["target"], masks, strict=True)]
    for position, row in result.sweep.set_index("position").iterrows():
        scores = [
            score_micro_ms3im(fit, target, np.maximum(stain, np.float32(low + position * (high - low))), mask)
            for target, stain, mask, (low, high) in zip(images["target"], images["stain"], masks, modes, strict=True)
        ]
        for name in scores[0]:
            assert row[name] == pytest.approx(np.mean([score[name] for score in scores]))
    assert np.ptp(result.sweep["micro_ms3im"]) > 0.01


@pytest.fixture
def comparison(manifest: Path, tmp_path: Path) -> Path:
    small = {"network": {"depth": 2, "mult_chan": 4}, "training": {"batch_size": 2, "precision": "float32"}}
    values = {
        "pairs": str(manifest),
        "baseline": "fnet",
        "seeds": [0, 1],
        "steps": 4,
        "methods": {
            "fnet": {"protocol": "fnet", "change": small},
            "spotlight": {"protocol": "spotlight", "change": small | {"loss": {"background": 0}}},
            "fnet-flat": {"like": "fnet", "flatten": True},
        },
        "evaluation": {"segmentation": {"clear_border": False, "min_size": 20}, "resolution": False},
    }
    (tmp_path / "compare.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "compare.yaml"


@pytest.mark.slow
def test_comparing_methods_and_seeds(comparison: Path, tmp_path: Path) -> None:
    compared = compare(comparison, tmp_path / "out", device="cpu")
    scores = compared.evaluation.scores
    counts = scores.groupby(["method", "seed"]).size()
    assert set(counts.index) == {("target", 0), *((m, s) for m in ("fnet", "spotlight", "fnet-flat") for s in (0, 1))}
    assert set(counts) == {1}
    assert (tmp_path / "out" / "stains" / "fnet.seed-1" / "field-03.ome.tif").exists()
    assert set(compared.table["method"]) == {"spotlight", "fnet-flat"}
    assert pd.read_csv(tmp_path / "out" / "comparison.csv")["verdict"].tolist() == compared.table["verdict"].tolist()
    spotlight = load_model(tmp_path / "out" / "models" / "spotlight" / "seed-1").description.training
    assert spotlight["settings"]["training"]["device"] == "cpu"
    assert (
        yaml.safe_load((tmp_path / "out" / "evaluation.yaml").read_text())["settings"]["prediction"]["device"] == "cpu"
    )
    assert spotlight["settings"]["loss"] == protocol("spotlight").loss.model_dump(mode="json") | {"background": 0}
    values = yaml.safe_load(comparison.read_text(encoding="utf-8"))
    values["methods"]["fnet-too"] = {"model": str(tmp_path / "out" / "models" / "fnet" / "seed-0")}
    comparison.write_text(yaml.safe_dump(values), encoding="utf-8")
    before = stamps(tmp_path / "out")
    more = compare(comparison, tmp_path / "out", device="cpu").evaluation.scores.set_index(["method", "seed"])
    assert {name: stamps(tmp_path / "out")[name] for name in before} == before
    assert more.loc[("fnet-too", 0), "mean_ap"] == pytest.approx(more.loc[("fnet", 0), "mean_ap"], nan_ok=True)


def test_a_device_that_is_not_there_is_refused_first(comparison: Path, tmp_path: Path) -> None:
    with pytest.raises(SpotlightError, match="device 'abacus' cannot be used here"):
        compare(comparison, tmp_path / "out", device="abacus")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": "x"}, "the baseline 'x' is none of the methods"),
        ({"methods": {"fnet": {"protocol": "fnet", "model": "m"}}}, "needs one of protocol"),
        ({"methods": {"fnet": {"protocol": "fnet"}, "b": {"like": "c"}}}, "is like 'c'"),
        ({"methods": {"fnet": {"protocol": "fnet"}, "b": {"stains": "c", "flatten": True}}}, "cannot be flattened"),
        ({"methods": {"fnet": {"model": "m", "change": {"loss": {}}}}}, "change is for methods that are trained"),
        ({"seedz": [1]}, "did you mean 'seeds'"),
    ],
)
def test_comparisons_that_cannot_be_made(change: dict[str, object], message: str) -> None:
    values: dict[str, object] = {"pairs": "m.csv", "baseline": "fnet", "methods": {"fnet": {"protocol": "fnet"}}}
    with pytest.raises(SpotlightError, match=message):
        Comparison.parse(values | change, "compare.yaml")


def test_a_method_needs_a_name_of_its_own(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SpotlightError, match="several methods would be written to a.seed-1"):
        evaluate(manifest, {"a": {0: model_folder, 1: model_folder}, "a.seed-1": model_folder}, tmp_path)
    with pytest.raises(SpotlightError, match="nothing to evaluate"):
        evaluate(manifest, {}, tmp_path)


@pytest.mark.slow
def test_where_there_is_nothing_to_score(manifest: Path, tmp_path: Path) -> None:
    (pair,) = (pair for pair in read_manifest(manifest) if pair.split == "test")
    _, target = pair.read_both()
    for name, data in (("even", np.full(target.shape, 7.0, np.float32)), ("seen", target.data.astype(np.float32))):
        replace(target, array=data).save(tmp_path / name / f"{pair.name}.ome.tif")
    none = replace(target, array=np.zeros(target.shape, np.uint8), labels=True)
    none.save(tmp_path / "none.ome.tif")
    settings = SETTINGS.model_copy(update={"data_range": (0, 1000), "thresholds": 0})
    sources = {"even": tmp_path / "even", "seen": tmp_path / "seen"}
    nothing = evaluate([replace(pair, labels=tmp_path / "none.ome.tif")], sources, tmp_path / "a", settings)
    rows = nothing.scores.set_index("method")
    assert rows.loc["even", ["true_nuclei", "found_nuclei"]].tolist() == [0, 0]
    assert np.isnan(rows.loc["even", ["mean_ap", "panoptic_quality", "volume_error", "profile_error"]].tolist()).all()
    assert rows.loc["seen", "mean_ap"] == 0
    assert np.isnan(rows.loc["even", "pearson"])
    assert np.isfinite(rows.loc["even", "psnr"])
    rows = evaluate([pair], sources, tmp_path / "b", settings).scores.set_index("method")
    assert rows.loc["even", "mean_ap"] == 0
    assert np.isnan(rows.loc["even", "volume_error"])
    assert rows.loc["seen", "mean_ap"] == rows.loc["target", "mean_ap"]
    write_report(tmp_path / "a")
