"""How well the nuclei of a real mouse blastocyst are segmented, by watershed and by Cellpose, before and after tuning.

    python benchmarks/instances.py DATA [--weights FILE] [--cellpose-trials]

DATA holds ``blastocyst_nuclei_3d/dapi.ome.tif`` and ``nuclei_labels.ome.tif`` (IDR, idr0062, image 6001240, CC BY 4.0:
61 curated nuclei). The left half along X is tuned on, the right half is judged, against all of its curated nuclei that
no border cuts. FILE is a weights file of Cellpose; without it only the watershed is run. Cellpose has its diameter and
its size limits from the curated labels; ``--cellpose-trials`` also tries other values of its settings, for which it runs
a dozen times.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from spotlight.metrics import score_instances
from spotlight.pairs import Pair
from spotlight.segmentation import CellposeSettings, SegmentationSettings, clean_truth, segment
from spotlight.segmentation.tuning import AnySettings, tune

HALVES = {"train": ":, :, :135", "test": ":, :, 135:"}
HEADER = ("settings", "found", "true", "AP 0.5", "AP 0.75", "mean AP", "PQ", "SQ", "RQ", "splits", "merges", "seconds")


def row(name: str, settings: AnySettings, pair: Pair) -> str:
    """Segment the held-out half and compare it with its curated nuclei."""
    target = pair.read_target()
    labels = pair.read_labels(target)
    assert labels is not None
    truth = clean_truth(labels, SegmentationSettings(min_size=0, max_size=np.inf)).data
    start = time.perf_counter()
    found = segment(target, settings).data
    seconds = time.perf_counter() - start
    scores = score_instances(truth, found)
    ap = scores.average_precision
    quality = (scores.panoptic_quality, scores.segmentation_quality, scores.recognition_quality)
    numbers = [f"{value:.3f}" for value in (ap[0.5], ap[0.75], scores.mean_average_precision, *quality)]
    counts = (scores.predicted_count, scores.true_count)
    return " | ".join(map(str, (f"| {name}", *counts, *numbers, scores.splits, scores.merges, f"{seconds:.0f} |")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--cellpose-trials", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.data / "blastocyst_nuclei_3d"
    image, labels = folder / "dapi.ome.tif", folder / "nuclei_labels.ome.tif"
    pairs = [Pair(split, image, image, labels, split=split, region=part) for split, part in HALVES.items()]
    methods: dict[str, AnySettings] = {"watershed": SegmentationSettings()}
    if arguments.weights:
        methods["cellpose"] = CellposeSettings(model=str(arguments.weights))
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
    tuned = {}
    for name, settings in methods.items():
        trials = name == "watershed" or arguments.cellpose_trials
        tuning = tune(pairs, settings, most_rounds=3 if trials else 0)
        sizes = {field: getattr(tuning.settings, field) for field in ("min_size", "max_size")}
        print(row(f"{name}, defaults", settings, pairs[1]), flush=True)
        print(row(f"{name}, sizes of the curated nuclei", settings.model_copy(update=sizes), pairs[1]), flush=True)
        print(row(f"{name}, tuned", tuning.settings, pairs[1]), flush=True)
        tuned[name] = tuning
    for tuning in tuned.values():
        print(f"\n{tuning.to_yaml()}")


if __name__ == "__main__":
    main()
