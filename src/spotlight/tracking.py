"""Nuclei followed through time: each gets one number for all frames, and daughters the number of their mother."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat

from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.images.lazy import LazyArray
from spotlight.installation import missing_package
from spotlight.settings import Settings


class TrackingSettings(Settings):
    """How nuclei of one frame are linked to those of the next, by laptrack.

    Examples
    --------
    >>> from spotlight.tracking import TrackingSettings
    >>> settings = TrackingSettings(farthest_um=3.0, daughters_um=0)  # slow cells that do not divide
    >>> settings.missed_frames
    1
    """

    farthest_um: PositiveFloat = Field(
        6.0, description="Longest way of a nucleus from one frame to the next, in µm (pixels without a voxel size)."
    )
    daughters_um: float = Field(
        5.0, ge=0, description="Longest way from a nucleus to one that it divides into, in µm; 0: nuclei do not divide."
    )
    missed_frames: int = Field(1, ge=0, description="Frames in a row in which a nucleus may not have been found.")


def link(table: pd.DataFrame, settings: TrackingSettings | None = None) -> pd.DataFrame:
    """Follow nuclei through time: a linear assignment of their centroids, with divisions and gaps (laptrack).

    Parameters
    ----------
    table : DataFrame
        A row per nucleus and frame, from `spotlight.measure` of a time-lapse: ``frame``, ``label``, and the centroid
        (``z``, ``y``, ``x``).
    settings : TrackingSettings, optional
        How far a nucleus may go.

    Returns
    -------
    DataFrame
        The same rows, with ``track``, one number for one nucleus through time, from 1 on; and ``parent``, the track of
        which it is a daughter, or 0.

    Raises
    ------
    SpotlightError
        If the table has no frames, or laptrack is not installed.

    Examples
    --------
    >>> import pandas as pd
    >>> from spotlight.tracking import link
    >>> table = pd.DataFrame({"frame": [0, 0, 1, 1], "label": [1, 2, 1, 2], "y": [5, 30, 29, 6], "x": [5, 5, 5, 5]})
    >>> link(table)["track"].tolist()  # doctest: +SKIP
    [1, 2, 2, 1]
    """
    settings = settings or TrackingSettings()
    places = [axis for axis in "zyx" if axis in table]
    if not {"frame", "y", "x"} <= set(table):
        raise SpotlightError(
            "nuclei are followed through time by the columns frame, y and x (and z) of their table. Received: "
            f"{', '.join(map(str, table.columns))}. Give the table of a time-lapse."
        )
    table = table.reset_index(drop=True)
    if table.empty:
        return table.assign(track=np.zeros(0, int), parent=np.zeros(0, int))
    try:
        from laptrack import LapTrack
    except ImportError as error:
        raise missing_package("following nuclei through time", error, "tracking") from error
    farthest = settings.farthest_um**2
    tracker = LapTrack(
        metric="sqeuclidean",
        cutoff=farthest,
        gap_closing_cutoff=farthest if settings.missed_frames else False,
        gap_closing_max_frame_count=settings.missed_frames,
        splitting_metric="sqeuclidean",
        splitting_cutoff=settings.daughters_um**2 or False,
        merging_cutoff=False,
    )
    rows = table[["frame", *places]].assign(row=np.arange(len(table)))
    tracked, divided, _ = tracker.predict_dataframe(rows, places, frame_col="frame", only_coordinate_cols=False)
    tracks = tracked.set_index("row")["track_id"].reindex(rows["row"]).to_numpy(int)
    # Numbered in the order of the table, so that the same nuclei get the same numbers whatever laptrack calls them.
    order = {number: place + 1 for place, number in enumerate(dict.fromkeys(tracks.tolist()))}
    pairs = zip(divided["child_track_id"], divided["parent_track_id"], strict=True) if len(divided) else ()
    parents = {order[int(child)]: order[int(mother)] for child, mother in pairs}
    numbers = [order[number] for number in tracks.tolist()]
    return table.assign(track=numbers, parent=[parents.get(number, 0) for number in numbers])


def renumber_by_track(labels: Stack, table: pd.DataFrame) -> Stack:
    """Give labels the numbers of their tracks: one number for one nucleus through time.

    Parameters
    ----------
    labels : Stack
        Axes TZYX or TYX.
    table : DataFrame
        From `link`, with ``frame``, ``label`` and ``track`` of every nucleus.

    Returns
    -------
    Stack
        int32; values are renumbered where and when they are read.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from spotlight.images import Stack
    >>> from spotlight.tracking import renumber_by_track
    >>> labels = Stack(np.array([[[1, 0, 2]], [[2, 0, 1]]], np.int32), "TYX", (0.5, 0.5))
    >>> table = pd.DataFrame({"frame": [0, 0, 1, 1], "label": [1, 2, 1, 2], "track": [1, 2, 2, 1]})  # from `link`
    >>> renumber_by_track(labels, table).data.tolist()
    [[[1, 0, 2]], [[1, 0, 2]]]
    """
    numbers: dict[int, NDArray[np.int32]] = {}
    for frame, rows in table.groupby("frame"):
        lookup = np.zeros(int(rows["label"].max()) + 1, np.int32)
        lookup[rows["label"]] = rows["track"]
        numbers[int(str(frame))] = lookup
    return replace(labels, array=LazyArray.of(_Renumbered(labels.values, numbers)))


class _Renumbered:
    """Labels of a time-lapse with other numbers; `numbers` has those of each frame."""

    dtype = np.dtype(np.int32)

    def __init__(self, labels: Any, numbers: Mapping[int, NDArray[np.int32]]) -> None:
        self.labels, self.numbers = labels, numbers
        self.shape: tuple[int, ...] = tuple(labels.shape)

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[np.int32]:
        first, rest = index[0], index[1:]
        if isinstance(first, int):
            found = np.asarray(self.labels[(first, *rest)])
            lookup = self.numbers.get(first)
            return np.zeros(found.shape, np.int32) if lookup is None else lookup[found]
        return np.stack([self[(number, *rest)] for number in range(self.shape[0])[first]])
