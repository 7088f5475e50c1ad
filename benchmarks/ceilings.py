"""How well nuclei of the dense simulation are segmented: in the fluorescence, in that without noise, in the true dye.

    python benchmarks/ceilings.py --to DIR

The first is what a stain is compared with, the second what a perfect learner of fluorescence could give, the third what
a perfect microscope would see. Each is segmented with the default settings, and with those that tuning finds on two
other fields of its own kind. `--kind` does one of them; what is tuned already is not tuned again.
"""

import argparse
from pathlib import Path

import numpy as np

from spotlight.files import write_text
from spotlight.images import Stack
from spotlight.metrics import score_instances
from spotlight.pairs import Pair
from spotlight.segmentation import InstanceSettings, SegmentationSettings, clean_truth, read_settings, segment
from spotlight.segmentation.tuning import tune
from spotlight.simulation.optics import FluorescenceSettings, camera, fluorescence
from spotlight.simulation.phantom import CellSettings, make_phantom

KINDS = ("fluorescence", "fluorescence without noise", "true dye")
SHAPE, VOXEL_UM, TUNED, TESTED = (48, 224, 224), 0.29, (0, 1), (8, 9, 10, 11)


def field(number: int) -> dict[str, Stack]:
    """Images by kind, and labels."""
    rng, optics = np.random.default_rng(number), FluorescenceSettings()
    phantom = make_phantom(SHAPE, VOXEL_UM, 2.0, CellSettings(), rng)
    light = fluorescence(phantom.dye, VOXEL_UM, optics)
    seen = camera(light, optics.read_noise, optics.gain, optics.offset, rng)
    images = dict(zip(KINDS, (seen, light, phantom.dye), strict=True)) | {"labels": phantom.labels.astype(np.uint16)}
    return {n: Stack(image, "ZYX", (VOXEL_UM,) * 3, (n,), labels=n == "labels") for n, image in images.items()}


def tuned(kind: str, to: Path) -> InstanceSettings:
    """Settings that are best on some fields."""
    path = to / f"{kind}.yaml"
    if not path.exists():
        pairs = []
        for number in TUNED:
            stacks = field(number)
            image, labels = (to / f"{number}-{name}.ome.tif" for name in (kind, "labels"))
            stacks[kind].save(image)
            stacks["labels"].save(labels)
            pairs.append(Pair(f"field-{number}", image, image, labels, split="train"))
        found = tune(pairs, finer=True)
        found.tried.to_csv(to / f"{kind}-tried.csv", index=False)
        write_text(path, found.to_yaml())
    return read_settings(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--kind", choices=KINDS)
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    print("| mean AP, volume | default | tuned |\n|---|---|---|")
    for kind in [arguments.kind] if arguments.kind else KINDS:
        cells = []
        best = tuned(kind, arguments.to)
        default = SegmentationSettings(**best.model_dump(include={"min_size", "max_size"}))
        for settings in (default, best):
            scores, volumes = [], []
            for number in TESTED:
                stacks = field(number)
                found, truth = segment(stacks[kind], settings), clean_truth(stacks["labels"], settings)
                scores.append(score_instances(truth.data, found.data).mean_average_precision)
                sizes = [np.median(np.bincount(labels.data.ravel())[1:]) for labels in (found, truth)]
                volumes.append(sizes[0] / sizes[1] - 1)
            cells.append(f"{np.mean(scores):.3f}, {np.mean(volumes):+.0%}")
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
