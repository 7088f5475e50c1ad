"""What thresholds find in real light-sheet volumes: Otsu, top-hat, difference of Gaussians, Sato's vesselness.

    python benchmarks/lightsheet.py DATA [--structure cfos|microglia|vessels ...] [--json FILE]

DATA holds ``lightsheet_spots_3d`` (c-Fos cells and microglia of cleared mouse brains with masks, MIT, erturklab/
delivr_cfos) and ``lightsheet_vessel_3d`` (vessels, GPL-3.0, RUB-Bioinf/VesselExpress). Size and threshold of every
method are those of the greatest mean Dice on labelled volumes of other brains (the parent volume, a number in the
name); of the one volume of vessels, each half is judged with what was chosen on the other. Components smaller than half
of the 5th percentile of the true ones in those volumes, or than 50 voxels if that is less, are left out. Otsu without a
factor has no settings.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold, sato, threshold_otsu

import harness
from spotlight import read
from spotlight.metrics import betti_errors, cl_dice, component_f1, length_error, mask_dice, panoptic_dice
from spotlight.metrics.masks import components

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]
Spacing = tuple[float, ...]


@dataclass(frozen=True)
class Labelled:
    """A volume, its true mask, and the brain it comes from."""

    parent: str
    volume: Volume
    mask: Mask
    spacing: Spacing


@dataclass(frozen=True)
class Method:
    """A classical method: a filter of a size in µm, and a threshold that is a factor times a unit of what it gives."""

    name: str
    filtered: Callable[[Volume, Spacing, float], Volume]
    unit: Callable[[Volume], float]
    sizes: tuple[float, ...]
    factors: tuple[float, ...]
    low: float = 1.0
    """Of hysteresis: voxels above this part of the threshold count where they touch one above it."""


@dataclass(frozen=True)
class Chosen:
    """A method with its settings."""

    method: Method
    size: float
    factor: float
    least: int = 1

    def find(self, volume: Volume, spacing: Spacing) -> Mask:
        """Segment a volume."""
        found = over(self.method, self.method.filtered(volume, spacing, self.size), self.factor)
        numbers = components(found)
        large = np.bincount(numbers.ravel()) >= self.least
        large[0] = False
        return np.asarray(large[numbers])


def plain(volume: Volume, spacing: Spacing, size: float) -> Volume:
    """The volume as it is."""
    return volume


def top_hat(volume: Volume, spacing: Spacing, size: float) -> Volume:
    """The volume less its opening by a box of twice the size: what is narrower remains."""
    smooth = ndimage.gaussian_filter(volume, [0.5 * min(spacing) / edge for edge in spacing])
    box = [2 * round(size / edge) + 1 for edge in spacing]
    return np.asarray(smooth - ndimage.grey_opening(smooth, box))


def difference_of_gaussians(volume: Volume, spacing: Spacing, size: float) -> Volume:
    """Blurred by the size, less blurred by three times the size."""
    narrow, wide = (ndimage.gaussian_filter(volume, [k * size / edge for edge in spacing]) for k in (1, 3))
    return np.asarray(narrow - wide)


def vesselness(volume: Volume, spacing: Spacing, size: float) -> Volume:
    """Sato's vesselness (1998) at the size and half of it, on cubic voxels."""
    fine = min(spacing)
    cubic = ndimage.zoom(volume, [edge / fine for edge in spacing], order=1)
    ridges = sato(cubic, sigmas=(size / fine / 2, size / fine), black_ridges=False)
    back = [n / m for n, m in zip(volume.shape, ridges.shape, strict=True)]
    return np.asarray(ndimage.zoom(ridges, back, order=1), np.float32)


def noise(response: Volume) -> float:
    """Robust standard deviation."""
    return float(1.4826 * np.median(np.abs(response - np.median(response)))) or 1.0


STEPS = tuple(np.round(np.geomspace(1.5, 200, 21), 2))
FACTORS = tuple(np.round(np.geomspace(0.25, 16, 25), 2))
METHODS = (
    Method("Otsu", plain, threshold_otsu, (0,), (1,)),
    Method("Otsu times a factor", plain, threshold_otsu, (0,), FACTORS),
    Method("top-hat, Otsu", top_hat, threshold_otsu, (8, 16, 32), FACTORS),
    Method("difference of Gaussians", difference_of_gaussians, noise, (1.5, 3, 5, 8), STEPS),
)
SATO = Method("Sato, hysteresis", vesselness, noise, (2, 4, 6), STEPS, low=0.5)


def over(method: Method, response: Volume, factor: float) -> Mask:
    """Apply the threshold, with hysteresis if the method has it."""
    high = factor * method.unit(response)
    if method.low < 1:
        return np.asarray(apply_hysteresis_threshold(response, method.low * high, high), bool)
    return np.asarray(response > high)


def dice_of_settings(method: Method, volumes: list[Labelled]) -> NDArray[np.float64]:
    """Dice of every volume at every size and factor."""
    table = np.zeros((len(volumes), len(method.sizes), len(method.factors)))
    for n, one in enumerate(volumes):
        for s, size in enumerate(method.sizes):
            response = method.filtered(one.volume, one.spacing, size)
            table[n, s] = [mask_dice(one.mask, over(method, response, factor)) for factor in method.factors]
    return table


def choose(method: Method, dice: NDArray[np.float64], volumes: list[Labelled]) -> Chosen:
    """Take the settings of the greatest mean Dice on labelled volumes, and the least size from their components."""
    size, factor = np.unravel_index(int(dice.mean(0).argmax()), dice.shape[1:])
    sizes = np.concatenate([np.bincount(components(one.mask).ravel())[1:] for one in volumes])
    least = max(1, min(50, int(np.quantile(sizes, 0.05) / 2))) if len(sizes) else 1
    return Chosen(method, method.sizes[size], method.factors[factor], least)


def read_volumes(data: Path, structure: str) -> list[Labelled]:
    """Read the labelled volumes of a structure; halves of the one of vessels."""
    if structure == "vessels":
        folder = data / "lightsheet_vessel_3d"
        volume, mask = read(folder / "raw.ome.tif").data.astype(np.float32), read(folder / "labels.ome.tif").data > 0
        middle = volume.shape[2] // 2
        parts = {"left": np.s_[:, :, :middle], "right": np.s_[:, :, middle:]}
        return [Labelled(name, volume[part], mask[part], (1.0, 1.0, 1.0)) for name, part in parts.items()]
    names = {"cfos": "cFos", "microglia": "microglia"}
    files = sorted((data / "lightsheet_spots_3d").glob(f"{names[structure]}_*_mask.ome.tif"))
    found = []
    for file in files:
        stack = read(file.with_name(file.name.replace("_mask", "")))
        mask = np.asarray(read(file).data > 0)
        spacing = stack.voxel_size or (6.0, 1.62, 1.62)  # which the publication states
        found.append(Labelled(file.name.split("_")[1], stack.data.astype(np.float32), mask, spacing))
    return found


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


def main() -> None:
    parser = harness.options(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--structure", action="append", choices=["cfos", "microglia", "vessels"])
    arguments = parser.parse_args()
    for structure in arguments.structure or ["cfos", "microglia", "vessels"]:
        volumes = read_volumes(arguments.data, structure)
        contiguous = structure == "vessels"
        heads = (
            ("Dice", "clDice", "length error", "b0 error", "b1 error")
            if contiguous
            else ("Dice", "PQ", "F1", "b0 error")
        )
        parents = sorted({one.parent for one in volumes})
        print(f"\n{structure}: {len(volumes)} volumes of {', '.join(parents)}\n")
        file = arguments.json and arguments.json.with_stem(f"{arguments.json.stem}-{structure}")
        table = harness.Table(file, "method", *heads, "settings by left-out parent (size in µm, factor, least voxels)")
        for method in (*METHODS, SATO) if contiguous else METHODS:
            dice = dice_of_settings(method, volumes)
            rows, used = [], []
            for parent in parents:
                others = [n for n, one in enumerate(volumes) if one.parent != parent]
                chosen = choose(method, dice[others], [volumes[n] for n in others])
                used.append(f"{parent}: {chosen.size:g}, {chosen.factor:g}, {chosen.least}")
                judged = [one for one in volumes if one.parent == parent]
                rows.append([scores(one, chosen.find(one.volume, one.spacing), contiguous) for one in judged])
            # Every parent counts the same, however many of its volumes there are.
            means = {head: float(np.mean([np.nanmean([row[head] for row in own]) for own in rows])) for head in heads}
            cells = [
                f"{value:.1f}" if "error" in head and "b" in head else f"{value:.2f}" for head, value in means.items()
            ]
            table.add(method.name, *cells, "; ".join(used), **means)


if __name__ == "__main__":
    main()
