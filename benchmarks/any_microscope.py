"""A model that needs no pairs: trained on simulated cells seen by many microscopes, judged on a real stack.

    python benchmarks/any_microscope.py --to DIR [--fields 80] [--steps 1500] [--start MODEL] [--network fnet]
        [--real brightfield_dna.ome.tif] [--stain early_fnet_prediction.ome.tif] [--called NAME]
    python benchmarks/any_microscope.py --to DIR --judge MODEL --real brightfield_dna.ome.tif --finetune 2 --steps 100

Judged by the area under the ROC curve: how well the values tell voxels of nuclei from others; .5 is chance. Voxels of
nuclei are the foreground of the real fluorescence, as measured or after a Gaussian of one voxel: a noisy fluorescence
calls many voxels within nuclei background, so that no stain reaches 1 as measured. And by the share of nuclei that one
segmenter finds in the stain where it finds them in the fluorescence. Beside the model stand what needs no model, and
the model on the stack stored from its last plane on. Interrupted, the same command goes on.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage, stats

from spotlight import load_model, read
from spotlight.files import write_text
from spotlight.foreground import ForegroundSettings, find_foreground
from spotlight.metrics import score_instances
from spotlight.networks import FNetSettings, UNeXt2Settings
from spotlight.pairs import Pair, read_pairs
from spotlight.prediction import PredictionSettings
from spotlight.segmentation import SegmentationSettings, segment
from spotlight.simulation import AnyMicroscopeSettings, simulate_any_microscope
from spotlight.training import Experiment, protocol, train

CARD = Path(__file__).with_name("any_microscope_card.md")
NETWORKS = {
    "unext2": UNeXt2Settings(depths=(2, 2, 2), widths=(32, 48, 80), window=8, stem=(4, 4)),
    "fnet": FNetSettings(depth=3, mult_chan=8),
}


def auroc(values: NDArray[np.floating], inside: NDArray[np.bool_]) -> float:
    """Probability that a voxel inside has a greater value than one outside."""
    ranks = stats.rankdata(values.ravel())[inside.ravel()]
    n, m = inside.sum(), (~inside).sum()
    return float((ranks.sum() - n * (n + 1) / 2) / (n * m))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--fields", type=int, default=80)
    parser.add_argument("--planes", type=int, default=24, help="of the fields")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--network", choices=NETWORKS, default="unext2")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--patch", type=int, nargs=3, default=(8, 64, 64), help="voxels of a patch in Z, Y, X")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", choices=("auto", "float32"), default="float32")
    parser.add_argument("--workers", type=int, default=1, help="processes that simulate")
    parser.add_argument("--name", default="model")
    parser.add_argument("--seed", type=int, default=0, help="of the fields and of the training")
    parser.add_argument("--start", type=Path, help="Model folder whose weights are the start.")
    parser.add_argument("--scaling", choices=("median/iqr", "mean/std"), default="median/iqr", help="of inputs")
    parser.add_argument("--judge", type=Path, help="Judge this model; train nothing.")
    parser.add_argument("--real", type=Path)
    parser.add_argument("--stain", type=Path, help="A stain of the real stack that was made elsewhere.")
    parser.add_argument("--called", help="Write a card of this name beside the model.")
    parser.add_argument("--finetune", type=int, metavar="SEEDS", help="Train on half of the real pair, so many times.")
    asked = parser.parse_args()
    if asked.judge is None:
        asked.judge = learn(asked)
    if asked.finetune:
        finetune(asked.judge, asked.real, asked.to, asked.steps, asked.finetune)
        return
    fields = asked.to / f"data-{asked.seed}" / "pairs.csv"
    simulated = on_simulated(asked.judge, fields) if fields.exists() else float("nan")
    if fields.exists():
        print(f"simulated fields that choose the weights: AUROC {simulated:.2f}")
    if asked.real:
        rows = judge(asked.judge, asked.real, asked.stain)
        print(table_of(rows))
        if asked.called:
            write_card(asked.judge, rows, simulated, asked)


def learn(asked: argparse.Namespace) -> Path:
    """Simulate fields and train on them."""
    counts = {"train": asked.fields, "val": max(4, asked.fields // 32)}
    small = AnyMicroscopeSettings(shape=(asked.planes, 96, 96), source_points=16)
    manifest = simulate_any_microscope(
        asked.to / f"data-{asked.seed}",
        counts,
        small,
        seed=100 + asked.seed,
        workers=asked.workers,
        progress=lambda n, of: print(f"field {n} of {of}", flush=True) if n % 10 == 0 else None,
    )
    experiment = experiment_of(asked.network, asked.steps, asked.rate, asked.seed, asked.start)
    changes = {"batch_size": asked.batch, "precision": asked.precision}
    experiment = experiment.model_copy(
        update={
            "preparation": experiment.preparation.model_copy(update={"scaling": asked.scaling}),
            "patches": experiment.patches.model_copy(update={"size": tuple(asked.patch)}),
            "training": experiment.training.model_copy(update=changes),
        }
    )
    return train(
        manifest,
        asked.to / asked.name,
        experiment,
        cache=asked.to / "cache",
        progress=lambda *what: print(*what, flush=True) if what[1] % 20 == 0 else None,
    )


def experiment_of(network: str, steps: int, rate: float, seed: int, start: Path | None) -> Experiment:
    """Settings of a training."""
    chosen = protocol("fnet")
    changes = {
        "steps": steps,
        "finetune": start,
        "batch_size": 8,
        "learning_rate": rate,
        "warmup": 40,
        "ema": 0.99,
        "seed": seed,
        "validate_every": 100,
        "schedule": "cosine",
        "precision": "float32",
    }
    seen = {
        "size": (8, 64, 64),
        "augment": True,
        "intensity": 0.3,
        "noise": 0.05,
        "focus": 0.3,
        "least_foreground": 0.02,
    }
    return chosen.model_copy(
        update={
            "preparation": chosen.preparation.model_copy(update={"scaling": "median/iqr"}),
            "network": NETWORKS[network],
            "patches": chosen.patches.model_copy(update=seen),
            "training": chosen.training.model_copy(update=changes | {"checkpoint_every": 50}),
        }
    )


def on_simulated(folder: Path, manifest: Path) -> float:
    """Mean area under the ROC curve for true nuclei, over the fields of the manifest that do not train."""
    model, settings = load_model(folder), PredictionSettings(precision="float32")
    found = []
    for pair in read_pairs(manifest):
        inside = pair.read_labels(pair.read_target()).data > 0
        if pair.split == "val" and inside.any():
            found.append(auroc(model.predict(pair.read_input(), settings=settings).data, inside))
    return float(np.mean(found))


def judge(folder: Path, file: Path, other: Path | None) -> dict[str, list[str]]:
    """Areas under the ROC curve, and shares of nuclei found, for a real pair, in words."""
    image, fluorescence = read(file).channel("Brightfield"), read(file).channel("DNA")
    target = fluorescence.data
    model, settings = load_model(folder), PredictionSettings(precision="float32")
    values = image.data.astype(float)
    mean, square = (ndimage.uniform_filter(v, 5) for v in (values, values**2))
    finest = values - ndimage.gaussian_filter(values, (0, 0.69, 0.69))
    turned = replace(image, array=np.ascontiguousarray(image.data[::-1]))
    every = PredictionSettings(precision="float32", augment=True)
    stains = {
        "model": model.predict(image, settings=settings).data,
        "model, stored from the last plane on": model.predict(turned, settings=settings).data[::-1],
        "model, mean over flips and turns": model.predict(image, settings=every).data,
        "the same, stored from the last plane on": model.predict(turned, settings=every).data[::-1],
        "intensity": values,
        "minus the local variance, smoothed": -ndimage.gaussian_filter(square - mean**2, 3),
        "minus the finest contrast, smoothed": -ndimage.gaussian_filter(finest**2, (3.4, 5.5, 5.5)),
    }
    stains["model, mean of both orders"] = stains["model"] + stains["model, stored from the last plane on"]
    if other:
        stains["a stain made elsewhere, from real pairs"] = read(other).channel(0).data
    noisy = target >= find_foreground(target, ForegroundSettings(median_px=3, gaussian_px=0)).threshold
    smooth = ndimage.gaussian_filter(target, 1)
    plain = smooth >= find_foreground(target, ForegroundSettings()).threshold
    # The stack is cut through the cells: nuclei at its borders count.
    segmenter = SegmentationSettings(clear_border=False, min_size=50, max_size=2500)
    truth = segment(fluorescence, segmenter).data
    rows = {}
    for name, stain in stains.items():
        found = segment(replace(image, array=np.asarray(stain, np.float32)), segmenter).data
        scores = score_instances(truth, found)
        nuclei = f"{scores.recall[0.5] * scores.true_count:.0f} of {scores.true_count}"
        rows[name] = [f"{auroc(stain, noisy):.3f}", f"{auroc(stain, plain):.3f}", nuclei, str(scores.predicted_count)]
    return rows


def table_of(rows: dict[str, list[str]]) -> str:
    """The judgement as Markdown."""
    lines = ["| | AUROC, as measured | AUROC, smoothed | nuclei with IoU 0.5 | nuclei found |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(row)} |" for name, row in rows.items())])


def write_card(folder: Path, rows: dict[str, list[str]], simulated: float, asked: argparse.Namespace) -> None:
    """Write what the model saw and what it reaches beside it."""
    start = f" --start {asked.start.name}" if asked.start else ""
    seen = f"--network {asked.network} --patch {' '.join(map(str, asked.patch))} --batch {asked.batch}"
    fields = f"--fields {asked.fields} --planes {asked.planes}"
    ways = f"--rate {asked.rate:g} --scaling {asked.scaling} --precision {asked.precision}"
    command = f"{fields} --steps {asked.steps} --seed {asked.seed} {seen} {ways}{start}"
    text = CARD.read_text(encoding="utf-8").format(
        name=asked.called,
        fields=asked.fields,
        steps=asked.steps,
        batch=asked.batch,
        network=load_model(folder).description.network.describe(),
        command=command,
        table=table_of(rows),
        simulated=f"{simulated:.2f}",
    )
    write_text(folder / "card.md", text)


def finetune(folder: Path, file: Path, to: Path, steps: int, seeds: int) -> None:
    """Print what one real pair adds: half of it trains, from the model or from scratch, and the other half is judged.

    A nucleus lies between the halves, and each half trains once.
    """
    halves = (":, :, 0:48", ":, :, 80:128"), (":, :, 80:128", ":, :, 0:48")
    target = read(file).channel("DNA").data
    nuclei = ndimage.gaussian_filter(target, 1) >= find_foreground(target, ForegroundSettings()).threshold
    image = read(file).channel("Brightfield")
    rows, known = [], load_model(folder).description
    for half, (seen, judged) in enumerate(halves):
        pair = Pair("seen", file, file, split="train", input_channel="Brightfield", target_channel="DNA", region=seen)
        places = (..., slice(*map(int, judged.split(", ")[2].split(":"))))
        part = replace(image, array=np.ascontiguousarray(image.data[places]))
        ways = {"as it is": None, "from the model": folder, "from scratch": "scratch"}
        for name, start in ways.items():
            for seed in range(seeds if start else 1):
                found = folder
                if start:
                    chosen = experiment_of("unext2", steps, 1e-3, seed, None if start == "scratch" else folder)
                    changes = {"ema": 0.0, "warmup": steps // 5, "validation_share": 0.0}
                    chosen = chosen.model_copy(
                        update={
                            "network": known.network,
                            "preparation": chosen.preparation.model_copy(update={"scaling": known.input.normalisation}),
                            "patches": chosen.patches.model_copy(update={"size": (8, 48, 48)}),
                            "training": chosen.training.model_copy(update=changes),
                        }
                    )
                    found = train([pair], to / f"{name}-{half}-{seed}", chosen)
                stain = load_model(found).predict(part, settings=PredictionSettings(precision="float32")).data
                rows.append({"start": name, "half": half, "seed": seed, "auroc": auroc(stain, nuclei[places])})
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows).groupby("start", sort=False)["auroc"]
    print(table.agg(["mean", "min", "max", "count"]).to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
