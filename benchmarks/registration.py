"""Which shifts between channels `check` finds, in every modality, and what it says of pairs that are in place.

    python benchmarks/registration.py [--data ../shared/data] [--fields 4]

Windows of the target are moved by known shifts against those of the input, in simulated fields of 256 x 256 pixels
and in registered real pairs, as far as they are there. A shift is reported as `check` does by default.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.images import read
from spotlight.pairs import CheckSettings
from spotlight.pairs.check_pairs import is_shifted
from spotlight.pairs.registration import find_shift
from spotlight.simulation import SimulationSettings, simulate_field
from spotlight.simulation.lightmycells import LightMyCellsSettings, simulate_multi_stain_field
from spotlight.simulation.optics import BrightfieldSettings

SHIFTS = ((0, 0), (1, -1), (2, -6), (8, -8), (-20, 12))
"""Along Y and X: in place, within the tolerance of 3 pixels, and three that are not."""
SIDE = 512
"""Of the windows of large real images."""
MARGIN = 20

Image = NDArray[Any]
Field = tuple[str, Image, Image, tuple[float, float]]
"""What it is, input, target, and how far the target lies from its input already."""


def simulated(fields: int) -> Iterator[Field]:
    """Adherent cells in 2D and in focus series, in three modalities and all stains; colonies in 3D."""
    side = 256 + 2 * MARGIN
    settings = LightMyCellsSettings(shape=(side, side))
    for seed in range(fields):
        for modality in ("brightfield", "phase", "dic"):
            field = simulate_multi_stain_field(settings, modality, seed=seed)
            for stain, target in field.targets.items():
                yield f"simulated {modality}, {stain}, 2D", field.planes[3], target, (0, 0)
                yield f"simulated {modality}, {stain}, 3D", field.planes, target, (0, 0)
        colony = SimulationSettings(shape=(32, side, side), brightfield=BrightfieldSettings(source_points=8))
        stack = simulate_field(colony, seed=seed)
        yield "simulated brightfield, colony, 3D", stack.input.data, stack.target.data, (0, 0)


def real(data: Path) -> Iterator[Field]:
    """Registered pairs, and one of which the shift is known."""

    def load(name: str) -> Image:
        return read(data / name).data

    for name in ("s10", "s11"):
        yield "phase, nuclei (2048 px)", *load(f"phase_nuclei_2d/{name}.ome.tif"), (0, 0)
    for number in range(1, 7):
        yield "brightfield, E. coli", *load(f"ecoli_brightfield_2d/ds1_0000{number}.ome.tif"), (0, 0)
    brightfield, dapi = (load(f"brightfield_defocus_2d/set1_{name}.ome.tif") for name in ("brightfield", "dapi"))
    for plane in brightfield:
        yield "brightfield, DAPI, out of focus", plane, dapi, (0, 0)
    cells = load("multichannel_nd2/example-multichannel.ome.tif")
    for stain, offset in zip(cells[1:], ((-2, 0), (-2, 0), (-2.5, 0.5)), strict=True):
        yield "brightfield, PBMC (256 px)", cells[0], stain, offset
    phase, hoechst, membrane = load("saureus_phase_2d/field.ome.tif")
    yield "phase, S. aureus", phase, hoechst, (-2, -5)
    yield "phase, S. aureus", phase, membrane, (-1, -2.5)
    series, stains = (
        load("neurons_phase_zstack/phase.ome.tif"),
        load("neurons_phase_zstack/fluorescence_maxproj.ome.tif"),
    )
    for stain in stains:
        yield "phase, neurons, 3D", series[2:11:2], stain, (0, 0)
    yield "brightfield, Allen DNA, 3D (128 px)", *load("allen_dna_3d/brightfield_dna.ome.tif"), (0, 0)


def windows(image: Image, target: Image, shift: tuple[int, int]) -> Iterator[tuple[Image, Image]]:
    """Windows of both, of which the target's shows what lies at the shift."""
    size = [min(SIDE, n - 2 * MARGIN) for n in image.shape[-2:]]
    starts = [
        np.unique(np.linspace(MARGIN, n - MARGIN - s, max(1, n // (2 * SIDE))).astype(int))
        for n, s in zip(image.shape[-2:], size, strict=True)
    ]
    for y in starts[0]:
        for x in starts[1]:
            moved = (y - shift[0], x - shift[1])
            yield tuple(  # type: ignore[misc]
                part[..., a : a + size[0], b : b + size[1]] for part, (a, b) in ((image, (y, x)), (target, moved))
            )


def measured(fields: Iterator[Field], settings: CheckSettings) -> pd.DataFrame:
    """Every window with every shift."""
    rows = []
    for name, image, target, offset in fields:
        for shift in SHIFTS:
            moved = (round(shift[0] - offset[0]), round(shift[1] - offset[1]))
            for a, b in windows(image, target, moved):
                found = find_shift(a, b)
                error = float(np.hypot(found.y - moved[0] - offset[0], found.x - moved[1] - offset[1]))
                kind = "in place" if np.hypot(*shift) < settings.shift_px else f"{np.hypot(*shift):.0f} px"
                rows.append(
                    {"pairs": name, "kind": kind, "said": is_shifted(found, settings), "error": error, **vars(found)}
                )
    return pd.DataFrame(rows)


def markdown(rows: pd.DataFrame) -> str:
    """Share of windows of which a shift is said, by what is true."""
    kinds = [k for k in dict.fromkeys(rows["kind"]) if k != "in place"]
    lines = [f"| pairs | windows | in place, but said | {' | '.join(f'{k}, found' for k in kinds)} | error, px |"]
    lines.append("|---" * (len(kinds) + 4) + "|")
    for name, own in [*rows.groupby("pairs", sort=False), ("all", rows)]:
        found = own[own["said"] & (own["kind"] != "in place")]
        counts = [own.loc[own["kind"] == kind, "said"] for kind in ("in place", *kinds)]
        cells = [f"{part.sum()} of {len(part)}" for part in counts]
        error = f"{found['error'].median():.1f} (most {found['error'].max():.1f})" if len(found) else ""
        lines.append(f"| {name} | {len(counts[1])} | {' | '.join(cells)} | {error} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--fields", type=int, default=4, help="simulated fields of each kind")
    parser.add_argument("--rows", type=Path, help="CSV file for every window")
    arguments = parser.parse_args()
    settings = CheckSettings()
    sources = [simulated(arguments.fields), *([real(arguments.data)] if arguments.data.is_dir() else [])]
    rows = pd.concat([measured(source, settings) for source in sources], ignore_index=True)
    if arguments.rows:
        rows.to_csv(arguments.rows, index=False)
    print(markdown(rows))


if __name__ == "__main__":
    main()
