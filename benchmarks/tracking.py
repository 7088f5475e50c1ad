"""How well nuclei are followed through simulated time-lapses with known tracks.

    python benchmarks/tracking.py [--fields 5]

Needs `pip install '.[tracking]'`. Only the cells' places are simulated, not their images.
"""

import argparse

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.metrics import track_scores
from spotlight.simulation import SimulationSettings
from spotlight.simulation.time_lapse import TimeLapseSettings, move_cells
from spotlight.tracking import link

CASES = ((1.0, 0.0), (2.0, 0.0), (3.0, 0.0), (1.0, 0.05), (2.0, 0.05))
"""Steps in µm per frame, and shares of nuclei that were missed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=5)
    fields = parser.parse_args().fields
    print("| step per frame | missed | precision of links | recall | precision of divisions | recall |")
    print("|---|---|---|---|---|---|")
    for step, missed in CASES:
        settings = TimeLapseSettings(field=SimulationSettings(shape=(32, 192, 192)), step_um=step)
        scores = pd.DataFrame([judged(settings, seed, missed) for seed in range(fields)]).mean()
        names = ("link_precision", "link_recall", "division_precision", "division_recall")
        print(f"| {step:g} µm | {missed:.0%} | {' | '.join(f'{scores[name]:.2f}' for name in names)} |", flush=True)


def judged(settings: TimeLapseSettings, seed: int, missed: float) -> dict[str, float]:
    movie = move_cells(settings, seed)
    rows = [
        {"frame": frame, "y": y, "x": x, "true": number + 1}
        for frame, seeds in enumerate(movie.seeds)
        for number, (y, x, _) in enumerate(seeds)
        if y > 0
    ]
    table = pd.DataFrame(rows)
    truth = frames(table, "true", settings.frames, len(table))
    seen = table[np.random.default_rng(seed).uniform(size=len(table)) >= missed]
    found = link(seen.sample(frac=1, random_state=seed).sort_values("frame", kind="stable"))
    parents = dict(zip(found["track"], found["parent"], strict=True))
    true_parents = {number + 1: int(mother) for number, mother in enumerate(movie.parents)}
    return track_scores(frames(found, "track", settings.frames, len(table)), parents, truth, true_parents)


def frames(table: pd.DataFrame, column: str, count: int, width: int) -> list[NDArray[np.int32]]:
    """Nuclei as pixels, each in a place of its own, so that only the links count."""
    made = []
    for number in range(count):
        rows = table[table["frame"] == number]
        frame = np.zeros((1, width), np.int32)
        frame[0, rows["true"]] = rows[column]
        made.append(frame)
    return made


if __name__ == "__main__":
    main()
