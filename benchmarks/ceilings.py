"""How well nuclei of the dense simulation are segmented: in the fluorescence, in that without noise, in the true dye.

    python benchmarks/ceilings.py

The first is what a stain is compared with, the second what a perfect learner of fluorescence could give, the third what
a perfect microscope would see. Settings were chosen on fields 0 and 1; the fields here are others. Mean AP, and the
error of the median volume.
"""

import argparse

import numpy as np

from spotlight.images import Stack
from spotlight.metrics import score_instances
from spotlight.segmentation import SegmentationSettings, clean_truth, segment
from spotlight.simulation.optics import FluorescenceSettings, camera, fluorescence
from spotlight.simulation.phantom import CellSettings, make_phantom

KINDS = ("fluorescence", "fluorescence without noise", "true dye")
SHAPE, VOXEL_UM, FIELDS = (48, 224, 224), 0.29, (8, 9, 10, 11)

DEFAULT = SegmentationSettings(min_size=121.0, max_size=848.0)
FINE = DEFAULT.model_copy(update={"voxel_um": 0.29, "median_px": 1, "seed_distance_um": 3.49})
SETTINGS = {
    "former default": DEFAULT.model_copy(update={"clahe_clip": 0.015, "own_threshold": 0.0, "seed_smoothing_um": 0.6}),
    "default": DEFAULT,
    "0.29 µm, own threshold": FINE.model_copy(update={"smoothing_um": 0.3, "otsu_factor": 0.9, "own_threshold": 0.55}),
    "0.29 µm, 0.3 of Otsu": FINE.model_copy(update={"otsu_factor": 0.3, "own_threshold": 0.0}),
}


def field(number: int) -> dict[str, Stack]:
    """Images by kind, and labels."""
    rng, optics = np.random.default_rng(number), FluorescenceSettings()
    phantom = make_phantom(SHAPE, VOXEL_UM, 2.0, CellSettings(), rng)
    light = fluorescence(phantom.dye, VOXEL_UM, optics)
    seen = camera(light, optics.read_noise, optics.gain, optics.offset, rng)
    images = dict(zip(KINDS, (seen, light, phantom.dye), strict=True)) | {"labels": phantom.labels.astype(np.uint16)}
    return {n: Stack(image, "ZYX", (VOXEL_UM,) * 3, (n,), labels=n == "labels") for n, image in images.items()}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for number in FIELDS:
        stacks = field(number)
        truth = clean_truth(stacks["labels"], DEFAULT).data
        for kind in KINDS:
            for name, settings in SETTINGS.items():
                labels = segment(stacks[kind], settings).data
                sizes = [
                    np.median(np.bincount(which.ravel())[1:]) if which.any() else np.nan for which in (labels, truth)
                ]
                score = score_instances(truth, labels).mean_average_precision
                found.setdefault((kind, name), []).append((score, float(sizes[0] / sizes[1] - 1)))
    print(f"| mean AP, volume | {' | '.join(SETTINGS)} |\n{'|---' * (len(SETTINGS) + 1)}|")
    for kind in KINDS:
        means = [np.mean(found[kind, name], axis=0) for name in SETTINGS]
        print(f"| {kind} | {' | '.join(f'{score:.3f}, {volume:+.0%}' for score, volume in means)} |")


if __name__ == "__main__":
    main()
