"""How close simulated stacks are to a real pair: statistics side by side, and a figure.

    python benchmarks/simulation.py REAL.ome.tif [--input-channel Brightfield --target-channel DNA] [--figure OUT.png]

Targets are compared in the units that Spotlight trains in, (intensity - T) / standard deviation with T by plain Otsu
and by the author's recipe; autocorrelations tell blur and noise along Z and in the plane.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spotlight import read, simulate_field
from spotlight.foreground import ForegroundSettings, find_foreground


def statistics(image: NDArray[np.float64], target: NDArray[np.float64]) -> dict[str, float]:
    """What is compared."""
    result = {}
    for name, rule in (("Otsu", ForegroundSettings(median_px=1, gaussian_px=0)), ("recipe", ForegroundSettings())):
        z = (target - find_foreground(target, rule).threshold) / target.std()
        inside = z >= 0
        result |= {
            f"foreground fraction, {name}": inside.mean(),
            f"foreground mean, {name}": z[inside].mean(),
            f"background median, {name}": np.median(z[~inside]),
            f"background spread, {name}": z[~inside].std(),
            f"99th percentile, {name}": np.percentile(z, 99),
        }
    for kind, stack in (("fluorescence", target), ("brightfield", image)):
        f = (stack - stack.mean()) / stack.std()
        for axis, letter in enumerate("ZYX"):
            for lag in (1, 2, 4, 8):
                a = np.take(f, np.arange(lag, f.shape[axis]), axis)
                b = np.take(f, np.arange(f.shape[axis] - lag), axis)
                result[f"{kind}: correlation at {lag} voxels in {letter}"] = (a * b).mean()
    result["brightfield: contrast"] = image.std() / image.mean()
    result["brightfield: skewness"] = (((image - image.mean()) / image.std()) ** 3).mean()
    return {name: float(value) for name, value in result.items()}


def spectrum(plane_stack: NDArray[np.float64], bins: int = 24) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Radially averaged power of the planes, in units of the stack's variance, over cycles per voxel."""
    f = (plane_stack - plane_stack.mean((1, 2), keepdims=True)) / plane_stack.std()
    window = np.hanning(f.shape[1])[:, None] * np.hanning(f.shape[2])
    power = (np.abs(np.fft.fft2(f * window)) ** 2).mean(0) / (window**2).sum()
    radius = np.hypot(np.fft.fftfreq(f.shape[1])[:, None], np.fft.fftfreq(f.shape[2])[None])
    edges = np.linspace(0, 0.5, bins + 1)
    which = np.digitize(radius.ravel(), edges) - 1
    mean = [power.ravel()[which == i].mean() for i in range(bins)]
    return (edges[:-1] + edges[1:]) / 2, np.array(mean)


def figure(pairs: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]], path: Path) -> None:
    """Planes, XZ cuts, spectra and histograms side by side."""
    canvas = Figure(figsize=(13, 9), layout="constrained")
    axes = canvas.subplots(3, 4)
    for row, (name, (image, target)) in enumerate(pairs.items()):
        for column, (kind, stack) in enumerate((("brightfield", image), ("fluorescence", target))):
            low, high = np.percentile(stack, [0.2, 99.8])
            middle = stack.shape[0] // 2
            plane = axes[row, 2 * column]
            plane.imshow(stack[middle], cmap="gray", vmin=low, vmax=high)
            plane.set_title(f"{name}: {kind}")
            cut = axes[row, 2 * column + 1]
            cut.imshow(stack[:, stack.shape[1] // 2], cmap="gray", vmin=low, vmax=high)
            cut.set_title("XZ")
    for name, (image, target) in pairs.items():
        axes[2, 0].semilogy(*spectrum(image), label=name)
        axes[2, 1].semilogy(*spectrum(target), label=name)
        z = (target - find_foreground(target, ForegroundSettings(median_px=1, gaussian_px=0)).threshold) / target.std()
        axes[2, 2].hist(z.ravel(), np.linspace(-3, 6, 90), density=True, histtype="step", label=name)
        axes[2, 3].hist((image / image.mean()).ravel(), np.linspace(0.6, 1.4, 80), density=True, histtype="step")
    for panel, title in zip(
        axes[2],
        ("spectrum, brightfield", "spectrum, fluorescence", "(fluorescence - T) / sd", "brightfield / mean"),
        strict=True,
    ):
        panel.set_title(title)
    axes[2, 0].legend()
    canvas.savefig(path, dpi=70)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path)
    parser.add_argument("--input-channel", default="Brightfield")
    parser.add_argument("--target-channel", default="DNA")
    parser.add_argument("--fields", type=int, default=4)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    stack = read(arguments.real)
    real = tuple(stack.channel(c).data.astype(np.float64) for c in (arguments.input_channel, arguments.target_channel))
    planes = slice(8, 8 + real[0].shape[0])  # the planes that cut through the cells, as the real stack's do
    simulated = []
    for seed in range(arguments.fields):
        field = simulate_field(seed=seed)
        # Camera counts without light are taken off; the real stack is scaled to its maximum.
        simulated.append(tuple(s.data[planes].astype(np.float64) - 100 for s in (field.input, field.target)))
    rows = pd.DataFrame([statistics(*pair) for pair in simulated])
    table = pd.DataFrame({"real": statistics(*real), "simulated": rows.mean(), "± between fields": rows.std()})
    print(table.to_string(float_format="{:.3f}".format))
    if arguments.figure:
        side = real[0].shape[1]
        cut = tuple(s[:, :side, :side] for s in simulated[0])
        figure({"real": real, "simulated": cut}, arguments.figure)


if __name__ == "__main__":
    main()
