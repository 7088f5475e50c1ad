"""Whether a start helps: draws, controls, folds, answers, and what cannot be compared."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from spotlight.cli import app
from spotlight.comparison import FewShotSettings, few_shot
from spotlight.comparison.few_shot import SCRATCH, THRESHOLD, TOTAL, judge
from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.model import read_description
from spotlight.networks import FNetSettings
from spotlight.pairs import Pair, read_pairs
from spotlight.segmentation.classical import tune_threshold
from spotlight.training import Experiment, pretrain, pretraining

SHAPE, VOXEL = (8, 32, 32), (4.0, 2.0, 2.0)


def tiny(**values: object) -> Experiment:
    found = pretraining(**values).model_dump()  # type: ignore[arg-type]
    found["network"] = FNetSettings(depth=1, mult_chan=4).model_dump()
    found["patches"]["size"] = (8, 16, 16)
    found["training"] |= {"batch_size": 2, "precision": "float32"}
    return Experiment.parse(found, "test")


def field(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, bool)
    for z, y, x in rng.integers((1, 3, 3), (7, 29, 29), (8, 3)):
        mask[z - 1 : z + 2, y - 2 : y + 3, x - 2 : x + 3] = True
    return (200 + 300 * mask + rng.normal(0, 60, SHAPE)).clip(0).astype(np.uint16), mask


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three stacks to draw from and six to judge on."""
    folder = tmp_path_factory.mktemp("labelled")
    rows = []
    for number in range(9):
        image, mask = field(number)
        Stack(image, "ZYX", VOXEL, ("488",)).save(folder / f"{number}.ome.tif")
        Stack(mask.astype(np.uint8), "ZYX", VOXEL).save(folder / f"{number}-mask.tif")
        split = "train" if number < 3 else "test"
        rows.append({"input": f"{number}.ome.tif", "mask:cells": f"{number}-mask.tif", "split": split})
    pd.DataFrame(rows).to_csv(folder / "masks.csv", index=False)
    return folder / "masks.csv"


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stacks = [Stack(field(100 + n)[0], "ZYX", VOXEL, ("488",)) for n in range(3)]
    return pretrain(stacks, tmp_path_factory.mktemp("models") / "backbone", tiny(steps=3))


def scores_of(seed: int, gain: float, draws: int = 5, stacks: int = 8) -> pd.DataFrame:
    """Scores with effects of stacks and trainings, of a start that gains so much on average."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 0.1, stacks)
    rows = []
    for method, better in ((SCRATCH, 0.0), (TOTAL, 0.0), ("from backbone", gain)):
        taste = rng.normal(0, 0.02, stacks)
        for draw in range(draws):
            values = 0.5 + better + hard + taste + rng.normal(0, 0.02) + rng.normal(0, 0.02, stacks)
            rows += [
                {"shots": 2, "method": method, "seed": draw, "stack": str(n), "mask_dice": value}
                for n, value in enumerate(values)
            ]
    return pd.DataFrame(rows)


@pytest.mark.slow
def test_of_starts_that_do_nothing_nothing_is_claimed() -> None:
    table = pd.concat([judge(scores_of(seed, 0.0), ["from backbone"]) for seed in range(40)])
    for _, own in table.groupby("baseline"):
        assert len(own) == 40
        assert (own["answer"] == "cannot tell").mean() >= 0.95


def test_what_helps_or_harms_much_is_said() -> None:
    assert set(judge(scores_of(0, 0.2), ["from backbone"])["answer"]) == {"yes"}
    assert set(judge(scores_of(0, -0.2), ["from backbone"])["answer"]) == {"no"}
    assert set(judge(scores_of(0, 0.2, stacks=4), ["from backbone"])["answer"]) == {"cannot tell"}  # too few stacks


def test_a_threshold_is_tuned_on_what_is_annotated() -> None:
    image, mask = field(1)
    tuned = tune_threshold([image], [mask], VOXEL, contiguous=False)
    assert tuned.method.name == "difference of Gaussians"
    assert tuned.dice > 0.8
    other, truth = field(2)
    found = tuned.find(other, VOXEL)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.75
    known = np.zeros(SHAPE, bool)
    known[:, :16] = True
    wrong = np.where(known, mask, ~mask)  # nobody annotated that half
    assert tune_threshold([image], [wrong], VOXEL, False, [known]).dice > 0.8
    line = np.zeros((16, 16, 16), np.float32)
    line[8, 8, 2:14] = 10
    ridge = tune_threshold([line + np.random.default_rng(0).normal(0, 1, line.shape)], [line > 0], (1.0, 1.0, 1.0))
    assert ridge.dice > 0.7
    with pytest.raises(SpotlightError, match="none was given"):
        tune_threshold([], [], VOXEL)


@pytest.mark.slow
def test_all_methods_are_trained_on_the_same_draws_and_a_call_goes_on(
    labelled: Path, backbone: Path, tmp_path: Path
) -> None:
    settings = FewShotSettings(shots=(1,), draws=2, steps=2)

    def stop(work: str, done: int, total: int, figures: dict[str, float]) -> None:
        if work == "few-shot" and done == 1:
            raise KeyboardInterrupt

    base = tiny(pretext="simulated")
    with pytest.raises(KeyboardInterrupt):
        few_shot(labelled, tmp_path / "v", backbone, settings, experiment=base, progress=stop)
    first = tmp_path / "v" / "runs" / "1-shot" / "draw-0" / "fold-0"
    times = [path.stat().st_mtime_ns for path in sorted(first.rglob("weights.safetensors"))]
    found = few_shot(labelled, tmp_path / "v", backbone, settings, experiment=base)
    assert times == [path.stat().st_mtime_ns for path in sorted(first.rglob("weights.safetensors"))]
    assert set(found.scores["method"]) == {SCRATCH, TOTAL, THRESHOLD, "from backbone"}
    assert len(found.scores) == 4 * 2 * 6
    assert found.scores["mask_dice"].between(0, 1).all()
    assert set(found.table["baseline"]) == {SCRATCH, TOTAL, THRESHOLD}
    records = {path.parent.name: read_description(path.parent).training for path in first.glob("*/model.yaml")}
    assert {name: r["settings"]["training"]["steps"] for name, r in records.items()} == {
        "scratch": 2,
        "scratch, total steps": 5,
        "from backbone": 2,
    }
    drawn = {tuple(stack["name"] for stack in record["data"]["train"]) for record in records.values()}
    assert len(drawn) == 1
    with pytest.raises(SpotlightError, match="holds a comparison that differs in settings.draws"):
        few_shot(labelled, tmp_path / "v", backbone, settings.model_copy(update={"draws": 3}), experiment=base)


@pytest.mark.slow
def test_the_command_gives_a_page(labelled: Path, backbone: Path, tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(tiny(pretext="simulated").to_yaml())
    run = ["few-shot", str(labelled), "--from", str(backbone), "--to", str(tmp_path / "v"), "--shots", "1"]
    run += ["--draws", "1", "--steps", "1", "--settings", str(tmp_path / "e.yaml")]
    result = CliRunner().invoke(app, run)
    assert result.exit_code == 0, result.output
    assert "1 labelled: does from backbone help, against scratch? Cannot tell." in result.output
    page = (tmp_path / "v" / "few_shot.html").read_text()
    assert "Learning curve" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    wrong = CliRunner().invoke(app, [*run[:-6], "--shots", "one"])
    assert "--shots are whole numbers" in str(wrong.exception)


@pytest.mark.slow
def test_without_a_test_split_groups_are_held_out_in_turn(labelled: Path, backbone: Path, tmp_path: Path) -> None:
    pairs = [
        Pair(**{**vars(pair), "split": "", "group": f"brain {number // 2}"})
        for number, pair in enumerate(read_pairs(labelled, column="mask")[:4])
    ]
    settings = FewShotSettings(shots=(1,), draws=1, steps=1)
    found = few_shot(pairs, tmp_path / "v", backbone, settings, experiment=tiny(pretext="simulated"))
    assert sorted(found.scores["stack"].unique()) == ["0", "1", "2", "3"]
    for fold, names in ((0, {"2", "3"}), (1, {"0", "1"})):
        model = tmp_path / "v" / "runs" / "1-shot" / "draw-0" / f"fold-{fold}" / "scratch"
        assert {stack["name"] for stack in read_description(model).training["data"]["train"]} <= names


def test_what_cannot_be_compared_is_refused(labelled: Path, backbone: Path, tmp_path: Path) -> None:
    def refused(match: str, pairs: object = labelled, start: object = backbone, **more: object) -> None:
        asked = FewShotSettings(shots=more.pop("shots", (1,)), draws=1, steps=1)  # type: ignore[arg-type]
        with pytest.raises(SpotlightError, match=match):
            few_shot(pairs, tmp_path / "v", start, asked, **more)  # type: ignore[arg-type]
        assert not (tmp_path / "v" / "few_shot.yaml").exists()

    refused(r"4 labelled stacks are to be drawn \(shots\), but there are 3", shots=(1, 4))
    refused("task 'segment', but 'stain' was asked for", task="stain")
    refused("at least two groups or stacks", pairs=read_pairs(labelled, column="mask")[:1])
    refused("starts of different names", start=[backbone, backbone])
    stacks = [Stack(field(n)[0], "ZYX", VOXEL, ("488",)) for n in (8, 100, 101)]
    leaky = pretrain(stacks, tmp_path / "leaky", tiny(steps=1))
    refused("was pretrained on stacks that are for testing: 8", start=leaky)
    wide = tiny(steps=1)
    wide = wide.model_copy(update={"network": FNetSettings(depth=1, mult_chan=6)})
    other = pretrain(stacks[1:], tmp_path / "wide", wide)
    refused("have different networks", start=[backbone, other])
