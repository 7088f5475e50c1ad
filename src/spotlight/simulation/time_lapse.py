"""Time-lapses of simulated cells that move, divide, come and go, with their true tracks."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from spotlight.images import Stack
from spotlight.settings import Settings
from spotlight.simulation.dataset import MARGIN_UM, SimulatedField, SimulationSettings, image_phantom
from spotlight.simulation.phantom import make_phantom, place_cells

AWAY = -1e6
"""Where cells are, in µm, that are not in the field."""
NEAREST = 0.75
"""Least distance of two nuclei, in edges of the square that a cell has."""
SISTERS_UM = 5.0
"""From the middle of one new nucleus to that of its sister."""


class TimeLapseSettings(Settings):
    """A simulated time-lapse.

    Examples
    --------
    >>> from spotlight.simulation import TimeLapseSettings
    >>> TimeLapseSettings(frames=24, step_um=2.0).interval_s  # seconds
    600.0
    """

    field: SimulationSettings = Field(SimulationSettings(), description="Cells and microscope.")
    frames: int = Field(12, ge=2, description="Number of timepoints.")
    interval_s: float = Field(600.0, gt=0, description="Seconds from one frame to the next.")
    step_um: float = Field(
        1.0, ge=0, description="Way of a nucleus from one frame to the next along Y and X, root mean square."
    )
    persistence: float = Field(0.5, ge=0, lt=1, description="Correlation of a step with the one before.")
    divisions: float = Field(0.02, ge=0, le=1, description="Share of the cells that divide in a frame.")
    deaths: float = Field(0.005, ge=0, le=1, description="Share of the cells that are gone in the next frame.")


@dataclass(frozen=True, eq=False)
class Movie:
    """Where every cell is at every time.

    Attributes
    ----------
    seeds : (frames, n, 3) ndarray
        For `make_phantom`.
    parents : (n,) ndarray
        Number of the cell that a cell is a daughter of, from 1 on; 0 for none.
    """

    seeds: NDArray[np.float64]
    parents: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SimulatedTimeLapse:
    """The microscope's images of a field over time, and the truth.

    Attributes
    ----------
    input, target : Stack of uint16
        Brightfield and fluorescence of the nuclei, axes TZYX.
    labels : Stack of uint16
        True nuclei, axes TZYX; one number for one nucleus through time.
    tracks : DataFrame
        A row per nucleus and frame: ``frame``, ``track`` (its number in the labels) and ``parent`` (that of the nucleus
        it is a daughter of; 0 for none).

    Examples
    --------
    >>> from spotlight.simulation import SimulationSettings, TimeLapseSettings, simulate_time_lapse
    >>> small = TimeLapseSettings(field=SimulationSettings(shape=(8, 48, 48)), frames=2)
    >>> list(simulate_time_lapse(small).tracks)
    ['frame', 'track', 'parent']
    """

    input: Stack
    target: Stack
    labels: Stack
    tracks: pd.DataFrame


def move_cells(settings: TimeLapseSettings, seed: int = 0) -> Movie:
    """Let the cells of a field walk, push each other away, divide and die.

    A step is a persistent random walk. A cell that divides is a bright plate for one frame, and two nuclei in the next.
    """
    rng = np.random.default_rng(seed)
    field = settings.field
    extent = np.array(_padded(field)[1:]) * field.voxel_um
    places = place_cells(_padded(field), field.voxel_um, field.cells.cell_area_um2, rng)[:, :2]
    least = NEAREST * np.sqrt(field.cells.cell_area_um2)
    steps = rng.normal(0, settings.step_um / np.sqrt(2), places.shape)
    parents, alive = np.zeros(len(places), np.int64), np.ones(len(places), bool)
    dividing = np.zeros(len(places), bool)
    frames: list[NDArray[np.float64]] = []
    for _ in range(settings.frames):
        if frames:
            count = len(places)
            for mother in np.flatnonzero(dividing):
                angle = rng.uniform(0, 2 * np.pi)
                apart = SISTERS_UM / 2 * np.array([np.sin(angle), np.cos(angle)])
                places = np.vstack([places, places[mother] + apart, places[mother] - apart])
                parents = np.append(parents, [mother + 1, mother + 1])
            new = len(places) - count
            alive = np.append(alive & ~dividing & (rng.uniform(size=count) >= settings.deaths), np.ones(new, bool))
            noise = rng.normal(0, settings.step_um / np.sqrt(2), places.shape)
            kept = settings.persistence
            steps = kept * np.vstack([steps, np.zeros((new, 2))]) + np.sqrt(1 - kept**2) * noise
            steps[count:] = 0
            places = _pushed(places + steps, alive, least)
        inside = alive & ((places > 0) & (places < extent)).all(1)
        dividing = inside & (rng.uniform(size=len(places)) < settings.divisions)
        fate = np.where(dividing, -1.0, 1.0)
        frames.append(np.column_stack([np.where(inside[:, None], places, AWAY), fate]))
    seeds = np.full((len(frames), len(places), 3), AWAY)
    seeds[..., 2] = 1
    for frame, there in zip(seeds, frames, strict=True):
        frame[: len(there)] = there
    return Movie(seeds, parents)


def simulate_time_lapse(settings: TimeLapseSettings | None = None, seed: int = 0) -> SimulatedTimeLapse:
    """Simulate a time-lapse of one field.

    Nuclei keep their size and shape; granules, nucleoli and noise are drawn anew for each frame.

    Parameters
    ----------
    settings : TimeLapseSettings
        Cells, their movement, and the microscope.
    seed : int
        The same seed gives the same time-lapse.

    Returns
    -------
    SimulatedTimeLapse
        Images and truth.

    Examples
    --------
    >>> from spotlight.simulation import SimulationSettings, TimeLapseSettings, simulate_time_lapse
    >>> settings = TimeLapseSettings(field=SimulationSettings(shape=(8, 48, 48)), frames=2)
    >>> simulate_time_lapse(settings).labels.axes
    'TZYX'
    """
    settings = settings or TimeLapseSettings()
    movie = move_cells(settings, seed)
    fields, labels = zip(*_frames(movie, settings, seed), strict=True)

    def joined(frames: list[Stack]) -> Stack:
        data = np.stack([frame.data for frame in frames])
        return replace(frames[0], array=data, axes="TZYX", frame_interval=settings.interval_s)

    true = joined(list(labels))
    rows = [
        (frame, int(track), int(movie.parents[track - 1]))
        for frame, data in enumerate(true.data)
        for track in np.unique(data)[1:]
    ]
    tracks = pd.DataFrame(rows, columns=["frame", "track", "parent"])
    tracks.loc[~tracks["parent"].isin(tracks["track"]), "parent"] = 0  # of a mother that was never in the field
    return SimulatedTimeLapse(
        joined([field.input for field in fields]), joined([field.target for field in fields]), true, tracks
    )


def true_labels(movie: Movie, settings: TimeLapseSettings, seed: int = 0) -> Iterator[NDArray[np.uint16]]:
    """Give the true nuclei of every frame, (Z, Y, X), without images of them."""
    for _, labels in _frames(movie, settings, seed, images=False):
        yield labels.data.astype(np.uint16)


def _frames(
    movie: Movie, settings: TimeLapseSettings, seed: int, images: bool = True
) -> Iterator[tuple[SimulatedField | None, Stack]]:
    field = settings.field
    margin = round(MARGIN_UM / field.voxel_um)
    inside = (slice(None), *(slice(margin, margin + size) for size in field.shape[1:]))
    for number, seeds in enumerate(movie.seeds):
        there = np.count_nonzero(seeds[:, 0] > AWAY) / len(seeds)
        cells = field.cells.model_copy(
            update={"granules_per_cell": field.cells.granules_per_cell * there, "mitotic_fraction": 0.0}
        )
        shapes = np.random.default_rng(seed)  # the same for all frames, so that nuclei keep theirs
        phantom = make_phantom(_padded(field), field.voxel_um, field.coverslip_um, cells, shapes, seeds)
        name = f"simulated time-lapse {seed}"
        rng = np.random.default_rng([seed, number])
        true = np.ascontiguousarray(phantom.labels[inside].astype(np.uint16))
        seen = image_phantom(phantom, field, rng, name) if images else None
        yield seen, Stack(true, "ZYX", (field.voxel_um,) * 3, ("Nuclei",), name, labels=True)


def _padded(field: SimulationSettings) -> tuple[int, int, int]:
    margin = 2 * round(MARGIN_UM / field.voxel_um)
    return field.shape[0], field.shape[1] + margin, field.shape[2] + margin


def _pushed(places: NDArray[np.float64], alive: NDArray[np.bool_], least: float) -> NDArray[np.float64]:
    """Move cells that are too near each other apart, half of the way that is missing."""
    moved = places.copy()
    for _ in range(3):
        way = moved[:, None] - moved[None]
        distance = np.hypot(way[..., 0], way[..., 1])
        near = (distance < least) & (distance > 0) & alive[:, None] & alive[None]
        push = np.where(near, (least - distance) / np.maximum(distance, 1e-6) / 4, 0)
        moved += (push[..., None] * way).sum(1)
    return moved
