"""Small data and a small model that many tests share."""

from pathlib import Path

import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray

import several_channels
from small_evaluation import write_evaluation
from spotlight.foreground import ForegroundSettings
from spotlight.networks import FNetSettings
from spotlight.pairs import Pair, PreparationSettings
from spotlight.report import write_report
from spotlight.simulation import SimulationSettings, simulate_pairs
from spotlight.simulation.optics import BrightfieldSettings
from spotlight.training import Experiment, TrainingSettings, train

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile(
    "spotlight", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("spotlight")

MARKS = {
    "browser": ("browser", "slow"),
    "bucket": ("network",),
    "cluster": ("cluster", "slow"),
    "moto": ("network",),
    "shared_runs": ("slow",),
    "web": ("network",),
}
"""Marks of tests that use a fixture."""

SHARED = Path(__file__).parents[2] / "shared" / "data"

TINY = Experiment(
    preparation=PreparationSettings(foreground=ForegroundSettings(median_px=1, gaussian_px=0)),
    network=FNetSettings(depth=2, mult_chan=4),
    training=TrainingSettings(
        steps=12, batch_size=2, validate_every=4, checkpoint_every=4, learning_rate=3e-3, precision="float32"
    ),
)
"""An experiment of seconds."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in MARKS.keys() & set(getattr(item, "fixturenames", ())):
            for mark in MARKS[fixture]:
                item.add_marker(mark)


def change(experiment: Experiment, **training: object) -> Experiment:
    return experiment.model_copy(update={"training": experiment.training.model_copy(update=training)})


def ellipsoid(
    shape: tuple[int, ...], center: tuple[float, ...], axes: tuple[float, ...], spacing: tuple[float, ...]
) -> NDArray[np.bool_]:
    grid = np.indices(shape).reshape(len(shape), -1).T * spacing
    return ((((grid - center) / axes) ** 2).sum(1) <= 1).reshape(shape)


def real_data(name: str) -> Path:
    """A real file that is not part of the project; the test is skipped where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"real data {name} is not on this machine")
    return path


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated pairs: two to train, one to validate, one to test, 32x64x64 voxels each."""
    settings = SimulationSettings(shape=(32, 64, 64), brightfield=BrightfieldSettings(source_points=5))
    return simulate_pairs(tmp_path_factory.mktemp("data"), {"train": 2, "val": 1, "test": 1}, settings, seed=3)


@pytest.fixture(scope="session")
def model_folder(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model folder."""
    return train(manifest, tmp_path_factory.mktemp("models") / "tiny", TINY)


@pytest.fixture(scope="session")
def two_channels(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """Fields with two input channels and the target in one file: three to train, one to validate."""
    return several_channels.write_pairs(tmp_path_factory.mktemp("fields"))


@pytest.fixture(scope="session")
def two_channel_model(two_channels: list[Pair], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of two input channels."""
    return train(two_channels, tmp_path_factory.mktemp("models") / "both", several_channels.EXPERIMENT)


@pytest.fixture(scope="session")
def report_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small evaluation with its page."""
    folder = tmp_path_factory.mktemp("evaluation")
    write_evaluation(folder)
    write_report(folder, "A <title>", ["A remark & more."])
    return folder
