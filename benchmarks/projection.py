"""A focus series with a flat target: planes as channels, a learned projection, or the plane in focus alone.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/projection.py DATA --to DIR [--seeds 3] [--steps 100]

DATA holds ``brightfield_defocus_2d`` (5 planes of brightfield, and DAPI) and ``neurons_phase_zstack`` (phase contrast,
of whose 13 planes every second is taken, and a projection of DAPI). Of each field one half trains and the other, 64
columns away, is judged, both ways round; a seed's two trainings count as one. Judged by Pearson correlation in tiles,
eight of each half.

- "channels": an F-net of two dimensions takes the planes as channels, as `spotlight init` writes such a manifest;
- "projection": an F-net of three dimensions gives every voxel features and a score; their mean along Z, weighted by the
  softmax of the scores, goes through a convolution of two dimensions. It takes any number of planes;
- "focus": an F-net of two dimensions takes the plane in focus alone;
- "channels, equal time": "channels" with more steps, which take as long as those of "projection" (measured first).

All have depth 3, 8 channels, the loss and rate of the protocol fnet and, but for the last, the same steps, batches and
patches. One field each: what is found says little of others. What is there already is not done again; DIR then holds
scores.csv, comparison.csv and scores.md.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

from harness import loading

loading()

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from networks import MEASURED, seconds_per_step
from spotlight.evaluation.statistics import compare_methods
from spotlight.files import write_text
from spotlight.images import read
from spotlight.networks import FNet, FNetSettings, ModuleSettings
from spotlight.pairs import Pair
from spotlight.prediction import PredictionSettings, load_model
from spotlight.training import Experiment, protocol, train

BASELINE, PROJECTION = "channels", "projection"
LONGER = "channels, equal time"
DEPTH, WIDTH = 3, 8
GRID = {"defocus": 0.4, "neurons": "native"}
APART = 64
"""Columns between the half that trains and the half that is judged."""


class Projection(nn.Module):
    """Planes of a series (B, Z, Y, X) to one plane (B, 1, Y, X).

    ::

        y = head(Σ_z softmax_z(s) f)      f: features, s: score of every voxel, both by an F-net of three dimensions
    """

    divisor = 2**DEPTH
    memory_width = 8 * WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.trunk = FNet(3, DEPTH, WIDTH, stains=WIDTH + 1)
        self.head = nn.Conv2d(WIDTH, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Repeat the last plane until their number is a multiple of the divisor; what is added has no weight."""
        planes = x.shape[1]
        padded = nn.functional.pad(x[:, None], (0, 0, 0, 0, 0, -planes % self.divisor), mode="replicate")
        features, score = self.trunk(padded.contiguous(memory_format=torch.channels_last_3d))[:, :, :planes].split(
            [WIDTH, 1], dim=1
        )
        projected: Tensor = self.head((features * score.softmax(2)).sum(2))
        return projected


def methods(planes: tuple[str, ...]) -> dict[str, tuple[tuple[str, ...] | str, Any]]:
    """Planes that each method takes, and its network."""
    from projection import Projection as Importable  # a class of the script itself could not be found again

    flat = FNetSettings(depth=DEPTH, mult_chan=WIDTH)
    return {
        BASELINE: (planes, flat),
        PROJECTION: (planes, ModuleSettings.of(partial(Importable))),
        "focus": ("z=focus", flat),
        LONGER: (planes, flat),
    }


def sets(data: Path) -> dict[str, tuple[tuple[str, ...], dict[str, Any]]]:
    """Planes of each set, and the rest of its pair; nuclei are about 30 pixels wide on the grid of either."""
    defocus, neurons = data / "brightfield_defocus_2d", data / "neurons_phase_zstack"
    return {
        "defocus": (
            tuple(f"z={z}" for z in range(5)),
            {
                "input": defocus / "set1_brightfield.ome.tif",
                "target": defocus / "set1_dapi.ome.tif",
                "voxel_size": (10.0, 0.2004, 0.2004),
            },
        ),
        "neurons": (
            tuple(f"z={z}" for z in range(0, 13, 2)),
            {
                "input": neurons / "phase.ome.tif",
                "target": neurons / "fluorescence_maxproj.ome.tif",
                "target_channel": "DAPI",
            },
        ),
    }


def experiment(name: str, network: Any, steps: int) -> Experiment:
    """Squared error, with the weights of the last step."""
    chosen = protocol("fnet")
    schedule = {"steps": steps, "batch_size": 4, "validate_every": steps, "validation_share": 0, "micro_batches": 1}
    return chosen.model_copy(
        update={
            "network": network,
            "training": chosen.training.model_copy(update=schedule),
            "preparation": chosen.preparation.model_copy(update={"grid": GRID[name]}),
            "patches": chosen.patches.model_copy(update={"size": (64, 64)}),
        }
    )


def pair_of(name: str, method: str, data: Path, split: str, region: str) -> Pair:
    """A part of a field, with the planes that a method takes."""
    planes, given = sets(data)[name]
    return Pair(split, **given, split=split, input_channel=methods(planes)[method][0], region=region)


def times(name: str, data: Path, to: Path) -> int:
    """How many steps of planes as channels take as long as one of the projection; measured once."""
    kept = to / name / "seconds_per_step.json"
    if not kept.exists():
        found = {}
        for method in (BASELINE, PROJECTION):
            pairs = [pair_of(name, method, data, "train", ":, 0:480")]
            given = experiment(name, methods(sets(data)[name][0])[method][1], MEASURED)
            found[method] = seconds_per_step(pairs, to / name / "timing" / method, given)
        write_text(kept, json.dumps(found))
    each = json.loads(kept.read_text(encoding="utf-8"))
    print(f"{name}: seconds per step {each}", flush=True)
    return round(each[PROJECTION] / each[BASELINE])


def judge(name: str, method: str, data: Path, to: Path, seed: int, steps: int) -> list[dict[str, Any]]:
    """Train on either half, and score every tile of the other."""
    planes, given = sets(data)[name]
    width = read(given["target"], channel=given.get("target_channel")).shape[-1]
    halves = [f":, 0:{(width - APART) // 2}", f":, {(width + APART) // 2}:{width}"]
    rows = []
    for number, (trains, judged) in enumerate((halves, halves[::-1])):
        learns, tested = (
            pair_of(name, method, data, split, region) for split, region in (("train", trains), ("test", judged))
        )
        folder = to / name / method / f"seed-{seed}-{number}"
        model = load_model(train([learns], folder, experiment(name, methods(planes)[method][1], steps), seed=seed))
        image, target = tested.read_both()
        stain = model.predict(image, settings=PredictionSettings(precision="float32"))
        tiles = [
            [part for row in np.array_split(x.data, 4) for part in np.array_split(row, 2, axis=1)]
            for x in (stain, target)
        ]
        for tile, (a, b) in enumerate(zip(*tiles, strict=True)):
            pcc = float(np.corrcoef(a.ravel(), np.asarray(b).ravel())[0, 1])
            rows.append({"stack": f"{number}-{tile}", "method": method, "seed": seed, "pcc": pcc})
    return rows


def summary(name: str, scores: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Correlation of each method with the spread between trainings, and the difference to planes as channels."""
    others = [method for method in dict.fromkeys(scores["method"]) if method != BASELINE]
    table = compare_methods(scores, BASELINE, {"pcc": "high"}, others)
    each = scores.groupby(["method", "seed"])["pcc"].mean().groupby("method").agg(["mean", "std"])
    lines = [f"| {name} | PCC | against channels (95 %) |", "|---|---|---|"]
    for method in [BASELINE, *others]:
        row = table[table["method"] == method]
        against = "" if row.empty else "{mean_difference:+.3f} [{low:+.3f}, {high:+.3f}]".format(**row.iloc[0])
        mean, std = each.loc[method]
        lines.append(f"| {method} | {mean:.3f} ± {std:.3f} | {against} |")
    return "\n".join([*lines, "", *(f"- {sentence}" for sentence in table["verdict"])]), table.assign(set=name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found, tables, text = [], [], []
    for name, (planes, _) in sets(arguments.data).items():
        rows, longer = [], times(name, arguments.data, arguments.to)
        for seed in range(arguments.seeds):
            for method in methods(planes):
                steps = arguments.steps * (longer if method == LONGER else 1)
                rows += judge(name, method, arguments.data, arguments.to, seed, steps)
                print(f"{name}, {method}, seed {seed}: {np.mean([r['pcc'] for r in rows[-16:]]):.3f}", flush=True)
        scores = pd.DataFrame(rows)
        said, table = summary(name, scores)
        found.append(scores.assign(set=name))
        tables.append(table)
        text.append(said)
    pd.concat(found).to_csv(arguments.to / "scores.csv", index=False, float_format="%.6g")
    pd.concat(tables).to_csv(arguments.to / "comparison.csv", index=False, float_format="%.6g")
    write_text(arguments.to / "scores.md", "\n\n".join(text) + "\n")
    print("\n" + "\n\n".join(text))


if __name__ == "__main__":
    main()
