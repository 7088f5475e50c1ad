"""What thresholds and networks find in real light-sheet volumes: Otsu, top-hat, difference of Gaussians, Sato, F-net.

    python benchmarks/lightsheet.py DATA [--structure cfos|microglia|vessels ...] [--json FILE]
    python benchmarks/lightsheet.py DATA --structure microglia --models DIR [--steps N] [--seeds N]
        [--protocol spotlight|spots] [--scaling mean/std|log ...] [--intensity 0.3 ...] [--gains] [--json FILE]
    python benchmarks/lightsheet.py DATA --structure cfos --contrast

DATA holds ``lightsheet_spots_3d`` (c-Fos cells and microglia of cleared mouse brains with masks, MIT, erturklab/
delivr_cfos) and ``lightsheet_vessel_3d`` (vessels, GPL-3.0, RUB-Bioinf/VesselExpress). Size and threshold of every
method are those of the greatest mean Dice on labelled volumes of other brains (the parent volume, a number in the
name); of the one volume of vessels, each half is judged with what was chosen on the other. Components smaller than half
of the 5th percentile of the true ones in those volumes, or than 50 voxels if that is less, are left out. Otsu without a
factor has no settings.

With --models, networks are trained, too: one for every left-out parent, seed and scaling of the input, on all volumes
of the other parents, with the settings of the task "segment" or the protocol "spots", at the size of `NETWORK`. Their
threshold and least size are chosen as those of the other methods; a second row has those of their settings. DIR keeps
the models, and an interrupted call goes on. Every scaling has the same seeds, and scalings are compared over these and
the volumes. So are shares by which contrast and brightness of patches vary at random (`patches.intensity`).

Of every method the mean of brains is printed, then each brain. FILE also has a row for each training and volume.

With --gains, only networks with the threshold and least size of their settings are judged, on left-out brains as they
are and times a gain that is estimated without labels: that which brings the median, or the 99.9th percentile of the
difference of Gaussians, to that of the brains learnt from.

With --contrast, nothing is found: the medians of volumes and their structures, and how far structures stand above their
surroundings (the median of 22 x 22 pixels of their plane), in counts, in standard deviations of the volume, and in
robust deviations of that difference.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

import harness
from spotlight import load_model, read, train
from spotlight.evaluation.trainings import difference_interval
from spotlight.metrics import betti_errors, cl_dice, component_f1, length_error, mask_dice, panoptic_dice
from spotlight.metrics.masks import components
from spotlight.networks import FNetSettings
from spotlight.pairs import Pair
from spotlight.prediction import Model
from spotlight.segmentation.classical import DIFFERENCE, RIDGES, Method, best_settings, dice_of_settings, noise
from spotlight.tasks import SegmentTask
from spotlight.training import protocol

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]
Runs = list[list[dict[str, float]]]
"""Scores by training and volume."""
Spacing = tuple[float, ...]


@dataclass(frozen=True)
class Labelled:
    """A volume, its true mask, and the brain it comes from."""

    name: str
    parent: str
    volume: Volume
    mask: Mask
    spacing: Spacing


def large(found: Mask, least: int) -> Mask:
    """Leave out components of fewer voxels."""
    numbers = components(found)
    kept = np.bincount(numbers.ravel()) >= least
    kept[0] = False
    return np.asarray(kept[numbers])


def least_size(volumes: list[Labelled]) -> int:
    """Half of the 5th percentile of the sizes of true components, at most 50."""
    sizes = np.concatenate([np.bincount(components(one.mask).ravel())[1:] for one in volumes])
    return max(1, min(50, int(np.quantile(sizes, 0.05) / 2))) if len(sizes) else 1


def plain(volume: Volume, spacing: Spacing, size: float) -> Volume:
    """The volume as it is."""
    return volume


def top_hat(volume: Volume, spacing: Spacing, size: float) -> Volume:
    """The volume less its opening by a box of twice the size: what is narrower remains."""
    smooth = ndimage.gaussian_filter(volume, [0.5 * min(spacing) / edge for edge in spacing])
    box = [2 * round(size / edge) + 1 for edge in spacing]
    return np.asarray(smooth - ndimage.grey_opening(smooth, box))


FACTORS = tuple(np.round(np.geomspace(0.25, 16, 25), 2))
COUNTS = tuple(np.round(np.geomspace(50, 5000, 25)))
SIZES_UM: dict[Method, tuple[float, ...]] = {
    Method("Otsu", plain, threshold_otsu, (1,)): (0,),
    Method("Otsu times a factor", plain, threshold_otsu, FACTORS): (0,),
    Method("top-hat, Otsu", top_hat, threshold_otsu, FACTORS): (8, 16, 32),
    DIFFERENCE: (1.5, 3, 5, 8),
    replace(DIFFERENCE, name="difference of Gaussians, counts", unit=lambda _: 1.0, factors=COUNTS): (1.5, 3, 5, 8),
}
"""Methods, and the sizes of their filters in µm that are tried."""
OF_VESSELS = SIZES_UM | {replace(RIDGES, name="Sato, hysteresis"): (2, 4, 6)}


def read_volumes(data: Path, structure: str) -> list[Labelled]:
    """Read the labelled volumes of a structure; halves of the one of vessels."""
    if structure == "vessels":
        folder = data / "lightsheet_vessel_3d"
        volume, mask = read(folder / "raw.ome.tif").data.astype(np.float32), read(folder / "labels.ome.tif").data > 0
        middle = volume.shape[2] // 2
        parts = {"left": np.s_[:, :, :middle], "right": np.s_[:, :, middle:]}
        return [Labelled(name, name, volume[part], mask[part], (1.0, 1.0, 1.0)) for name, part in parts.items()]
    names = {"cfos": "cFos", "microglia": "microglia"}
    files = sorted((data / "lightsheet_spots_3d").glob(f"{names[structure]}_*_mask.ome.tif"))
    found = []
    for file in files:
        stack = read(file.with_name(file.name.replace("_mask", "")))
        mask = np.asarray(read(file).data > 0)
        spacing = stack.voxel_size or (6.0, 1.62, 1.62)  # which the publication states
        name = file.name.removesuffix("_mask.ome.tif")
        found.append(Labelled(name, file.name.split("_")[1], stack.data.astype(np.float32), mask, spacing))
    return found


NETWORK = FNetSettings(depth=2, mult_chan=8)
PATCH, BATCH = (16, 48, 48), 4
PROBABILITIES = tuple(np.round(np.arange(0.05, 1, 0.05), 2))
"""Thresholds that are tried for a network."""


@dataclass(frozen=True)
class Way:
    """How networks are trained: a protocol, and what is changed of it."""

    protocol: str
    scaling: str
    intensity: float
    steps: int

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.protocol}, {self.scaling}" + (f", intensity {self.intensity:g}" if self.intensity else "")

    @property
    def folder(self) -> str:
        """Where its models lie."""
        varied = f"-intensity-{self.intensity:g}" if self.intensity else ""
        return f"{self.protocol}-{self.scaling.replace('/', '-')}{varied}"


def trained(volumes: list[Labelled], parent: str, seed: int, way: Way, folder: Path) -> Model:
    """Train on all volumes of other parents than this one."""
    others = [one for one in volumes if one.parent != parent]
    pairs = [Pair.of_arrays(o.name, counts(o), o.mask.astype(np.uint8), voxel_size=o.spacing) for o in others]
    values = protocol(way.protocol, "segment").model_dump()
    values["preparation"] |= {"scaling": way.scaling}
    values["patches"] |= {"size": PATCH, "intensity": way.intensity}
    values["training"] |= {"batch_size": BATCH, "validate_every": 100, "checkpoint_every": 100}
    settings = type(protocol("spotlight")).parse(values, "benchmark")
    return load_model(train(pairs, folder / f"{parent}-{seed}", settings, network=NETWORK, steps=way.steps, seed=seed))


def counts(one: Labelled, gain: float = 1.0) -> NDArray[np.uint16]:
    """The volume as it is in its file, or times a gain."""
    return np.minimum(one.volume * gain, 65535).astype(np.uint16)


def probability(model: Model, one: Labelled, gain: float = 1.0) -> Volume:
    """What a model says of a volume times a gain."""
    return np.asarray(model.predict(counts(one, gain), voxel_size=one.spacing).data)


def judge_network(
    volumes: list[Labelled], seeds: int, way: Way, folder: Path
) -> tuple[Runs, Runs, dict[str, list[str]]]:
    """Score by seed and volume, each by the network that has not seen its parent.

    Returns the scores with chosen threshold and least size, those with the ones of its settings, and what was chosen
    for each left-out parent.
    """
    task = protocol(way.protocol, "segment").task
    assert isinstance(task, SegmentTask)
    every: Runs = []
    plainly: Runs = []
    used: dict[str, list[str]] = {}
    for seed in range(seeds):
        rows: dict[str, dict[str, float]] = {}
        plain_rows: dict[str, dict[str, float]] = {}
        for parent in sorted({one.parent for one in volumes}):
            model = trained(volumes, parent, seed, way, folder)
            found = [probability(model, one) for one in volumes]
            others = [n for n, one in enumerate(volumes) if one.parent != parent]
            dice = [[mask_dice(volumes[n].mask, found[n] >= p) for p in PROBABILITIES] for n in others]
            threshold = PROBABILITIES[int(np.mean(dice, axis=0).argmax())]
            least = least_size([volumes[n] for n in others])
            used.setdefault(parent, []).append(f"{threshold:g}, {least}")
            for one, is_cell in zip(volumes, found, strict=True):
                if one.parent == parent:
                    rows[one.name] = scores(one, large(is_cell >= threshold, least), False)
                    plain_rows[one.name] = scores(one, large(is_cell >= task.threshold, task.least_voxels), False)
        every.append([rows[one.name] for one in volumes])
        plainly.append([plain_rows[one.name] for one in volumes])
    return every, plainly, used


def brightest_contrast(one: Labelled) -> float:
    """99.9th percentile of the difference of Gaussians, of cells' size."""
    return float(np.percentile(DIFFERENCE.filtered(one.volume, one.spacing, 1.5), 99.9))


MEASURES: dict[str, Callable[[Labelled], float]] = {
    "as it is": lambda one: 1.0,
    "median": lambda one: float(np.median(one.volume)),
    "contrast": brightest_contrast,
}
"""What a brain's gain is estimated from, without labels, by the geometric mean over its volumes."""


def show_gains(
    table: harness.Table,
    heads: tuple[str, ...],
    volumes: list[Labelled],
    seeds: int,
    way: Way,
    folder: Path,
) -> None:
    """Add networks with their own threshold, on volumes as they are and times a gain of their brain."""
    task = protocol(way.protocol, "segment").task
    assert isinstance(task, SegmentTask)
    parents = sorted({one.parent for one in volumes})
    found: dict[str, Runs] = {}
    for name, measure in MEASURES.items():
        logs = {p: np.mean([np.log(measure(one)) for one in volumes if one.parent == p]) for p in parents}
        gains = {p: float(np.exp(np.mean([logs[o] for o in parents if o != p]) - logs[p])) for p in parents}
        runs: Runs = []
        for seed in range(seeds):
            models = {parent: trained(volumes, parent, seed, way, folder) for parent in parents}
            cells = [probability(models[one.parent], one, gains[one.parent]) >= task.threshold for one in volumes]
            runs.append([scores(o, large(c, task.least_voxels), False) for o, c in zip(volumes, cells, strict=True)])
        found[name] = runs
        used = {parent: [f"gain {gain:.2f}"] for parent, gain in gains.items()}
        show(table, f"{way.name}, {name}", heads, runs, volumes, used)
    print()
    first, *others = found
    if seeds > 1:
        for head, name in itertools.product(heads[:3], others):
            compare(name, found[name], first, found[first], head, volumes)


def scores(one: Labelled, found: Mask, contiguous: bool) -> dict[str, float]:
    """The scores of a volume."""
    errors = betti_errors(one.mask, found)
    if contiguous:
        lines = {
            "clDice": cl_dice(one.mask, found, one.spacing),
            "length error": length_error(one.mask, found, one.spacing),
        }
        return {"Dice": mask_dice(one.mask, found), **lines, "b0 error": errors[0], "b1 error": errors[1]}
    matched = {"PQ": panoptic_dice(one.mask, found), "F1": component_f1(one.mask, found)}
    return {"Dice": mask_dice(one.mask, found), **matched, "b0 error": errors[0]}


def show_contrast(volumes: list[Labelled]) -> None:
    """Print the brightness of every volume and its structures, and the median height of these in three units."""
    heads = "median", "median of structures", "height in counts", "in deviations of the volume", "of the difference"
    table = harness.Table(None, "volume", *heads)
    for one in volumes:
        coarse = ndimage.median_filter(one.volume[:, ::2, ::2], (1, 11, 11))
        above = one.volume - coarse.repeat(2, 1).repeat(2, 2)
        height = float(np.median(above[one.mask]))
        cells = height / float(one.volume.std()), height / noise(above)
        counts = (np.median(one.volume), np.median(one.volume[one.mask]), height)
        table.add(one.name, *(f"{value:.0f}" for value in counts), *(f"{value:.1f}" for value in cells))


def main() -> None:
    parser = harness.options(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--structure", action="append", choices=["cfos", "microglia", "vessels"])
    parser.add_argument("--models", type=Path, metavar="DIR", help="train networks for c-Fos and microglia there")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--protocol", choices=["spotlight", "spots"], default="spotlight")
    parser.add_argument("--scaling", action="append", choices=["mean/std", "median/iqr", "percentiles", "log"])
    parser.add_argument("--intensity", type=float, action="append")
    parser.add_argument("--gains", action="store_true")
    parser.add_argument("--contrast", action="store_true")
    arguments = parser.parse_args()
    for structure in arguments.structure or ["cfos", "microglia", "vessels"]:
        volumes = read_volumes(arguments.data, structure)
        if arguments.contrast:
            show_contrast(volumes)
            continue
        contiguous = structure == "vessels"
        heads = (
            ("Dice", "clDice", "length error", "b0 error", "b1 error")
            if contiguous
            else ("Dice", "PQ", "F1", "b0 error")
        )
        parents = sorted({one.parent for one in volumes})
        print(f"\n{structure}: {len(volumes)} volumes of {', '.join(parents)}\n")
        file = arguments.json and arguments.json.with_stem(f"{arguments.json.stem}-{structure}")
        table = harness.Table(file, "method", *heads, "settings (size in µm, factor, least voxels)")
        every: dict[str, Runs] = {}
        methods = {} if arguments.gains else OF_VESSELS if contiguous else SIZES_UM
        for method, sizes in methods.items():
            seen = ([getattr(one, part) for one in volumes] for part in ("volume", "mask", "spacing"))
            dice = dice_of_settings(method, sizes, *seen)
            rows: dict[str, dict[str, float]] = {}
            used = {}
            for parent in parents:
                others = [n for n, one in enumerate(volumes) if one.parent != parent]
                chosen, least = best_settings(method, sizes, dice[others]), least_size([volumes[n] for n in others])
                used[parent] = [f"{chosen.size:g}, {chosen.factor:g}, {least}"]
                for one in volumes:
                    if one.parent == parent:
                        rows[one.name] = scores(one, large(chosen.find(one.volume, one.spacing), least), contiguous)
            every[method.name] = [[rows[one.name] for one in volumes]]
            show(table, method.name, heads, every[method.name], volumes, used)
        if arguments.models is None or contiguous:
            continue
        tuned: dict[str, Runs] = {}
        plainly: dict[str, Runs] = {}
        for scaling, intensity in itertools.product(arguments.scaling or ["mean/std"], arguments.intensity or [0.0]):
            way = Way(arguments.protocol, scaling, intensity, arguments.steps)
            folder = arguments.models / structure / way.folder
            if arguments.gains:
                show_gains(table, heads, volumes, arguments.seeds, way, folder)
                continue
            name, own = f"{way.name}, tuned", f"{way.name}, own threshold"
            tuned[name], plainly[own], used = judge_network(volumes, arguments.seeds, way, folder)
            show(table, name, heads, tuned[name], volumes, used)
            show(table, own, heads, plainly[own], volumes, {})
        if arguments.gains:
            continue
        print()
        for head in heads[:3]:
            best = max(every, key=lambda name: mean_of(every[name], head, volumes))
            for networks in (plainly, tuned):
                for name, runs in networks.items():
                    compare(name, runs, best, every[best], head, volumes)
                for first, second in itertools.combinations(networks, 2):
                    compare(second, networks[second], first, networks[first], head, volumes)


def compare(name: str, runs: Runs, than: str, others: Runs, head: str, volumes: list[Labelled]) -> None:
    """Print how much better a network is, over its trainings and the volumes, and in each brain."""
    own, other = (np.array([[row[head] for row in run] for run in both]) for both in (runs, others))
    low, high, _ = difference_interval(own, other)
    spread = np.ptp([mean_of([run], head, volumes) for run in runs])
    apart = np.nanmean(own, 0) - np.nanmean(other, 0)
    brains = [
        f"{parent} {np.mean([d for d, one in zip(apart, volumes, strict=True) if one.parent == parent]):+.3f}"
        for parent in sorted({one.parent for one in volumes})
    ]
    print(
        f"{head}: {name} less {than}, mean over volumes {apart.mean():+.3f} (95 % interval over trainings and volumes "
        f"{low:+.3f} to {high:+.3f}; brains {', '.join(brains)}; trainings of the first spread over {spread:.3f})"
    )


def mean_of(runs: Runs, head: str, volumes: list[Labelled]) -> float:
    """Mean of a score; every parent counts the same, however many of its volumes there are."""
    parents = sorted({one.parent for one in volumes})
    each = [
        [row[head] for run in runs for row, one in zip(run, volumes, strict=True) if one.parent == p] for p in parents
    ]
    return float(np.mean([np.nanmean(own) for own in each]))


def show(
    table: harness.Table,
    name: str,
    heads: tuple[str, ...],
    runs: Runs,
    volumes: list[Labelled],
    used: dict[str, list[str]],
) -> None:
    """Add a method to the table: the mean of brains, then each; and keep each training and volume."""
    parents = sorted({one.parent for one in volumes})

    def add(label: str, brains: list[str], settings: str) -> None:
        seen = [n for n, one in enumerate(volumes) if one.parent in brains]
        own = [[run[n] for n in seen] for run in runs]
        means = {head: mean_of(own, head, [volumes[n] for n in seen]) for head in heads}
        cells = [f"{value:.1f}" if "error" in head and "b" in head else f"{value:.2f}" for head, value in means.items()]
        table.add(label, *cells, settings, **means)

    add(name, parents, "")
    for parent in parents:
        add(f"{name}, {parent}", [parent], "; ".join(used.get(parent, [])))
    for number, run in enumerate(runs):
        row = f"{name}, training {number}"
        table.keep(row, **{head: mean_of([run], head, volumes) for head in heads})
        for scored, one in zip(run, volumes, strict=True):
            table.keep(f"{row}, {one.parent}, {one.name}", **scored)


if __name__ == "__main__":
    main()
