"""Phases of the cell cycle from brightfield images of single cells, by a network and by simple measurements.

    python benchmarks/classes.py DATA --to DIR [--steps N] [--seeds N] [--cells N] [--json FILE]

DATA holds ``jurkat_cells_2d`` (Blasi et al. 2016): cells of one experiment, so that no specimen can be left out, and
scores are those of further cells of the same experiment. Of every phase at most --cells are used; a quarter is for the
test, drawn anew by every seed. The alternative is a linear discriminant analysis with equal priors of eleven numbers of
an image: mean, deviation, five percentiles, skewness, and the shares of its variance in details of 1, 2 and 4 pixels.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import harness
from spotlight import read, train
from spotlight.evaluation import evaluate_classes
from spotlight.images.texture import texture
from spotlight.metrics import balanced_accuracy, confusion_matrix, macro_f1
from spotlight.pairs import Pair
from spotlight.training import Experiment, protocol

PHASES = ("G1", "S_phase", "Prophase", "Metaphase", "Anaphase", "Telophase")


def read_cells(data: Path, most: int, seed: int) -> dict[str, list[NDArray[np.uint16]]]:
    """Brightfield images of every phase, in random order; some are in the files twice, and are taken once."""
    rng = np.random.default_rng(seed)
    found = {}
    seen: set[bytes] = set()
    for phase in PHASES:
        images = read(data / "jurkat_cells_2d" / f"{phase}.ome.tif").data[:, 0]
        once = [image for image in images if image.tobytes() not in seen and not seen.add(image.tobytes())]
        found[phase] = [once[n] for n in rng.permutation(len(once))[:most]]
    return found


def as_pairs(cells: dict[str, list[NDArray[np.uint16]]]) -> list[Pair]:
    """Every fourth cell is for the test, another eighth for validation."""
    splits = ("test", "train", "train", "val", "test", "train", "train", "train")
    return [
        Pair.of_arrays(
            f"{phase}-{n}", image, image, axes="YX", voxel_size=(1.0, 1.0), split=splits[n % 8], target_name=phase
        )
        for phase, images in cells.items()
        for n, image in enumerate(images)
    ]


def measured(image: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Eleven numbers of an image."""
    found = texture(image)
    levels = np.percentile(image, (1, 10, 50, 90, 99))
    octaves = (*found.octaves, 0.0, 0.0, 0.0)[:3]
    return np.array([found.mean, found.spread, *levels, found.skewness, *octaves])


def discriminant(cells: dict[str, list[NDArray[np.uint16]]]) -> dict[str, float]:
    """Scores of a linear discriminant analysis on the cells for the test."""
    values = {phase: np.array([measured(image) for image in images]) for phase, images in cells.items()}
    learnt = {phase: own[np.arange(len(own)) % 4 > 0] for phase, own in values.items()}
    means = np.array([own.mean(0) for own in learnt.values()])
    within = np.mean([np.cov(own.T) for own in learnt.values()], 0)
    inverse = np.linalg.pinv(within)
    truth, found = [], []
    for phase, own in values.items():
        for one in own[::4]:
            apart = one - means
            truth.append(phase)
            found.append(PHASES[int(np.einsum("ci,ij,cj->c", apart, inverse, apart).argmin())])
    table = confusion_matrix(truth, found, PHASES)
    return {"balanced accuracy": balanced_accuracy(table), "macro F1": macro_f1(table)}


def settings() -> Experiment:
    """The task's settings, at a size that one core can train."""
    values = protocol("spotlight", "classify").model_dump()
    values["network"] |= {"depth": 2, "mult_chan": 8}
    values["training"] |= {"batch_size": 24, "validate_every": 100, "checkpoint_every": 100}
    return Experiment.parse(values, "benchmark")


def main() -> None:
    parser = harness.options(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cells", type=int, default=200)
    arguments = parser.parse_args()
    rows: dict[str, list[dict[str, float]]] = {"network": [], "discriminant analysis": []}
    for seed in range(arguments.seeds):
        cells = read_cells(arguments.data, arguments.cells, seed)
        rows["discriminant analysis"].append(discriminant(cells))
        pairs = as_pairs(cells)
        folder = train(pairs, arguments.to / f"model-{seed}", settings(), steps=arguments.steps, seed=seed)
        result = evaluate_classes(pairs, folder, arguments.to / f"judged-{seed}")
        scores = result.scores.iloc[0]
        rows["network"].append({"balanced accuracy": scores["balanced_accuracy"], "macro F1": scores["macro_f1"]})
        print(f"seed {seed}: {rows['network'][-1]}, {rows['discriminant analysis'][-1]}", flush=True)
        print(result.confusion[folder.name])
    table = harness.Table(arguments.json, "method", "balanced accuracy", "macro F1")
    for method, own in rows.items():
        figures = {}
        for name in ("balanced accuracy", "macro F1"):
            values = [one[name] for one in own]
            figures |= {name: float(np.mean(values)), f"{name}, deviation of seeds": float(np.std(values, ddof=1))}
        cells_of = [f"{figures[n]:.2f} ± {figures[f'{n}, deviation of seeds']:.2f}" for n in list(figures)[::2]]
        table.add(method, *cells_of, **figures)


if __name__ == "__main__":
    main()
