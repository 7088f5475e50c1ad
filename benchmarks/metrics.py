"""Time and memory of the metrics on a stack of 64x640x928 voxels, beside the libraries one would take otherwise.

    python benchmarks/metrics.py [part of a task's name ...]

Each line is a process of its own: processor time of one core, time on the clock (which other programs lengthen), the
growth of the peak of memory over the images and the imports, and the value, so that agreement is seen. microssim is
measured where it is installed: it asks for an older torchmetrics, so give it a folder of its own with
`pip install --no-deps --target FOLDER microssim`, and PYTHONPATH=FOLDER.
"""

import resource
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import harness
from harness import Table, timed

SHAPE = (64, 640, 928)
SPACING = (0.29, 0.29, 0.29)
RANGE = 900.0
LIMIT_S = 300
"""Processor time after which a task is given up."""

Run = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], Any]


def make(folder: str) -> None:
    """Nuclei with shot noise, a blurred stain of them, and their foreground."""
    rng = np.random.default_rng(0)
    truth = np.zeros(SHAPE, np.float32)
    truth[tuple((rng.random((150, 3)) * SHAPE).astype(int).T)] = 1
    truth = ndimage.gaussian_filter(truth, 6)
    truth *= 800 / truth.max()
    np.save(Path(folder) / "target.npy", rng.poisson(truth + 100).astype(np.float32))
    np.save(Path(folder) / "stain.npy", 0.9 * ndimage.gaussian_filter(truth, 1.5) + 110)
    np.save(Path(folder) / "mask.npy", truth > 100)


def intensity() -> Run:
    from spotlight.metrics import intensity_scores

    return lambda t, s, m: [intensity_scores(t, s, inside, data_range=RANGE)["psnr"] for inside in (None, m)]


def intensity_cubic() -> Run:
    from cubic.metrics import nrmse, pcc, psnr

    def run(t: NDArray[Any], s: NDArray[Any], m: NDArray[Any]) -> list[float]:
        for inside in (None, m):
            psnr(t, s, scale_invariant=True, mask=inside)
            nrmse(t, s, normalization="min-max", mask=inside)
            pcc(t, s, mask=inside)
        return [float(psnr(t, s, data_range=RANGE, mask=inside)) for inside in (None, m)]

    return run


def similarity() -> Run:
    from spotlight.metrics import structural_similarity

    return lambda t, s, m: structural_similarity(t, s, m, data_range=RANGE)


def similarity_cubic() -> Run:
    from cubic.metrics import ssim

    return lambda t, s, m: [float(ssim(t, s, data_range=RANGE, mask=inside)) for inside in (None, m)]


def similarity_skimage() -> Run:
    from skimage.metrics import structural_similarity

    return lambda t, s, m: float(structural_similarity(t, s, data_range=RANGE))


def spectral() -> Run:
    from spotlight.metrics import spectral_pearson

    return lambda t, s, m: [spectral_pearson(t, s, inside, spacing=SPACING) for inside in (None, m)]


def spectral_cubic() -> Run:
    from cubic.metrics import spectral_pcc

    return lambda t, s, m: spectral_pcc(s, t, spacing=SPACING)


def fit() -> Run:
    from spotlight.metrics import fit_micro_ms3im

    return lambda t, s, m: fit_micro_ms3im([t], [s]).factor


def fit_cubic() -> Run:
    from cubic.metrics import MicroMS3IM

    return lambda t, s, m: MicroMS3IM().fit(t, s).get_parameters()["ri_factor"]


def fit_microssim() -> Run:
    from microssim import MicroMS3IM

    def run(t: NDArray[Any], s: NDArray[Any], m: NDArray[Any]) -> float:
        model = MicroMS3IM()
        model.fit(t, s)
        return float(model.get_parameters()["ri_factor"])

    return run


FITTED = {"offset_gt": 82.0, "offset_pred": 110.0, "max_val": 859.0, "ri_factor": 1.9}
"""Any fit will do for the time of a score."""


def score() -> Run:
    from spotlight.metrics import MicroMS3IM, score_micro_ms3im

    fitted = MicroMS3IM(FITTED["offset_gt"], FITTED["offset_pred"], FITTED["max_val"], FITTED["ri_factor"])
    return lambda t, s, m: list(score_micro_ms3im(fitted, t, s, m).values())


def score_cubic() -> Run:
    from cubic.metrics import MicroMS3IM

    return lambda t, s, m: float(np.mean([MicroMS3IM(**FITTED).score(*planes) for planes in zip(t, s, strict=True)]))


def score_microssim() -> Run:
    from microssim import MicroMS3IM

    return lambda t, s, m: float(np.mean([MicroMS3IM(**FITTED).score(*planes) for planes in zip(t, s, strict=True)]))


def shell() -> Run:
    from spotlight.metrics import fourier_shell

    return lambda t, s, m: [curve.resolution for curve in fourier_shell(t, SPACING).values()]


def shell_cubic() -> Run:
    from cubic.metrics import fsc_resolution

    # The faster of its two ways, in cones.
    return lambda t, s, m: list(
        fsc_resolution(t, spacing=SPACING, bin_delta=5, zero_padding=True, average=False).values()
    )


def shell_of_two() -> Run:
    from spotlight.metrics import fourier_shell_of_two

    return lambda t, s, m: [curve.resolution for curve in fourier_shell_of_two(t, s, SPACING).values()]


def shell_of_two_cubic() -> Run:
    from cubic.metrics import fsc_resolution

    return lambda t, s, m: list(fsc_resolution(t, s, spacing=SPACING, bin_delta=5).values())


def ring() -> Run:
    from spotlight.metrics import fourier_ring

    return lambda t, s, m: fourier_ring(t, SPACING).resolution


def ring_cubic() -> Run:
    from cubic.metrics import frc_resolution

    return lambda t, s, m: float(np.nanmean([frc_resolution(p, bin_delta=5, spacing=SPACING[1:]) for p in t]))


def everything() -> Run:
    """All scores of one stain, with the resolution of its target."""
    from spotlight.metrics import (
        fit_micro_ms3im,
        fourier_ring,
        fourier_shell,
        fourier_shell_of_two,
        score_micro_ms3im,
        score_pixels,
    )

    def run(t: NDArray[Any], s: NDArray[Any], m: NDArray[Any]) -> int:
        scores = score_pixels(t, s, m, RANGE, SPACING) | score_micro_ms3im(fit_micro_ms3im([t], [s]), t, s, m)
        curves = [fourier_shell_of_two(t, s, SPACING), *(fourier_shell(image, SPACING) for image in (t, s))]
        return len(scores) + sum(map(len, curves)) + len([fourier_ring(image, SPACING) for image in (t, s)])

    return run


TASKS: dict[str, dict[str, Callable[[], Run]]] = {
    "PSNR, scale-invariant PSNR, NRMSE, Pearson; whole and foreground": {
        "spotlight": intensity,
        "cubic": intensity_cubic,
    },
    "SSIM in 3D; whole and foreground": {
        "spotlight": similarity,
        "cubic": similarity_cubic,
        "scikit-image, whole": similarity_skimage,
    },
    "spectral Pearson; whole and foreground": {"spotlight": spectral, "cubic, whole": spectral_cubic},
    "fit of MicroMS3IM": {"spotlight": fit, "cubic": fit_cubic, "microssim": fit_microssim},
    "MicroMS3IM of every plane; whole and foreground": {
        "spotlight": score,
        "cubic, whole": score_cubic,
        "microssim, whole": score_microssim,
    },
    "Fourier shells of one image, padded to a cube": {"spotlight": shell, "cubic": shell_cubic},
    "Fourier shells of two images": {"spotlight": shell_of_two, "cubic": shell_of_two_cubic},
    "Fourier rings of every plane": {"spotlight": ring, "cubic": ring_cubic},
    "all of the above for one stain, and the resolution of its target": {"spotlight": everything},
}
"""What is measured: a task, and who does it. An entry imports what it needs and returns what is timed."""


def measure(task: str, who: str, folder: str) -> dict[str, Any] | None:
    """Figures of one entry and its value; nothing where what it needs is not installed."""
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S))
    try:
        run = TASKS[task][who]()
    except ImportError:
        return None
    images = [np.load(Path(folder) / f"{name}.npy") for name in ("target", "stain", "mask")]
    figures, value = timed(lambda: run(*images))
    return figures | {"value": str(np.round(value, 5))}


def main() -> None:
    parser = harness.options(__doc__)
    parser.add_argument("only", nargs="*", help="measure tasks with one of these words in their names")
    arguments = parser.parse_args()
    table = Table(arguments.json, "task, by whom", "s of processor", "s on the clock", "GiB", "value")
    with tempfile.TemporaryDirectory() as folder:
        # By a process of its own: the peak of a process counts for those that it starts.
        harness.call(make, folder)
        for task, entries in TASKS.items():
            if arguments.only and not any(word in task for word in arguments.only):
                continue
            for who in entries:
                try:
                    found = harness.call(measure, task, who, folder)
                except subprocess.CalledProcessError as error:
                    why = f"over {LIMIT_S} s" if error.returncode < 0 else error.stderr.strip().splitlines()[-1]
                    table.add(f"{task}: {who}", why, "", "", "")
                    continue
                if found is None:
                    table.add(f"{task}: {who}", "is not installed", "", "", "")
                    continue
                value, memory = found.pop("value"), found["memory"] / 2**30
                cells = (f"{found['processor']:.1f}", f"{found['clock']:.1f}", f"{memory:.1f}", value)
                table.add(f"{task}: {who}", *cells, **found)


if __name__ == "__main__":
    main()
