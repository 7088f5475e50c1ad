"""Evaluations of masks, classes and restored images go on where they were, and see what has changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from spotlight.errors import SpotlightError
from spotlight.evaluation import evaluate_classes, evaluate_masks, evaluate_restoration
from spotlight.images import Stack
from spotlight.model import InputDescription, ModelDescription, save_model
from spotlight.networks import FNet, FNetSettings
from spotlight.prediction import load_model
from spotlight.tasks import ClassifyTask, RestoreTask, SegmentTask, TargetDescription, Task

COUNT, SHAPE = 3, (12, 16)
NETWORK = FNetSettings(depth=1, mult_chan=2)


def written(folder: Path, column: str) -> Path:
    """Stacks of noise with what each task compares them with."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for n in range(COUNT):
        image = rng.normal(500, 60, SHAPE).astype(np.float32)
        Stack(image, "YX", (1.0, 1.0), ("488",)).save(folder / f"{n}.ome.tif")
        Stack((image > 560).astype(np.uint8), "YX", (1.0, 1.0), ("a",)).save(folder / f"{n}-truth.ome.tif")
        truth = ("a", "b")[n % 2] if column == "class" else f"{n}-truth.ome.tif"
        rows.append({"input": f"{n}.ome.tif", column: truth, "split": "test"})
    pd.DataFrame(rows).to_csv(folder / "rows.csv", index=False)
    return folder / "rows.csv"


def untrained(folder: Path, task: Task) -> Path:
    """A model that was not trained."""
    torch.manual_seed(0)
    targets = [
        TargetDescription(channel=name, normalised_range=(0.0, 1.0), intensity_range=(0.0, 1.0))
        for name in (("a", "b") if task.column == "class" else ("a",))
    ]
    description = ModelDescription(
        network=NETWORK,
        input=InputDescription(axes="YX", grid="native"),
        target=targets[0],
        further_targets=tuple(targets[1:]),
        task=task,
        training={"patch": (8, 8)},
    )
    save_model(folder, description, task.adapt(FNet(2, 1, 2, init="torch", stains=len(targets))).eval())
    return folder


CASES = (
    (evaluate_masks, SegmentTask(threshold=0.45), "mask", "mask_scores.csv"),
    (evaluate_classes, ClassifyTask(), "class", "class_stacks.csv"),
    (evaluate_restoration, RestoreTask(), "target", "restoration_scores.csv"),
)


@pytest.mark.parametrize(("evaluate", "task", "column", "table"), CASES, ids=[case[2] for case in CASES])
def test_an_interrupted_evaluation_goes_on(
    evaluate: Callable[..., Any], task: Task, column: str, table: str, tmp_path: Path
) -> None:
    path, model = written(tmp_path, column), untrained(tmp_path / "model", task)
    whole = evaluate(path, model, tmp_path / "whole")

    def stop(work: str, done: int, total: int, figures: dict[str, float]) -> None:
        if done == 2:
            raise KeyboardInterrupt

    to = tmp_path / "judged"
    with pytest.raises(KeyboardInterrupt):
        evaluate(path, model, to, progress=stop)
    first = {file: file.stat().st_mtime_ns for file in (to / "judged").rglob("facts.json")}
    first_stack, _ = sorted({file.parent.name for file in first})  # and the second
    again = evaluate(path, model, to)
    assert (to / table).read_text() == (tmp_path / "whole" / table).read_text()
    assert all(file.stat().st_mtime_ns == made for file, made in first.items())  # nothing is done twice
    if column != "class":
        for key, picture in whole.pictures.items():
            np.testing.assert_array_equal(picture, again.pictures[key])

    other = 400 + np.eye(*SHAPE, dtype=np.float32)
    Stack(other, "YX", (1.0, 1.0), ("488",)).save(tmp_path / "0.ome.tif")
    evaluate(path, model, to)
    changed = {file.parent.name for file, made in first.items() if file.stat().st_mtime_ns != made}
    assert changed == {first_stack}
    with pytest.raises(SpotlightError, match=r"no pair has the split 'val'. Found: \['test'\]. Choose one"):
        evaluate(path, model, to, split="val")


def test_masks_are_judged_anew_by_another_threshold(tmp_path: Path) -> None:
    path = written(tmp_path, "mask")
    model = load_model(untrained(tmp_path / "model", SegmentTask(threshold=0.01)))
    all_found = evaluate_masks(path, model, tmp_path / "judged").scores["mask_dice"]
    strict = model.description.model_copy(update={"task": SegmentTask(threshold=0.99)})
    object.__setattr__(model, "description", strict)
    none_found = evaluate_masks(path, model, tmp_path / "judged").scores["mask_dice"]
    assert all_found.min() > 0.1
    assert none_found.max() == 0
