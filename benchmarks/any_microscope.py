"""A model that needs no pairs: trained on simulated cells seen by many microscopes, judged on a real stack.

    python benchmarks/any_microscope.py --to DIR [--fields 40] [--steps 800] [--real brightfield_dna.ome.tif]

Judged by the area under the ROC curve: how well the values tell voxels of nuclei (the foreground of the real
fluorescence) from others; .5 is chance. Beside the model stand what needs no model, and the model on the stack stored
from its last plane on. Interrupted, the same command goes on.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from spotlight import load_model, read
from spotlight.foreground import ForegroundSettings, find_foreground
from spotlight.networks import FNetSettings
from spotlight.prediction import PredictionSettings
from spotlight.simulation import AnyMicroscopeSettings, simulate_any_microscope
from spotlight.training import protocol, train


def auroc(values: NDArray[np.floating], inside: NDArray[np.bool_]) -> float:
    """Probability that a voxel inside has a greater value than one outside."""
    ranks = stats.rankdata(values.ravel())[inside.ravel()]
    n, m = inside.sum(), (~inside).sum()
    return float((ranks.sum() - n * (n + 1) / 2) / (n * m))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--fields", type=int, default=40)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--protocol", default="spotlight")
    parser.add_argument("--name", default="model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="Model folder whose weights are the start.")
    parser.add_argument("--real", type=Path)
    asked = parser.parse_args()
    counts = {"train": asked.fields, "val": 3, "test": 3}
    small = AnyMicroscopeSettings(shape=(32, 96, 96), source_points=20)
    manifest = simulate_any_microscope(
        asked.to / "data", counts, small, progress=lambda n, of: print(f"field {n} of {of}", flush=True)
    )
    chosen = protocol(asked.protocol)
    changes = {
        "steps": asked.steps,
        "finetune": asked.start,
        "batch_size": 4,
        "seed": asked.seed,
        "validate_every": 100,
        "schedule": "cosine",
    }
    seen = {"size": (16, 64, 64), "augment": True, "intensity": 0.3, "noise": 0.3, "focus": 0.5}
    experiment = chosen.model_copy(
        update={
            "network": FNetSettings(depth=3, mult_chan=asked.width),
            "patches": chosen.patches.model_copy(update=seen | {"least_foreground": 0.0}),
            "training": chosen.training.model_copy(update=changes | {"checkpoint_every": 50}),
        }
    )
    folder = train(
        manifest,
        asked.to / asked.name,
        experiment,
        cache=asked.to / "cache",
        progress=lambda *what: print(*what, flush=True) if what[1] % 20 == 0 else None,
    )
    if asked.real:
        judge(folder, asked.real)


def judge(folder: Path, file: Path) -> None:
    """Print areas under the ROC curve for a real pair."""
    image, target = read(file).channel("Brightfield"), read(file).channel("DNA").data
    rules = {"median 3, no Gaussian": ForegroundSettings(median_px=3, gaussian_px=0), "recipe": ForegroundSettings()}
    model, settings = load_model(folder), PredictionSettings(precision="float32")
    values = image.data.astype(float)
    mean, square = (ndimage.uniform_filter(v, 5) for v in (values, values**2))
    turned = replace(image, array=np.ascontiguousarray(image.data[::-1]))
    stains = {
        "model": model.predict(image, settings=settings).data,
        "model, stored from the last plane on": model.predict(turned, settings=settings).data[::-1],
        "intensity": values,
        "local variance, smoothed": ndimage.gaussian_filter(square - mean**2, 3),
        "minus that": -ndimage.gaussian_filter(square - mean**2, 3),
    }
    for rule, foreground in rules.items():
        inside = target >= find_foreground(target, foreground).threshold
        print(f"nuclei by {rule}: {inside.mean():.3f} of the voxels")
        for name, stain in stains.items():
            print(f"  {name}: {auroc(stain, inside):.3f}")


if __name__ == "__main__":
    main()
