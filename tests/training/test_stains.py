"""Several stains from partly labelled fields, in several modalities and planes: one network, or a few."""

import itertools
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from command_line import run_command
from spotlight.errors import SpotlightError
from spotlight.images import Stack, read
from spotlight.losses import (
    Batch,
    L1Settings,
    LossSettings,
    MseSettings,
    SpotlightLossSettings,
    build_loss,
    l1_loss,
)
from spotlight.model import make_network, read_description
from spotlight.networks import FNetSettings, Pix2PixSettings
from spotlight.pairs import Pair, PatchSampler, patch_starts, read_pairs
from spotlight.pairs.fields import join_planes
from spotlight.pairs.patches import Starts
from spotlight.pairs.prepare import prepare_pair
from spotlight.pairs.prepared import PreparationSettings
from spotlight.prediction import PredictionSettings, load_model
from spotlight.training import explain, train
from spotlight.training.adversarial import AdversarialModule
from spotlight.training.batches import PatchBatches
from spotlight.training.data import make_sampler, split_pairs
from spotlight.training.outputs import drawing_groups, find_outputs
from spotlight.training.settings import AdversarialSettings, Experiment, PatchSettings, TrainingSettings

STAINS = ("Nucleus", "Mitochondria", "Tubulin")
PRESENT = {0: (0, 1), 1: (0,), 2: (1, 2), 3: (0, 1, 2), 4: (0, 2), 5: (1,)}
"""Which stains each field has."""
MODALITY = {0: "BF", 1: "PC", 2: "BF", 3: "PC", 4: "BF", 5: "PC"}
PLANES = 3

FLOAT32 = PredictionSettings(precision="float32")
SMALL = Experiment(
    preparation=PreparationSettings(grid="native", planes="one"),
    patches=PatchSettings(size=(32, 32), least_foreground=0.0, augment=True),
    network=FNetSettings(depth=2, mult_chan=4),
    loss=MseSettings(),
    balance="stains",
    training=TrainingSettings(
        steps=4, batch_size=4, validate_every=2, checkpoint_every=2, precision="float32", micro_batches=1
    ),
)


def blobs(rng: np.random.Generator, size: int = 64) -> NDArray[np.float64]:
    y, x = np.mgrid[:size, :size]
    spots = rng.uniform(0, size, (6, 2))
    return np.sum([np.exp(-((y - a) ** 2 + (x - b) ** 2) / 30) for a, b in spots], axis=0)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six fields in the layout of Light My Cells, as a manifest; one file per plane and stain."""
    folder = tmp_path_factory.mktemp("collection")
    rng = np.random.default_rng(0)
    rows = []
    for field, stains in PRESENT.items():
        shapes = [blobs(rng) for _ in STAINS]
        scene = sum((n + 1) * shape for n, shape in enumerate(shapes))

        def save(values: NDArray[Any], name: str, channel: str) -> str:
            path = folder / f"image_{name}.ome.tiff"
            Stack(np.clip(values, 0, 65535).astype(np.uint16), "YX", (0.2, 0.2), (channel,)).save(path)
            return path.name

        cells = {
            f"target:{name}": save(2000 + 9000 * shapes[n] + rng.normal(0, 90, scene.shape), f"{field}_{name}", name)
            if n in stains
            else "absent"
            for n, name in enumerate(STAINS)
        }
        for z in range(PLANES):
            values = 20000 + 1500 * (z + 1) * scene + rng.normal(0, 200, scene.shape)
            image = save(values, f"{field}_{MODALITY[field]}_z{z}", MODALITY[field])
            split = "val" if field == 3 else "train"
            rows.append({"input": image, **cells, "split": split, "modality": MODALITY[field]})
    pd.DataFrame(rows).to_csv(folder / "pairs.csv", index=False)
    return folder / "pairs.csv"


def trained(experiment: Experiment, collection: Path, to: Path, **changes: Any) -> Path:
    values = experiment.model_dump() | changes
    return train(collection, to, Experiment.parse(values, "test"), target="all")


# --- the losses -------------------------------------------------------------------------------------------------------

ROWS = ((0, 0), (0, 2), (1, 1), (2, 0))


def batch_of(rows: tuple[tuple[int, int], ...], seed: int = 0) -> Batch:
    gen = torch.Generator().manual_seed(seed)
    target = torch.randn(len(rows), 1, 12, 12, generator=gen)
    limits = torch.tensor([[-1.5, 1.5]] * len(rows))
    mask = target > 0.3
    return Batch(torch.zeros(3, 1, 12, 12), target, mask, torch.zeros(len(rows)), percentiles=limits, rows=rows)


LOSSES: list[LossSettings] = [MseSettings(), L1Settings(), SpotlightLossSettings(background=0.3)]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.kind)
@pytest.mark.parametrize("over", ["mean", "sum"])
def test_losses_are_those_of_a_loop_over_present_stains_and_absent_ones_have_no_gradient(
    loss: LossSettings, over: Any
) -> None:
    prediction = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(1), requires_grad=True)
    batch = batch_of(ROWS)
    terms = build_loss(loss, over)(prediction, batch)
    terms.total.backward()
    one = build_loss(loss)
    alone = [one(prediction[s : s + 1, k : k + 1], single(batch, n)).total for n, (s, k) in enumerate(ROWS)]
    if over == "mean":
        expected = torch.stack(alone).mean()
    else:
        kinds = {k: [a for a, (_, kind) in zip(alone, ROWS, strict=True) if kind == k] for _, k in ROWS}
        expected = sum(torch.stack(found).mean() for found in kinds.values())
    torch.testing.assert_close(terms.total, expected)
    assert prediction.grad is not None
    for sample, stain in itertools.product(range(3), range(3)):
        assert bool(prediction.grad[sample, stain].any()) == ((sample, stain) in ROWS)


def single(batch: Batch, row: int) -> Batch:
    """One row, as a batch of one stain."""
    return batch.select([row])._replace(rows=())


def test_the_weighted_error_is_weighed_where_it_arises() -> None:
    """By hand: weights 1, 1, .1 on errors 1, 2, 3, divided by their sum, times λ; and it matters where they lie."""
    target = torch.tensor([[[[0.0, 0.5, 2.0]]]])
    prediction = target + torch.tensor([1.0, 2.0, 3.0])
    limits, settings = torch.tensor([[-1.0, 1.0]]), L1Settings(weight=10, outside=0.1)
    expected = 10 * (1 + 2 + 0.3) / 2.1
    torch.testing.assert_close(l1_loss(prediction, target, limits, settings).total, torch.tensor(expected))
    moved = target + torch.tensor([3.0, 2.0, 1.0])  # the same errors under a permuted mask
    assert l1_loss(moved, target, limits, settings).total > 1.2 * expected
    plain = l1_loss(prediction, target, None, settings).total
    torch.testing.assert_close(plain, torch.tensor(20.0))


def test_limits_are_percentiles_of_the_whole_target_and_inclusive(collection: Path) -> None:
    pair = join_planes(read_pairs(collection, every_target=True))[0]
    settings = PreparationSettings(grid="native", planes="one", scaling="uint16", percentiles=(2, 99.8))
    prepared = prepare_pair(pair, settings)
    raw = read(pair.target).data
    assert prepared.percentiles == pytest.approx(np.percentile(raw, (2, 99.8)) / 32767.5 - 1, abs=1e-6)
    np.testing.assert_allclose(prepared.target, raw / 32767.5 - 1, atol=1e-6)
    assert prepared.input.shape == (PLANES, 64, 64)


# --- the draw ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3, 4, 7])
def test_balance_is_exact_in_every_batch_and_over_all_of_them(batch: int) -> None:
    starts = [patch_starts((8, 8), (4, 4))] * 9
    groups = [[0, 1, 2, 3, 4, 5], [6, 7], [8]]
    sampler = PatchSampler(starts, (4, 4), 0, groups=groups, balanced=True)
    member = {stack: number for number, group in enumerate(groups) for stack in group}
    drawn = [[member[draw.stack] for draw in sampler.draw(step, batch)] for step in range(30)]
    for found in drawn:
        counts = np.bincount(found, minlength=3)
        assert counts.max() - counts.min() <= 1
    assert len(set(np.bincount(np.concatenate(drawn), minlength=3))) == 1
    seen = {draw.stack for step in range(60) for draw in sampler.draw(step, batch)}
    assert seen == set(range(9))


def test_planes_are_drawn_alike_and_a_stack_without_planes_has_plane_0() -> None:
    starts: list[Starts] = [patch_starts((8, 8), (4, 4)), patch_starts((8, 8), (4, 4))]
    sampler = PatchSampler(starts, (4, 4), 0, planes=[4, 0])
    drawn = [draw for step in range(500) for draw in sampler.draw(step, 4)]
    counts = np.bincount([draw.plane for draw in drawn if draw.stack == 0], minlength=4)
    assert counts / counts.sum() == pytest.approx(np.full(4, 0.25), abs=0.05)
    assert {draw.plane for draw in drawn if draw.stack == 1} == {0}


def test_planes_of_a_field_are_joined_unless_their_rows_differ(collection: Path) -> None:
    pairs = read_pairs(collection, every_target=True)
    joined = join_planes(pairs)
    assert len(pairs) == PLANES * len(joined) == PLANES * sum(map(len, PRESENT.values()))
    assert all(len(pair.planes or ()) == PLANES - 1 for pair in joined)
    with pytest.raises(SpotlightError, match="differ in split"):
        join_planes([replace(pairs[0], split="test"), *pairs[1:]])
    with pytest.raises(SpotlightError, match="'together'"):
        prepare_pair(joined[0], PreparationSettings(grid="native"))


def test_a_region_is_one_of_the_plane_whatever_the_input_has_of_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    series, stains = rng.integers(0, 9999, (5, 40, 50)), rng.integers(0, 9999, (2, 40, 50))
    Stack(series.astype(np.uint16), "ZYX", None, ("Phase",)).save(tmp_path / "series.ome.tif")
    Stack(stains.astype(np.uint16), "CYX", None, ("DAPI", "NFH")).save(tmp_path / "stains.ome.tif")
    pair = Pair("a", tmp_path / "series.ome.tif", tmp_path / "stains.ome.tif", target_channel="NFH", region="8:40, :32")
    planes, target = pair.read_planes()
    np.testing.assert_array_equal(target.data, stains[1, 8:40, :32])
    np.testing.assert_array_equal([plane.data for plane in planes], series[:, 8:40, :32])
    deep = replace(pair, target=pair.input, target_channel=None)
    with pytest.raises(SpotlightError, match="has 5 planes"):
        deep.read_planes()


# --- whole runs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(SMALL, collection, tmp_path_factory.mktemp("stains") / "model")


def test_one_network_learns_all_stains_and_gives_them_as_channels(model: Path, collection: Path) -> None:
    description = load_model(model).description
    assert [target.channel for target in description.targets] == ["Nucleus", "Mitochondria", "Tubulin"]
    image = collection.parent / "image_3_PC_z1.ome.tiff"
    stain = load_model(model).predict(image)
    assert (stain.axes, stain.shape) == ("CYX", (3, 64, 64))
    assert stain.channels == tuple(f"{name} (virtual)" for name in STAINS)
    log = pd.read_csv(model / "training" / "log.csv")
    assert log["validation_loss"].notna().any()


def test_a_plane_of_a_series_is_stained_as_if_it_were_alone(model: Path, collection: Path) -> None:
    loaded = load_model(model)
    planes = [read(collection.parent / f"image_3_PC_z{z}.ome.tiff") for z in range(PLANES)]
    series = Stack(np.stack([p.data for p in planes]), "ZYX", (1.0, 0.2, 0.2), ("PC",))
    found = loaded.predict(series, plane=2, settings=FLOAT32)
    np.testing.assert_array_equal(found.data, loaded.predict(planes[2], settings=FLOAT32).data)
    with pytest.raises(SpotlightError, match="has 3 planes"):
        loaded.predict(series)
    with pytest.raises(SpotlightError, match="no plane 3"):
        loaded.predict(series, plane=3)


def test_batches_hold_the_targets_that_are_there_and_no_others(collection: Path) -> None:
    """Every row is cut from a present target of the drawn field, at the place and turn of its input."""
    pairs = join_planes(read_pairs(collection, every_target=True))
    prepared = [prepare_pair(pair, SMALL.preparation) for pair in pairs]
    stains = find_outputs(pairs, SMALL)
    sampler = make_sampler(prepared, (32, 32), SMALL, drawing_groups(pairs, stains, SMALL))
    batches = PatchBatches(prepared, sampler, SMALL.patches, 6, outputs=stains)
    for step in range(5):
        drawn, batch = sampler.draw(step, 6), batches.batch(step)
        expected = []
        for sample, draw in enumerate(drawn):
            field = pairs[draw.stack].input.name.split("_")[1]
            expected += [(sample, stains.names.index(STAINS[n])) for n in PRESENT[int(field)]]
            planes = prepared[draw.stack].input
            np.testing.assert_array_equal(
                batch.input[sample, 0], sampler.cut(planes[draw.plane], draw.start, draw.turn)
            )
        assert sorted(batch.rows) == sorted(expected)
        for (sample, stain), target in zip(batch.rows, batch.target, strict=True):
            of_field = [p for p in pairs if p.input == pairs[drawn[sample].stack].input]
            (which,) = [n for n, p in enumerate(pairs) if p in of_field and p.target_name == stains.names[stain]]
            cut = sampler.cut(prepared[which].target, drawn[sample].start, drawn[sample].turn)
            np.testing.assert_array_equal(target[0], cut)


@pytest.mark.parametrize("over", ["mean", "sum"])
@pytest.mark.parametrize("parts", [2, 3])
def test_losses_of_parts_average_to_that_of_the_whole_batch(over: Any, parts: int, collection: Path) -> None:
    pairs = join_planes(read_pairs(collection, every_target=True))
    prepared = [prepare_pair(pair, SMALL.preparation) for pair in pairs]
    stains = find_outputs(pairs, SMALL)
    sampler = make_sampler(prepared, (32, 32), SMALL, drawing_groups(pairs, stains, SMALL))
    loss, net = build_loss(MseSettings(), over), torch.nn.Conv2d(1, 3, 3, padding=1)
    found = []
    for count in (1, parts):
        batches = PatchBatches(prepared, sampler, SMALL.patches, 6, count, outputs=stains)
        every = [batches.batch(4, part) for part in range(count)]
        found.append(torch.stack([loss(net(batch.input), batch).total for batch in every]).mean())
    torch.testing.assert_close(found[0], found[1])


def test_two_targets_of_one_name_for_an_input_are_both_learnt(collection: Path) -> None:
    pairs = join_planes(read_pairs(collection, every_target=True, target=None))
    pairs = [replace(p, target_name="", name=f"{n}") for n, p in enumerate(pairs)]
    prepared = [prepare_pair(pair, SMALL.preparation) for pair in pairs]
    stains = find_outputs(pairs, SMALL)
    sampler = make_sampler(prepared, (32, 32), SMALL, drawing_groups(pairs, stains, SMALL))
    batch = PatchBatches(prepared, sampler, SMALL.patches, 4, outputs=stains).batch(0)
    assert len(batch.rows) == len(batch.target) > 4
    assert build_loss(MseSettings())(batch.input, batch).total.isfinite()


def test_planes_are_never_on_both_sides_of_the_split(collection: Path) -> None:
    """Even where the stains of a field list different planes of it."""

    def listed(pair: Pair) -> bool:
        return pair.target_name != "Mitochondria" or "z0" in pair.input.name

    rows = filter(listed, read_pairs(collection, every_target=True))
    pairs = join_planes([replace(p, split="", group="") for p in rows])
    for seed in range(6):
        settings = SMALL.training.model_copy(update={"seed": seed, "validation_share": 0.4})
        training, validation = split_pairs(pairs, SMALL.model_copy(update={"training": settings}))
        files = [{file for p in part for file in (p.input, *(p.planes or ()))} for part in (training, validation)]
        assert not files[0] & files[1]
        assert {p.target_name for p in training} == set(STAINS)


def test_a_run_with_stains_in_another_order_is_another_run(collection: Path, tmp_path: Path) -> None:
    train(collection, tmp_path / "model", SMALL, target=["Nucleus", "Tubulin", "Nucleus"])
    with pytest.raises(SpotlightError, match="differs in the data"):
        train(collection, tmp_path / "model", SMALL, target=["Tubulin", "Nucleus"])
    tuned = SMALL.model_dump()
    tuned["training"]["finetune"] = tmp_path / "model"
    with pytest.raises(SpotlightError, match="same in the same order"):
        train(collection, tmp_path / "other", Experiment.parse(tuned, "test"), target=["Tubulin", "Nucleus"])


def test_an_absent_target_may_hold_anything(collection: Path, model: Path, tmp_path: Path) -> None:
    """What lies under the names that absent targets would have changes no weight."""
    rows = pd.read_csv(collection)
    for column in [name for name in rows if name.startswith("target:")]:
        for number, cell in rows[column].items():
            if cell == "absent":
                field = rows["input"][number].split("_")[1]
                path = collection.parent / f"image_{field}_{column[7:]}.ome.tiff"
                path.write_bytes(b"no image")
    again = trained(SMALL, collection, tmp_path / "model")
    ours, theirs = (load_model(folder).networks[0].state_dict() for folder in (again, model))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("told", ["dynamic", "film"])
@pytest.mark.slow
def test_a_network_that_is_told_the_modality_asks_for_it(told: str, collection: Path, tmp_path: Path) -> None:
    loaded = load_model(trained(SMALL, collection, tmp_path / "model", modalities=told))
    assert loaded.description.input.modalities == ("brightfield", "phase")
    image = read(collection.parent / "image_3_PC_z1.ome.tiff")
    by_name = loaded.predict(image, settings=FLOAT32)
    told_so = loaded.predict(image, modality="phase", settings=FLOAT32)
    np.testing.assert_array_equal(by_name.data, told_so.data)
    other = loaded.predict(image, modality="brightfield", settings=FLOAT32)
    assert not np.array_equal(by_name.data, other.data)
    with pytest.raises(SpotlightError, match="was trained on brightfield, phase"):
        loaded.predict(image, modality="dic")
    with pytest.raises(SpotlightError, match="its modality is needed"):
        loaded.predict(replace(image, channels=()))


@pytest.mark.slow
def test_separate_models_are_one_folder_of_which_each_stack_gets_its_own(collection: Path, tmp_path: Path) -> None:
    folder = trained(SMALL, collection, tmp_path / "models", modalities="separate")
    assert sorted(path.name for path in folder.iterdir()) == ["brightfield", "phase"]
    loaded = load_model(folder)
    for modality, name in (("brightfield", "image_0_BF_z0"), ("phase", "image_1_PC_z0")):
        image = collection.parent / f"{name}.ome.tiff"
        alone = load_model(folder / modality).predict(image, settings=FLOAT32)
        np.testing.assert_array_equal(loaded.predict(image, settings=FLOAT32).data, alone.data)
    ensemble = tmp_path / "ensemble"
    for seed in range(2):
        shutil.copytree(folder, ensemble / f"seed-{seed}")
    twice = load_model(ensemble).predict(image, settings=FLOAT32)
    np.testing.assert_allclose(twice.data, alone.data, rtol=1e-6)
    # No training field in phase contrast has tubulin.
    assert len(load_model(folder / "phase").description.targets) == 2


PIX2PIX = {
    "preparation": PreparationSettings(grid="native", planes="one", scaling="uint16").model_dump(),
    "network": Pix2PixSettings(width=4, blocks=1).model_dump(),
    "loss": L1Settings().model_dump(),
    "adversarial": AdversarialSettings(width=4).model_dump(),
    "over_stains": "sum",
}


@pytest.mark.slow
def test_the_game_is_taken_up_where_it_was_left(collection: Path, tmp_path: Path) -> None:
    """A run that stops after two of four steps and goes on ends with the weights of one that never stopped."""
    whole = trained(SMALL, collection, tmp_path / "whole", **PIX2PIX)
    log = pd.read_csv(whole / "training" / "log.csv")
    assert {"l1", "verdict", "discriminator"} <= set(log.columns[log.notna().any()])

    class Stop(Exception):
        pass

    def stop(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        if what == "training" and done == 4:
            raise Stop

    experiment = Experiment.parse(SMALL.model_dump() | PIX2PIX, "test")
    with pytest.raises(Stop):
        train(collection, tmp_path / "cut", experiment, target="all", progress=stop)
    cut = train(collection, tmp_path / "cut", experiment, target="all")
    last = [torch.load(folder / "training" / "last.ckpt", weights_only=True) for folder in (cut, whole)]
    ours, theirs = (checkpoint["state_dict"] for checkpoint in last)
    assert any(name.startswith("discriminators.") for name in theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    stain = load_model(cut).predict(collection.parent / "image_3_PC_z1.ome.tiff")
    assert 0 <= stain.data.min() <= stain.data.max() <= 65535


def test_only_discriminators_of_present_stains_learn(collection: Path, tmp_path: Path) -> None:
    """After one step with one patch: those of its field's stains have left where the seed put them, the others not."""
    training = SMALL.training.model_copy(update={"steps": 1, "batch_size": 1}).model_dump()
    folder = trained(SMALL, collection, tmp_path / "model", **PIX2PIX, training=training)
    state = torch.load(folder / "training" / "last.ckpt", weights_only=True)["state_dict"]
    settings = Experiment.parse(SMALL.model_dump() | PIX2PIX | {"training": training}, "test")
    torch.manual_seed(settings.training.seed)
    network = make_network(settings.network, 2, len(STAINS))
    assert settings.adversarial is not None
    begun = AdversarialModule(network, settings.loss, settings.training, "sum", settings.adversarial).state_dict()
    names = [target.channel for target in load_model(folder).description.targets]
    moved = {
        stain
        for number, stain in enumerate(names)
        for name, weight in begun.items()
        if name.startswith(f"discriminators.{number}.") and not torch.equal(weight, state[name])
    }
    assert moved < set(STAINS)
    assert moved in [{STAINS[n] for n in stains} for stains in PRESENT.values()]
    assert not torch.equal(begun["network.stem.1.weight"], state["network.stem.1.weight"])


@pytest.mark.slow
def test_augmentation_and_blending_work_for_stains_of_any_shape(model: Path, collection: Path) -> None:
    image = read(collection.parent / "image_3_PC_z1.ome.tiff")
    image = replace(image, array=image.data[:, :41])
    settings = PredictionSettings(
        tile=(32, 32), overlap=(25, 25), blend="gaussian", augment=True, spread=True, precision="float32"
    )
    stain = load_model(model).predict(image, settings=settings)
    assert stain.shape == (6, 64, 41)
    assert stain.channels[3] == "Nucleus (virtual), spread"
    alone = settings.model_copy(update={"augment": False, "spread": False})
    turns = []
    for turn in range(8):
        turned = np.rot90(image.data[:, ::-1] if turn % 2 else image.data, turn // 2)
        found = load_model(model).predict(replace(image, array=np.ascontiguousarray(turned)), settings=alone).data
        found = np.rot90(found, -(turn // 2), axes=(-2, -1))
        turns.append(found[..., ::-1] if turn % 2 else found)
    middle = (slice(None), slice(24, 40), slice(16, 24))  # tiles of turned images lie elsewhere at the borders
    spread = np.std(turns, axis=0)[middle]
    assert np.corrcoef(stain.data[3:][middle].ravel(), spread.ravel())[0, 1] > 0.5
    np.testing.assert_allclose(stain.data[:3][middle], np.mean(turns, axis=0)[middle], atol=4 * spread.max())


def test_the_explanation_counts_fields_stains_and_modalities(collection: Path) -> None:
    text = explain(collection, SMALL.model_copy(update={"modalities": "film"}), target="all")
    for said in ("3 stains", "of 5 fields have: Nucleus 3", "film", "in turn within every batch: stains (3 groups)"):
        assert said in text
    assert "A MODEL FOR PHASE" in explain(collection, SMALL.model_copy(update={"modalities": "separate"}), target="all")


@pytest.mark.slow
def test_what_is_explained_is_what_is_trained(collection: Path, tmp_path: Path) -> None:
    """A stain that no training field has is neither promised nor validated."""
    table = pd.read_csv(collection)
    named = ["target:Nucleus", "target:Mitochondria"]
    table = table[(table.split == "val") | (table["target:Nucleus"] != "absent")].copy()
    table.loc[table.split == "val", "target:Nucleus"] = "absent"
    table.loc[table.split == "train", "target:Mitochondria"] = "absent"
    for column in ("input", *named):
        table[column] = [name if name == "absent" else str(collection.parent / name) for name in table[column]]
    table[["input", *named, "split", "modality"]].to_csv(tmp_path / "pairs.csv", index=False)
    quick = SMALL.model_copy(update={"balance": "fields"})
    text = explain(tmp_path / "pairs.csv", quick, target="all", probe=True)
    assert "None to validate on" in text
    assert "The weights of the last step are kept" in text
    assert re.search(r"About [\d.e-]+ minutes: 4 steps of [\d.e-]+ s, measured on this machine", text)
    assert not (tmp_path / "model").exists()
    run = read_description(train(tmp_path / "pairs.csv", tmp_path / "model", quick, target="all"))
    assert run.training["data"]["validation"] == []
    assert run.training["best"] == {"step": 4}
    with pytest.raises(SpotlightError, match="has the stains Nucleus, but this run"):
        finetune = quick.training.model_copy(update={"finetune": tmp_path / "model"})
        explain(collection, quick.model_copy(update={"training": finetune}), target="all")


@pytest.mark.slow
def test_the_road_of_a_challenger(model: Path, collection: Path, tmp_path: Path) -> None:
    """Stain the planes of a split, write them in the challenge's layout, and score them as it does."""
    run("predict", model, collection, "--split", "val", "--to", tmp_path / "stains", "--dtype", "uint16")
    assert len(list((tmp_path / "stains").glob("*.ome.tif"))) == PLANES
    run("submit", tmp_path / "stains", "--to", tmp_path / "submission")
    assert sorted(path.name for path in (tmp_path / "submission").iterdir()) == sorted(STAINS)
    values = "split: val\n"
    (tmp_path / "settings.yaml").write_text(values)
    scores = ("evaluate", collection, "--preset", "light-my-cells", "--settings", tmp_path / "settings.yaml")
    for number, stains in enumerate(("stains", "submission")):
        run(*scores, "--predictions", tmp_path / stains, "--to", tmp_path / f"scores-{number}")
    first, second = (pd.read_csv(tmp_path / f"scores-{n}" / "planes.csv") for n in (0, 1))
    assert len(first) == PLANES * len(PRESENT[3])
    columns = ["target", "plane", "ssim", "pcc"]
    pd.testing.assert_frame_equal(first[columns], second[columns])


def run(*arguments: object) -> None:
    result = run_command(*map(str, arguments))
    assert result.returncode == 0, result.stderr
