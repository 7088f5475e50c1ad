"""Masks as truth: manifests, preparation, patches, loss, head, labels, and a model from training to files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from typer.testing import CliRunner

from conftest import TINY, ellipsoid, real_data
from spotlight.cli import app
from spotlight.errors import SpotlightError
from spotlight.evaluation import evaluate, evaluate_masks, score_masks
from spotlight.export.graph import Graph
from spotlight.images import Stack, read, slabs
from spotlight.images.slabs import in_memory
from spotlight.losses import Batch, MaskLossSettings, build_loss, mask_loss
from spotlight.metrics import betti_errors, cl_dice, component_f1, mask_dice, panoptic_dice
from spotlight.model import InputDescription, ModelDescription, read_description, save_model
from spotlight.networks import FNet, FNetSettings, UNetPlusPlus
from spotlight.pairs import Pair, PreparationSettings, prepare_pairs, read_manifest, read_pairs
from spotlight.pairs.patches import Mixed, centred_starts, patch_starts
from spotlight.prediction import load_model
from spotlight.tasks import TASKS, SegmentTask, StainTask, TargetDescription, find_labels, label_components
from spotlight.training import Experiment, explain, protocol, train
from spotlight.training.data import complete
from spotlight.training.engine import StainModule
from spotlight.training.plan import plan_runs

TASK = SegmentTask()
NATIVE = PreparationSettings(grid="native")
SHAPE = (16, 32, 32)
GLOBES = np.stack(
    [ellipsoid(SHAPE, (8, 9, 9), (4, 5, 5), (1, 1, 1)), ellipsoid(SHAPE, (8, 22, 23), (5, 6, 6), (1, 1, 1))]
)


def fields(folder: Path, count: int = 2, seed: int = 0) -> Path:
    """Stacks in which cells are bright and vessels are dark, and a manifest of their masks, some of them absent."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in range(count):
        cells, vessels = np.roll(GLOBES, (0, 3 * n, 5 * n), (1, 2, 3))
        image = 200 + 150 * cells - 120 * vessels + rng.normal(0, 15, SHAPE)
        Stack(image.astype(np.uint16), "ZYX", (2.0, 1.0, 1.0), ("488",)).save(folder / f"{n}.ome.tif")
        known = cells.astype(np.uint8)
        known[:, :, 28:] = 255
        Stack(known, "ZYX").save(folder / f"{n}-cells.tif")
        Stack(vessels.astype(np.uint8), "ZYX", (2.0, 1.0, 1.0)).save(folder / f"{n}-vessels.tif")
        names = {"input": f"{n}.ome.tif", "mask:cells": f"{n}-cells.tif", "mask:vessels": f"{n}-vessels.tif"}
        rows.append(names | {"split": "test" if n == count - 1 else "val" if n == count - 2 else "train"})
    rows[0]["mask:vessels"] = "absent"
    pd.DataFrame(rows).to_csv(folder / "masks.csv", index=False)
    return folder / "masks.csv"


def test_a_structure_that_is_absent_everywhere_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = fields(tmp_path)
    table = pd.read_csv(path)
    table.assign(**{"mask:nerves": "absent", "mask:plaques": ""}).to_csv(path, index=False)
    found = read_manifest(path, every_target=True, column="mask")
    assert {pair.target_name for pair in found} == {"cells", "vessels"}
    assert "absent in every row, so not learnt and not judged: nerves, plaques" in caplog.text


def test_a_manifest_of_masks(tmp_path: Path) -> None:
    path = fields(tmp_path)
    found = read_manifest(path, every_target=True, column="mask")
    assert [(p.name, p.target_name, p.target.name) for p in found] == [
        ("0-cells", "cells", "0-cells.tif"),
        ("1-cells", "cells", "1-cells.tif"),
        ("1-vessels", "vessels", "1-vessels.tif"),
    ]
    path.write_text("input,mask,split\n0.ome.tif,0-cells.tif,train\n")
    assert [p.name for p in read_pairs(path, column="mask")] == ["0"]
    for text, message in (
        ("input,target\n0.ome.tif,0-cells.tif\n", "has no column 'mask'. A manifest needs the columns input and mask"),
        ("input,masks:cells\n0.ome.tif,0-cells.tif\n", "did you mean 'mask:cells'"),
        ("input,mask:cells\n0.ome.tif,absent\n", "mask is absent in every row"),
        ("input,mask:cells\n0.ome.tif,nowhere.tif\n", "target: .*nowhere.tif"),
    ):
        path.write_text(text)
        with pytest.raises(SpotlightError, match=message):
            read_pairs(path, every_target=True, column="mask")
    with pytest.raises(SpotlightError, match="is a folder, which does not say which mask"):
        read_pairs(tmp_path, column="mask")


def test_a_mask_tells_structure_background_and_unknown_apart(tmp_path: Path) -> None:
    pair = read_manifest(fields(tmp_path), "cells", column="mask")[0]
    made = TASK.prepare(pair, NATIVE, in_memory)
    np.testing.assert_array_equal(made.mask[..., :28], True)
    assert not made.mask[..., 28:].any()
    np.testing.assert_array_equal(made.target > 0, GLOBES[0] & made.mask)
    assert made.foreground.fraction == pytest.approx((GLOBES[0] & made.mask).sum() / made.mask.sum())
    assert made.input.mean() == pytest.approx(0, abs=1e-5)
    assert TASK.prior([made]) == pytest.approx(np.log(made.foreground.fraction / (1 - made.foreground.fraction)))
    with pytest.raises(SpotlightError, match=r"cells: no training mask has a voxel of it.*255 means not annotated"):
        TASK.prior([replace(made, target=np.zeros_like(made.target))])
    output = np.where(made.target > 0, 3.0, -3.0).astype(np.float32)
    output[..., 28:] = 9  # where nothing is known, nothing is wrong
    assert TASK.score(output, made) == {"mask_dice": 1.0}
    output[:8] *= -1
    inside, known = GLOBES[0] & made.mask, made.mask
    found = (output >= 0) & known
    assert TASK.score(output, made)["mask_dice"] == pytest.approx(
        2 * (found & inside).sum() / (found.sum() + inside.sum())
    )

    (cached,) = prepare_pairs([pair], NATIVE, tmp_path / "cache", None, TASK.prepare, "segment")
    np.testing.assert_array_equal(cached.target, made.target)
    np.testing.assert_array_equal(cached.mask, made.mask)
    assert cached.foreground == made.foreground
    coarse = TASK.prepare(pair, PreparationSettings(grid=2.0), in_memory)
    assert coarse.target.shape == (16, 16, 16)
    assert set(np.unique(coarse.target)) == {0, 1}


def test_masks_of_other_values_are_refused_or_explained(tmp_path: Path) -> None:
    pair = read_manifest(fields(tmp_path), "cells", column="mask")[0]

    def written(values: NDArray[np.uint8], task: SegmentTask = TASK) -> float:
        Stack(values, "ZYX").save(pair.target)
        return task.prepare(pair, NATIVE, in_memory).foreground.fraction

    labels = GLOBES[0] + 2 * GLOBES[1].astype(np.uint8)
    with pytest.raises(
        SpotlightError, match=r"the column mask:cells \(row '0'\).*values 0, 1, 255, but it has 2.*write 1"
    ):
        written(labels.astype(np.uint8))
    with pytest.raises(SpotlightError, match="nothing in it is annotated"):
        written(np.full(SHAPE, 255, np.uint8))
    images = SegmentTask(foreground=(255,), not_annotated=())
    assert written(255 * GLOBES[0].astype(np.uint8), images) == pytest.approx(GLOBES[0].mean())
    with pytest.raises(SpotlightError, match="no value may stand twice"):
        SegmentTask.parse({"foreground": [255]}, "test")
    Stack(GLOBES[0, :-1].astype(np.uint8), "ZYX").save(pair.target)
    with pytest.raises(SpotlightError, match="must show the same field"):
        TASK.read(pair, NATIVE)


def test_settings_of_the_task() -> None:
    found = protocol("spotlight", "segment")
    assert (found.task, found.loss, found.preparation.grid) == (TASK, MaskLossSettings(), "native")
    assert (found.patches.augment, found.training.head_rate, found.flatten_background) == (True, 5.0, False)
    assert Experiment.parse(found.model_dump(mode="json"), "again") == found
    assert protocol("spotlight", "stain") == protocol("spotlight")
    assert Experiment().task == StainTask()
    assert {"stain", "segment"} <= set(TASKS.names())
    for parts, message in (
        ({"loss": "mse"}, "the task segment learns masks, but the loss mse compares intensities"),
        ({"flatten_background": True}, "flatten_background and adversarial are for stains"),
        ({"task": "stain"}, "the task stain learns intensities, but the loss masks compares masks"),
        ({"task": {"kind": "segment", "structure": {}}}, "did you mean 'structures'"),
        ({"task": "restore", "loss": "l1-ssim", "preparation": {"scaling": "log"}}, "in the units of the input"),
    ):
        with pytest.raises(SpotlightError, match=message):
            Experiment.parse(found.model_dump() | parts, "test")
    with pytest.raises(SpotlightError, match="choose_by must be loss or foreground_pearson"):
        Experiment.parse({"training": {"choose_by": "mask_dice"}}, "test")
    with pytest.raises(SpotlightError, match="Did you mean 'segment'"):
        protocol("spotlight", "segmet")
    with pytest.raises(SpotlightError, match="are for the task 'stain', but 'segment' was asked for"):
        train("nowhere.csv", "nowhere", TINY, task="segment")


def test_patches_are_centred_on_the_structure_or_anywhere() -> None:
    patch, target = (6, 10, 12), GLOBES[0].astype(np.float32)
    around = centred_starts(target, patch)
    found = {around[n] for n in range(len(around))}
    wanted = {
        tuple(int(min(max(v - p // 2, 0), n - p)) for v, p, n in zip(voxel, patch, SHAPE, strict=True))
        for voxel in np.argwhere(target > 0)
    }
    assert found == wanted
    assert len(around) == np.count_nonzero(target)
    assert len(centred_starts(np.zeros(SHAPE), patch)) == 0
    anywhere = patch_starts(SHAPE, patch)
    mixed, rng = Mixed(around, anywhere, 0.6), np.random.default_rng(0)
    drawn = [mixed[int(n)] for n in rng.integers(len(mixed), size=4000)]
    chance = 0.6 + 0.4 * len(found) / len(anywhere)
    assert np.mean([start in found for start in drawn]) == pytest.approx(chance, abs=0.03)
    assert mixed[0] == around[0]
    assert mixed[len(mixed) - 1] == anywhere[len(anywhere) - 1]


def test_the_loss_of_masks() -> None:
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(2, 1, 3, 4, 5)), (rng.random((2, 1, 3, 4, 5)) < 0.3).astype(float)
    known = rng.random(target.shape) < 0.7
    p, t = 1 / (1 + np.exp(-logits[known])), target[known]
    entropy, dice = -np.mean(np.log(np.where(t > 0, p, 1 - p))), 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
    prediction = torch.tensor(logits, requires_grad=True)
    terms = mask_loss(prediction, torch.tensor(target), torch.tensor(known))
    assert terms.total.item() == pytest.approx(entropy + dice, rel=1e-5)
    assert terms.parts["cross_entropy"].item() == pytest.approx(entropy, rel=1e-5)
    terms.total.backward()
    assert not prediction.grad[~torch.tensor(known)].any()
    weighed = mask_loss(prediction, torch.tensor(target), torch.tensor(known), MaskLossSettings(dice=0.5, smoothing=9))
    assert weighed.total.item() == pytest.approx(
        entropy + 0.5 * (1 - (2 * (p * t).sum() + 9) / (p.sum() + t.sum() + 9)), rel=1e-5
    )
    nothing = mask_loss(prediction, torch.tensor(target), torch.zeros(target.shape, dtype=torch.bool))
    assert nothing.total.item() == 0

    outputs = torch.tensor(rng.normal(size=(2, 2, 3, 4, 5)))  # two structures, of which the second sample lacks one
    rows = ((0, 0), (0, 1), (1, 0))
    truth, there = torch.rand(3, 1, 3, 4, 5).round(), torch.ones(3, 1, 3, 4, 5, dtype=torch.bool)
    batch = Batch(outputs[:, :1], truth, there, torch.zeros(3), rows=rows)
    first = mask_loss(outputs[:, :1], truth[[0, 2]], there[[0, 2]]).total
    second = mask_loss(outputs[:1, 1:], truth[[1]], there[[1]]).total
    assert build_loss(MaskLossSettings())(outputs, batch).total.item() == pytest.approx((first + second).item() / 2)


def test_a_network_begins_at_what_it_is_given_and_its_head_learns_faster() -> None:
    for network in (FNet(2, 1, 4, stains=2), UNetPlusPlus(2, 1, 4, stains=2)):
        network.begin_at([-3.0, 1.5])
        made = network.eval()(torch.randn(1, 1, 8, 8))
        np.testing.assert_array_equal(made[0].flatten(1).detach(), np.repeat([[-3.0], [1.5]], 64, 1))
    settings = protocol("spotlight", "segment").training
    module = StainModule(network, MaskLossSettings(), settings)
    trunk, head = module.configure_optimizers()["optimizer"].param_groups
    assert {id(weight) for weight in head["params"]} == {id(weight) for weight in network.head.parameters()}
    assert len(trunk["params"]) + len(head["params"]) == len(list(network.parameters()))
    assert head["initial_lr"] == 5 * trunk["initial_lr"]
    plain = StainModule(network, MaskLossSettings(), settings.model_copy(update={"head_rate": 1.0}))
    assert len(plain.configure_optimizers()["optimizer"].param_groups) == 1
    with pytest.raises(ValueError, match="no layer with a bias"):
        network.begin_at([0.0])


def test_a_run_goes_on_from_a_model_of_another_task(tmp_path: Path) -> None:
    network = FNet(3, 1, 4)
    of_stain = TargetDescription(center="mean", normalised_range=(0, 1), intensity_range=(0, 1))
    settings = FNetSettings(depth=1, mult_chan=4)
    expected = InputDescription(axes="ZYX", grid="native")
    save_model(tmp_path / "stain", ModelDescription(network=settings, input=expected, target=of_stain), network)
    values = protocol("spotlight", "segment").model_dump()
    values["training"] |= {"finetune": tmp_path / "stain", "device": "cpu"}
    (plan,) = plan_runs(fields(tmp_path, 3), complete(Experiment.parse(values, "test"), {})).values()
    assert plan.new_head
    prepared = [TASK.prepare(pair, NATIVE, in_memory) for pair in plan.training]
    made = plan.build_network(3, prepared)
    assert plan.outputs.names == ("cells",)  # no training stack has vessels
    for name, weight in network.state_dict().items():
        same = torch.equal(weight, made.state_dict()[name])
        assert same == (not name.startswith("head.")), name
    assert made.head.bias.item() == pytest.approx(TASK.prior(prepared))
    assert not made.head.weight.any()
    assert "last layers are drawn anew" in explain(tmp_path / "masks.csv", plan.experiment)


def test_labels_of_probabilities() -> None:
    rng = np.random.default_rng(0)
    noise = rng.random((6, 20, 20))
    found = label_components(noise, 0.8)
    wanted = ndimage.label(noise >= 0.8, np.ones((3, 3, 3)))[0]
    np.testing.assert_array_equal(found, wanted)
    large = label_components(noise, 0.8, least_voxels=4)
    sizes = np.bincount(wanted.ravel())
    assert large.max() == np.count_nonzero(sizes[1:] >= 4)
    np.testing.assert_array_equal(large > 0, (wanted > 0) & (sizes[wanted] >= 4))
    touching = np.zeros((9, 30, 30))
    for x in (9, 19):
        touching[ellipsoid(touching.shape, (4, 15, x), (4, 6, 6), (1, 1, 1))] = 1
    assert label_components(touching).max() == 1
    halves = label_components(touching, split=True)
    assert halves.max() == 2
    assert halves[4, 15, 9] != halves[4, 15, 19]
    np.testing.assert_array_equal(halves > 0, touching > 0)
    assert label_components(np.zeros((4, 4)), split=True).max() == 0

    both = Stack(np.stack([touching, touching]).astype(np.float32), "CZYX", (1.0, 1.0, 1.0), ("cells", "vessels"))
    labels = find_labels(both, split=("cells",))
    assert labels.data.max(axis=(1, 2, 3)).tolist() == [2, 1]
    assert (labels.channels, labels.voxel_size, labels.array.dtype) == (both.channels, both.voxel_size, np.int32)
    with pytest.raises(SpotlightError, match="has no structure 'nuclei' to split. It has: cells, vessels"):
        find_labels(both, split=("nuclei",))


def test_labels_of_slabs_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    smooth = ndimage.gaussian_filter(rng.random((40, 24, 22)), 1.2)
    smooth = ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)
    spiral = np.zeros_like(smooth)  # one piece whose parts meet only after many planes
    for z in range(0, 36, 4):
        spiral[z, 4:20, 4:20] = 1
        spiral[z : z + 5, 4 if z % 8 else 19, 4] = 1
    whole = [label_components(one, 0.68, 3, split) for one in (smooth, spiral) for split in (False, True)]
    for planes in (1, 3, 7):
        monkeypatch.setattr(slabs, "SLAB_VOXELS", planes * 24 * 22)
        found = [label_components(one, 0.68, 3, split) for one in (smooth, spiral) for split in (False, True)]
        for one, other in zip(found, whole, strict=True):
            np.testing.assert_array_equal(one, other)
    numbers, count = ndimage.label(smooth >= 0.68, np.ones((3, 3, 3)))
    assert count > 20
    np.testing.assert_array_equal(label_components(smooth, 0.68), numbers)
    assert whole[2].max() == 1
    plane = label_components(smooth[:, :, 5], 0.68)
    np.testing.assert_array_equal(plane, ndimage.label(smooth[:, :, 5] >= 0.68, np.ones((3, 3)))[0])
    stack = Stack(np.stack([smooth, spiral]), "CZYX", (2.0, 1.0, 1.0), ("a", "b"))
    (tmp_path / "files").mkdir()
    mapped = find_labels(stack, 0.68, 3, ("a",), slabs.in_files(tmp_path / "files"))
    assert isinstance(mapped.array, np.memmap)
    np.testing.assert_array_equal(mapped.data, find_labels(stack, 0.68, 3, ("a",)).data)


def test_scores_follow_the_kind_of_structure() -> None:
    truth, found = GLOBES[0] | GLOBES[1], GLOBES[0]
    contiguous, isolated, both = (
        score_masks(truth, found, kind, (2, 1, 1)) for kind in ("contiguous", "isolated", None)
    )
    assert contiguous["mask_dice"] == isolated["mask_dice"] == mask_dice(truth, found)
    assert contiguous["cl_dice"] == cl_dice(truth, found, (2, 1, 1))
    assert (contiguous["betti_0_error"], contiguous["betti_1_error"]) == betti_errors(truth, found)[:2]
    assert isolated["panoptic_dice"] == panoptic_dice(truth, found) == pytest.approx(2 / 3)
    assert isolated["component_f1"] == component_f1(truth, found)
    assert np.isnan([contiguous["component_f1"], isolated["cl_dice"]]).all()
    assert not np.isnan(list(both.values())).any()


@pytest.mark.slow
def test_a_model_from_training_to_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = fields(tmp_path, 6)
    values = protocol("spotlight", SegmentTask(least_voxels=20, structures={"vessels": "contiguous"})).model_dump()
    values["network"] |= {"depth": 1, "mult_chan": 4}
    values["patches"] |= {"size": (8, 16, 16)}
    values["training"] |= {"steps": 60, "batch_size": 4, "learning_rate": 1e-2, "validate_every": 20, "device": "cpu"}
    experiment = Experiment.parse(values, "test")
    text = explain(path, experiment)
    assert "1 cross-entropy + 1 Dice of every structure" in text
    folder = train(path, tmp_path / "model", experiment)
    log = pd.read_csv(folder / "training" / "log.csv")
    assert log["validation_mask_dice"].dropna().iloc[-1] > 0.8
    description = read_description(folder)
    assert (description.task.kind, [t.channel for t in description.targets]) == ("segment", ["cells", "vessels"])

    model, test = load_model(folder), tmp_path / "5.ome.tif"
    result = model.predict(test)
    assert (result.axes, result.channels, result.voxel_size) == ("CZYX", ("cells", "vessels"), (2.0, 1.0, 1.0))
    assert 0 <= result.data.min() < 0.2 < 0.8 < result.data.max() <= 1
    truth = np.stack([read(tmp_path / f"5-{name}.tif").data == 1 for name in result.channels])
    assert 2 * (truth & (result.data > 0.5)).sum() / (truth.sum() + (result.data > 0.5).sum()) > 0.8

    done = CliRunner().invoke(app, ["evaluate", str(path), "--model", str(folder), "--to", str(tmp_path / "judged")])
    assert done.exit_code == 0, done.output
    assert "b0 error" in done.output
    scores = pd.read_csv(tmp_path / "judged" / "mask_scores.csv").set_index("structure")
    assert scores["stack"].tolist() == ["5-cells"] * 2
    found, known = result.data[0] >= 0.5, read(tmp_path / "5-cells.tif").data
    assert scores.loc["cells", "mask_dice"] == pytest.approx(mask_dice(known == 1, found & (known != 255)), rel=1e-5)
    assert np.isnan(scores.loc["vessels", "component_f1"])
    assert not np.isnan(scores.loc["cells", ["cl_dice", "component_f1"]]).any()  # of no stated kind: both
    page = (tmp_path / "judged" / "masks.html").read_text(encoding="utf-8")
    assert page.count('class="outline"') >= 2
    stored = tmp_path / "judged" / "judged" / "model" / "5-cells" / "facts.json"
    made = stored.stat().st_mtime_ns
    again = evaluate_masks(path, folder, tmp_path / "judged")
    assert stored.stat().st_mtime_ns == made  # nothing is done twice
    pd.testing.assert_frame_equal(again.scores.set_index("structure")[["mask_dice"]], scores[["mask_dice"]], rtol=1e-4)
    both = evaluate_masks(path, folder, tmp_path / "judged", split="val", workers=2)
    spread = evaluate_masks(read_pairs(path, every_target=True, column="mask"), folder, tmp_path / "two", split="val")
    pd.testing.assert_frame_equal(both.scores, spread.scores)
    Stack(np.roll(known, 9, 2), "ZYX").save(tmp_path / "5-cells.tif")  # a changed file is judged anew
    changed = evaluate_masks(path, folder, tmp_path / "judged").scores.set_index("structure")
    assert changed.loc["cells", "mask_dice"] < 0.7 * scores.loc["cells", "mask_dice"]
    Stack(known, "ZYX").save(tmp_path / "5-cells.tif")
    with pytest.raises(SpotlightError, match="finds masks, which are compared by"):
        evaluate(path, folder, tmp_path / "stains")
    with pytest.raises(SpotlightError, match="learnt the task 'segment', whose results files cannot compute yet"):
        Graph(model, normalise=False, flatten=True, intensities=False)

    command = ["predict", str(folder), str(test), "--to", str(tmp_path / "masks")]
    for said in ("", "was there already"):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        assert said in done.output
    np.testing.assert_array_equal(read(tmp_path / "masks" / "5-probability.ome.tif").data, result.data)
    rounded = CliRunner().invoke(app, ["predict", str(folder), str(test), "--to", str(tmp_path), "--dtype", "uint8"])
    assert rounded.exit_code == 2
    assert "a probability as uint8 would be 0 or 1" in caplog.text
    labels = read(tmp_path / "masks" / "5-labels.ome.tif")
    np.testing.assert_array_equal(labels.data, model.further(result)["-labels"].data)
    assert labels.data.max() >= 1


@pytest.mark.slow
def test_spots_are_learnt_on_one_scale(tmp_path: Path) -> None:
    """A volume of 200 cells and one of 2 have other statistics, but the same brightness, which the network sees."""
    values = protocol("spots").model_dump()
    assert (values["protocol"], values["task"]["kind"]) == ("spots", "segment")
    assert protocol("spots", "segment") == protocol("spots")
    named = protocol("spots", SegmentTask(structures={"cells": "isolated"}))
    assert (named.preparation.scaling, named.training.learning_rate) == ("log", 4e-3)
    values["network"] |= {"depth": 1, "mult_chan": 4}
    values["patches"] |= {"size": (8, 16, 16)}
    values["training"] |= {"steps": 60, "learning_rate": 1e-2, "ema": 0.0, "device": "cpu"}  # too short for an average
    rng = np.random.default_rng(0)

    def volume(cells: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        places = np.zeros((16, 48, 48), bool)
        places.ravel()[rng.choice(places.size, cells, replace=False)] = True
        mask = ndimage.binary_dilation(places, iterations=2)
        return (rng.normal(2000, 150, mask.shape) + 2000 * mask).astype(np.uint16), mask.astype(np.uint8)

    pairs = [Pair.of_arrays(str(n), *volume(n), voxel_size=(2.0, 1.0, 1.0)) for n in (20, 80, 200)]
    folder = train(pairs, tmp_path / "model", Experiment.parse(values, "test"))
    model = load_model(folder)
    assert model.description.input.normalisation == "log"
    assert not pd.read_csv(folder / "training" / "log.csv")["validation_mask_dice"].notna().any()  # none is held out
    for cells in (2, 200):
        image, mask = volume(cells)
        found = model.predict(image, voxel_size=(2.0, 1.0, 1.0)).data >= 0.5
        assert mask_dice(mask > 0, found) > 0.8
    with pytest.raises(SpotlightError, match="float32, but the scaling 'log' is a fixed scale"):
        model.predict(image.astype(np.float32), voxel_size=(2.0, 1.0, 1.0))


def test_real_masks(tmp_path: Path) -> None:
    folder = real_data("lightsheet_spots_3d")
    pair = Pair("c", folder / "cFos_695_0.ome.tif", folder / "cFos_695_0_mask.ome.tif")
    made = TASK.prepare(pair, NATIVE, in_memory)
    assert made.foreground.fraction == pytest.approx(0.004665)
    around = centred_starts(made.target, (16, 32, 32))
    assert len(around) == 4665
