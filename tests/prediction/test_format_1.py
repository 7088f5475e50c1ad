"""What commit 44fa046 made of a field: the folder format_1 holds its model, stains and scores.

The field is made by whole numbers and square roots alone, which are the same on every machine.
"""

import json
import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from spotlight import evaluate, load_model
from spotlight.evaluation import EvaluationSettings
from spotlight.images import Stack
from spotlight.pairs import Pair
from spotlight.prediction import PredictionSettings

FOLDER = Path(__file__).parent / "format_1"
ONE = PredictionSettings(precision="float32", device="cpu")


def field(number: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Transmitted light and fluorescence of five balls."""
    z, y, x = np.indices((16, 48, 48)).astype(np.float64)
    light, dye = np.full(z.shape, 3000.0), np.full(z.shape, 200.0)
    for ball in range(5):
        step = 7 * ball + 3 * number
        center = (6 + step % 5, 8 + 11 * step % 33, 8 + 17 * step % 31)
        radius = np.sqrt((2 * (z - center[0])) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2)
        dye += np.clip(9 - radius, 0, 3) * (300 + 20 * ball)
        light -= np.clip(3 - np.abs(radius - 7), 0, 3) * 400
    grain = (z * 7919 + y * 104729 + x * 1299709 + number * 31) % 97
    return (light + 5 * grain).astype(np.uint16), (dye + grain).astype(np.uint16)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    stack = Stack(np.stack(field(3)), "CZYX", (0.58, 0.29, 0.29), ("Brightfield", "DNA"))
    return stack.save(tmp_path / "field-3.ome.tif")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def this_machine() -> dict[str, str]:
    """What decides about the last bit: PyTorch and the processor."""
    processor = platform.processor()
    if (about := Path("/proc/cpuinfo")).exists():
        processor = next(
            (line for line in about.read_text(encoding="utf-8").splitlines() if "model name" in line), processor
        )
    return {"torch": torch.__version__, "processor": processor, "kernels": torch.backends.cpu.get_cpu_capability()}


def test_a_model_of_format_1_stains_as_it_did(image: Path) -> None:
    known = np.load(FOLDER / "stain.npz")["stain"]
    model = load_model(FOLDER)
    assert model.description.format == 1
    assert model.description.input.names == ("Brightfield",)
    found = model.predict(image, settings=ONE).data
    if json.loads((FOLDER / "machine.json").read_text()) == this_machine():
        np.testing.assert_array_equal(found, known)
    np.testing.assert_allclose(found, known, rtol=1e-5, atol=1e-5 * known.std())


@pytest.mark.slow
def test_a_model_of_format_1_has_the_scores_that_it_had(image: Path, tmp_path: Path) -> None:
    pair = Pair("field-3", image, image, split="test", input_channel="Brightfield", target_channel="DNA")
    settings = EvaluationSettings.from_yaml(FOLDER / "evaluation.yaml")
    evaluate([pair], {"model": FOLDER}, tmp_path / "evaluation", settings, workers=1)
    tables = (tmp_path / "evaluation" / "scores.csv", FOLDER / "scores.csv")
    found, known = (pd.read_csv(path).set_index("method") for path in tables)
    assert set(known) <= set(found)
    assert known["found_nuclei"].tolist() == [4]
    # Sphericity, a part of profiles, is that of the smooth mesh since then.
    changed = ["sphericity_error", "profile_error", "profile_distance", "profile_distance_to_target"]
    numbers = known.drop(columns=changed).dropna(axis=1).select_dtypes("number").columns
    np.testing.assert_allclose(found[numbers].loc[known.index], known[numbers], rtol=1e-4)
