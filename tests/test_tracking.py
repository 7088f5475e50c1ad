"""Nuclei followed through time, against true tracks; skipped where laptrack is not installed."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from spotlight import SpotlightError, Stack, read, segment_files
from spotlight.metrics.tracks import track_scores
from spotlight.simulation import SimulationSettings
from spotlight.simulation.time_lapse import TimeLapseSettings, move_cells, simulate_time_lapse
from spotlight.tracking import TrackingSettings, link, renumber_by_track

SMALL = TimeLapseSettings(field=SimulationSettings(shape=(16, 64, 64)), frames=3, divisions=0.5)


def row(*numbers: int) -> NDArray[np.int32]:
    """A frame of nuclei of two pixels each."""
    return np.repeat(np.array([numbers], np.int32), 2, axis=1)


def test_links_and_divisions_are_counted() -> None:
    true = [row(1, 2, 0, 0), row(1, 0, 3, 4), row(1, 0, 3, 4)]
    parents = {3: 2, 4: 2}  # links: twice of 1, one each of 3 and 4, and two of the division
    perfect = track_scores([row(7, 5, 0, 0), row(7, 0, 9, 8), row(7, 0, 9, 8)], {9: 5, 8: 5}, true, parents)
    assert set(perfect.values()) == {1.0}
    undivided = track_scores([row(7, 5, 0, 0), row(7, 0, 5, 8), row(7, 0, 5, 8)], {}, true, parents)
    assert undivided["link_precision"] == 1.0  # going on as a daughter is a true link
    assert undivided["link_recall"] == pytest.approx(5 / 6)
    assert undivided["division_recall"] == 0
    assert np.isnan(undivided["division_precision"])
    swapped = track_scores([row(7, 5, 0, 0), row(5, 0, 9, 8), row(5, 0, 9, 8)], {}, true, parents)
    assert (swapped["link_precision"], swapped["link_recall"]) == (pytest.approx(3 / 4), pytest.approx(3 / 6))


def test_a_simulated_time_lapse_has_tracks_that_fit_its_labels() -> None:
    lapse = simulate_time_lapse(SMALL, 1)
    assert (lapse.input.axes, lapse.input.shape) == ("TZYX", (3, 16, 64, 64))
    assert lapse.labels.frame_interval == 600
    for frame, rows in lapse.tracks.groupby("frame"):
        assert set(rows["track"]) == set(np.unique(lapse.labels.data[frame])) - {0}
    born = lapse.tracks[lapse.tracks["parent"] > 0].groupby("track")["frame"].min()
    assert len(born)
    for track, frame in born.items():
        mother = lapse.tracks.set_index("track")["parent"][[track]].iloc[0]
        assert lapse.tracks[lapse.tracks["track"] == mother]["frame"].max() < frame
    still = lapse.labels.data[1][lapse.labels.data[2] > 0]
    assert len(np.unique(still)) > 1, "nuclei overlap with themselves in the next frame"


def centroids(settings: TimeLapseSettings, seed: int) -> tuple[pd.DataFrame, Mapping[int, int]]:
    """A table of all nuclei as `spotlight.measure` gives it, with their true tracks."""
    movie = move_cells(settings, seed)
    rows = [
        {"frame": frame, "y": y, "x": x, "true": number + 1}
        for frame, seeds in enumerate(movie.seeds)
        for number, (y, x, _) in enumerate(seeds)
        if y > 0
    ]
    table = pd.DataFrame(rows).sample(frac=1, random_state=seed).sort_values("frame", kind="stable")
    table["label"] = table.groupby("frame").cumcount() + 1
    return table.reset_index(drop=True), {n + 1: int(mother) for n, mother in enumerate(movie.parents)}


def as_frames(table: pd.DataFrame, column: str, width: int) -> list[NDArray[np.int32]]:
    """Nuclei as pixels, each in a place of its own, so that only the links count."""
    frames = []
    for _, rows in table.groupby("frame"):
        frame = np.zeros((1, width), np.int32)
        frame[0, rows["true"]] = rows[column]
        frames.append(frame)
    return frames


@pytest.mark.parametrize(
    ("step", "missed", "least"),
    [
        (1.0, 0.0, 0.97),
        pytest.param(2.0, 0.0, 0.9, marks=pytest.mark.slow),
        pytest.param(1.0, 0.05, 0.9, marks=pytest.mark.slow),
    ],
)
def test_most_links_are_the_true_ones(step: float, missed: float, least: float) -> None:
    pytest.importorskip("laptrack", reason="laptrack is not installed")
    settings = TimeLapseSettings(field=SimulationSettings(shape=(32, 192, 192)), step_um=step)
    table, parents = centroids(settings, 3)
    truth = as_frames(table, "true", len(table))
    seen = table[np.random.default_rng(0).uniform(size=len(table)) >= missed]
    found = link(seen)
    assert len(found) == len(seen)
    assert found.groupby(["frame", "track"]).size().max() == 1
    mothers = dict(zip(found["track"], found["parent"], strict=True))
    scores = track_scores(as_frames(found, "track", len(table)), mothers, truth, parents)
    assert scores["link_f1"] >= least, scores
    assert scores["division_recall"] >= 0.5, scores
    nowhere = link(seen, TrackingSettings(farthest_um=0.01, daughters_um=0))
    assert nowhere["track"].nunique() == len(seen)


def test_a_table_without_frames_is_refused() -> None:
    with pytest.raises(SpotlightError, match="time-lapse"):
        link(pd.DataFrame({"label": [1], "y": [0.0], "x": [0.0]}))


def test_without_laptrack_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "laptrack", None)
    with pytest.raises(SpotlightError, match="tracking"):
        link(pd.DataFrame({"frame": [0], "label": [1], "y": [0.0], "x": [0.0]}))


def test_labels_get_the_numbers_of_their_tracks() -> None:
    labels = Stack(np.stack([row(1, 2, 0), row(0, 1, 2)]), "TYX", labels=True)
    table = pd.DataFrame({"frame": [0, 0, 1, 1], "label": [1, 2, 1, 2], "track": [5, 6, 6, 7]})
    renumbered = renumber_by_track(labels, table)
    np.testing.assert_array_equal(renumbered.data, np.stack([row(5, 6, 0), row(0, 6, 7)]))
    np.testing.assert_array_equal(renumbered[1].data, row(0, 6, 7))


def balls(frames: int = 3) -> Stack:
    """Two nuclei that come nearer by 1 µm a frame."""
    z, y, x = np.ogrid[:16, :40, :100]
    values = np.random.default_rng(0).normal(100, 3, (frames, 16, 40, 100)).astype(np.float32)
    for number in range(frames):
        for middle in (20 + 2 * number, 80 - 2 * number):
            values[number] += 400 * ((z - 8) ** 2 + (y - 20) ** 2 + (x - middle) ** 2 < 49)
    return Stack(values, "TZYX", (0.5,) * 3, ("DNA",))


def test_segmented_nuclei_keep_their_numbers_through_time(tmp_path: Path) -> None:
    pytest.importorskip("laptrack", reason="laptrack is not installed")
    path = balls().save(tmp_path / "movie.ome.tif")
    (found,) = segment_files(path, tmp_path / "nuclei", tracking=TrackingSettings())
    table = pd.read_parquet(found.tables[1])
    assert table.groupby("track")["frame"].apply(list).tolist() == [[0, 1, 2], [0, 1, 2]]
    assert table["parent"].tolist() == [0] * 6
    ways = table.sort_values("frame").groupby("track")["x"].agg(lambda x: x.iloc[-1] - x.iloc[0])
    assert sorted(ways) == pytest.approx([-2, 2], abs=0.2)
    labels = read(found.labels).data
    for one in table.itertuples():
        assert labels[one.frame, int(one.z / 0.5), int(one.y / 0.5), round(one.x / 0.5)] == one.track


def test_tracking_needs_a_time_lapse(tmp_path: Path) -> None:
    path = balls()[0].save(tmp_path / "one.ome.tif")
    with pytest.raises(SpotlightError, match="none of these has"):
        segment_files(path, tmp_path, tracking=TrackingSettings())


def test_pixels_are_not_taken_for_distances(tmp_path: Path) -> None:
    path = replace(balls(), voxel_size=None).save(tmp_path / "movie.ome.tif")
    with pytest.raises(SpotlightError, match="nuclei are followed over distances in µm. State it with --voxel-size"):
        segment_files(path, tmp_path / "nuclei", tracking=TrackingSettings())
