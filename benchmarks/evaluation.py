"""Time and memory of the whole evaluation of stacks of 64x640x928 voxels with 300 nuclei each.

    python benchmarks/evaluation.py [--stacks 1] [--workers 2] [--full] [--thresholds 0] [--profile]

Targets, curated labels and the stains of "another tool" are made from ellipsoids and noise, so that no network runs:
what is timed is reading, segmentation, measuring, all scores, writing, and the page. Limit the cores with `taskset`.
"""

import argparse
import cProfile
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from spotlight import evaluate, write_report
from spotlight.evaluation import EvaluationSettings
from spotlight.images import Stack
from spotlight.pairs import Pair
from spotlight.profiles import ProfileSettings

SHAPE = (64, 640, 928)
VOXEL_UM = (0.29, 0.29, 0.29)
GRID = (2, 10, 15)
RADIUS_PX = (12.0, 20.0, 20.0)


def nuclei(seed: int) -> Any:
    """Labels of ellipsoids on a jittered grid."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint16)
    cell = np.array(SHAPE) / GRID
    for number, place in enumerate(np.ndindex(*GRID), start=1):
        radius = np.array(RADIUS_PX) * rng.uniform(0.8, 1.1, 3)
        center = (np.array(place) + 0.5) * cell + rng.uniform(-0.06, 0.06, 3) * cell
        low = np.maximum(center - radius, 0).astype(int)
        high = np.minimum(center + radius + 2, SHAPE).astype(int)
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        body = sum(((g - c) / r) ** 2 for g, c, r in zip(np.ogrid[window], center, radius, strict=True)) <= 1
        labels[window][body] = number
    return labels


def make(folder: Path, stacks: int) -> None:
    """Labels, a noisy target, and a smoother stain that is drawn out along the axis."""
    for number in range(stacks):
        labels, rng = nuclei(number), np.random.default_rng(number)
        clean = 100 + 800 * (labels > 0).astype(np.float32)
        target = rng.poisson(ndimage.gaussian_filter(clean, 1.5)).astype(np.uint16)
        images = {"target": target, "stain": ndimage.gaussian_filter(clean, (5, 3, 3)), "labels": labels}
        for kind, image in images.items():
            stack = Stack(image, "ZYX", VOXEL_UM, labels=kind == "labels")
            stack.save(folder / kind / f"stack-{number}.ome.tif")


def run(folder: Path, stacks: int, workers: int, settings: EvaluationSettings) -> None:
    """Evaluate and print what it took."""
    pairs = []
    for number in range(stacks):
        files = {kind: folder / kind / f"stack-{number}.ome.tif" for kind in ("target", "labels")}
        pairs.append(Pair(name=f"stack-{number}", input=files["target"], **files, split="test"))
    clock = time.perf_counter()
    result = evaluate({"other-tool": folder / "stain"}, pairs, folder / "out", settings, workers=workers)
    evaluated = time.perf_counter() - clock
    clock = time.perf_counter()
    write_report(folder / "out")
    written = time.perf_counter() - clock
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    processor = sum(u.ru_utime + u.ru_stime for u in usage)
    scores = result.scores.set_index("method").groupby(level=0).mean(numeric_only=True).loc["other-tool"]
    print(
        f"{stacks} stacks, {scores['true_nuclei']:.0f} true nuclei each, mean AP {scores['mean_ap']:.3f}: "
        f"evaluation {evaluated:.0f} s, page {written:.0f} s on the clock; {processor:.0f} s of processors; "
        f"peak of a process {max(u.ru_maxrss for u in usage) / 2**20:.1f} GiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stacks", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--full", action="store_true", help="the full set of features")
    parser.add_argument("--thresholds", type=int, default=0, help="of the sweep")
    parser.add_argument("--profile", action="store_true", help="print where the time went; use one worker")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        make(arguments.make, arguments.stacks)
        return
    if arguments.run is None:
        # Each by a process of its own, for the peak of memory is one of a process and its children.
        with tempfile.TemporaryDirectory() as name:
            for step in ("--make", "--run"):
                subprocess.run([sys.executable, __file__, *sys.argv[1:], step, name], check=True)
        return
    settings = EvaluationSettings(
        profiles=ProfileSettings(features="full" if arguments.full else "quick"),
        thresholds=arguments.thresholds,
        data_range=(0, 1000),
    )
    with cProfile.Profile() as profile:
        if not arguments.profile:
            profile.disable()
        run(arguments.run, arguments.stacks, arguments.workers, settings)
    if arguments.profile:
        pstats.Stats(profile).sort_stats("cumtime").print_stats(60)


if __name__ == "__main__":
    main()
