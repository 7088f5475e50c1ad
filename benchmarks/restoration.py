"""Deblurring and denoising of real light-sheet volumes, against Wiener, Richardson-Lucy and a Gaussian filter.

    python benchmarks/restoration.py DATA --to DIR [--steps N] [--seeds N] [--only deblur|denoise] [--json FILE]

DATA holds ``lightsheet_spots_3d``. Networks learn from the volumes of microglia of one brain (2248) and are judged on
those of the other (1874). Inputs are made from the volumes: "deblur" by a Gaussian of 2.5 voxels in the plane and one
along Z, and few photons; "denoise" by fewer photons alone. The classical methods know the blur, and have the setting
that is best on the test volumes themselves. DIR keeps what was trained, and an interrupted call goes on.
"""

from pathlib import Path

import numpy as np
import pandas as pd

import harness
from spotlight import train
from spotlight.evaluation import evaluate_restoration
from spotlight.evaluation.trainings import difference_interval
from spotlight.networks import FNetSettings
from spotlight.tasks import DegradeSettings, RestoreTask
from spotlight.training import Experiment, protocol

NETWORK = FNetSettings(depth=2, mult_chan=8)
KINDS = {
    "deblur": DegradeSettings(blur_um=(6.0, 4.05, 4.05), photons=400),
    "denoise": DegradeSettings(photons=20),
}
SPLITS = {"2248": "train", "1874": "test"}


def write_list(data: Path, to: Path) -> Path:
    """Write the manifest of the sharp volumes."""
    files = sorted((data / "lightsheet_spots_3d").glob("microglia_*[0-9].ome.tif"))
    rows = [{"input": str(file.resolve()), "split": SPLITS[file.name.split("_")[1]]} for file in files]
    to.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(to / "sharp.csv", index=False)
    return to / "sharp.csv"


def settings_of(kind: str) -> Experiment:
    """The task's settings, at a size that two cores can train."""
    values = protocol("spotlight", RestoreTask(degrade=KINDS[kind])).model_dump()
    values["patches"] |= {"size": (16, 48, 48)}
    values["training"] |= {"batch_size": 4, "validate_every": 100, "checkpoint_every": 100, "validation_share": 0.2}
    return Experiment.parse(values, "benchmark")


def main() -> None:
    parser = harness.options(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=list(KINDS))
    arguments = parser.parse_args()
    listed = write_list(arguments.data, arguments.to)
    for kind in [arguments.only] if arguments.only else KINDS:
        models = {}
        for seed in range(arguments.seeds):
            folder = arguments.to / f"{kind}-{seed}"
            run = settings_of(kind)
            models[f"network {seed}"] = train(listed, folder, run, network=NETWORK, steps=arguments.steps, seed=seed)
        result = evaluate_restoration(listed, models, arguments.to / f"judged-{kind}")
        scores = result.scores.assign(kind=["network" if m in models else m for m in result.scores["method"]])
        print(f"\n{kind}: {KINDS[kind].in_words()}; {arguments.steps} steps, {arguments.seeds} seeds\n")
        heads = ["psnr", "gain_db", "ssim", "psnr_fitted", "gain_fitted_db", "detail_xy_um"]
        file = arguments.json and arguments.json.with_stem(f"{arguments.json.stem}-{kind}")
        table = harness.Table(file, "method", *heads, "setting")
        settings = dict(zip(result.means["method"], result.means["setting"], strict=True))
        for method, rows in scores.groupby("kind", sort=False):
            means = {head: float(rows[head].mean()) for head in heads}
            cells = [f"{value:.{3 if head == 'ssim' else 2}f}" for head, value in means.items()]
            table.add(str(method), *cells, settings.get(str(method), ""), **means)
        for head in ("psnr", "psnr_fitted", "ssim"):
            by = scores.pivot_table(index="method", columns="stack", values=head)
            own = by.loc[list(models)].to_numpy()
            best = by.drop(index=list(models)).mean(axis=1).idxmax()
            low, high, _ = difference_interval(own, by.loc[[best]].to_numpy())
            apart = np.mean(own) - by.loc[best].mean()
            print(f"{head}: network less {best} {apart:+.3f} (95 % over seeds and stacks {low:+.3f} to {high:+.3f})")


if __name__ == "__main__":
    main()
