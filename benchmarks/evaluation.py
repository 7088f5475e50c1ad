"""Time and memory of the whole evaluation of stacks of 64x640x928 voxels with 300 nuclei each.

    python benchmarks/evaluation.py [--stacks 1] [--workers 2] [--full] [--thresholds 0] [--profile]

Targets, curated labels and the stains of "another tool" are made from ellipsoids and noise, so that no network runs:
what is timed is reading, segmentation, measuring, all scores, writing, and the page. Limit the cores with `taskset`.
"""

import cProfile
import pstats
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

import harness
from harness import Table, timed
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


def make(folder: str, stacks: int) -> None:
    """Labels, a noisy target, and a smoother stain that is drawn out along the axis."""
    for number in range(stacks):
        labels, rng = nuclei(number), np.random.default_rng(number)
        clean = 100 + 800 * (labels > 0).astype(np.float32)
        target = rng.poisson(ndimage.gaussian_filter(clean, 1.5)).astype(np.uint16)
        images = {"target": target, "stain": ndimage.gaussian_filter(clean, (5, 3, 3)), "labels": labels}
        for kind, image in images.items():
            stack = Stack(image, "ZYX", VOXEL_UM, labels=kind == "labels")
            stack.save(Path(folder) / kind / f"stack-{number}.ome.tif")


def run(name: str, stacks: int, workers: int, full: bool, thresholds: int, profiled: bool) -> dict[str, float]:
    """Evaluate, and tell what it took; if `profiled`, print where the time went on stderr."""
    folder, pairs = Path(name), []
    for number in range(stacks):
        files = {kind: folder / kind / f"stack-{number}.ome.tif" for kind in ("target", "labels")}
        pairs.append(Pair(name=f"stack-{number}", input=files["target"], **files, split="test"))
    profiles = ProfileSettings(features="full" if full else "quick")
    settings = EvaluationSettings(profiles=profiles, thresholds=thresholds, data_range=(0, 1000))
    with cProfile.Profile() as profile:
        if not profiled:
            profile.disable()
        evaluation, result = timed(
            lambda: evaluate(pairs, {"other-tool": folder / "stain"}, folder / "out", settings, workers=workers)
        )
        page, _ = timed(lambda: write_report(folder / "out"))
    if profiled:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("cumtime").print_stats(60)
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    scores = result.scores.set_index("method").groupby(level=0).mean(numeric_only=True).loc["other-tool"]
    return {
        "nuclei": float(scores["true_nuclei"]),
        "mean_ap": float(scores["mean_ap"]),
        "evaluation": evaluation["clock"],
        "page": page["clock"],
        "processors": sum(u.ru_utime + u.ru_stime for u in usage),
        "memory": max(u.ru_maxrss for u in usage) * 1024,
    }


def main() -> None:
    parser = harness.options(__doc__)
    parser.add_argument("--stacks", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--full", action="store_true", help="the full set of features")
    parser.add_argument("--thresholds", type=int, default=0, help="of the sweep")
    parser.add_argument("--profile", action="store_true", help="print where the time went; use one worker")
    a = parser.parse_args()
    heads = (
        "true nuclei each",
        "mean AP",
        "s of evaluation",
        "s of the page",
        "s of processors",
        "peak GiB of a process",
    )
    table = Table(a.json, "stacks", *heads)
    # Each by a process of its own, for the peak of memory is one of a process and its children.
    with tempfile.TemporaryDirectory() as name:
        harness.call(make, name, a.stacks)
        found = harness.call(run, name, a.stacks, a.workers, a.full, a.thresholds, a.profile)
    times = (f"{found[key]:.0f}" for key in ("evaluation", "page", "processors"))
    cells = (f"{found['nuclei']:.0f}", f"{found['mean_ap']:.3f}", *times, f"{found['memory'] / 2**30:.1f}")
    table.add(f"{a.stacks}", *cells, **found)


if __name__ == "__main__":
    main()
