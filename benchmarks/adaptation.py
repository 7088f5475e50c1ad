"""What adapting to another microscope, by its stacks without any fluorescence, adds to a model's score there.

    python benchmarks/adaptation.py --models DIR [--only fnet spotlight] [--seeds 1] [--fields 2] --to OUT

DIR is a folder of paper.py or sharp.py, with its trained models and its segmentation. Fields of other cells on another
microscope are simulated: not those of `paper.py --shifted`, which are for reporting alone. Ways:

- "as it is";
- "spectrum": no change to the network; the power spectrum of the planes is made that of the training stacks, octave by
  octave, the strongest simple alternative (contrast and mean are matched by the normalisation anyway);
- "statistics, all": means and variances of all batch normalisations are those of the new stack (Li et al. 2018);
- "statistics, first N": the same of the first N of them alone, counted along the way of the image.

Scores: correlation with the fluorescence in true nuclei and within 6 voxels of them, and mean AP of the tuned
segmentation, on fields whose nuclei at the border count.
"""

import argparse
import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from spotlight import load_model
from spotlight.images import Stack
from spotlight.images.normalise import mean_and_std, normalise
from spotlight.images.resample import resample, resampled_shape
from spotlight.metrics import score_instances
from spotlight.prediction import PredictionSettings
from spotlight.prediction.stain import Model
from spotlight.segmentation import read_settings, segment
from spotlight.simulation import SimulationSettings, simulate_field

SHAPE = (32, 112, 112)
FIRST = (2, 6)


def elsewhere() -> SimulationSettings:
    """Other cells on another microscope, to choose by."""
    usual = SimulationSettings(shape=SHAPE)
    cells = usual.cells.model_copy(
        update={
            "cell_area_um2": 0.9 * usual.cells.cell_area_um2,
            "semi_axes_um": (3.1, 4.4, 5.8),
            "cytoplasm_index": 1.361,
            "granule_index": 1.402,
            "granules_per_cell": 220.0,
        }
    )
    light = usual.brightfield.model_copy(
        update={"condenser_na": 0.28, "objective_na": 1.05, "focus_offset_um": -0.5, "photons": 900.0}
    )
    return usual.model_copy(update={"voxel_um": 0.27, "cells": cells, "brightfield": light})


def octaves(image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Differences of Gaussians of 0, 1, 2, 4 and 8 voxels in the plane, and what is left; their sum is the image."""
    blurred = [image, *(ndimage.gaussian_filter(image, (0, s, s)) for s in (1, 2, 4, 8))]
    return [a - b for a, b in pairwise(blurred)] + [blurred[-1]]


def like(image: NDArray[np.float32], spreads: list[float]) -> NDArray[np.float32]:
    """The image with the spread of each octave but the coarsest relative to its own that a model was trained with."""
    parts = octaves(image / image.mean())
    made = sum(part * (s / part.std()) for part, s in zip(parts[:-1], spreads, strict=True))
    return np.asarray((made + parts[-1]) * 10_000, np.float32)


def ways(model: Model, stack: Stack, spreads: list[float]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The stain by every way."""
    settings = PredictionSettings(precision="float32")

    def stain(image: Stack) -> NDArray[np.float32]:
        return np.asarray(model.predict(image, settings=settings, any_voxel_size=True).data)

    yield "as it is", stain(stack)
    yield "spectrum", stain(replace(stack, array=like(stack.data.astype(np.float32), spreads)))
    network = model.networks[0]
    grid = model.description.input.grid
    shape = resampled_shape(stack.shape, stack.voxel_size, (grid,) * 3)
    seen = resample(normalise(stack.data, *mean_and_std(stack.data)), shape, 1)
    seen = torch.from_numpy(seen[tuple(slice(n // network.divisor * network.divisor) for n in shape)])[None, None]
    kept = copy.deepcopy(network.state_dict())
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    for count in (*FIRST, len(norms)):
        for norm in norms:
            norm.momentum = None  # the plain mean over what is seen
        for norm in norms[:count]:
            norm.reset_running_stats()
            norm.train()
        network(seen)
        for norm in norms:
            norm.eval()
        name = "statistics, all" if count == len(norms) else f"statistics, first {count}"
        yield name, stain(stack)
        network.load_state_dict(kept)


def scores(stain: NDArray[np.float32], field_: dict[str, Stack], find: Callable[[Stack], Stack]) -> dict[str, float]:
    """What is compared."""
    labels, target = field_["labels"].data, field_["target"].data.astype(float)
    near = ndimage.binary_dilation(labels > 0, iterations=6)
    found = score_instances(labels, find(replace(field_["target"], array=stain)).data)
    return {
        "pearson around nuclei": float(np.corrcoef(stain[near], target[near])[0, 1]),
        "mean_ap": float(np.mean(list(found.average_precision.values()))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=["fnet", "spotlight"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--fields", type=int, default=2)
    parser.add_argument("--to", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_grad_enabled(False)
    settings = read_settings(asked.models / "segmentation.yaml").model_copy(update={"clear_border": False})
    usual = SimulationSettings(shape=SHAPE)
    training = simulate_field(usual, seed=50).input.data.astype(np.float32)
    spreads = [float(part.std()) for part in octaves(training / training.mean())[:-1]]
    rows = []
    for place, simulation in (("elsewhere", elsewhere()), ("as trained", usual)):
        for number in range(asked.fields if place == "elsewhere" else 1):
            made = simulate_field(simulation, seed=60 + number)
            field_ = {"labels": made.labels, "target": made.target}
            for name in asked.only:
                for seed in range(asked.seeds):
                    model = load_model(asked.models / "models" / name / f"seed-{seed}")
                    for way, stain in ways(model, made.input, spreads):
                        found = scores(stain, field_, lambda stack: segment(stack, settings))
                        rows.append({"place": place, "model": name, "seed": seed, "field": number, "way": way} | found)
                        print(rows[-1], flush=True)
            asked.to.mkdir(parents=True, exist_ok=True)
            pd.DataFrame(rows).to_csv(asked.to / "adaptation.csv", index=False, float_format="%.4f")
    table = pd.DataFrame(rows).groupby(["place", "model", "way"], sort=False)[["mean_ap", "pearson around nuclei"]]
    print(table.mean().to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
