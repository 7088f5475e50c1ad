"""Evaluation writes tables that agree with the metrics, and a page that works in a browser without a network."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from spotlight import SpotlightError, load_model, read
from spotlight.evaluation import Evaluation, EvaluationSettings, evaluate, summarise
from spotlight.images import Stack
from spotlight.metrics import score_instances, score_pixels
from spotlight.pairs import Pair, read_manifest
from spotlight.prediction import Model
from spotlight.report import write_report
from spotlight.segmentation import SegmentationSettings, clean_truth

SETTINGS = EvaluationSettings(segmentation=SegmentationSettings(min_size=20, clear_border=False))


@pytest.fixture(scope="module")
def evaluation(manifest: Path, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    folder = tmp_path_factory.mktemp("evaluation")
    result = evaluate(manifest, {"first": model_folder, "second": model_folder}, folder, SETTINGS)
    write_report(folder, "A <title>", ["A remark & more."])
    return result


def test_scores_are_those_of_the_written_stains_and_labels(
    evaluation: Evaluation, manifest: Path, model_folder: Path
) -> None:
    pair = read_manifest(manifest)[-1]
    target = pair.read_target()
    truth = pair.read_labels(target)
    assert truth is not None
    rows = evaluation.scores.set_index("method")
    assert rows.index.tolist() == ["target", "first", "second"]
    stain = read(evaluation.folder / "stains" / "first" / "field-03.ome.tif")
    low, high = load_model(model_folder).description.target.intensity_range
    record = yaml.safe_load((evaluation.folder / "evaluation.yaml").read_text())
    mask = target.data >= record["stacks"][0]["threshold"]
    for name, value in score_pixels(target.data, stain.data, mask, high - low).items():
        assert rows.loc["first", name] == pytest.approx(value, nan_ok=True)
    labels = read(evaluation.folder / "labels" / "first" / "field-03.ome.tif")
    clean = clean_truth(truth, SETTINGS.segmentation)
    scores = score_instances(clean.data, labels.data)
    assert rows.loc["first", "ap50"] == scores.average_precision[0.5]
    assert rows.loc["first", "true_nuclei"] == clean.data.max()
    numbers = rows.drop(columns="stack").astype(float)
    pd.testing.assert_series_equal(numbers.loc["first"], numbers.loc["second"], check_names=False)
    assert np.isnan(rows.loc["target", "psnr"])


def test_tables_on_disk_are_those_in_memory(evaluation: Evaluation) -> None:
    for name in ("scores", "average_precision", "nuclei", "histograms"):
        table = pd.read_csv(evaluation.folder / f"{name}.csv")
        memory = getattr(evaluation, name)
        assert table.shape == memory.shape
        assert table.columns.tolist() == memory.columns.tolist()
    shares = evaluation.histograms.groupby("method")["share"].sum()
    assert shares.tolist() == pytest.approx([1, 1, 1])
    assert summarise(evaluation.scores).shape[0] == 3


@pytest.mark.slow
def test_without_labels_the_segmented_target_is_the_truth(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    pair = replace(read_manifest(manifest)[-1], labels=None)
    result = evaluate([pair], model_folder, tmp_path, SETTINGS)
    assert result.scores["method"].tolist() == [model_folder.name]
    page = write_report(tmp_path).read_text()
    assert "segmentation of the target" in page


@pytest.mark.slow
def test_two_dimensional_stacks_are_evaluated_too(tmp_path: Path) -> None:
    from conftest import TINY, ellipsoid
    from spotlight.training import train

    rng = np.random.default_rng(0)
    truth = np.zeros((120, 130), bool)
    for center in ((30, 30), (30, 80), (80, 50)):
        truth |= ellipsoid(truth.shape, center, (12, 9), (1, 1))
    image = rng.normal(100 + 40 * truth, 5)
    target = rng.normal(100 + 200 * truth, 5)
    Stack(np.stack([image, target]).astype(np.uint16), "CYX", None, ("Phase", "DNA")).save(tmp_path / "d" / "a.ome.tif")
    experiment = TINY.model_copy(update={"preparation": TINY.preparation.model_copy(update={"grid": "native"})})
    channels = {"input_channel": "Phase", "target_channel": "DNA"}
    folder = train(tmp_path / "d", tmp_path / "model", experiment, **channels)
    for segmentation in (
        SegmentationSettings(clahe_clip=0),  # sizes in µm, for files that state no voxel size
        SegmentationSettings(unit="px", min_size=50, max_size=5000, seed_distance_um=5, clahe_clip=0),
    ):
        settings = EvaluationSettings(segmentation=segmentation)
        result = evaluate(tmp_path / "d", folder, tmp_path / "out", settings, **channels)
        assert result.scores["true_nuclei"].tolist() == [3]
        (entry,) = yaml.safe_load((tmp_path / "out" / "evaluation.yaml").read_text())["stacks"]
        said = any("no voxel size is stated" in doubt for doubt in entry["segmentation_doubts"])
        assert said == (segmentation.unit == "um")
    assert "psnr" in result.scores
    assert write_report(tmp_path / "out").exists()


def test_the_users_own_mask_says_where_the_foreground_is(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    pair = read_manifest(manifest)[-1]
    target = pair.read_target()
    mask = np.zeros(target.shape, np.uint8)
    mask[8:20, 10:40, 10:40] = 1
    Stack(mask, "ZYX", target.voxel_size).save(tmp_path / "mask.ome.tif")
    own = replace(pair, foreground=tmp_path / "mask.ome.tif")
    result = evaluate([own], model_folder, tmp_path / "out", SETTINGS)
    stain = read(tmp_path / "out" / "stains" / model_folder.name / f"{pair.name}.ome.tif").data
    expected = np.corrcoef(stain[mask > 0], target.data[mask > 0])[0, 1]
    row = result.scores.set_index("method").loc[model_folder.name]
    assert row["pearson_foreground"] == pytest.approx(expected, rel=1e-4)
    nuclei = pair.read_labels(target)
    assert nuclei is not None
    inside = nuclei.data > 0
    assert row["pearson_nuclei"] == pytest.approx(np.corrcoef(stain[inside], target.data[inside])[0, 1], rel=1e-4)
    assert np.isnan(result.scores.set_index("method").loc["target"].get("pearson_nuclei", np.nan))


@pytest.mark.slow
def test_stacks_of_the_training_are_said_to_be_seen(
    manifest: Path, model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (pair, *_) = read_manifest(manifest)
    evaluate([replace(pair, name="renamed", split="test")], {"one": model_folder}, tmp_path, SETTINGS)
    assert "renamed was used to train model one" in caplog.text
    assert "renamed" in write_report(tmp_path).read_text()
    assert yaml.safe_load((tmp_path / "evaluation.yaml").read_text())["stacks"][0]["seen_in_training"] == ["one"]


@pytest.mark.slow
def test_a_report_needs_no_file_but_the_evaluation(evaluation: Evaluation, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(evaluation.folder, moved)
    record = yaml.safe_load((moved / "evaluation.yaml").read_text())
    for stack in record["stacks"]:
        stack["input"] = stack["target"] = "/nowhere/x.ome.tif"
    (moved / "evaluation.yaml").write_text(yaml.safe_dump(record))
    assert write_report(moved).exists()
    (moved / "scores.csv").unlink()
    with pytest.raises(SpotlightError, match=r"scores\.csv: no such file"):
        write_report(moved)


@pytest.mark.parametrize("name", ["truth", "input", "", "a/b"])
def test_models_may_not_be_named_like_something_else(
    manifest: Path, model_folder: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(SpotlightError, match="cannot be named"):
        evaluate(manifest, {name: model_folder}, tmp_path)


def test_nothing_to_evaluate(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    pairs = [pair for pair in read_manifest(manifest) if pair.split == "train"]
    with pytest.raises(SpotlightError, match="no pair has the split 'test'"):
        evaluate(pairs, model_folder, tmp_path)
    with pytest.raises(SpotlightError, match="cannot be named 'target'"):
        evaluate(manifest, {"target": model_folder}, tmp_path)
    with pytest.raises(SpotlightError, match=r"evaluation\.yaml"):
        write_report(tmp_path)


def test_the_former_order_of_arguments_is_exchanged(model_folder: Path, tmp_path: Path) -> None:
    """Told by what the arguments are; keywords have no order."""
    (tmp_path / "stains").mkdir()
    table, stains, to = tmp_path / "none.csv", tmp_path / "stains", tmp_path / "out"
    for models, pairs in ((model_folder, table), ({"a": stains}, table), (stains, table), (stains, [])):
        with (
            pytest.warns(FutureWarning, match=r"evaluate\(pairs, models, to\).*version 0.3") as warned,
            pytest.raises(SpotlightError, match=r"none.csv: no such file|no pair has the split"),
        ):
            evaluate(models, pairs, to)  # type: ignore[arg-type]
        assert warned[0].filename == __file__
    for pairs, models in ((table, model_folder), (table, {"a": stains}), ([], stains)):
        with pytest.raises(SpotlightError, match=r"none.csv: no such file|no pair has the split"):
            evaluate(pairs, models, to)  # type: ignore[arg-type]
    with pytest.raises(SpotlightError, match=r"none.csv: no such file"):
        evaluate(models=model_folder, pairs=table, to=to)


@pytest.mark.slow
def test_arrays_are_judged_as_their_files_are(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    pair = replace(read_manifest(manifest)[-1], labels=None)
    image, target = pair.read_both()
    labels = read_manifest(manifest)[-1].read_labels(target)
    stated = {"voxel_size": image.voxel_size, "split": "test", "labels": labels}
    model = load_model(model_folder)
    free = model.description.input.model_copy(update={"channel": ""})
    model = Model(model.description.model_copy(update={"input": free}), model.networks, "tiny")
    of_files = evaluate([pair], model, tmp_path / "files", SETTINGS).scores
    tuples = evaluate(
        [(image.data, target.data)], model, tmp_path / "a", SETTINGS, voxel_size=image.voxel_size, workers=2
    ).scores
    pd.testing.assert_frame_equal(tuples.drop(columns="stack"), of_files.drop(columns="stack"))
    assert tuples["stack"].tolist() == ["pair-1"] * len(tuples)
    both = [Pair.of_arrays(name, image.data, target.data, **stated) for name in ("a", "b")]
    labelled = evaluate(both, model, tmp_path / "b", SETTINGS, workers=2)
    record = yaml.safe_load((tmp_path / "b" / "evaluation.yaml").read_text())["stacks"]
    assert [row["truth"] for row in record] == ["labels of the manifest"] * 2
    assert record[0]["input"] == str(both[0].input)
    assert labelled.scores.groupby("stack").size().tolist() == [2, 2]
