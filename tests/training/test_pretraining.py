"""Pretraining: what is hidden and how the guess is judged, a backbone that resumes to the bit, and starts from it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from scipy import ndimage
from typer.testing import CliRunner

import spotlight
from conftest import TINY, change
from killing import command_of, kill_often
from spotlight.cli import app
from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.images.slabs import in_memory
from spotlight.losses import Batch, HiddenLossSettings, distillation_loss, hidden_loss
from spotlight.model import read_description
from spotlight.networks import FNet, FNetSettings
from spotlight.pairs import PreparationSettings
from spotlight.pairs.unlabelled import content_digest, read_inputs
from spotlight.prediction import load_model
from spotlight.tasks import HiddenTask
from spotlight.tasks.hidden import hidden_blocks, inpaint
from spotlight.training import Experiment, explain, pretrain, pretraining, protocol, train
from spotlight.training.backbone import refresh_statistics
from spotlight.training.batches import PatchBatches, hide
from spotlight.training.data import complete, make_batches, make_sampler, prepare
from spotlight.training.hardware import Processes
from spotlight.training.plan import plan_runs

SHAPE = (16, 32, 32)
VOXEL = (4.0, 2.0, 2.0)


def tiny(pretext: str = "hidden", **training: object) -> Experiment:
    """Settings of seconds."""
    values = pretraining(pretext, steps=4, batch_size=2).model_dump()  # type: ignore[arg-type]
    values["network"] = FNetSettings(depth=1, mult_chan=4, init="torch").model_dump()
    values["patches"]["size"] = (8, 16, 16)
    values["training"] |= {"validate_every": 2, "checkpoint_every": 2, "precision": "float32", **training}
    return Experiment.parse(values, "test")


def stack(seed: int, shape: tuple[int, ...] = SHAPE) -> Stack:
    """Smooth blobs with noise."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    image = 1000 + 200 * smooth / smooth.std() + rng.normal(0, 20, shape)
    return Stack(image.clip(0).astype(np.uint16), "ZYX"[-len(shape) :], VOXEL[-len(shape) :], ("488",))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for number in range(4):
        stack(number).save(folder / f"{number}.ome.tif")
    return folder


@pytest.fixture(scope="module")
def labelled(archive: Path) -> Path:
    """Masks of the stacks of the archive; the last is for testing."""
    rows = []
    for number in range(4):
        bright = spotlight.read(archive / f"{number}.ome.tif").data > 1200
        (archive / "masks").mkdir(exist_ok=True)
        Stack(bright.astype(np.uint8), "ZYX", VOXEL).save(archive / "masks" / f"{number}.tif")
        split = "test" if number == 3 else "val" if number == 2 else "train"
        rows.append({"input": f"{number}.ome.tif", "mask:blobs": f"masks/{number}.tif", "split": split})
    pd.DataFrame(rows).to_csv(archive / "masks.csv", index=False)
    return archive / "masks.csv"


@pytest.fixture(scope="module")
def backbone(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on all but the test stack."""
    return pretrain(labelled, tmp_path_factory.mktemp("models") / "backbone", tiny())


def test_a_share_of_blocks_is_hidden_that_cover_equal_depth() -> None:
    shape, block = (16, 64, 64), HiddenTask().block(3, VOXEL)
    assert block == (4, 8, 8)  # 4 planes of 4 µm are 8 voxels of 2 µm
    assert HiddenTask().block(3, (20.0, 2.0, 2.0)) == (2, 8, 8)
    assert HiddenTask().block(2, (2.0, 2.0)) == (8, 8)
    masks = [hidden_blocks(shape, block, 0.3, np.random.default_rng(n)) for n in range(40)]
    assert np.mean(masks) == pytest.approx(0.3, abs=0.01)
    assert np.ptp([mask.mean() for mask in masks]) > 0
    for axis, edge in enumerate(block):
        borders = np.unique(np.nonzero(np.diff(masks[0].astype(int), axis=axis))[axis])
        assert len(borders) > 1
        assert len({int(place) % edge for place in borders}) == 1  # one grid, wherever it begins
    assert not hidden_blocks((8, 8), (4, 4), 0.9, np.random.default_rng(0)).all()
    assert hidden_blocks((8, 8), (4, 4), 0.01, np.random.default_rng(0)).any()


def test_the_loss_counts_hidden_voxels_in_deviations_of_their_patch() -> None:
    rng = np.random.default_rng(0)
    target = torch.tensor(rng.normal(size=(2, 1, 4, 8, 8)) * np.reshape([1.0, 0.01], (2, 1, 1, 1, 1)))
    guess = target + torch.tensor(rng.normal(size=target.shape))
    hidden = torch.tensor(rng.random(target.shape) < 0.3)
    found = hidden_loss(guess.float(), target.float(), hidden, 0.5).total
    each = []
    for g, t, h in zip(guess.numpy(), target.numpy(), hidden.numpy(), strict=True):
        d = np.abs(g - t)[h] / t.std()
        each.append(np.where(d < 0.5, d**2, d - 0.25))
    assert float(found) == pytest.approx(np.concatenate(each).mean(), rel=1e-4)
    elsewhere = torch.where(hidden, guess, guess + 5)
    assert hidden_loss(elsewhere.float(), target.float(), hidden, 0.5).total == found
    assert "hidden" in HiddenLossSettings().describe()


def test_channels_are_hidden_together_and_are_targets_of_their_own() -> None:
    image = torch.arange(2 * 2 * 4 * 4, dtype=torch.float32).reshape(2, 2, 4, 4)
    hidden = np.zeros((2, 4, 4), bool)
    hidden[0, :2], hidden[1, :, 3] = True, True
    rows = ((0, 0), (0, 1), (1, 0), (1, 1))
    batch = Batch(image, torch.empty(4, 1, 4, 4), torch.empty(4, 1, 4, 4), torch.zeros(4), rows=rows)
    seen = hide(batch, hidden)
    assert (seen.input[0, :, :2] == 0).all()
    assert (seen.input[0, :, 2:] == image[0, :, 2:]).all()
    np.testing.assert_array_equal(seen.target.reshape(2, 2, 4, 4), image)
    np.testing.assert_array_equal(seen.mask[:, 0], hidden.repeat(2, 0))


def test_a_validation_is_compared_with_two_free_guesses() -> None:
    task, pair = HiddenTask(), read_inputs([stack(5)])[0]
    made = task.prepare(pair, PreparationSettings(grid="native"), in_memory)
    hidden = np.asarray(made.mask)
    assert (task.shown(made)[hidden] == 0).all()
    np.testing.assert_array_equal(task.shown(made)[~hidden], made.input[~hidden])
    assert task.score(np.zeros_like(made.input), made)["gain_over_mean"] == pytest.approx(0)
    best = [inpaint(made.target, ~hidden, sigma) for sigma in (2.0, 4.0)]
    gains = [task.score(guess, made)["gain_over_inpainting"] for guess in best]
    assert max(gains) == pytest.approx(0)
    assert task.score(best[int(np.argmax(gains))], made)["gain_over_mean"] > 0  # smooth stacks can be filled in
    assert task.score(made.target, made)["gain_over_inpainting"] == 1
    again = task.prepare(pair, PreparationSettings(grid="native"), in_memory)
    np.testing.assert_array_equal(again.mask, hidden)


def test_inpainting_is_a_normalised_convolution() -> None:
    flat, known = np.full((4, 12, 12), 3.0, np.float32), np.ones((4, 12, 12), bool)
    known[:, 3:9, 3:9] = False
    np.testing.assert_allclose(inpaint(np.where(known, flat, 99), known, 2.0), flat, rtol=1e-5)


def test_a_backbone_says_what_it_is_and_is_refused_elsewhere(backbone: Path, archive: Path, tmp_path: Path) -> None:
    description = read_description(backbone)
    assert description.task == HiddenTask()
    assert description.training["pretext"]["useful"] in ("yes", "no")
    assert len(description.training["seen"]) == 3
    log = pd.read_csv(backbone / "training" / "log.csv")
    assert log[["validation_gain_over_mean", "validation_gain_over_inpainting"]].notna().any().all()
    with pytest.raises(SpotlightError, match="is a backbone, which has no head .* --from"):
        load_model(backbone)
    result = CliRunner().invoke(app, ["predict", str(backbone), str(archive / "0.ome.tif"), "--to", str(tmp_path)])
    assert isinstance(result.exception, SpotlightError)
    assert not list(tmp_path.iterdir())


def test_a_stopped_run_goes_on_to_the_same_bits(backbone: Path, labelled: Path, tmp_path: Path) -> None:
    def stop(work: str, done: int, total: int, figures: dict[str, float]) -> None:
        if work == "training" and done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(labelled, tmp_path / "again", tiny(), progress=stop)
    assert not (tmp_path / "again" / "model.yaml").exists()
    pretrain(labelled, tmp_path / "again", tiny(), cache=tmp_path / "cache")
    first, second = (load_file(folder / "weights.safetensors") for folder in (backbone, tmp_path / "again"))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    same, fallen = kill_often(command_of(tmp_path, backbone=True), tmp_path, 1, 3, np.random.default_rng(1))
    assert same == [True]
    assert sum(fallen.values()) == 3


def test_batch_statistics_are_those_of_whole_patches(archive: Path) -> None:
    experiment, pairs = tiny(micro_batches=1), read_inputs(archive)
    plan = plan_runs(pairs, experiment)[""]
    prepared = prepare(plan.pairs, experiment, None, None)
    sampler = make_sampler(prepared, (8, 16, 16), experiment)
    batches = make_batches(prepared, sampler, experiment, Processes(), torch.device("cpu"), whole=True)
    network = FNet(3, 1, 4, init="torch")
    refresh_statistics(network, batches)
    first = network.encoders[0][0]
    with torch.no_grad():
        seen = torch.cat([first(batches.batch(step).input) for step in range(100)])
    found = network.encoders[0][1].running_mean
    torch.testing.assert_close(found, seen.mean((0, 2, 3, 4)), rtol=1e-3, atol=1e-4)
    assert not network.training
    assert isinstance(batches, PatchBatches)
    assert (batches.batch(0).input != 0).all()  # nothing is hidden


def test_the_trunk_is_kept_and_the_head_begins_at_the_prior(backbone: Path, labelled: Path) -> None:
    experiment = complete(protocol("spotlight", "segment"), {})
    experiment = complete(change(experiment, finetune=backbone), {})
    plan = plan_runs(labelled, experiment)[""]
    assert plan.new_head
    prepared = prepare(plan.training, experiment, None, None)
    network = plan.build_network(3, prepared)
    weights = load_file(backbone / "weights.safetensors")
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, weights[name]) or name.startswith("head.")
    share = np.mean([pair.target.mean() for pair in prepared])
    assert (network.head.weight == 0).all()
    assert network.head.bias.item() == pytest.approx(np.log(share / (1 - share)), rel=1e-3)
    assert "its last layers are drawn anew" in explain(labelled, experiment)


def test_a_stain_from_a_backbone_begins_at_zero(backbone: Path) -> None:
    image = stack(9)
    experiment = protocol("spotlight").model_copy(update={"preparation": PreparationSettings(grid="native")})
    experiment = complete(change(experiment, finetune=backbone), {})
    plan = plan_runs([(image, image), (stack(8), stack(8))], experiment)[""]
    network = plan.build_network(3, prepare(plan.training, experiment, None, None))
    assert (network.head.weight == 0).all()
    assert (network.head.bias == 0).all()


@pytest.mark.slow
def test_test_stacks_that_were_seen_are_named(archive: Path, labelled: Path, tmp_path: Path) -> None:
    whole = pretrain(archive, tmp_path / "all", tiny(steps=1))
    quick = change(tiny("simulated", steps=1), finetune=whole)
    with pytest.raises(SpotlightError, match="was pretrained on stacks that are for testing: 3.*--allow-seen"):
        train(labelled, tmp_path / "refused", quick)
    model = train(labelled, tmp_path / "allowed", change(quick, allow_seen=True))
    record = read_description(model).training
    assert len(record["seen"]) == 4
    assert record["pretext"]["kind"] == "hidden"
    scores = spotlight.evaluation.evaluate_masks(labelled, model, tmp_path / "scores").scores
    assert scores["seen_in_training"].all()


def test_a_copy_of_another_name_is_known(archive: Path, tmp_path: Path) -> None:
    stack(3).save(tmp_path / "renamed.ome.tif")
    digests = [content_digest(pair) for pair in read_inputs(archive)]
    copy = read_inputs(tmp_path)[0]
    assert content_digest(copy) == digests[3]
    assert content_digest(replace(copy, region=":, 0:16, :")) == digests[3]
    assert len(set(digests)) == 4


def test_another_preparation_than_the_backbones_is_refused(backbone: Path, labelled: Path, tmp_path: Path) -> None:
    segment = change(protocol("spotlight", "segment"), finetune=backbone)

    def refused(match: str, pairs: object = labelled, **preparation: object) -> None:
        changed = segment.preparation.model_copy(update=preparation)
        experiment = complete(segment.model_copy(update={"preparation": changed}), {})
        with pytest.raises(SpotlightError, match=match):
            plan = plan_runs(pairs, experiment)[""]  # type: ignore[arg-type]
            plan.step(plan.read_sizes())

    refused("pretrained with the grid 'native'.*--grid native", grid=1.0)
    refused("pretrained with the scaling 'mean/std'.*preparation.scaling mean/std", scaling="median/iqr")
    coarse = tmp_path / "coarse"
    coarse.mkdir()
    for number in range(2):
        replace(stack(number), voxel_size=(8.0, 4.0, 4.0)).save(coarse / f"{number}.ome.tif")
        Stack(np.ones(SHAPE, np.uint8), "ZYX").save(coarse / f"{number}-mask.tif")
    rows = [{"input": f"{n}.ome.tif", "mask:blobs": f"{n}-mask.tif"} for n in range(2)]
    pd.DataFrame(rows).to_csv(coarse / "masks.csv", index=False)
    refused("pretrained on voxels of 4 x 2 x 2 µm, but those of . are 8 x 4 x 4 µm", coarse / "masks.csv")
    flat = tmp_path / "flat"
    flat.mkdir()
    stack(0, (32, 32)).save(flat / "0.ome.tif")
    Stack(np.ones((32, 32), np.uint8), "YX").save(flat / "0-mask.tif")
    pd.DataFrame([{"input": "0.ome.tif", "mask:blobs": "0-mask.tif"}]).to_csv(flat / "masks.csv", index=False)
    refused("was trained on stacks with the axes ZYX, but 0 has 2 axes", flat / "masks.csv")


def test_what_cannot_be_learnt_from_is_refused(archive: Path, tmp_path: Path) -> None:
    def refused(match: str, source: object, experiment: Experiment | None = None) -> None:
        with pytest.raises(SpotlightError, match=match):
            pretrain(source, tmp_path / "model", experiment or tiny())  # type: ignore[arg-type]
        assert not (tmp_path / "model").exists()

    def with_task(**task: object) -> Experiment:
        values = tiny().model_dump()
        values["task"] |= task
        return Experiment.parse(values, "test")

    (tmp_path / "empty").mkdir()
    refused("has no image files", tmp_path / "empty")
    refused("there is no stack to pretrain on", [])
    refused("mix two- and three-dimensional", [stack(0), stack(1, (32, 32))])
    refused("constant", [Stack(np.full(SHAPE, 7, np.uint16), "ZYX", VOXEL)] * 2)
    padded = np.zeros((16, 64, 64), np.uint16)
    padded[:2, :4, :8] = stack(0).data[:2, :4, :8]
    refused("in no stack do half of a patch's voxels differ", [Stack(padded, "ZYX", VOXEL)])
    refused("the voxels of 2.0 patches .* at least 4", [stack(0, (8, 16, 32))])
    refused(r"a hidden block of \(5, 10, 10\) voxels .* half a patch", archive, with_task(block_px=10))
    refused("has two values only .* as masks have", [Stack((stack(0).data > 1000).astype(np.uint8), "ZYX", VOXEL)])
    for share in (0.0, 0.95):
        with pytest.raises(SpotlightError, match="hidden_share"):
            with_task(hidden_share=share)
    refused("needs labels; those of pretraining have task: hidden", archive, tiny("simulated"))
    sizes = [stack(0), replace(stack(1), voxel_size=(1.0, 1.0, 1.0))]
    refused("preparation.grid is 'native'", sizes)
    several = tmp_path / "several"
    several.mkdir()
    both = np.stack([stack(0).data, stack(1).data])
    Stack(both, "CZYX", VOXEL, ("488", "561")).save(several / "0.ome.tif")
    refused("has the channels 488, 561. Say which is the input", several)


def test_several_channels_are_filled_in_together(tmp_path: Path) -> None:
    both = np.stack([stack(0, (16, 32, 64)).data, stack(1, (16, 32, 64)).data])
    Stack(both, "CZYX", VOXEL, ("488", "561")).save(tmp_path / "0.ome.tif")
    pairs = read_inputs(tmp_path, ["488", "561"])
    assert [pair.target_name for pair in pairs] == ["0", "1"]
    folder = pretrain(pairs, tmp_path / "model", tiny(steps=1))
    description = read_description(folder)
    assert description.input.names == ("488", "561")
    assert len(description.targets) == 2
    assert len(description.training["seen"]) == 1


def test_rows_for_testing_and_repeated_inputs_are_left_out(labelled: Path) -> None:
    pairs = read_inputs(labelled)
    assert len(pairs) == 4
    plan = plan_runs(pairs, tiny())[""]
    assert [pair.name for pair in plan.pairs] == ["0", "1", "2"]
    assert "hidden" in explain(pairs, tiny())


def test_the_settings_are_those_of_the_task_to_come() -> None:
    assert pretraining(task="segment").preparation.grid == "native"
    assert pretraining(task="stain").preparation == protocol("spotlight").preparation
    assert pretraining(grid=0.5, steps=400).training.warmup == 20
    assert pretraining("simulated").task.kind == "segment"
    with pytest.raises(SpotlightError, match="hidden_share cannot be used"):
        pretraining("simulated", hidden_share=0.5)


def test_simulated_stacks_give_a_model_without_any_label(archive: Path, tmp_path: Path) -> None:
    experiment = tiny("simulated", steps=1, batch_size=1)
    folder = pretrain(archive, tmp_path / "model", experiment, pretext="simulated", structures=("spots",), fields=2)
    description = read_description(folder)
    assert description.target.channel == "spots"
    assert description.input.voxel_size == tuple((edge, edge) for edge in VOXEL)
    result = load_model(folder).predict(spotlight.read(archive / "0.ome.tif"), channel="488")
    assert result.shape == SHAPE
    with pytest.raises(SpotlightError, match="at least two simulated stacks of each of 1"):
        pretrain(archive, tmp_path / "few", experiment, pretext="simulated", structures=("spots",), fields=1)
    unsized = tmp_path / "unsized"
    unsized.mkdir()
    Stack(stack(0).data, "ZYX", None).save(unsized / "0.tif")
    with pytest.raises(SpotlightError, match="does not state its voxel size, which simulated stacks need"):
        pretrain(unsized, tmp_path / "few", experiment, pretext="simulated", structures=("spots",))


def test_the_command_says_what_comes_next(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(tiny(steps=1).to_yaml())
    run = ["pretrain", str(archive), "--to", str(tmp_path / "b"), "--settings", str(tmp_path / "e.yaml")]
    result = CliRunner().invoke(app, [*run, "--explain", "--no-probe"])
    assert result.exit_code == 0, result.output
    assert "0.3 of the blocks" in result.output
    assert not (tmp_path / "b").exists()
    result = CliRunner().invoke(app, run)
    assert result.exit_code == 0, result.output
    assert f"train MANIFEST --task segment --from {tmp_path / 'b'}" in result.output
    assert (tmp_path / "b" / "training.html").exists()
    assert yaml.safe_load((tmp_path / "b" / "model.yaml").read_text())["task"]["kind"] == "hidden"
    twice = CliRunner().invoke(app, [*run, "--hidden-share", "0.5"])
    assert "--hidden-share and --settings" in str(twice.exception)


def test_nothing_changes_for_other_tasks() -> None:
    assert TINY.task.hiding((8, 8), None) is None


def test_the_teacher_is_as_published_on_hand_worked_values() -> None:
    """Softmax of (1, 0) is (e, 1) / (e + 1); the divergence from its mirror image is (e - 1) / (e + 1)."""
    student = torch.tensor([[[[0.0, 5.0]], [[3.0, 0.0]]]])  # only directions count
    teacher = torch.tensor([[[[2.0, 1.0]], [[0.0, 0.0]]]])
    hidden = torch.tensor([[[[True, True]]]])
    apart = (np.e - 1) / (np.e + 1)
    assert distillation_loss(student, teacher, hidden, 1.0, 1.0).item() == pytest.approx(apart / 2)
    assert distillation_loss(student, teacher, hidden[..., :1], 1.0, 1.0).item() == pytest.approx(apart)
    assert distillation_loss(teacher, teacher, hidden).item() == pytest.approx(0, abs=1e-6)
    # At temperature 0.1: p = e^10 / (e^10 + 1) for the teacher, and the logs differ by 10.
    p = 1 / (1 + np.exp(-10.0))
    assert distillation_loss(student, teacher, hidden[..., :1]).item() == pytest.approx(10 * (2 * p - 1), rel=1e-5)
    target, guess = torch.tensor([[[[0.0, 2.0, 8.0]]]]), torch.tensor([[[[3.0, 1.0, 0.0]]]])
    where = torch.tensor([[[[True, True, False]]]])
    assert hidden_loss(guess, target, where, 0.0, False).total.item() == 2  # (3 + 1) / 2, plain L1


@pytest.mark.slow
def test_the_published_recipe_runs_small(archive: Path, tmp_path: Path) -> None:
    published = protocol("lsm-2026")
    assert published.training.ema == 0.996
    assert (published.teacher.weight, published.teacher.reconstruction) == (0.29, 0.2)  # type: ignore[union-attr]
    hiding = published.task.hiding((64, 64, 64), (1.0, 1.0, 1.0))
    early, late = ([hiding((0, step, n)).mean() for n in range(12)] for step in (0, 40_000))  # type: ignore[misc]
    assert np.mean(early) == pytest.approx(0.05, abs=0.01)
    assert np.mean(late) == pytest.approx(0.30, abs=0.02)
    edges = set()
    for n in range(12):
        places = np.unique(np.nonzero(np.diff(hiding((0, 40_000, n)).astype(int), axis=2))[2])  # type: ignore[misc]
        edges.add(int(np.gcd.reduce(np.diff(places))))
    assert edges == {8, 16}
    values = published.model_dump()
    values["network"], values["task"] = tiny().network.model_dump(), {"kind": "hidden", "block_px": 8}
    values["patches"]["size"] = (8, 16, 16)
    values["training"] |= {"steps": 3, "precision": "float32", "validate_every": 3, "checkpoint_every": 1}
    small = Experiment.parse(values, "test")

    def stop(work: str, done: int, total: int, figures: dict[str, float]) -> None:
        if work == "training":
            raise KeyboardInterrupt

    straight = pretrain(archive, tmp_path / "straight", small)
    log = pd.read_csv(straight / "training" / "log.csv")
    assert (log["distillation"].dropna() > 0).all()
    assert len(log["distillation"].dropna()) > 0
    with pytest.raises(KeyboardInterrupt):
        pretrain(archive, tmp_path / "again", small, progress=stop)
    pretrain(archive, tmp_path / "again", small)
    first, second = (load_file(tmp_path / name / "weights.safetensors") for name in ("straight", "again"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(SpotlightError, match="a teacher is the running average"):
        Experiment.parse(values | {"training": values["training"] | {"ema": 0.0}}, "test")
