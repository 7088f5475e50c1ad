"""Whether simulated transmitted light looks like real stacks, before anything is trained on it.

    spotlight simulate --layout any-microscope ...
    python benchmarks/appearance.py REAL.ome.tif[:CHANNEL] ... --simulated DIR [--figure OUT.png]

Every statistic is of the image alone, so that stacks without a fluorescence count, too; most are of its contrast after
what is coarser than 3 µm is taken off, in voxels of 0.29 µm. A real stack should lie within the range of the simulated
fields (5th to 95th percentile), which `*` denies. Stacks that state no voxel size are taken as they are.
The last rows need a fluorescence channel named DNA, whose smoothed foreground tells nuclei from cytoplasm.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage, stats

from any_microscope import auroc
from spotlight import read
from spotlight.foreground import ForegroundSettings, find_foreground
from spotlight.images.resample import resample, resampled_shape

GRID_UM = 0.29
COARSE_PX = 3.0 / GRID_UM
Array = NDArray[np.float64]


def fine(image: Array) -> Array:
    """The contrast within 3 µm of every plane, relative to the mean."""
    return np.stack([(p - ndimage.gaussian_filter(p, COARSE_PX)) / p.mean() for p in image])


def appearance(image: Array) -> dict[str, float]:
    """What is compared of a stack, ZYX.

    Spectra are shares of the power of planes by the period; correlations are between planes so many voxels apart.
    """
    f = fine(image)
    window = np.hanning(f.shape[1])[:, None] * np.hanning(f.shape[2])
    power = (np.abs(np.fft.fft2(f * window)) ** 2).mean(0)
    period = GRID_UM / np.maximum(np.hypot(*np.meshgrid(*map(np.fft.fftfreq, f.shape[1:]), indexing="ij")), 1e-9)
    spread = f.std((1, 2))
    slopes = [np.diff(f, axis=axis).std() / f.std() for axis in (1, 2)]
    local = np.sqrt(ndimage.uniform_filter(f**2, (1, 9, 9)))
    edges = np.hypot(*np.gradient(ndimage.gaussian_filter(f, (0, 1, 1)), axis=(1, 2)))
    found = {
        "contrast, fine": f.std(),
        "contrast, coarse": ndimage.gaussian_filter(image, (0, 7, 7)).std() / image.mean(),
    }
    for low, high in ((0.58, 0.9), (0.9, 1.5), (1.5, 3), (3, 6)):
        found[f"power with periods of {low} to {high} µm"] = (
            power[(period >= low) & (period < high)].sum() / power.sum()
        )
    for lag in (1, 2, 4):
        if len(f) > lag:
            found[f"correlation of planes {lag} apart"] = (f[lag:] * f[:-lag]).mean() / (f**2).mean()
    found |= {
        "contrast by depth: least / greatest": spread.min() / spread.max(),
        "slope along Y / X": max(slopes) / min(slopes),
        "skewness": stats.skew(f.ravel()),
        "granules: excess kurtosis": stats.kurtosis(f.ravel()),
        "granules: 99.9th percentile / spread": np.percentile(np.abs(f), 99.9) / f.std(),
        "clusters: variation of the local contrast": local.std() / local.mean(),
        "edges: 99th percentile / median": np.percentile(edges, 99) / np.median(edges),
    }
    return {name: float(value) for name, value in found.items()}


def nuclei_appearance(image: Array, nuclei: NDArray[np.bool_]) -> dict[str, float]:
    """How nuclei differ from what is around them, and how far each of some single cues tells them (AUROC).

    The contrast between two Gaussians (standard deviations in µm), smoothed, is less in nuclei: how much so, by bands.
    """
    f = fine(image)
    near = ndimage.binary_dilation(nuclei, iterations=8) & ~nuclei
    core = ndimage.binary_erosion(nuclei, iterations=3)
    rim = nuclei & ~core
    found = {
        "nuclei: mean - that around them, in spreads": (f[core].mean() - f[near].mean()) / f.std(),
        "nuclear rim: mean - that within, in spreads": (f[rim].mean() - f[core].mean()) / f.std(),
        "nuclei: excess kurtosis (nucleoli)": stats.kurtosis(f[core]),
    }
    thin = (slice(None, None, 2), slice(None, None, 3), slice(None, None, 3))
    blurred = {
        um: ndimage.gaussian_filter(image, (0, um / GRID_UM, um / GRID_UM)) for um in (0, 0.2, 0.4, 0.8, 1.6, 3.2)
    }
    for small, large in pairwise(blurred):
        energy = ndimage.gaussian_filter((blurred[small] - blurred[large]) ** 2, (1 / GRID_UM, *(1.2 / GRID_UM,) * 2))
        found[f"cue: little contrast from {small} to {large} µm, AUROC"] = auroc(-energy[thin], nuclei[thin])
    found["cue: dark, AUROC"] = auroc(blurred[3.2][thin] - blurred[0.8][thin], nuclei[thin])
    return {name: float(value) for name, value in found.items()}


def on_grid(array: NDArray[np.generic], voxel: tuple[float, ...] | None) -> Array:
    """The stack on the grid of the comparison; as it is where its voxels are not known."""
    if voxel is None or np.allclose(voxel, GRID_UM, rtol=0.1):
        return np.asarray(array, np.float64)
    shape = resampled_shape(array.shape, voxel, (GRID_UM,) * array.ndim)
    return np.asarray(resample(array.astype(np.float32), shape, 1), np.float64)


def real_stack(text: str) -> tuple[Array, dict[str, float]]:
    """A file's transmitted light, cut to what is quick, and what is compared of it."""
    file, _, channel = text.partition(":")
    stack = read(file)
    light = stack.channel(channel) if channel else stack
    image = on_grid(light.data, light.voxel_size)[..., :256, :256]
    found = appearance(image)
    if "DNA" in stack.channels:
        target = on_grid(stack.channel("DNA").data, light.voxel_size)[..., :256, :256]
        threshold = find_foreground(target, ForegroundSettings()).threshold
        found |= nuclei_appearance(image, ndimage.gaussian_filter(target, 1) > threshold)
    return image, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", nargs="+")
    parser.add_argument("--simulated", type=Path, required=True, help="folder of simulated fields")
    parser.add_argument("--figure", type=Path)
    asked = parser.parse_args()
    columns, pictures = {}, {}
    for text in asked.real:
        name = Path(text.partition(":")[0]).name.split(".")[0]
        pictures[name], columns[name] = real_stack(text)
    rows = []
    for file in sorted(asked.simulated.glob("field-*[0-9].ome.tif")):
        light = read(file).channel("Brightfield")
        labels = read(file.with_name(file.name.replace(".ome.", "-labels.ome."))).data
        image = on_grid(light.data, light.voxel_size)
        nuclei = on_grid((labels > 0).astype(np.float32), light.voxel_size) > 0.5
        seen = 0.05 < nuclei.mean() < 0.95
        rows.append(appearance(image) | (nuclei_appearance(image, nuclei) if seen else {}))
        pictures[file.name.split(".")[0]] = image
    simulated = pd.DataFrame(rows)
    table = pd.DataFrame(
        {"5 %": simulated.quantile(0.05), "median": simulated.median(), "95 %": simulated.quantile(0.95)}
    )
    text = table.map("{:.3f}".format)
    for name, values in columns.items():
        found = pd.Series(values).reindex(table.index)
        outside = (found < table["5 %"]) | (found > table["95 %"])
        text[name] = [("-" if np.isnan(v) else f"{v:.3f}{'*' * o}") for v, o in zip(found, outside, strict=True)]
    print(text.to_string())
    if asked.figure:
        figure(pictures, asked.figure)


def figure(pictures: dict[str, Array], path: Path) -> None:
    """A plane and an XZ cut of every stack."""
    names = list(pictures)[:16]
    canvas = Figure(figsize=(18, 11), layout="constrained")
    axes = canvas.subplots(4, 8)
    for number, name in enumerate(names):
        image = pictures[name][..., :128, :128]
        low, high = np.percentile(image, [0.5, 99.5])
        row, column = 2 * (number // 8), number % 8
        axes[row, column].imshow(image[len(image) // 2], cmap="gray", vmin=low, vmax=high)
        axes[row, column].set_title(name)
        axes[row + 1, column].imshow(image[:, image.shape[1] // 2], cmap="gray", vmin=low, vmax=high)
    canvas.savefig(path, dpi=60)


if __name__ == "__main__":
    main()
