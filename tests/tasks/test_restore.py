"""Restored images: degrading, scaling, the loss, and a model from training to files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage
from typer.testing import CliRunner

from conftest import change
from spotlight.cli import app
from spotlight.errors import SpotlightError
from spotlight.evaluation import evaluate_restoration, score_restoration
from spotlight.evaluation.deconvolution import DECONVOLVED, gaussian_kernel
from spotlight.images import Stack, read
from spotlight.images.slabs import in_memory
from spotlight.losses import structure_loss
from spotlight.metrics import structural_similarity
from spotlight.model import read_description
from spotlight.networks import FNet
from spotlight.pairs import Pair, PreparationSettings, read_pairs
from spotlight.prediction import PredictionSettings, load_model
from spotlight.report import write_restoration_page
from spotlight.tasks import DegradeSettings, RestoreTask, degrade
from spotlight.training import Experiment, explain, protocol, train

SHAPE, VOXEL = (8, 32, 32), (2.0, 1.0, 1.0)
NATIVE = PreparationSettings(grid="native", scaling="percentiles")
BLUR = DegradeSettings(blur_um=(2.0, 1.5, 1.5), photons=200)


def sharp(seed: int) -> Stack:
    """Spots of many brightnesses on an offset of 100."""
    rng = np.random.default_rng(seed)
    points = np.zeros(SHAPE)
    points[tuple(rng.integers(1, np.array(SHAPE) - 1, (60, 3)).T)] = rng.uniform(500, 4000, 60)
    return Stack((100 + 8 * ndimage.gaussian_filter(points, 0.8)).astype(np.uint16), "ZYX", VOXEL, ("488",), f"s{seed}")


def written(folder: Path) -> Path:
    """A manifest of pairs, and of sharp stacks alone."""
    rows = []
    for n, split in enumerate(("train", "train", "val", "test")):
        sharp(n).save(folder / f"{n}-sharp.ome.tif")
        degrade(sharp(n), BLUR, n).save(folder / f"{n}.ome.tif")
        rows.append({"input": f"{n}.ome.tif", "target": f"{n}-sharp.ome.tif", "split": split})
    table = pd.DataFrame(rows)
    table.to_csv(folder / "pairs.csv", index=False)
    table.assign(input=table["target"]).drop(columns="target").to_csv(folder / "sharp.csv", index=False)
    return folder / "pairs.csv"


def small(task: RestoreTask) -> Experiment:
    values = protocol("spotlight", task).model_dump()
    values["network"] |= {"depth": 1, "mult_chan": 4}
    values["patches"] |= {"size": (8, 16, 16)}
    values["training"]["precision"] = "float32"  # "auto" is what is faster at the moment
    values["training"] |= {"steps": 40, "batch_size": 4, "learning_rate": 5e-3, "validate_every": 20, "device": "cpu"}
    return Experiment.parse(values, "test")


def test_degrading_blurs_and_draws_photons() -> None:
    stack = sharp(0)
    blurred = degrade(stack, DegradeSettings(blur_um=(4.0, 3.0, 2.0)))
    np.testing.assert_allclose(
        blurred.data, ndimage.gaussian_filter(stack.data.astype(np.float32), (2, 3, 2), mode="nearest"), rtol=1e-6
    )
    assert (blurred.channels, blurred.voxel_size) == (stack.channels, VOXEL)
    flat = Stack(np.repeat([[0.0] * 300, [50.0] * 300], 100, 0).astype(np.float32), "YX", (1.0, 1.0))
    noisy = degrade(flat, DegradeSettings(photons=25), "a").data
    assert not noisy[:100].any()
    assert noisy[100:].mean() == pytest.approx(50, rel=0.01)
    assert noisy[100:].std() == pytest.approx(50 / 5, rel=0.03)  # of 25 photons, a fifth
    np.testing.assert_array_equal(noisy, degrade(flat, DegradeSettings(photons=25), "a").data)
    assert (noisy != degrade(flat, DegradeSettings(photons=25), "b").data).any()
    with pytest.raises(SpotlightError, match="neither blur_um nor photons degrades"):
        DegradeSettings.parse({}, "test")
    with pytest.raises(SpotlightError, match="98 % of its values are 7"):
        degrade(replace(flat, array=np.full((9, 9), 7.0)), DegradeSettings(photons=9))
    with pytest.raises(SpotlightError, match="voxel size"):
        degrade(replace(flat, voxel_size=None), DegradeSettings(blur_um=(0, 1, 1)))


def test_both_images_are_scaled_by_the_input_and_nothing_is_clipped(tmp_path: Path) -> None:
    target = sharp(1)
    given = degrade(target, BLUR, 1)
    pair = Pair.of_arrays("p", given, target)
    made = RestoreTask().prepare(pair, NATIVE, in_memory)
    low, high = np.percentile(given.data, (1, 99))
    np.testing.assert_allclose(made.input, (given.data - low) / (high - low), atol=1e-5)
    np.testing.assert_allclose(made.target, (target.data - low) / (high - low), atol=1e-5)
    assert made.target.max() > 1.5  # brighter than anything in the blurred image
    assert RestoreTask().score(made.target, made) == {"psnr": pytest.approx(120)}
    assert RestoreTask().score(made.target + 0.1, made)["psnr"] == pytest.approx(20, abs=1e-3)
    alone = RestoreTask(degrade=BLUR).prepare(Pair.of_arrays("p", target, target), NATIVE, in_memory)
    np.testing.assert_allclose(alone.input.std(), made.input.std(), rtol=0.1)
    with pytest.raises(SpotlightError, match="has one channel, seen whole"):
        RestoreTask().read(replace(pair, input_channel=("a", "b")), NATIVE)
    written(tmp_path)
    found = read_pairs(tmp_path / "sharp.csv", column="input")
    assert [p.input.name for p in found] == [p.target.name for p in found] == [f"{n}-sharp.ome.tif" for n in range(4)]


def test_the_loss_of_restored_images() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 9, 12, 11)).astype(np.float32)
    prediction = torch.tensor(a[None, None], requires_grad=True)
    terms = structure_loss(prediction, torch.tensor(b[None, None]))
    similarity = structural_similarity(b, a, data_range=1)[0]
    assert terms.parts["ssim"].item() == pytest.approx(similarity, abs=1e-5)
    assert terms.total.item() == pytest.approx(np.abs(a - b).mean() + 0.2 * (1 - similarity), abs=1e-5)
    terms.total.backward()
    assert prediction.grad is not None
    assert prediction.grad.abs().min() > 0
    thin = structure_loss(torch.tensor(a[None, None, :4]), torch.tensor(b[None, None, :4]))
    assert 0 < thin.total.item() < 1
    plane = structure_loss(torch.tensor(a[None, :1]), torch.tensor(b[None, :1])).parts["ssim"].item()
    assert plane == pytest.approx(structural_similarity(b[0], a[0], data_range=1)[0], abs=1e-5)


def test_a_network_begins_with_no_correction() -> None:
    network = RestoreTask().adapt(FNet(2, 1, 4))
    network.begin_at([0.0])
    image = torch.randn(1, 1, 8, 8)
    torch.testing.assert_close(network.eval()(image), image)


def test_classical_methods_sharpen_what_was_blurred() -> None:
    sigmas, truth = (1.0, 1.5, 1.5), sharp(2).data.astype(np.float32)
    blurred = ndimage.gaussian_filter(truth, sigmas, mode="reflect")
    before = np.mean((blurred - truth) ** 2)
    for method, value in zip(DECONVOLVED, (1e-3, 25), strict=True):
        assert np.mean((method.restore(blurred, sigmas, value) - truth) ** 2) < 0.6 * before, method.name
    kernel = gaussian_kernel(sigmas)
    assert kernel.sum() == pytest.approx(1)
    point = np.zeros((17, 17, 17))
    point[8, 8, 8] = 1
    spread = ndimage.gaussian_filter(point, sigmas)
    np.testing.assert_allclose(kernel, spread[4:13, 2:15, 2:15], atol=1e-6)


def test_scores_of_restored_images() -> None:
    truth = sharp(0).data.astype(np.float32)
    noisy = truth + np.random.default_rng(0).normal(0, 30, truth.shape).astype(np.float32)
    found = score_restoration(truth, noisy, VOXEL)
    low, high = np.percentile(truth, (0.1, 99.9))
    assert found["data_range"] == pytest.approx(high - low)
    assert found["psnr"] == pytest.approx(20 * np.log10((high - low) / 30), abs=0.1)
    assert score_restoration(truth, 2 * noisy + 7)["psnr_fitted"] == pytest.approx(found["psnr_fitted"])
    assert np.isnan(score_restoration(truth, noisy)["detail_xy_um"])


@pytest.mark.slow
def test_a_model_from_training_to_files(tmp_path: Path) -> None:
    path = written(tmp_path)
    experiment = small(RestoreTask())
    assert "less the input" in explain(path, experiment, probe=False)
    folder = train(path, tmp_path / "model", experiment)
    description = read_description(folder)
    assert (description.task.kind, description.input.normalisation) == ("restore", "percentiles")
    model, test = load_model(folder), tmp_path / "3.ome.tif"
    exactly = PredictionSettings(precision="float32")
    result = model.predict(test, settings=exactly)
    assert (result.channels, result.voxel_size) == (("488 (restored)",), VOXEL)
    truth, given = sharp(3).data.astype(float), read(test).data
    error, before = (float(np.mean((image - truth) ** 2)) for image in (result.data, given))
    assert error < 0.9 * before
    # The units are those of the input, whatever they are.
    brighter = model.predict(replace(read(test), array=3 * given + 50), settings=exactly)
    np.testing.assert_allclose(brighter.data, 3 * result.data + 50, rtol=1e-3, atol=1)

    done = CliRunner().invoke(app, ["predict", str(folder), str(test), "--to", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    found = read(tmp_path / "out" / "3-restored.ome.tif").data  # in bfloat16, where that is faster
    np.testing.assert_allclose(found, result.data, atol=0.03 * np.ptp(result.data))

    done = CliRunner().invoke(app, ["evaluate", str(path), "-m", str(folder), "--to", str(tmp_path / "judged")])
    assert done.exit_code == 0, done.output
    scores = pd.read_csv(tmp_path / "judged" / "restoration_scores.csv").set_index("method")
    assert list(scores.index) == ["input", "model", "Gaussian filter"]  # the blur is not known
    gain = scores.loc["model", "psnr"] - scores.loc["input", "psnr"]
    assert (
        scores.loc["model", "gain_db"]
        == pytest.approx(gain, abs=1e-3)
        == pytest.approx(10 * np.log10(before / error), abs=0.1)
    )
    assert scores.loc["input", ["gain_db", "gain_fitted_db"]].tolist() == [0, 0]
    made = train(tmp_path / "sharp.csv", tmp_path / "made", change(small(RestoreTask(degrade=BLUR)), steps=3))
    result = evaluate_restoration(tmp_path / "sharp.csv", made, tmp_path / "judged-made")
    assert result.means["method"].tolist() == ["input", "made", "Gaussian filter", "Wiener", "Richardson-Lucy"]
    assert "the best here" in result.means.set_index("method").loc["Wiener", "setting"]
    page = write_restoration_page(result).read_text(encoding="utf-8")
    assert "inputs made by us" in page
    assert "2 x 1.5 x 1.5 µm" in page
    assert evaluate_restoration(path, made, tmp_path / "judged-real").degraded is None  # the manifest has targets
    with pytest.raises(SpotlightError, match="made in another way"):
        evaluate_restoration(path, {"a": folder, "b": made}, tmp_path / "both")
    with pytest.raises(SpotlightError, match="no pair has the split 'none'"):
        evaluate_restoration(path, folder, tmp_path / "none", split="none")
