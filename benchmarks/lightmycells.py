"""Many stains from partly labelled fields: what each part of the method is worth, on simulated fields with all truths.

    python benchmarks/lightmycells.py --to DIR [--only NAME ...] [--seeds 3] [--steps 400] [--workers 2]

28 fields train (four of them with all stains, actin in 8, none of it in DIC), 3 choose the weights, 12 with all stains
are judged, each in its 7 planes. Networks, patches and steps are small; every method has the same number of patches, so
that models for one stain or one modality have a fourth or a third of the steps each. What is there is not done again.

DIR then holds results.csv (a row per method, seed, plane and stain), lightmycells.md, lightmycells.png, and
seed-0/light-my-cells.html.
"""

import argparse
import itertools
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from ablation import merged
from spotlight.evaluation import LightMyCellsSettings as Scored
from spotlight.evaluation import evaluate_light_my_cells
from spotlight.evaluation.means import with_part
from spotlight.evaluation.statistics import bootstrap_interval
from spotlight.export import write_submission
from spotlight.files import write_text
from spotlight.foreground import ForegroundSettings, find_foreground
from spotlight.images import read, stem
from spotlight.pairs import read_pairs
from spotlight.prediction import PredictionSettings, load_model
from spotlight.report.challenge_page import write_challenge_page
from spotlight.simulation import MILD_STUDIES, LightMyCellsSettings, simulate_light_my_cells
from spotlight.simulation.studies import StudySettings
from spotlight.training import Experiment, train

STAINS = ("Mitochondria", "Nucleus", "Tubulin", "Actin")
COUNTS = {"train": 28, "val": 3, "test": 12}
FULL = {"nucleus": 1, "mitochondria": 1, "tubulin": 1, "actin": 1}
STUDIES = (
    *MILD_STUDIES,
    *(StudySettings(modality=modality, fields=0.5, **FULL) for modality in ("brightfield", "phase")),
)
FOREGROUND = ForegroundSettings(median_px=3, gaussian_px=0)

BASE: dict[str, Any] = {
    "preparation": {
        "grid": "native",
        "planes": "one",
        "target_center": "mean",
        "foreground": FOREGROUND.model_dump(),
        "mask_median_px": 3,
    },
    "patches": {"size": (128, 128), "least_foreground": 0.0, "augment": True},
    "network": {"architecture": "fnet", "depth": 3, "mult_chan": 12},
    "loss": {"kind": "l1", "weight": 1.0},
    "balance": "stains",
    "training": {"batch_size": 8, "schedule": "cosine", "validate_every": 100, "checkpoint_every": 200},
}
GAME = {"loss": {"kind": "l1", "weight": 100.0}, "adversarial": {"width": 16, "learning_rate": 1e-3}}
PIX2PIX = {"architecture": "pix2pix", "width": 12, "blocks": 4, "dropout": 0.0, "tanh": False}
SPOTLIGHT = {"kind": "spotlight", "weight": 0.25, "background": 0.25}

BASELINE = "one network, partial labels, L1"
METHODS: dict[str, dict[str, Any]] = {
    BASELINE: {},
    "only the fully labelled fields": {},
    "one network per stain": {},
    "all labels (upper bound; unavailable in practice)": {},
    "one model per modality": {"modalities": "separate"},
    "modality as input: dynamic convolution": {"modalities": "dynamic"},
    "modality as input: FiLM": {"modalities": "film"},
    "without balance: all fields equally likely": {"balance": "fields"},
    "sum over stains": {"over_stains": "sum"},
    "squared error": {"loss": {"kind": "mse"}},
    "Spotlight": {"loss": SPOTLIGHT, "preparation": {"target_center": "threshold"}},
    "L1 and discriminators": GAME,
    "UNet++": {"network": {"architecture": "unetpp", "depth": 3, "width": 8}},
    "pix2pix's generator": {"network": PIX2PIX},
    "pix2pix": GAME | {"network": PIX2PIX},
}
REPLACED = ("network", "loss")
"""Settings of another kind replace those of the base, if they name theirs."""


def experiment_of(method: str, steps: int) -> Experiment:
    """Settings of a method."""
    change = METHODS[method]
    base = BASE | {n: {} for n in REPLACED if {"kind", "architecture"} & set(change.get(n, {}))}
    values = merged({"adversarial": {}, **base}, change | {"training": {"steps": steps}})
    if not values["adversarial"]:
        del values["adversarial"]
    return Experiment.parse(values, method)


def train_method(method: str, seed: int, manifest: Path, to: Path, steps: int) -> list[Path]:
    """Train a method's model, or models for one stain each."""
    pairs = read_pairs(manifest, every_target=True)
    if method == "only the fully labelled fields":
        rows = pd.read_csv(manifest)
        full = rows[(rows == "absent").sum(axis=1) == 0]["input"].map(lambda name: manifest.parent / name)
        known = set(full)
        pairs = [pair for pair in pairs if pair.split != "train" or pair.input in known]
    if method == "one network per stain":
        experiment = experiment_of(method, steps // len(STAINS))
        return [train(pairs, to / stain, experiment, seed=seed, target=stain) for stain in STAINS]
    share = 3 if METHODS[method].get("modalities") == "separate" else 1
    return [train(pairs, to / "model", experiment_of(method, steps // share), seed=seed, target="all")]


def run(method: str, seed: int, data: Path, to: Path, steps: int) -> pd.DataFrame:
    """Train, stain every test plane, and score."""
    torch.set_num_threads(1)
    folder = to / f"seed-{seed}" / method.replace(" ", "-").replace(":", "").replace("'", "")
    done = folder / "scores.csv"
    if done.exists():
        return pd.read_csv(done, dtype={"focus_bin": str})
    manifest = data / ("complete" if method.startswith("all labels") else "partial") / "pairs.csv"
    models = [load_model(path) for path in train_method(method, seed, manifest, folder, steps)]
    pairs = [pair for pair in read_pairs(manifest, every_target=True) if pair.split == "test"]
    settings = PredictionSettings(tile=(256, 256), precision="float32")
    for image in dict.fromkeys(pair.input for pair in pairs):
        for model in models:
            stain = model.predict(image, settings=settings, flatten=False)
            write_submission(stain, stem(image), folder / "stains", overwrite=True)
    fill_absent(folder / "stains", [stem(pair.input) for pair in pairs])
    found = evaluate_light_my_cells(manifest, {method: folder / "stains"}, folder / "scores", SCORED)
    planes = found.planes.assign(seed=seed)
    extra = [foreground_scores(pair, folder / "stains") for pair in pairs]
    planes = planes.merge(pd.DataFrame(extra), on=["plane", "target"])
    planes.to_csv(done, index=False)
    return planes


SCORED = Scored(every_score=True)


def fill_absent(folder: Path, names: list[str]) -> None:
    """Give an empty stain where a model does not know one: that of a modality in which it was never labelled."""
    some = next(folder.glob("*/*.ome.tiff"))
    for stain, name in itertools.product(STAINS, set(names)):
        path = folder / stain / f"{name}.ome.tiff"
        if not path.exists():
            like = read(some)
            like.__class__(np.zeros_like(like.data), like.axes, like.voxel_size, (stain,)).save(path)


def foreground_scores(pair: Any, folder: Path) -> dict[str, Any]:
    """Dice of what reaches the threshold of each image, and Pearson correlation within the target's foreground."""
    truth = pair.read_target().data.squeeze().astype(np.float32)
    stain = read(folder / pair.target_name / f"{stem(pair.input)}.ome.tiff").data.squeeze().astype(np.float32)
    scores = {"plane": stem(pair.input), "target": pair.target_name, "dice": 0.0, "pcc_foreground": 0.0}
    mask = truth >= find_foreground(truth, FOREGROUND).threshold
    if np.ptp(stain) > 0:  # an absent stain has no foreground
        found = stain >= find_foreground(stain, FOREGROUND).threshold
        scores["dice"] = 2 * float((mask & found).sum()) / float(mask.sum() + found.sum())
    if np.ptp(stain[mask]) > 0:
        scores["pcc_foreground"] = float(np.corrcoef(stain[mask], truth[mask])[0, 1])
    return scores


SHOWN = {"pcc": "PCC", "ssim": "SSIM", "dice": "Dice of the foreground", "pcc_foreground": "PCC within the foreground"}


def tables(results: pd.DataFrame) -> str:
    """Means and spreads between seeds, and differences to the baseline between fields."""
    text = []
    by_field = results.groupby(["method", "seed", "field", "target"], sort=False)[list(SHOWN)].mean().reset_index()
    for score, name in SHOWN.items():
        lines = [f"\n**{name}**\n", f"| | {' | '.join(STAINS)} | mean | against the baseline (95 %) |"]
        lines.append("|---" * (len(STAINS) + 3) + "|")
        base = by_field[by_field["method"] == BASELINE].groupby("field")[score].mean()
        for method, rows in by_field.groupby("method", sort=False):
            seeds = rows.groupby(["seed", "target"])[score].mean().unstack()
            cells = [
                with_part(f"{seeds[s].mean():.3f} ± {seeds[s].std():.3f}", rows.loc[rows["target"] == s, score])
                for s in STAINS
            ]
            whole = seeds.mean(axis=1)
            cells.append(with_part(f"{whole.mean():.3f} ± {whole.std():.3f}", rows[score]))
            apart = (rows.groupby("field")[score].mean() - base).to_numpy()
            low, high = bootstrap_interval(apart) if method != BASELINE else (0.0, 0.0)
            cells.append("" if method == BASELINE else f"{apart.mean():+.3f} [{low:+.3f}, {high:+.3f}]")
            lines.append(f"| {method} | {' | '.join(cells)} |")
        text += lines
    text += ["\n**PCC by the distance from the best focus, in planes of 0.5 µm** (" + BASELINE + ")\n"]
    base_rows = results[results["method"] == BASELINE]
    focus = base_rows.groupby(["target", "focus_bin"])["pcc"].mean().unstack()
    text += [f"| | {' | '.join(map(str, focus.columns))} |", "|---" * (focus.shape[1] + 1) + "|"]
    text += [f"| {stain} | {' | '.join(f'{v:.3f}' for v in focus.loc[stain])} |" for stain in STAINS]
    text += ["\n**PCC by modality**\n", f"| | {' | '.join(f'{s}, {m}' for s in STAINS for m in MODALITIES)} |"]
    text.append("|---" * (len(STAINS) * len(MODALITIES) + 1) + "|")
    for method, rows in results.groupby("method", sort=False):
        if method == BASELINE or "modalities" in METHODS[method]:
            means = rows.groupby(["target", "modality"])["pcc"].mean()
            text.append(f"| {method} | {' | '.join(f'{means[s, m]:.3f}' for s in STAINS for m in MODALITIES)} |")
    return "\n".join(text).strip() + "\n"


MODALITIES = ("brightfield", "phase", "dic")
PICTURED = (BASELINE, "L1 and discriminators", "Spotlight")
SIDE = 144


def picture(folders: dict[str, Path], manifest: Path) -> Image.Image:
    """A field in each modality, near its focus: input and truth, and below them the stains of three methods."""
    pairs = [pair for pair in read_pairs(manifest, every_target=True) if pair.split == "test"]
    blocks = []
    for modality in MODALITIES:
        near = min((p for p in pairs if p.modality == modality), key=lambda p: (abs(p.focus_offset or 0), p.name))
        truths = {p.target_name: p.read_target().data for p in pairs if p.input == near.input}
        image = near.read_input().data
        rows = [np.hstack([shaded(image), *map(shaded, truths.values())])]
        for method in PICTURED:
            found = [read(folders[method] / stain / f"{stem(near.input)}.ome.tiff").data for stain in truths]
            blank = np.full((SIDE, SIDE), 255, np.uint8)
            rows.append(np.hstack([blank, *map(shaded, found)]))
        blocks += [np.vstack(rows), np.full((len(rows) * SIDE, 6), 255, np.uint8)]
    return Image.fromarray(np.hstack(blocks[:-1]))


def shaded(image: NDArray[Any]) -> NDArray[np.uint8]:
    """The middle of an image, in grey values from black to white between its 1st and 99.8th percentile."""
    y, x = ((n - SIDE) // 2 for n in image.shape[-2:])
    low, high = np.percentile(image, (1, 99.8))
    middle = image.squeeze()[y : y + SIDE, x : x + SIDE].astype(np.float64)
    return np.asarray(255 * ((middle - low) / max(1.0, high - low)).clip(0, 1), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(METHODS), help="these methods, and the baseline")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    data = arguments.to / "data"
    settings = LightMyCellsSettings(studies=STUDIES)
    for name, complete in (("partial", {"val", "test"}), ("complete", True)):
        simulate_light_my_cells(data / name, COUNTS, settings, seed=1, workers=arguments.workers, complete=complete)
    chosen = [name for name in METHODS if not arguments.only or name in (BASELINE, *arguments.only)]
    jobs = [(method, seed) for seed in range(arguments.seeds) for method in chosen]
    with ProcessPoolExecutor(arguments.workers, get_context("spawn")) as pool:
        futures = [pool.submit(run, method, seed, data, arguments.to, arguments.steps) for method, seed in jobs]
        found = []
        for (method, seed), future in zip(jobs, futures, strict=True):
            found.append(future.result())
            print(f"{method}, seed {seed}: PCC {found[-1]['pcc'].mean():.3f}", file=sys.stderr, flush=True)
    results = pd.concat(found)
    results.to_csv(arguments.to / "results.csv", index=False)
    text = tables(results)
    write_text(arguments.to / "lightmycells.md", text)
    print(text)
    first = arguments.to / "seed-0"
    folders = {m: first / m.replace(" ", "-").replace(":", "").replace("'", "") / "stains" for m in chosen}
    page = evaluate_light_my_cells(data / "partial" / "pairs.csv", folders, first, SCORED)
    print(write_challenge_page(page))
    if set(PICTURED) <= set(folders):
        picture(folders, data / "partial" / "pairs.csv").save(arguments.to / "lightmycells.png")


if __name__ == "__main__":
    main()
