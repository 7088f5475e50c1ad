"""How well the nuclei of a real mouse blastocyst are segmented, by watershed and by Cellpose, before and after tuning.

    python benchmarks/instances.py DATA [--weights FILE] [--only METHOD] [--planes] [--tune-cellpose]

DATA holds ``blastocyst_nuclei_3d/dapi.ome.tif`` and ``nuclei_labels.ome.tif`` (IDR, idr0062, image 6001240, CC BY 4.0:
61 curated nuclei). The left part along X is tuned on, the right part is judged, against all of its curated nuclei.
Nuclei at the borders count, since the cut between the parts is artificial. FILE is a weights file of Cellpose;
without it only the watershed is run. "Sizes fitted" are the default settings with the size limits, and the diameter of
Cellpose, that the curated nuclei of the left part give.
"""

import argparse
import time
from pathlib import Path

from spotlight.metrics import score_instances
from spotlight.pairs import Pair
from spotlight.segmentation import CellposeSettings, InstanceSettings, SegmentationSettings, clean_truth, segment
from spotlight.segmentation.tuning import fit_sizes, tune

HALVES = {"train": ":, :, :190", "test": ":, :, 190:"}
"""With 31 and 30 nuclei, and some in both."""
HEADER = ("settings", "found", "true", "AP 0.5", "AP 0.75", "mean AP", "PQ", "SQ", "RQ", "splits", "merges", "seconds")


def row(name: str, settings: InstanceSettings, pair: Pair) -> str:
    """Segment the held-out half and compare it with its curated nuclei."""
    target = pair.read_target()
    labels = pair.read_labels(target)
    assert labels is not None
    truth = clean_truth(labels, SegmentationSettings(min_size=0, max_size=1e12, clear_border=False)).data
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
    parser.add_argument("--weights", type=Path, help="Weights file of Cellpose.")
    parser.add_argument("--only", choices=["watershed", "cellpose"])
    parser.add_argument("--planes", action="store_true", help="Cellpose plane by plane, a fifteenth of the work.")
    parser.add_argument("--tune-cellpose", action="store_true", help="Takes half a dozen runs of Cellpose.")
    arguments = parser.parse_args()
    folder = arguments.data / "blastocyst_nuclei_3d"
    image, labels = folder / "dapi.ome.tif", folder / "nuclei_labels.ome.tif"
    train, test = (Pair(split, image, image, labels, split=split, region=part) for split, part in HALVES.items())
    methods: dict[str, InstanceSettings] = {"watershed": SegmentationSettings(clear_border=False)}
    if arguments.weights:
        methods["cellpose"] = CellposeSettings(
            model=str(arguments.weights), clear_border=False, do_3d=not arguments.planes
        )
    if arguments.only:
        methods = {arguments.only: methods[arguments.only]}
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
    tunings = []
    for name, settings in methods.items():
        print(row(f"{name}, defaults", settings, test), flush=True)
        curated = train.read_labels(train.read_target())
        assert curated is not None
        print(row(f"{name}, sizes fitted", fit_sizes(settings, [curated])[0], test), flush=True)
        if name == "watershed" or arguments.tune_cellpose:
            tunings.append(tune([train], settings))
            print(row(f"{name}, tuned", tunings[-1].settings, test), flush=True)
    for tuning in tunings:
        print(f"\n{tuning.to_yaml()}")


if __name__ == "__main__":
    main()
