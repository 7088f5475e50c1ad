"""Classes: what is refused, the network, scores, and a model from training to tables."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from spotlight.cli import app
from spotlight.errors import SpotlightError
from spotlight.evaluation import evaluate_classes, score_classes
from spotlight.images import Stack
from spotlight.losses import Batch, ClassLossSettings, build_loss
from spotlight.metrics import balanced_accuracy, confusion_matrix, macro_f1
from spotlight.model import ModelDescription, read_description, save_model
from spotlight.networks import FNet, UNetPlusPlus
from spotlight.pairs import read_pairs
from spotlight.prediction import classify, load_model
from spotlight.tasks import ClassifyTask, TargetDescription
from spotlight.tiles import mean_over_tiles
from spotlight.training import Experiment, explain, protocol, train
from spotlight.training.backbone import load_trunk

TASK = ClassifyTask()


def written(folder: Path, count: int = 24) -> Path:
    """Images of stripes along one axis or the other, of specimens of their own, and of one image a test specimen."""
    rng = np.random.default_rng(0)
    rows = []
    for n in range(count):
        name = ("rows", "columns", "rows")[n % 3]  # twice as many of the one
        wave = 100 * np.sin(np.arange(24) * 1.3 + rng.uniform(0, 6))
        image = 500 + rng.normal(0, 20, (24, 24)) + (wave[:, None] if name == "rows" else wave)
        Stack(image.astype(np.uint16), "YX", (1.0, 1.0), ("phase",)).save(folder / f"{n:02d}.ome.tif")
        split = "test" if n >= count - 6 else "val" if n >= count - 9 else "train"
        specimen = f"s{n}" if split == "test" else f"{split}-{n % 2}"
        rows.append({"input": f"{n:02d}.ome.tif", "class": name, "specimen": specimen, "split": split})
    pd.DataFrame(rows).to_csv(folder / "classes.csv", index=False)
    return folder / "classes.csv"


def small() -> Experiment:
    values = protocol("spotlight", "classify").model_dump()
    values["network"] |= {"depth": 2, "mult_chan": 4}
    values["patches"] |= {"size": (16, 16), "augment": False}
    values["training"]["precision"] = "float32"  # "auto" is what is faster at the moment
    values["training"] |= {"steps": 100, "batch_size": 8, "learning_rate": 3e-3, "validate_every": 50, "device": "cpu"}
    return Experiment.parse(values, "test")


def test_what_cannot_be_learnt_or_judged_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    table = pd.read_csv(path)
    found = read_pairs(path, column="class")
    TASK.require(found)
    assert [(p.target_name, p.group, p.target.name) for p in found[:2]] == [
        ("rows", "train-0", "00.ome.tif"),
        ("columns", "train-1", "01.ome.tif"),
    ]

    def refused(change: Callable[[pd.DataFrame], pd.DataFrame], message: str) -> None:
        change(table.copy()).to_csv(tmp_path / "other.csv", index=False)
        with pytest.raises(SpotlightError, match=message):
            TASK.require(read_pairs(tmp_path / "other.csv", column="class"))

    refused(lambda t: t.replace({"class": {"columns": "Rows"}}), "'Rows' and 'rows' differ by upper and lower case")
    refused(lambda t: t.assign(**{"class": "rows"}), "all rows have the class 'rows'")
    refused(lambda t: t.replace({"specimen": {"s23": "train-0"}}), "'train-0' is in test and train")
    one = {"train-0": "only", "train-1": "only", "val-0": "only", "val-1": "only"}
    refused(lambda t: t.replace({"specimen": one}), "the class 'columns' has one specimen to learn from")
    refused(
        lambda t: pd.concat([t, t[:1].assign(**{"class": "columns"})]),
        r"00-1 \(rows\) and 00-2 \(columns\) show the same image",
    )
    refused(lambda t: t.assign(**{"class": ["", *t["class"][1:]]}), "line 2: class is empty")
    refused(lambda t: t.assign(group="a"), "columns group and specimen, which mean the same")


def test_the_network_pools_its_deepest_features() -> None:
    torch.manual_seed(0)
    plain = FNet(2, 2, 4, stains=3)
    image = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        features = plain.eval().deepest(image)
    network = TASK.adapt(plain).eval()
    with torch.no_grad():
        made = network(image)
    pooled = torch.cat((features.mean((2, 3)), features.amax((2, 3))), 1)
    torch.testing.assert_close(made[:, :, 0, 0], network.head(pooled))
    assert made.shape == (2, 3, 1, 1)
    assert not any(name.startswith("trunk.ups") for name in network.state_dict())
    network.begin_at([0.0, 0.0, 0.0])
    assert not network(image).any()
    assert TASK.adapt(FNet(3, 1, 2, stains=2))(torch.randn(1, 1, 8, 8, 8)).shape == (1, 2, 1, 1, 1)
    with pytest.raises(ValueError, match="by the encoder of 'fnet', not by UNetPlusPlus"):
        TASK.adapt(UNetPlusPlus(2, 1, 4))


def test_the_loss_of_classes_and_tiles_that_vote() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], requires_grad=True)
    empty = torch.zeros(2, 1, 4, 4)
    batch = Batch(empty, empty, empty > 0, torch.zeros(2), rows=((0, 2), (1, 2)))
    terms = build_loss(ClassLossSettings())(logits[:, :, None, None], batch)
    p = np.exp(logits.detach().numpy())
    p /= p.sum(1, keepdims=True)
    assert terms.total.item() == pytest.approx(-np.log(p[:, 2]).mean(), rel=1e-5)
    assert terms.parts["accuracy"].item() == 0.5
    array = np.arange(40, dtype=np.float32).reshape(4, 10)
    means = mean_over_tiles(lambda tile: np.array([tile.mean(), tile.size]), array, (4, 4), 2)
    # Tiles begin at 0, 4 (of 0, 3, 6, rounded to even numbers), and 6.
    wanted = np.mean([array[:, a : a + 4].mean() for a in (0, 4, 6)])
    np.testing.assert_allclose(means, [wanted, 16])


def test_scores_of_classes() -> None:
    truth, found = list("aaaabbbc"), list("aaabbbaa")
    table = confusion_matrix(truth, found, "abc")
    np.testing.assert_array_equal(table, [[3, 1, 0], [1, 2, 0], [1, 0, 0]])
    assert balanced_accuracy(table) == pytest.approx((3 / 4 + 2 / 3 + 0) / 3)
    assert macro_f1(table) == pytest.approx((6 / 9 + 4 / 6 + 0) / 3)
    assert balanced_accuracy(table[:2, :2]) == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert np.isnan(balanced_accuracy(np.zeros((2, 2), int)))
    with pytest.raises(SpotlightError, match="of a, b"):
        confusion_matrix(truth, found, "ab")

    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"class": rng.choice(["a", "b"], 400), "specimen": np.repeat(np.arange(40), 10)})
    wrong = np.repeat(rng.random(40) < 0.2, 10)  # whole specimens are wrong together
    rows["found"] = np.where(wrong, rows["class"].map({"a": "b", "b": "a"}), rows["class"])
    by_specimen = score_classes(rows, "ab")
    by_stack = score_classes(rows.assign(specimen=np.arange(400)), "ab")
    assert (
        by_specimen["balanced_accuracy"] == by_stack["balanced_accuracy"] == pytest.approx(1 - wrong.mean(), abs=0.02)
    )
    widths = [s["balanced_accuracy_high"] - s["balanced_accuracy_low"] for s in (by_specimen, by_stack)]
    assert widths[0] == pytest.approx(10**0.5 * widths[1], rel=0.25)  # of ten alike, each says a tenth
    assert np.isnan(score_classes(rows[:30], "ab")["macro_f1_low"])  # of three specimens there is no interval


@pytest.mark.slow
def test_a_model_from_training_to_tables(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert "Classes: of every patch" in explain(path, small(), probe=False)
    folder = train(path, tmp_path / "model", small())
    description = read_description(folder)
    assert [target.channel for target in description.targets] == ["rows", "columns"]
    log = pd.read_csv(folder / "training" / "log.csv")
    assert log["validation_accuracy"].dropna().iloc[-1] == 1

    model = load_model(folder)
    found = classify(model, tmp_path / "22.ome.tif")
    assert sum(found.values()) == pytest.approx(1)
    assert max(found, key=lambda name: found[name]) == "columns"
    with pytest.raises(SpotlightError, match="tells classes apart, and gives no image"):
        model.predict(tmp_path / "22.ome.tif")

    command = ["predict", str(folder), str(path), "--to", str(tmp_path / "out")]
    for _ in range(2):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "out" / "classes.csv", dtype={"name": str}).set_index("name")
    assert len(table) == 24
    assert table.loc["22", "p:columns"] == pytest.approx(found["columns"], abs=1e-5)
    refused = CliRunner().invoke(app, [*command, "--seams"])
    assert "--seams cannot be used for models that tell classes apart" in str(refused.exception)

    done = CliRunner().invoke(app, ["evaluate", str(path), "-m", str(folder), "--to", str(tmp_path / "judged")])
    assert done.exit_code == 0, done.output
    scores = pd.read_csv(tmp_path / "judged" / "class_scores.csv").iloc[0]
    assert (scores["balanced_accuracy"], scores["stacks"], scores["specimens"]) == (1, 6, 6)
    assert "Found wrong: 0" in (tmp_path / "judged" / "classes.html").read_text(encoding="utf-8")
    other = tmp_path / "unknown.csv"
    pd.read_csv(path).replace({"class": {"rows": "dots"}}).to_csv(other, index=False)
    with pytest.raises(SpotlightError, match="does not know the class dots; it knows columns, rows"):
        evaluate_classes(other, folder, tmp_path / "unknown")

    # The encoder of another task can be the start, and this one starts another model of classes, but none of images.
    stain, again = FNet(2, 2, 4), TASK.adapt(FNet(2, 2, 4, stains=5))
    of_stain = TargetDescription(center="mean", normalised_range=(0, 1), intensity_range=(0, 1))
    about = {"network": description.network, "input": description.input, "target": of_stain}
    save_model(tmp_path / "stain", ModelDescription(**about), stain)
    load_trunk(tmp_path / "stain", read_description(tmp_path / "stain"), again)
    assert all(torch.equal(w, stain.state_dict()[name]) for name, w in again.trunk.state_dict().items())
    load_trunk(folder, description, again)
    own = model.networks[0].state_dict()
    assert all(torch.equal(weight, own[name]) for name, weight in again.trunk.state_dict(prefix="trunk.").items())
    with pytest.raises(SpotlightError, match="has no decoder, which this task needs"):
        load_trunk(folder, description, FNet(2, 2, 4))
