"""Fields whose nuclei only the second of two input channels shows, and an experiment for them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spotlight.foreground import ForegroundSettings
from spotlight.images import Stack
from spotlight.networks import FNetSettings
from spotlight.pairs import Pair, PreparationSettings
from spotlight.prediction import PredictionSettings
from spotlight.training import Experiment, PatchSettings, TrainingSettings

NAMES = ("Brightfield", "Phase", "DNA")
PIXELS = 64
SIZE = (0.29, 0.29)
FAST = PredictionSettings(precision="float32", device="cpu")


def field(number: int) -> dict[str, NDArray[np.uint16]]:
    """Round nuclei, which only the phase image shows: the brightfield image is noise."""
    rng = np.random.default_rng(number)
    y, x = np.indices((PIXELS, PIXELS))
    nuclei = np.zeros((PIXELS, PIXELS))
    for center in rng.uniform(6, PIXELS - 6, (7, 2)):
        nuclei = np.maximum(nuclei, np.clip(6 - np.hypot(y - center[0], x - center[1]), 0, 2) / 2)
    noise = rng.normal(size=(2, PIXELS, PIXELS))
    return {
        "Brightfield": (3000 + 200 * noise[0]).astype(np.uint16),
        "Phase": (9000 - 4000 * nuclei + 200 * noise[1]).astype(np.uint16),
        "DNA": (300 + 2000 * nuclei).astype(np.uint16),
    }


def write(folder: Path, number: int, names: tuple[str, ...] = NAMES) -> Path:
    """Write a field with its channels in an order."""
    images = field(number)
    stack = Stack(np.stack([images[name] for name in names]), "CYX", SIZE, names)
    return stack.save(folder / f"field-{number}.ome.tif")


def write_pairs(folder: Path) -> list[Pair]:
    """Write four fields: three to train, one to validate."""
    files = [write(folder, number) for number in range(4)]
    return [
        Pair(file.name.split(".")[0], file, file, split=split, input_channel=NAMES[:2], target_channel="DNA")
        for file, split in zip(files, ("train", "train", "train", "val"), strict=True)
    ]


EXPERIMENT = Experiment(
    preparation=PreparationSettings(foreground=ForegroundSettings(median_px=1, gaussian_px=0)),
    patches=PatchSettings(size=(32, 32)),
    network=FNetSettings(depth=1, mult_chan=4),
    training=TrainingSettings(
        steps=40, batch_size=2, validate_every=20, checkpoint_every=10, learning_rate=5e-3, precision="float32"
    ),
)
"""A run of a second."""


def only(pairs: list[Pair], channel: str) -> list[Pair]:
    return [replace(pair, input_channel=channel) for pair in pairs]


def pearson(stain: Stack, truth: NDArray[np.uint16]) -> float:
    return float(np.corrcoef(stain.data.ravel(), truth.ravel())[0, 1])
