"""How close simulated light-sheet stacks are to real volumes: statistics side by side.

    python benchmarks/lightsheet_simulation.py DATA [--fields 6] [--size 64]

DATA is as for benchmarks/lightsheet.py. Real volumes of c-Fos cells, microglia and vessels are compared with simulated
ones of their voxel size; a row has the median over volumes and the least and greatest value. Intensities are in units
of the median over the camera's offset, so that gain and light do not count.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spotlight import read
from spotlight.simulation import MICROSCOPES, LightSheetSettings, simulate_light_sheet_field

KINDS = {
    "spots": ("lightsheet_spots_3d/cFos_*_?.ome.tif", (6.0, 1.62, 1.62)),
    "microglia": ("lightsheet_spots_3d/microglia_*_?.ome.tif", (6.0, 1.62, 1.62)),
    "vessels": ("lightsheet_vessel_3d/raw.ome.tif", (2.0, 2.0, 2.0)),  # its voxel size is not stated
}


def statistics(volume: NDArray[np.float64]) -> dict[str, float]:
    """What is compared: the histogram, and correlations and shares of power along each axis."""
    x = volume - volume.min()
    x = np.minimum(x / np.median(x), np.percentile(x / np.median(x), 99.99))
    result = {f"{q:g}th percentile": float(np.percentile(x, q)) for q in (1, 25, 75, 99, 99.9)}
    x = np.log(np.maximum(x, 0.05))  # so that a few bright voxels are not all
    x = (x - x.mean()) / x.std()
    for axis, letter in enumerate("ZYX"):
        for lag in (1, 4, 16):
            a, b = (np.take(x, np.arange(first, x.shape[axis] - lag + first), axis) for first in (0, lag))
            result[f"correlation at {lag} voxels in {letter}"] = float((a * b).mean())
        power = (
            np.abs(
                np.fft.rfft(
                    x * np.expand_dims(np.hanning(x.shape[axis]), [n for n in range(3) if n != axis]), axis=axis
                )
            )
            ** 2
        )
        mean = power.mean(axis=tuple(n for n in range(3) if n != axis))
        result[f"power above 1/8 per voxel in {letter}"] = float(mean[len(mean) // 4 :].sum() / mean[1:].sum())
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--fields", type=int, default=6)
    parser.add_argument("--size", type=int, default=64, help="Voxels along each axis.")
    arguments = parser.parse_args()
    n = arguments.size
    for kind, (pattern, voxel) in KINDS.items():
        files = sorted(arguments.data.glob(pattern))[: 3 * arguments.fields : 3]
        microscope = MICROSCOPES["cleared-2x"].model_copy(update={"voxel_um": voxel})
        settings = LightSheetSettings(shape=(n, n, n), microscope=microscope)
        middle = [read(file).data[18 : 18 + n, 18 : 18 + n, 18 : 18 + n].astype(float) for file in files]
        made = [
            simulate_light_sheet_field(kind, settings, seed).input.data.astype(float)
            for seed in range(arguments.fields)
        ]
        real, simulated = ([statistics(volume) for volume in volumes] for volumes in (middle, made))
        print(
            f"\n{kind}: {len(real)} real volumes, {len(simulated)} simulated\n\n| | real | simulated |\n|---|---|---|"
        )
        for name in real[0]:
            cells = []
            for rows in (real, simulated):
                values = [row[name] for row in rows]
                cells.append(f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
