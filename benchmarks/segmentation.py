"""Processor time to segment a stack of 64x640x928 voxels with some 300 nuclei, and that of its slow steps in libraries.

    python benchmarks/segmentation.py

The stack is a simulated colony on a grid of 0.29 µm. Steps that Spotlight does itself are timed against the functions
of scikit-image and SciPy whose results they have.
"""

import argparse
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage
from skimage import exposure, feature, measure, transform

from spotlight.images import Stack
from spotlight.images.median import median
from spotlight.metrics import score_instances
from spotlight.segmentation import SegmentationSettings, clean_truth, segment
from spotlight.segmentation.equalisation import equalise
from spotlight.segmentation.preparation import TILES, prepare, shrink, working_grid
from spotlight.segmentation.watershed import find_mask, find_peaks
from spotlight.simulation.phantom import CellSettings, make_phantom

SHAPE, VOXEL_UM = (64, 640, 928), 0.29


def colony() -> tuple[Stack, Stack]:
    """Fluorescence and labels."""
    rng = np.random.default_rng(0)
    phantom = make_phantom(SHAPE, VOXEL_UM, 2.0, CellSettings(cell_area_um2=165.0), rng)
    image = rng.poisson(100 + 200 * ndimage.gaussian_filter(phantom.dye, (1.5, 0.5, 0.5))).astype(np.uint16)
    return Stack(image, "ZYX", (VOXEL_UM,) * 3), Stack(phantom.labels, "ZYX", (VOXEL_UM,) * 3)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of all processors, and the result."""
    start = sum(os.times()[:2])
    result = work()
    return sum(os.times()[:2]) - start, result


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    stack, labels = colony()
    settings = SegmentationSettings()
    whole, found = timed(lambda: segment(stack, settings))
    cleaning, truth = timed(lambda: clean_truth(labels, settings))
    matching, scores = timed(lambda: score_instances(truth.data, found.data))
    print(f"segment: {whole:.1f} s, clean_truth: {cleaning:.1f} s, score_instances: {matching:.2f} s")
    print(f"{scores.predicted_count} of {scores.true_count} nuclei, AP at 0.5 {scores.average_precision[0.5]:.3f}\n")

    low, high = np.percentile(stack.data, [0.1, 99.9])
    image = np.clip((stack.data - low) / (high - low), 0, 1).astype(np.float32)
    tile = tuple(n // t for n, t in zip(SHAPE, TILES, strict=True))
    shape, spacing = working_grid(stack, settings)
    small = shrink(image, shape)
    mask = find_mask(prepare(stack, shape, settings), spacing, settings)
    height = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1.0)
    ball = sum((g / 5) ** 2 for g in np.ogrid[-5:6, -5:6, -5:6]) <= 1
    steps: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "histogram equalisation": (
            lambda: equalise(image, tile, 0.015),
            lambda: exposure.equalize_adapthist(image, tile, clip_limit=0.015),
        ),
        "working grid": (
            lambda: shrink(image, shape),
            lambda: transform.resize(image, shape, order=3, mode="edge", anti_aliasing=True),
        ),
        "median": (lambda: median(small, 3), lambda: ndimage.median_filter(small, 3)),
        "peaks": (
            lambda: find_peaks(height, mask, [5, 5, 5]),
            lambda: feature.peak_local_max(height, footprint=ball, labels=measure.label(mask), exclude_border=False),
        ),
    }
    print("| step | Spotlight, s | library, s | ratio |\n|---|---|---|---|")
    for name, (ours, theirs) in steps.items():
        a, b = timed(ours)[0], timed(theirs)[0]
        print(f"| {name} | {a:.2f} | {b:.2f} | {b / a:.1f} |", flush=True)


if __name__ == "__main__":
    main()
