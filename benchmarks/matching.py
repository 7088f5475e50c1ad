"""Processor time to match the nuclei of two label images and count at ten thresholds of IoU, against other libraries.

    python benchmarks/matching.py [--nuclei 5000] [--python INTERPRETER ...]

Spotlight runs where the command runs; cubic, StarDist, Cellpose and panoptica run in the first of the interpreters that
has them, if they do not get on with this environment. Every line is a process of its own, warmed up on a small image;
the time is that of all processors together, the best of up to three. All count at ten thresholds but panoptica, which
matches at one threshold at a time; all must find the same number of pairs at an IoU of 0.5.
"""

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import harness
from harness import Table

THRESHOLDS = [round(0.5 + 0.05 * i, 2) for i in range(10)]
CELL, RADIUS = (12, 24, 24), (5.0, 10.5, 10.5)


def nuclei(count: int, seed: int = 0) -> tuple[Any, Any]:
    """Ellipsoids on a jittered grid, and the same, moved by up to two voxels, a few of them lost or made up."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(count / 5)))
    shape = (5 * CELL[0], side * CELL[1], side * CELL[2])
    images = [np.zeros(shape, np.int32) for _ in range(2)]
    for number in range(1, count + 1):
        place = np.array(np.unravel_index(number - 1, (5, side, side))) * CELL
        radius = np.array(RADIUS) * rng.uniform(0.7, 1, 3)
        for image in images:
            grid = np.ogrid[tuple(slice(n) for n in CELL)]
            center = np.array(CELL) / 2 + rng.integers(-1, 2, 3)
            body = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, center, radius, strict=True)) <= 1
            if rng.uniform() < 0.97:
                image[tuple(slice(p, p + n) for p, n in zip(place, CELL, strict=True))][body] = number
    # The peers want numbers without gaps.
    return tuple(np.unique(image, return_inverse=True)[1].reshape(shape).astype(np.int32) for image in images)


def spotlight(truth: Any, found: Any) -> int:
    from spotlight.metrics.instances import score_instances

    return len(score_instances(truth, found).matches)


def cubic(truth: Any, found: Any) -> int:
    from cubic.metrics.average_precision import average_precision

    return int(average_precision(truth, found, THRESHOLDS)[1][0])


def stardist(truth: Any, found: Any) -> int:
    from stardist.matching import matching

    return int(matching(truth, found, thresh=THRESHOLDS)[0].tp)


def cellpose(truth: Any, found: Any) -> int:
    from cellpose.metrics import average_precision

    return int(average_precision([truth], [found], threshold=THRESHOLDS)[1][0][0])


def panoptica(truth: Any, found: Any) -> int:
    from panoptica import InputType, NaiveThresholdMatching, Panoptica_Evaluator
    from panoptica.metrics import Metric

    evaluator = Panoptica_Evaluator(
        InputType.UNMATCHED_INSTANCE,
        instance_matcher=NaiveThresholdMatching(matching_threshold=0.5),
        instance_metrics=[Metric.IOU],
        global_metrics=[],
    )
    return int(evaluator.evaluate(found, truth, verbose=False)["ungrouped"].tp)


PEERS = {of.__name__: of for of in (spotlight, cubic, stardist, cellpose, panoptica)}


def one(name: str, folder: str) -> tuple[float, int]:
    """The seconds of one library, and the pairs it found."""
    truth, found = (np.load(Path(folder) / f"{part}.npy") for part in ("truth", "found"))
    seconds: list[float] = []
    with contextlib.redirect_stdout(io.StringIO()):
        PEERS[name](*nuclei(20))
        while len(seconds) < 3 and sum(seconds) < 20:
            start = sum(os.times()[:4])
            pairs = PEERS[name](truth, found)
            seconds.append(sum(os.times()[:4]) - start)
    return min(seconds), pairs


def interpreter(name: str, others: list[str]) -> str | None:
    """The first interpreter that has a library."""
    if importlib.util.find_spec(name):
        return sys.executable
    probe = f"import importlib.util as u, sys; sys.exit(u.find_spec({name!r}) is None)"
    return next((other for other in others if subprocess.run([other, "-c", probe]).returncode == 0), None)


def main() -> None:
    parser = harness.options(__doc__)
    parser.add_argument("--nuclei", type=int, default=5000)
    parser.add_argument("--python", nargs="*", default=[], help="Interpreters with other libraries.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        truth, found = nuclei(arguments.nuclei)
        np.save(Path(folder) / "truth.npy", truth)
        np.save(Path(folder) / "found.npy", found)
        shape = " x ".join(map(str, truth.shape))
        print(f"{truth.max()} and {found.max()} nuclei, {shape} voxels\n")
        table = Table(arguments.json, "library", "processor seconds", "times Spotlight's", "pairs")
        ours = 0.0
        for name in PEERS:
            python = interpreter(name, arguments.python)
            if python is None:
                table.add(name, "not installed", "", "")
                continue
            seconds, pairs = harness.call(one, name, folder, python=python)
            ours = ours or seconds
            table.add(name, f"{seconds:.2f}", f"{seconds / ours:.0f}", f"{pairs}", seconds=seconds, pairs=pairs)


if __name__ == "__main__":
    main()
