"""`init` proposes what a person would, says why, and asks where it cannot tell."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from conftest import TINY
from spotlight import SpotlightError, init, train
from spotlight.images import Stack
from spotlight.pairs import Pair, read_manifest
from spotlight.pairs.manifest import write_manifest
from spotlight.pairs.proposal import propose_pairs
from spotlight.pairs.splits import split_by_group
from spotlight.plan import Fingerprint, plan_experiment
from spotlight.settings import commented_yaml
from spotlight.training import Experiment, protocol


def field(seed: int, channels: tuple[str, ...] = ("Brightfield", "DNA"), size: float | None = 0.29) -> Stack:
    rng = np.random.default_rng(seed)
    bright = ndimage.gaussian_filter(rng.normal(size=(16, 40, 40)), 3) > 0.02
    both = np.stack([rng.normal(500, 50, bright.shape), rng.normal(100 + 100 * bright, 10)]).astype(np.uint16)
    return Stack(both, "CZYX", None if size is None else (size,) * 3, channels)


def one(seed: int, channel: int) -> Stack:
    both = field(seed)
    return Stack(both.data[channel], "ZYX", both.voxel_size)


def names(pairs: list[Pair]) -> list[tuple[str, str]]:
    return [(pair.input.name, pair.target.name) for pair in pairs]


def test_both_channels_in_one_file(tmp_path: Path) -> None:
    for number in range(4):
        field(number).save(tmp_path / f"f{number}.ome.tif")
    found = propose_pairs(tmp_path)
    assert [(p.input_channel, p.target_channel) for p in found.pairs] == [("Brightfield", "DNA")] * 4
    assert sorted(p.split for p in found.pairs) == ["test", "train", "train", "val"]
    assert any("'Brightfield' and 'DNA'" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("inputs", "targets", "labels"),
    [
        ("f{}_bf.tif", "f{}_DNA.tif", "f{}_nuclei_labels.tif"),
        ("bf/f{}.tif", "dapi/f{}.tif", "masks/f{}.tif"),
        ("day 1/f{} Phase.ome.tif", "day 1/f{} GFP.ome.tif", "day 1/f{} labels.ome.tif"),
    ],
)
def test_channels_in_separate_files(tmp_path: Path, inputs: str, targets: str, labels: str) -> None:
    for number in range(3):
        one(number, 0).save(tmp_path / inputs.format(number))
        one(number, 1).save(tmp_path / targets.format(number))
    one(0, 1).save(tmp_path / labels.format(0))
    (tmp_path / "notes.txt").write_text("a remark")
    found = propose_pairs(tmp_path).pairs
    assert sorted((p.input, p.target) for p in found) == [
        (tmp_path / inputs.format(n), tmp_path / targets.format(n)) for n in range(3)
    ]
    assert [p.labels for p in found if p.labels] == [tmp_path / labels.format(0)]


def test_patterns_say_what_names_do_not(tmp_path: Path) -> None:
    for number in range(3):
        one(number, 0).save(tmp_path / "w1" / f"f{number}.tif")
        one(number, 1).save(tmp_path / "w2" / f"f{number}-x.tif")
    with pytest.raises(SpotlightError, match="the names of the files show no pairs.*--input"):
        propose_pairs(tmp_path)
    found = propose_pairs(tmp_path, input_pattern="w1/*.tif", target_pattern="w2/*-x.tif")
    assert names(found.pairs) == [(f"f{n}.tif", f"f{n}-x.tif") for n in range(3)]
    with pytest.raises(SpotlightError, match="give both"):
        propose_pairs(tmp_path, input_pattern="w1/*.tif")
    with pytest.raises(SpotlightError, match="needs one"):
        propose_pairs(tmp_path, input_pattern="w1/f1.tif", target_pattern="w2/*-x.tif")
    with pytest.raises(SpotlightError, match="no two files fit"):
        propose_pairs(tmp_path, input_pattern="w1/*.png", target_pattern="w2/*-x.tif")


def test_what_cannot_be_told_is_asked(tmp_path: Path) -> None:
    with pytest.raises(SpotlightError, match="holds no image files"):
        propose_pairs(tmp_path)
    field(0, ("a", "b")).save(tmp_path / "f.ome.tif")
    with pytest.raises(SpotlightError, match=r"is not clear from their names \(a, b\).*--input-channel"):
        propose_pairs(tmp_path)
    (pair,) = propose_pairs(tmp_path, input_channel="a", target_channel="b").pairs
    assert (pair.input_channel, pair.target_channel, pair.split) == ("a", "b", "train")
    one(0, 1).save(tmp_path / "g" / "f_dna.tif")
    one(0, 1).save(tmp_path / "g" / "f_DAPI.tif")
    with pytest.raises(SpotlightError, match=r"the names of the files show no pairs \(f_DAPI, f_dna"):
        propose_pairs(tmp_path / "g")
    one(0, 0).save(tmp_path / "g" / "f_bf.tif")
    assert [pair.target_name for pair in propose_pairs(tmp_path / "g").pairs] == ["DAPI", "dna"]
    one(0, 0).save(tmp_path / "g" / "f_phase.tif")
    with pytest.raises(SpotlightError, match="seems to be the input of the same field"):
        propose_pairs(tmp_path / "g")


def test_groups_stay_together(tmp_path: Path) -> None:
    for plate in range(7):
        for number in range(3):
            field(10 * plate + number).save(tmp_path / f"plate {plate}" / f"f{number}.ome.tif")
    found = propose_pairs(tmp_path)
    splits = {pair.group: set() for pair in found.pairs}
    for pair in found.pairs:
        splits[pair.group].add(pair.split)
    assert set(splits) == {f"plate {n}" for n in range(7)}
    assert all(len(s) == 1 for s in splits.values())
    assert {s for found in splits.values() for s in found} == {"train", "val", "test"}
    assert len({pair.name for pair in read_manifest(write_manifest(found.pairs, tmp_path / "m.csv"))}) == 21
    assert split_by_group(found.pairs)[0] == found.pairs


def test_a_manifest_is_written_as_it_is_read(tmp_path: Path) -> None:
    one(0, 0).save(tmp_path / "in" / "a.tif")
    pair = Pair(
        "a", tmp_path / "in" / "a.tif", tmp_path / "in" / "a.tif", None, None, "test", None, None, ":, 0:9, 1:", "ZYX",
        (1.0, 2.0, 3.0), "g", "0", 0,
    )  # fmt: skip
    (back,) = read_manifest(write_manifest([pair], tmp_path / "m.csv"))
    assert back == pair
    assert pd.read_csv(tmp_path / "m.csv")["input"].tolist() == ["in/a.tif"]
    elsewhere = write_manifest([pair], tmp_path / "other" / "m.csv")
    assert read_manifest(elsewhere)[0].input == pair.input


@pytest.mark.slow
def test_one_can_train_from_what_init_writes(tmp_path: Path) -> None:
    for number in range(4):
        field(number).save(tmp_path / f"f{number}.ome.tif")
    plan = init(tmp_path)
    text = plan.experiment.read_text()
    assert all(f"# {reason}" in text for reason in plan.reasons)
    experiment = Experiment.from_yaml(plan.experiment)
    assert experiment == protocol("spotlight")
    tiny = experiment.model_copy(update={"network": TINY.network, "training": TINY.training})
    assert train(plan.manifest, tmp_path / "model", tiny).exists()
    with pytest.raises(SpotlightError, match="is there already"):
        init(tmp_path)
    init(tmp_path, overwrite=True)
    init(tmp_path, tmp_path / "elsewhere")


def test_the_plan_follows_the_stacks_and_the_machine() -> None:
    fine = Fingerprint((60, 600, 900), (0.29, 0.1, 0.1), (0, 1), 0.1)
    experiment, _ = plan_experiment([fine], memory=64 * 2**30)
    assert (experiment.preparation.grid, experiment.training.batch_size) == (0.29, 8)
    coarse = Fingerprint((60, 600, 900), (1.0, 0.65, 0.65), (0, 1), 0.1)
    assert plan_experiment([coarse])[0].preparation.grid == 0.65
    unknown = Fingerprint((600, 900), None, (0, 1), 0.1)
    assert plan_experiment([unknown, fine])[0].preparation.grid == "native"
    small, reasons = plan_experiment([fine], memory=2**29)
    assert small.training.batch_size < 8
    assert f"{small.training.batch_size} patches" in reasons["batch"]
    assert "half of this machine's" in plan_experiment([fine])[1]["batch"]


@pytest.mark.parametrize("name", ["spotlight", "fnet-2018"])
def test_comments_do_not_change_settings(tmp_path: Path, name: str) -> None:
    (tmp_path / "e.yaml").write_text(commented_yaml(protocol(name)))
    assert Experiment.from_yaml(tmp_path / "e.yaml") == protocol(name)
    assert "# Optimiser steps." in (tmp_path / "e.yaml").read_text()


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    for number in range(3):
        one(number, 0).save(tmp_path / "bf" / f"F{number}.tif")
        one(number, 1).save(tmp_path / "dna" / f"f{number}.ome.tiff")  # case and ending differ
    one(0, 0).save(tmp_path / "bf" / "f7.tif")
    one(0, 0).save(tmp_path / "overview.tif")
    (tmp_path / "bf" / "empty.tif").touch()
    found = propose_pairs(tmp_path)
    assert len(found.pairs) == 3
    assert "2 files belong to no pair: bf/f7.tif, overview.tif." in found.reasons
    assert any("left out" in reason and "empty.tif" in reason for reason in found.reasons)


def test_the_name_of_a_file_outweighs_its_folders(tmp_path: Path) -> None:
    for number in range(3):
        one(number, 0).save(tmp_path / "mito" / f"f{number}_bf.tif")
        one(number, 1).save(tmp_path / "mito" / f"f{number}_mito.tif")
    assert names(propose_pairs(tmp_path).pairs) == [(f"f{n}_bf.tif", f"f{n}_mito.tif") for n in range(3)]


def test_files_that_state_nothing(tmp_path: Path) -> None:
    for number in range(3):
        for role, channel in (("bf", 0), ("dna", 1)):
            (tmp_path / role).mkdir(exist_ok=True)
            np.save(tmp_path / role / f"{number}.npy", field(number).data[channel])
    with pytest.raises(SpotlightError, match="--axes"):
        propose_pairs(tmp_path)
    unsized = init(tmp_path, tmp_path / "unsized", axes="ZYX").reasons
    assert any("state a voxel size" in reason and "--voxel-size" in reason for reason in unsized)
    plan = init(tmp_path, axes="ZYX", voxel_size=(0.29, 0.29, 0.29))
    assert not any("What follows" in reason for reason in plan.reasons)
    image, _ = read_manifest(plan.manifest)[0].read_both()
    assert (image.axes, image.voxel_size) == ("ZYX", (0.29,) * 3)


def test_links_are_kept(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in range(3):
        stored = (
            field(number).save(tmp_path / "store" / f"{number}.ome.tif").rename(tmp_path / "store" / f"sha{number}")
        )
        (tmp_path / "data" / f"f{number}.ome.tif").symlink_to(stored)
    pairs = read_manifest(init(tmp_path / "data").manifest)
    assert [pair.name for pair in pairs] == ["f0", "f1", "f2"]


def test_two_groups_one_group_and_a_movie() -> None:
    pair = Pair("a", Path("a"), Path("a"))
    two = [Pair(f"{g}{n}", Path("a"), Path("a"), group=g) for g in "xy" for n in range(4)]
    done, _ = split_by_group(two)
    assert {p.group: p.split for p in done} in ({"x": "train", "y": "test"}, {"x": "test", "y": "train"})
    done, _ = split_by_group(two[:4])
    assert {p.split for p in done} == {"train", "val", "test"}
    assert {p.group for p in done} == {""}
    movie = [Pair(f"t{n}", Path("a"), Path("a"), time=n, group="a.tif") for n in range(9)]
    done, reason = split_by_group(movie)
    assert {p.split for p in done} == {"train"}
    assert "cannot be split" in reason
    same_names = [pair] * 20
    assert {p.split for p in split_by_group(same_names)[0]} == {"train", "val", "test"}


def test_masks_in_place_of_targets(tmp_path: Path) -> None:
    for folder in ("raw", "vessels"):
        (tmp_path / folder).mkdir()
    for number in range(4):
        image = one(number, 1)
        image.save(tmp_path / "raw" / f"b{number}.ome.tif")
        mask = np.where(image.data > 160, 255, 0).astype(np.uint8)
        Stack(mask, "ZYX").save(tmp_path / "vessels" / f"b{number}.tif")
    plan = init(tmp_path, tmp_path / "plan", input_pattern="raw/*.ome.tif", mask_pattern="vessels/*.tif")
    found = read_manifest(plan.manifest, column="mask")
    assert [(pair.input.name, pair.target.name) for pair in found] == [(f"b{n}.ome.tif", f"b{n}.tif") for n in range(4)]
    experiment = Experiment.from_yaml(plan.experiment)
    assert (experiment.task.kind, experiment.task.foreground, experiment.preparation.grid) == (
        "segment",
        (255,),
        "native",
    )
    assert any("has the values 0, 255: 255 is the structure" in reason for reason in plan.reasons)
    with pytest.raises(SpotlightError, match="a mask stands in place of target and labels"):
        propose_pairs(tmp_path, input_pattern="raw/*.ome.tif", mask_pattern="vessels/*.tif", target_pattern="a/*.tif")
    with pytest.raises(SpotlightError, match="--input goes together with --target or --mask"):
        propose_pairs(tmp_path, mask_pattern="vessels/*.tif")
