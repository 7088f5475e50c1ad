"""The two real sets of the README: train F-net and Spotlight on one part, stain and judge the other.

    python benchmarks/real.py DATA --to DIR [--set allen phase] [--seed 0]

DATA holds ``allen_dna_3d/brightfield_dna.ome.tif`` (one 3D brightfield and DNA pair of the Allen Institute for Cell
Science; the left two thirds train, the right third is stained) and ``phase_nuclei_2d/s10.ome.tif``, ``s11.ome.tif``
(2D phase contrast and nuclei of cell-AAP; s10 trains, s11 is stained). There are no curated labels: the truth of the
nuclei is the segmentation of the real fluorescence. "fnet-flat" is explained in quality.py.
"""

import argparse
from pathlib import Path

import pandas as pd

from spotlight.evaluation import EvaluationSettings, evaluate
from spotlight.pairs import Pair
from spotlight.prediction import load_model
from spotlight.report import write_report
from spotlight.report.text import score_text
from spotlight.segmentation import SegmentationSettings
from spotlight.training import Experiment, protocol, train


def allen(data: Path) -> tuple[list[Pair], SegmentationSettings]:
    """One volume: X 0 to 84 trains, the rest is stained."""
    file = data / "allen_dna_3d" / "brightfield_dna.ome.tif"
    parts = {"train": ":, :, 0:84", "test": ":, :, 84:128"}
    pairs = [
        Pair(split, file, file, split=split, input_channel="Brightfield", target_channel="DNA", region=region)
        for split, region in parts.items()
    ]
    # The volume is 38 µm wide and cut through the cells: nuclei at its borders count.
    return pairs, SegmentationSettings(clear_border=False, min_size=50, max_size=2500)


def phase(data: Path) -> tuple[list[Pair], SegmentationSettings]:
    """Two positions of a well; the last fifth of the first chooses the weights."""
    first, second = (data / "phase_nuclei_2d" / f"{name}.ome.tif" for name in ("s10", "s11"))
    parts = [("train", first, ":1640, :"), ("val", first, "1640:, :"), ("test", second, None)]
    pairs = [
        Pair(f"{file.name[:3]}-{split}", file, file, None, None, split, "Phase", "Nuclei", region)
        for split, file, region in parts
    ]
    # The files state no pixel size, so lengths are in pixels; nuclei are about 45 pixels wide.
    pixels = SegmentationSettings(
        voxel_um=None, seed_distance_um=14, seed_smoothing_um=3, median_px=5, min_size=300, max_size=8000, max_hole=200
    )
    return pairs, pixels


def experiments(name: str, seed: int, steps: int) -> dict[str, Experiment]:
    """F-net and Spotlight at the default scale, on the stacks' own grid where they state no voxel size."""
    chosen = {}
    for method in ("fnet", "spotlight"):
        experiment = protocol(method)
        training = experiment.training.model_copy(
            update={"steps": steps, "seed": seed, "validate_every": 50, "checkpoint_every": 50}
        )
        preparation = experiment.preparation
        if name == "phase":
            preparation = preparation.model_copy(update={"grid": "native"})
        chosen[method] = experiment.model_copy(update={"training": training, "preparation": preparation})
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--set", nargs="+", default=["allen", "phase"], choices=["allen", "phase"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    for name in arguments.set:
        pairs, segmentation = {"allen": allen, "phase": phase}[name](arguments.data)
        folder = arguments.to / name
        models = {
            method: train(pairs, folder / "models" / method, experiment)
            for method, experiment in experiments(name, arguments.seed, arguments.steps).items()
        }
        judged = {method: load_model(model) for method, model in models.items()}
        judged["fnet-flat"] = load_model(models["fnet"]).flattened()
        evaluation = evaluate(judged, pairs, folder, EvaluationSettings(segmentation=segmentation))
        page = write_report(folder, f"Real data: {name}")
        with pd.option_context("display.width", 200):
            print(f"\n{name}\n{score_text(evaluation.scores)}\n{page}")


if __name__ == "__main__":
    main()
