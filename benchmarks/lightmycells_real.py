"""Partly labelled, many-stain training on real images: neurons in phase contrast, and nuclei in phase contrast.

    python benchmarks/lightmycells_real.py DATA --to DIR [--set neurons nuclei] [--seeds 2] [--steps 400] [--workers 2]

DATA holds ``neurons_phase_zstack`` (13 planes of phase contrast; DAPI, MAP2 and NFH as projections; Christiansen et al.
2018) and ``phase_nuclei_2d`` (two positions of HeLa and RPE1 cells; cell-AAP). Of the neurons the left 704 columns
train, in eight regions that lack one or two stains each; the right 256 columns, 64 beyond them, are judged in every
plane. Of the nuclei one position trains, the other is judged. One field each: what is found says little of others.

DIR then holds results.csv and lightmycells_real.md.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ablation import merged
from lightmycells import BASE, BASELINE, GAME, SPOTLIGHT
from spotlight.evaluation.means import with_part
from spotlight.files import write_text
from spotlight.metrics.challenge import challenge_scores
from spotlight.pairs import Pair
from spotlight.prediction import PredictionSettings, load_model
from spotlight.training import Experiment, train

REGIONS = [(256 * row, 352 * column) for row in range(4) for column in range(2)]
PRESENT = {"DAPI": (0, 1, 2, 4, 5, 7), "MAP2": (1, 3, 4, 6), "NFH": (2, 5, 6)}
"""Which of the eight regions have a stain; every region has one at least."""
JUDGED = ":, 768:1024"

METHODS: dict[str, dict[str, Any]] = {
    BASELINE: {},
    "one network per stain": {},
    "all labels": {},
    "squared error": {"loss": {"kind": "mse"}},
    "Spotlight": {"loss": SPOTLIGHT, "preparation": {"target_center": "threshold"}},
    "L1 and discriminators": GAME,
}


def neurons(data: Path, complete: bool) -> list[Pair]:
    """Regions to train on, each with the stains that it has."""
    image, target = (data / "neurons_phase_zstack" / name for name in ("phase.ome.tif", "fluorescence_maxproj.ome.tif"))
    return [
        Pair(
            f"region-{number}-{stain}",
            image,
            target,
            split="train",
            target_channel=stain,
            region=f"{y}:{y + 256}, {x}:{x + 352}",
            target_name=stain,
        )
        for number, (y, x) in enumerate(REGIONS)
        for stain, there in PRESENT.items()
        if complete or number in there
    ]


def nuclei(data: Path, complete: bool) -> list[Pair]:
    """One position to train on."""
    file = data / "phase_nuclei_2d" / "s10.ome.tif"
    return [
        Pair("s10", file, file, split="train", input_channel="Phase", target_channel="Nuclei", target_name="Nuclei")
    ]


def judged(name: str, data: Path) -> list[Pair]:
    """What is judged, a pair for each stain."""
    if name == "neurons":
        return [
            Pair(stain, pair.input, pair.target, target_channel=stain, region=JUDGED, target_name=stain)
            for stain in PRESENT
            for pair in neurons(data, True)[:1]
        ]
    file = data / "phase_nuclei_2d" / "s11.ome.tif"
    return [Pair("Nuclei", file, file, split="", input_channel="Phase", target_channel="Nuclei", target_name="Nuclei")]


def run(name: str, method: str, seed: int, data: Path, to: Path, steps: int) -> pd.DataFrame:
    """Train, stain every judged plane, and score."""
    torch.set_num_threads(1)
    folder = to / name / f"seed-{seed}" / method.replace(" ", "-")
    done = folder / "scores.csv"
    if done.exists():
        return pd.read_csv(done)
    pairs = {"neurons": neurons, "nuclei": nuclei}[name](data, method == "all labels")
    stains = list(dict.fromkeys(pair.target_name for pair in pairs))
    apart = stains if method == "one network per stain" else ["all"]
    change = METHODS[method]
    base = BASE | ({"loss": {}} if "kind" in change.get("loss", {}) else {})
    values = merged({"adversarial": {}, **base}, change | {"training": {"steps": steps // len(apart), "seed": seed}})
    values["adversarial"] = values["adversarial"] or None
    values["training"]["validation_share"] = 0.0
    experiment = Experiment.parse(values, method)
    models = [load_model(train(pairs, folder / stain, experiment, target=stain)) for stain in apart]
    settings = PredictionSettings(tile=(256, 256), precision="float32")
    rows = []
    for pair in judged(name, data):
        planes, truth = pair.read_planes()
        for number, plane in enumerate(planes):
            for model in models:
                found = model.predict(plane, settings=settings, flatten=False)
                channel = f"{pair.target_name} (virtual)"
                if channel in found.channels:
                    scores = challenge_scores(found.channel(channel if "C" in found.axes else None).data, truth.data)
                    rows.append({"target": pair.target_name, "plane": number, **scores})
    table = pd.DataFrame(rows).assign(set=name, method=method, seed=seed)
    table.to_csv(done, index=False)
    return table


def tables(results: pd.DataFrame) -> str:
    """Means over planes, with the spread between seeds, and Pearson correlation by plane."""
    text = []
    for name, rows in results.groupby("set", sort=False):
        targets = list(dict.fromkeys(rows["target"]))
        for score in ("pcc", "ssim"):
            text += [
                f"\n**{name}: {score.upper()}**\n",
                f"| | {' | '.join(targets)} |",
                "|---" * (len(targets) + 1) + "|",
            ]
            for method, found in rows.groupby("method", sort=False):
                seeds = found.groupby(["seed", "target"])[score].mean().unstack()
                cells = [
                    with_part(f"{seeds[t].mean():.3f} ± {seeds[t].std():.3f}", found.loc[found["target"] == t, score])
                    for t in targets
                ]
                text.append(f"| {method} | {' | '.join(cells)} |")
        planes = rows[rows["method"] == BASELINE].groupby(["target", "plane"])["pcc"].mean().unstack()
        if planes.shape[1] > 1:
            text += [
                f"\n**{name}: PCC by input plane** ({BASELINE})\n",
                f"| | {' | '.join(map(str, planes.columns))} |",
            ]
            text.append("|---" * (planes.shape[1] + 1) + "|")
            text += [f"| {t} | {' | '.join(f'{v:.3f}' for v in planes.loc[t])} |" for t in targets]
    return "\n".join(text).strip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--set", nargs="+", choices=("neurons", "nuclei"), default=("neurons", "nuclei"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    partly = ("one network per stain", "all labels")
    jobs = [
        (name, method, seed)
        for name in arguments.set
        for seed in range(arguments.seeds)
        for method in METHODS
        if name == "neurons" or method not in partly
    ]
    with ProcessPoolExecutor(arguments.workers, get_context("spawn")) as pool:
        rest = (arguments.data, arguments.to, arguments.steps)
        found = [future.result() for future in [pool.submit(run, *job, *rest) for job in jobs]]
    results = pd.concat(found)
    results.to_csv(arguments.to / "results.csv", index=False)
    text = tables(results)
    write_text(arguments.to / "lightmycells_real.md", text)
    print(text)


if __name__ == "__main__":
    main()
