"""Parts that are not Spotlight's: of an installed package, or given in Python; examples of docs/extending.md."""

import csv
import functools
import re
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from scipy import ndimage

from conftest import TINY, change
from spotlight.errors import SpotlightError
from spotlight.export.card import model_card
from spotlight.images import Facts, Stack, read
from spotlight.losses import (
    LOSSES,
    Batch,
    L1Settings,
    Loss,
    LossSettings,
    LossTerms,
    SpotlightLossSettings,
    build_loss,
    l1_loss,
    spotlight_loss,
)
from spotlight.model import read_description
from spotlight.networks import NETWORKS, FNet
from spotlight.pairs import read_manifest
from spotlight.prediction import find_parts, load_model, stain_files
from spotlight.report import write_training_page
from spotlight.segmentation import SegmentationSettings, segment
from spotlight.tasks import TASKS
from spotlight.training import Experiment, explain, protocol, train
from spotlight.training.engine import StainModule

OUTSIDE = Path(__file__).parents[1] / "outside"
PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
QUICK = change(TINY, steps=2, validate_every=2)


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> "object":
    """The package of tests/outside as an installation would leave it: its files and its entry points on the path."""
    folder = tmp_path_factory.mktemp("site")
    project = tomllib.loads((OUTSIDE / "pyproject.toml").read_text())["project"]
    facts = folder / f"outside_parts-{project['version']}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        "".join((f"[{group}]\n", *(f"{name} = {place}\n" for name, place in points.items())))
        for group, points in project["entry-points"].items()
    ]
    (facts / "entry_points.txt").write_text("\n".join(groups))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.syspath_prepend(OUTSIDE)
        for registry in (NETWORKS, LOSSES, TASKS):
            registry.__dict__.pop("_offered", None)
        yield folder
    for registry in (NETWORKS, LOSSES, TASKS):
        registry.__dict__.pop("_offered", None)


def columns(folder: Path) -> dict[str, str]:
    with (folder / "training" / "log.csv").open() as file:
        return list(csv.DictReader(file))[-1]


@pytest.mark.slow
def test_parts_of_another_package(manifest: Path, outside: object, tmp_path: Path) -> None:
    parts = {"loss": {"kind": "outside_huber", "delta": 0.5}, "network": {"architecture": "outside_net", "width": 3}}
    experiment = Experiment.parse(QUICK.model_dump() | parts, "test")
    text = explain(manifest, experiment, probe=True)
    for said in (
        "Huber's loss with delta 0.5",
        "two convolutions with 3 channels: 166 weights",
        "delta: 0.5",
        "minutes",
    ):
        assert said in text
    folder = train(manifest, tmp_path / "model", experiment)
    assert float(columns(folder)["validation_outside_error"]) > 0
    assert "outside_huber" in write_training_page(folder).read_text(encoding="utf-8")
    assert "outside_net, conditioning none, width 3" in model_card(read_description(folder), "m")
    assert load_model(folder).networks[0].reach == 2
    with pytest.raises(SpotlightError, match="did you mean 'delta'"):
        Experiment.parse({"loss": {"kind": "outside_huber", "delt": 1}}, "test")


@pytest.mark.slow
def test_a_task_of_another_package(manifest: Path, outside: object, tmp_path: Path) -> None:
    lines, rng = ["input,clean,split"], np.random.default_rng(0)
    for pair in read_manifest(manifest):
        clean = pair.read_target()
        clean.save(tmp_path / f"{pair.name}-clean.ome.tif")
        noisy = clean.data + rng.normal(0, clean.data.std(), clean.shape).astype(np.float32)
        replace(clean, array=noisy).save(tmp_path / f"{pair.name}.ome.tif")
        lines.append(f"{pair.name}.ome.tif,{pair.name}-clean.ome.tif,{pair.split}")
    table = tmp_path / "clean.csv"
    table.write_text("\n".join(lines))
    values = protocol("spotlight", "outside_denoise").model_dump()
    values |= {"preparation": QUICK.preparation.model_dump(), "network": QUICK.network.model_dump()}
    experiment = Experiment.parse(values | {"training": QUICK.training.model_dump()}, "test")
    folder = train(table, tmp_path / "model", experiment)
    assert -1 <= float(columns(folder)["validation_correlation"]) <= 1
    assert "correlation with the clean stack" in write_training_page(folder).read_text(encoding="utf-8")
    model = load_model(folder)
    (part,) = find_parts([table], split="test")
    (made,) = stain_files(model, [part], tmp_path / "out")
    assert made.path.name == f"{part.name}-denoised.ome.tif"
    result = read(made.path)
    assert (result.channels, result.shape) == (("clean (denoised)",), read(part.path).shape)


@pytest.mark.slow
def test_functions_and_modules_are_taken_as_they_are(
    manifest: Path, outside: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from outside_parts.two_convolutions import Plain, absolute_error, share_close

    given = {"loss": absolute_error, "network": functools.partial(Plain, width=2), "metrics": [share_close]}
    folder = train(manifest, tmp_path / "model", QUICK, **given)
    assert train(manifest, folder, QUICK, **given) == folder  # the same run
    with pytest.raises(SpotlightError, match="differs in loss"):
        train(
            manifest, folder, QUICK, **given | {"loss": lambda prediction, target: (prediction - target).abs().mean()}
        )
    assert 0 <= float(columns(folder)["validation_share_close"]) <= 1
    settings = read_description(folder).training["settings"]
    assert settings["loss"]["source"] == "outside_parts.two_convolutions:absolute_error"
    model = load_model(folder)
    assert (model.networks[0].divisor, model.networks[0].reach) == (2, None)
    assert "source outside_parts.two_convolutions:Plain" in model_card(model.description, "m")
    write_training_page(folder)
    monkeypatch.setattr("spotlight.given._given", {})  # as in a process that was given nothing
    assert load_model(folder).networks[0].divisor == 2
    monkeypatch.delitem(sys.modules, "outside_parts.two_convolutions")
    with pytest.raises(SpotlightError, match=r"`import outside_parts.two_convolutions` before you load the model"):
        load_model(folder)


def test_what_is_given_has_to_be_of_use(outside: object) -> None:
    from outside_parts.two_convolutions import Plain

    class Hidden(Plain):
        pass

    for parts, message in (
        ({"network": Hidden}, "Put the class at the top level of a file of its own"),
        ({"network": Plain(width=3)}, r"Give the class with its arguments: network=functools.partial\(Plain"),
        ({"network": len}, "a class of torch.nn.Module, or functools.partial"),
        ({"network": functools.partial(Plain, width=torch.ones(1))}, "Change: width"),
        ({"loss": torch.nn.HuberLoss}, r"Give an object of it, such as HuberLoss\(\)"),
        ({"metrics": [lambda stain, target: 1.0]}, "a metric needs a name"),
        ({"metrics": [Plain.forward, Plain.forward]}, "column of the name forward already"),
        ({"loss": "spotlght"}, "Did you mean 'spotlight'"),
    ):
        with pytest.raises(SpotlightError, match=message):
            Experiment.parse(parts, "test")
    assert Experiment(loss="mse", network="unetpp").loss.kind == "mse"  # type: ignore[arg-type]
    assert Experiment(loss=torch.nn.HuberLoss(delta=1.0)) != Experiment(loss=torch.nn.HuberLoss(delta=2.0))  # type: ignore[arg-type]
    own = Plain()
    built = Experiment(network=own).network.build(3)  # type: ignore[arg-type]
    image = torch.ones(1, 1, 4, 4, 4)
    assert built is not own
    assert torch.equal(built(image), own(image))  # its weights are the start
    with pytest.raises(ValueError, match=r"Plain must map \(1, 1, Y, X\)"):
        Experiment(network=Plain).network.build(2)  # type: ignore[arg-type]


def test_the_examples_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    files = [path.read_text().strip() for path in sorted((OUTSIDE / "outside_parts").glob("*.py"))]
    shown = [block for block in blocks if block.strip() in files]
    assert len(shown) == 4
    (loop,) = (block for block in blocks if "spotlight_loss(" in block)
    exec(compile(loop, str(PAGE), "exec"), {})
    assert capsys.readouterr().out.count("masked_mse") == 3


def test_losses_have_defaults_and_take_thresholds_as_numbers() -> None:
    prediction, target = torch.randn(2, 3, 1, 6, 8)
    mask = target > 0.2
    full = spotlight_loss(prediction, target, mask, torch.full((3,), 0.2), SpotlightLossSettings())
    assert spotlight_loss(prediction, target, mask, 0.2).total == full.total
    assert l1_loss(prediction, target).total == l1_loss(prediction, target, None, L1Settings()).total


class Wrong(LossSettings):
    """A loss whose author has made a mistake."""

    kind: Literal["wrong"] = "wrong"
    mistake: Literal["tensor", "pixels", "undeclared"] = "tensor"
    compares: ClassVar[Literal["intensities"]] = "intensities"

    def describe(self) -> str:
        """Name it."""
        return "wrong"

    def build(self) -> Loss:
        """Give what a loss may not give."""

        def loss(prediction: torch.Tensor, batch: Batch, progress: float = 1.0) -> Any:
            errors = (prediction - batch.target).abs()
            if self.mistake == "tensor":
                return errors.mean()
            return (
                LossTerms(errors, {}) if self.mistake == "pixels" else LossTerms(errors.mean(), {"l1": errors.mean()})
            )

        return loss


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("tensor", r"the loss 'wrong' must give LossTerms\(total, terms\): .* Received: Tensor"),
        ("pixels", r"Received: LossTerms with a total of shape \(1, 1, 4, 4\)"),
        ("undeclared", "the loss gives the terms l1, which the `terms` of its settings do not name. They name: none"),
    ],
)
def test_a_loss_says_at_once_what_it_gives_wrong(mistake: str, said: str) -> None:
    target = torch.zeros(1, 1, 4, 4)
    loss = build_loss(Wrong(mistake=mistake))
    with pytest.raises(SpotlightError, match=said):
        loss(target, Batch(target, target, target > 0, torch.zeros(1)))


def test_a_network_gives_as_many_voxels_as_it_gets() -> None:
    module = StainModule(FNet(3, 2, 4), L1Settings(), QUICK.training)
    image = torch.zeros(2, 1, 8, 8, 8)
    module.require_shape(image, module.network(image))
    for found in (torch.zeros(2, 1, 8, 6, 6), torch.zeros(2, 2, 8, 8, 8)):
        with pytest.raises(SpotlightError, match="one channel for each stain, as large as the input"):
            module.require_shape(image, found)


class Labelled(SegmentationSettings):
    """The mistake that scipy.ndimage.label invites: it gives the labels and their number."""

    def segment(self, image: Any, spacing: tuple[float, ...]) -> Any:
        """See `InstanceSettings.segment`."""
        return ndimage.label(image > 0)


def test_a_segmenter_may_not_return_a_pair() -> None:
    image = Stack(np.eye(32, dtype=np.float32), "YX", (0.5, 0.5))
    with pytest.raises(SpotlightError, match="must return whole numbers .* Received: tuple"):
        segment(image, Labelled())


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"axes": "YX"}, r"Received: axes 'YX' of an array of shape \(2, 3, 4\)"),
        ({"axes": "ZYX", "voxel_size": {"z": 1.0}}, "Received: 'z'. Correct the `voxel_size`"),
    ],
)
def test_a_reader_gives_an_axis_for_each_dimension(facts: dict[str, Any], said: str) -> None:
    with pytest.raises(SpotlightError, match=said):
        Facts(np.zeros((2, 3, 4)), **facts)
