"""Models of several stains, single planes and modalities in evaluations, segmentation and on the training page."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from numpy.typing import NDArray
from scipy import ndimage
from typer.testing import CliRunner

from small_models import RANGES, STAINS, of_several_stains, told_modality, warmed
from spotlight import SpotlightError, load_model, measure, segment
from spotlight.cli import app
from spotlight.evaluation import EvaluationSettings, evaluate
from spotlight.evaluation.methods import find_methods
from spotlight.images import Stack, read
from spotlight.model import save_model
from spotlight.networks import FNet, FNetSettings, Pix2PixGenerator, Pix2PixSettings
from spotlight.pairs import read_pairs
from spotlight.pairs.fields import fields_by_plane, join_planes
from spotlight.pairs.pair import Pair
from spotlight.prediction import Model, PredictionSettings
from spotlight.report.training_page import write_training_page

FLOAT32 = PredictionSettings(precision="float32")
QUICK = EvaluationSettings(resolution=False, pictured=0)
MODALITY = {0: "brightfield", 1: "phase"}


def blobs(seed: int) -> NDArray[np.float64]:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(64, 64)), 5)
    return np.maximum(noise / noise.std(), 0)


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two fields of two stains, each with two planes of input in a file of its own."""
    folder = tmp_path_factory.mktemp("fields")

    def save(values: NDArray[Any], name: str, channel: str) -> str:
        path = folder / f"{name}.ome.tiff"
        Stack(values.clip(0, 65535).astype(np.uint16), "YX", (0.5, 0.5), (channel,)).save(path)
        return path.name

    rows = []
    for field, modality in MODALITY.items():
        shapes = [blobs(10 * field + n) for n in range(len(STAINS))]
        cells = {
            f"target:{name}": save(500 + 3000 * shape, f"field_{field}_{name}", name)
            for name, shape in zip(STAINS, shapes, strict=True)
        }
        for z in range(2):
            noise = np.random.default_rng(z).normal(0, 300, (64, 64))
            image = save(20_000 + 4000 * (z + 1) * sum(shapes) + noise, f"field_{field}_z{z}", "light")
            rows.append({"input": image, **cells, "split": "test", "modality": modality})
    pd.DataFrame(rows).to_csv(folder / "pairs.csv", index=False)
    return folder / "pairs.csv"


def two_stains() -> Model:
    torch.manual_seed(4)
    return of_several_stains(warmed(FNet(2, 2, 4, 2, init="torch")), FNetSettings(depth=2, mult_chan=4))


def judged(path: Path) -> Any:
    return yaml.safe_load((path / "evaluation.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", STAINS)
def test_the_stain_of_the_target_is_judged_in_its_own_range(name: str, fields: Path, tmp_path: Path) -> None:
    model = two_stains()
    evaluation = evaluate(fields, model, tmp_path, QUICK, target=name)
    assert list(evaluation.scores.query("method == 'several'")["stack"]) == [
        f"field_{f}_z{z}" for f in (0, 1) for z in (0, 1)
    ]
    for pair in read_pairs(fields, target=name):
        wanted = model.predict(pair.input, settings=FLOAT32).channel(f"{name} (virtual)")
        found = read(tmp_path / "stains" / "several" / f"{pair.name}.ome.tif")
        np.testing.assert_allclose(found.data, wanted.data, rtol=1e-4)
    low, high = RANGES[STAINS.index(name)]
    assert judged(tmp_path)["data_range"] == high - low


def test_a_target_that_no_stain_shows_is_an_error_that_names_the_channels(fields: Path, tmp_path: Path) -> None:
    pairs = [replace(pair, target_name="Tubulin") for pair in read_pairs(fields, target="Actin")]
    for settings in (QUICK, QUICK.model_copy(update={"data_range": (0.0, 1.0)})):
        with pytest.raises(SpotlightError, match=r"no stain of the target 'Tubulin'.*Nucleus.*Actin.*--target"):
            evaluate(pairs, two_stains(), tmp_path, settings)
    # Where the manifest does not name its target, its channel does.
    unnamed = [replace(pair, target_name="") for pair in read_pairs(fields, target="Actin")]
    evaluate(unnamed, two_stains(), tmp_path / "unnamed", QUICK)
    low, high = RANGES[1]
    assert judged(tmp_path / "unnamed")["data_range"] == high - low


@pytest.mark.slow
def test_files_of_several_stains_are_judged_by_the_target_and_spreads_are_left_out(
    fields: Path, tmp_path: Path
) -> None:
    model, folder = two_stains(), tmp_path / "stains-with-spread"
    pairs = read_pairs(fields, target="Actin")
    spread = FLOAT32.model_copy(update={"augment": True, "spread": True})
    for pair in pairs:
        stain = model.predict(pair.input, settings=spread)
        assert stain.shape[0] == 4
        stain.save(folder / f"{pair.name}.ome.tif")
    settings = QUICK.model_copy(update={"data_range": (50.0, 4000.0)})
    ours = QUICK.model_copy(update={"prediction": spread, "data_range": (50.0, 4000.0)})
    of_files = evaluate(pairs, folder, tmp_path / "files", settings).scores
    of_model = evaluate(pairs, model, tmp_path / "model", ours).scores
    both = [scores[scores["method"] != "target"].drop(columns="method") for scores in (of_files, of_model)]
    pd.testing.assert_frame_equal(*(scores.reset_index(drop=True) for scores in both), rtol=1e-4)


@pytest.mark.slow
def test_a_network_is_told_the_modality_of_the_manifest(fields: Path, tmp_path: Path) -> None:
    model = told_modality()
    pairs = read_pairs(fields, target="Nucleus")
    evaluate(pairs, model, tmp_path, QUICK)

    def stain(pair: Pair) -> NDArray[Any]:
        return read(tmp_path / "stains" / "several" / f"{pair.name}.ome.tif").data

    for pair in pairs:
        wanted = model.predict(pair.input, modality=pair.modality, settings=FLOAT32).channel("Nucleus (virtual)")
        np.testing.assert_allclose(stain(pair), wanted.data, rtol=1e-4)
    before = stain(pairs[0])
    other = [replace(pair, modality="phase") for pair in pairs]
    evaluate(other, model, tmp_path, QUICK)  # what was found before is not taken up
    assert np.abs(stain(pairs[0]) - before).max() > 10
    with pytest.raises(SpotlightError, match="its modality is needed"):
        evaluate([replace(pair, modality="") for pair in pairs], model, tmp_path / "untold", QUICK)


def test_the_fingerprint_has_modality_and_target_where_they_decide(fields: Path) -> None:
    (pair, *_) = read_pairs(fields, target="Nucleus")
    plain, told = two_stains(), told_modality()
    single = Model(plain.description.model_copy(update={"further_targets": ()}), FNet(2, 2, 4), "single")
    for model, by_modality, by_target in ((plain, False, True), (told, True, True), (single, False, False)):
        (method,) = find_methods(model, [pair])
        first = method.digest(pair)
        assert (first != method.digest(replace(pair, modality="phase"))) == by_modality
        assert (first != method.digest(replace(pair, target_name="Actin"))) == by_target


def test_folders_of_models_are_opened_and_what_they_have_learnt_from_is_known(fields: Path, tmp_path: Path) -> None:
    pairs = read_pairs(fields, target="Nucleus")
    plain = two_stains()
    (seen,) = [field for field in join_planes(pairs) if field.modality == "phase"]
    data = {"data": {"train": [{"name": seen.name, "digest": seen.digest()}], "validation": []}}
    for modality in MODALITY.values():
        training = data if modality == "phase" else {}
        save_model(
            tmp_path / "separate" / modality,
            plain.description.model_copy(update={"training": training}),
            plain.networks[0],
        )
    for seed in (0, 1):
        save_model(tmp_path / "ensemble" / f"seed-{seed}", plain.description, plain.networks[0])
    both = {name: tmp_path / name for name in ("separate", "ensemble")}
    evaluate(pairs, both, tmp_path / "out", QUICK)
    wanted = plain.predict(pairs[0].input, settings=FLOAT32).channel("Nucleus (virtual)").data
    for name in both:
        found = read(tmp_path / "out" / "stains" / name / f"{pairs[0].name}.ome.tif")
        np.testing.assert_allclose(found.data, wanted, rtol=1e-4)
    record = judged(tmp_path / "out")
    assert sorted(record["models"]["separate"]) == ["brightfield", "phase"]
    assert [entry["seen_in_training"] for entry in record["stacks"]] == [[], [], ["separate"], ["separate"]]
    assert {name: field.name for name, field in fields_by_plane(pairs).items()} == {
        f"field_{f}_z{z}": f"field_{f}_Nucleus" for f in (0, 1) for z in (0, 1)
    }


def test_networks_that_see_their_whole_tile_are_judged_in_tiles_as_they_stain(fields: Path, tmp_path: Path) -> None:
    torch.manual_seed(6)
    network = Pix2PixGenerator(4, 1, 2)
    model = of_several_stains(network, Pix2PixSettings(width=4, blocks=1), normalisation="uint16")
    trained = model.description.model_copy(update={"training": {"patch": [32, 32]}})
    model = Model(trained, model.networks, "pix2pix")
    (pair, *_) = read_pairs(fields, target="Actin")
    evaluate([pair], model, tmp_path, QUICK)
    found = read(tmp_path / "stains" / "pix2pix" / f"{pair.name}.ome.tif").data
    wanted = model.predict(pair.input, settings=FLOAT32).channel("Actin (virtual)").data
    whole = model.predict(pair.input, settings=FLOAT32.model_copy(update={"tile": (64, 64)})).channel("Actin (virtual)")
    np.testing.assert_allclose(found, wanted, atol=0.5)
    assert np.abs(found - whole.data).max() > 10


def test_one_of_several_stains_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    y, x = np.mgrid[:64, :64]
    nuclei = [500 * (np.hypot(y - 20, x - a) < 10) for a in (20, 44)]  # one in each stain
    names = tuple(f"{name} (virtual)" for name in STAINS)
    stain = Stack(ndimage.gaussian_filter(np.float32(nuclei), (0, 1, 1)), "CYX", (1.0, 1.0), names)
    stain.save("stain.ome.tif")
    asked = "has 2 channels .0: Nucleus .virtual., 1: Actin .virtual..; say which one"
    result = CliRunner().invoke(app, ["segment", "stain.ome.tif", "--to", "found"])
    with pytest.raises(SpotlightError, match=asked):
        raise result.exception or AssertionError
    arguments = ["segment", "stain.ome.tif", "--to", "found", "--channel", "Actin (virtual)"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    labels = segment(stain.channel("Actin (virtual)"))
    np.testing.assert_array_equal(read("found/stain-labels.ome.tif").data, labels.data)
    assert labels.data.max() == labels.data[20, 44] == 1
    for call in (lambda: segment(stain), lambda: measure(labels, stain)):
        with pytest.raises(SpotlightError, match=asked):
            call()


def test_the_training_page_tells_of_all_stains_and_of_the_game(tmp_path: Path) -> None:
    settings = {
        "protocol": "custom",
        "loss": {"kind": "l1"},
        "adversarial": {"weight": 1.0},
        "balance": "stains",
        "modalities": "unified",
        "training": {"steps": 40, "batch_size": 4, "parts": 1, "seed": 0},
    }
    training = {
        "settings": settings,
        "data": {"train": [{"name": "one"}], "validation": []},
        "patch": [32, 32],
        "precision": "float32",
        "best": {"step": 40, "l1": 0.25},
    }
    network = Pix2PixGenerator(4, 1, 2)
    made = of_several_stains(
        network, Pix2PixSettings(width=4, blocks=1), normalisation="uint16", modalities=("brightfield", "phase")
    )
    save_model(tmp_path / "model", made.description.model_copy(update={"training": training}), network)
    (tmp_path / "model" / "training").mkdir()
    rows = {"step": [10, 20], "loss": [9.0, 5.0], "l1": [0.3, 0.2], "verdict": [1.4, 1.5], "discriminator": [0.7, 0.6]}
    pd.DataFrame(rows).to_csv(tmp_path / "model" / "training" / "log.csv", index=False)
    page = write_training_page(tmp_path / "model").read_text(encoding="utf-8")
    for said in (
        "with mean absolute error 0.25 on the validation",
        "brightfield or phase → Nucleus, Actin",
        "one network, which is not told which",
        "any one plane of a stack, alone",
        "a fixed scale: 0 to 65535 become -1 to 1",
        "l1 and discriminators",
        'alt="verdict of the discriminators: ',
        "loss of the discriminators: 0.7 at first and 0.6 at last",
    ):
        assert said in page, said
    assert load_model(tmp_path / "model").description.targets[1].channel == "Actin"
