"""F-net and Spotlight on simulated cells over several seeds: the table in docs/quality.md.

    python benchmarks/quality.py --to DIR [--seeds 3] [--steps 300] [--methods fnet spotlight ...]

All methods see the same fields, network, patches, steps and seeds; only target, mask and loss differ. Weights are
chosen on validation fields, and the test fields are looked at once, at the end. "fnet-flat" is F-net's stain with
everything below the foreground threshold made background, as "spotlight" does by default: what of the difference is
training, and what is thresholding. Nothing that is there already is done again, so a killed run goes on.
"""

import argparse
import sys
import time
from pathlib import Path

import pandas as pd

from spotlight.demo import small
from spotlight.evaluation import EvaluationSettings, evaluate
from spotlight.prediction import Model, load_model
from spotlight.report import write_report
from spotlight.simulation import CellSettings, FluorescenceSettings, SimulationSettings, simulate_pairs
from spotlight.training import Experiment, protocol, train

FIELDS = {"train": 6, "val": 2, "test": 8}

DENSE = SimulationSettings(shape=(48, 224, 224))
SPARSE = DENSE.model_copy(
    update={
        "cells": CellSettings(cell_area_um2=280, brightness_variation=0.3, mitotic_fraction=0),
        "fluorescence": FluorescenceSettings(objective_na=1.0, crosstalk=0.1, photons=60),
    }
)
"""Few bright nuclei, 6 to 8 % foreground: where the published loss gets stuck in short runs."""


def methods(seed: int) -> dict[str, Experiment]:
    """The methods to compare, at the demo's scale."""
    fnet, spotlight = small("fnet", seed), small("spotlight", seed)
    published = protocol("spotlight-2025")

    def reading(name: str) -> Experiment:
        """The loss of the paper, at this scale, in one of its readings."""
        return spotlight.model_copy(
            update={
                "preparation": spotlight.preparation.model_copy(update={"mask_median_px": 1}),
                "loss": published.loss.model_copy(update={"reading": name}),
                "flatten_background": False,
            }
        )

    return {
        "fnet": fnet,
        "spotlight": spotlight,
        "paper-clamp": reading("clamp"),
        "paper-affine": reading("affine"),
        "paper-literal": reading("literal"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=None, help="instead of the demo's")
    parser.add_argument("--methods", nargs="+", default=list(methods(0)))
    parser.add_argument("--sparse", action="store_true", help="few bright nuclei instead of a dense colony")
    parser.add_argument("--split", default="test", help="val while choosing settings, test to report")
    arguments = parser.parse_args()

    manifest = simulate_pairs(arguments.to / "data", FIELDS, SPARSE if arguments.sparse else DENSE, seed=7)
    tables = []
    for seed in range(arguments.seeds):
        models = {}
        for name in arguments.methods:
            experiment = methods(seed)[name]
            if arguments.steps:
                training = experiment.training.model_copy(update={"steps": arguments.steps})
                experiment = experiment.model_copy(update={"training": training})
            started = time.monotonic()
            models[name] = train(manifest, arguments.to / f"seed-{seed}" / name, experiment)
            print(f"seed {seed}  {name}  {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        folder = arguments.to / f"seed-{seed}" / f"evaluation-{arguments.split}"
        settings = EvaluationSettings(split=arguments.split)
        judged = {name: load_model(model) for name, model in models.items()}
        if "fnet" in models:
            judged["fnet-flat"] = flattened(models["fnet"])
        tables.append(evaluate(judged, manifest, folder, settings).scores.assign(seed=seed))
        write_report(folder)
    scores = pd.concat(tables, ignore_index=True)
    scores.to_csv(arguments.to / f"scores-{arguments.split}.csv", index=False, float_format="%.6g")
    print(markdown(scores))


def flattened(folder: Path) -> Model:
    """A model whose stains are flattened below the foreground threshold, whatever its training says."""
    model = load_model(folder)
    target = model.description.target.model_copy(update={"flatten": True})
    return Model(model.description.model_copy(update={"target": target}), model.network, "flattened")


COLUMNS = {
    "mean_ap": "{:.3f}",
    "ap50": "{:.3f}",
    "volume_error": "{:+.1%}",
    "elongation_error": "{:+.1%}",
    "profile_error": "{:.3f}",
    "profile_distance": "{:.3f}",
    "profile_distance_to_target": "{:.3f}",
    "psnr_foreground": "{:.2f}",
    "pearson_foreground": "{:.3f}",
    "psnr": "{:.2f}",
    "pearson": "{:.3f}",
}


def markdown(scores: pd.DataFrame) -> str:
    """Mean over seeds and stacks ± standard deviation between seeds."""
    per_seed = scores.groupby(["method", "seed"], sort=False)[list(COLUMNS)].mean()
    mean, spread = per_seed.groupby("method", sort=False).mean(), per_seed.groupby("method", sort=False).std()
    lines = ["| method | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for method in mean.index:
        cells = []
        for column, form in COLUMNS.items():
            value, sd = mean.loc[method, column], spread.loc[method, column]
            text = "" if pd.isna(value) else form.format(value)
            cells.append(f"{text} ± {form.replace('+', '').format(sd)}" if text and sd > 0 else text)
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
