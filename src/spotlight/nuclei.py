"""`segment_files`: labels and measurements of the nuclei of image files, one set of files for each image."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pandas import DataFrame

from spotlight.errors import SpotlightError
from spotlight.files import atomic_file, write_text
from spotlight.fingerprint import fingerprint
from spotlight.images import Part, Stack
from spotlight.images.frames import doubts_of_frames, join_frames
from spotlight.images.joining import take
from spotlight.images.slabs import copy_values
from spotlight.locks import working_on
from spotlight.plain_yaml import load_yaml
from spotlight.prediction.listing import find_parts, read_part, states_of_image
from spotlight.prediction.workspace import InFolder, workspace_of
from spotlight.profiles import ProfileSettings, measure, write_table
from spotlight.progress import Progress, tracked
from spotlight.segmentation import InstanceSettings, Segmentation, SegmentationSettings, find_instances
from spotlight.tracking import TrackingSettings, link, renumber_by_track
from spotlight.version import __version__

log = logging.getLogger("spotlight")


@dataclass(frozen=True)
class SegmentedFile:
    """What became of one image.

    Attributes
    ----------
    part : Part
        The image.
    labels : Path
        Its labels.
    tables : tuple of Path
        One row a nucleus, as CSV and Parquet.
    record : Path
        With which settings they were found, and what speaks against them, as YAML.
    doubts : tuple of str
        What speaks against them, in sentences.
    state : "made", "kept" or "failed"
        Whether they were found now, were there already, or could not be found.
    reason : str
        Why it failed.
    """

    part: Part
    labels: Path
    tables: tuple[Path, ...]
    record: Path
    doubts: tuple[str, ...] = ()
    state: Literal["made", "kept", "failed"] = "made"
    reason: str = ""


def nuclei_of(
    part: Part,
    settings: InstanceSettings,
    channel: str | int | None,
    axes: str | None,
    voxel_size: tuple[float, ...] | None,
    features: Literal["quick", "full"],
    scale: tuple[float, ...] | None = None,
) -> tuple[Segmentation, DataFrame]:
    """Find and measure the nuclei of one image; see `segment_files`, and `find_instances` for the scale."""
    stack = take(read_part(part, axes, voxel_size), part.channel if channel is None else channel)
    found = find_instances(stack, settings, scale)
    return found, measure(found.labels, stack, ProfileSettings(features=features)).assign(contrast=found.contrast)


def segment_files(
    images: str | Path | Sequence[str | Path],
    to: str | Path,
    settings: InstanceSettings | None = None,
    *,
    channel: str | int | None = None,
    scene: str | None = None,
    time: int | None = None,
    axes: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
    features: Literal["quick", "full"] = "quick",
    form: Literal["ome.tif", "ome.zarr"] = "ome.tif",
    tracking: TrackingSettings | None = None,
    progress: Progress | None = None,
) -> list[SegmentedFile]:
    """Find the nuclei of image files, measure them, and write labels, tables and settings.

    What speaks against the labels is logged. A time-lapse is segmented frame by frame; its labels have the axis T, and
    its table has the column ``frame``. What an earlier call found in the same image with the same settings is kept, so
    that an interrupted call goes on, of a time-lapse at the frame. An image that fails does not stop the others.

    Parameters
    ----------
    images : path or sequence of path
        Files of fluorescence or stains, plates, folders of them, and manifests; see `spotlight.prediction.find_parts`.
    to : path
        Folder for ``NAME-labels``, ``NAME-nuclei.csv``, ``NAME-nuclei.parquet`` and ``NAME-segmentation.yaml`` of every
        image. Files of these names that were found otherwise are replaced.
    settings : InstanceSettings
        The method and every parameter of it; the watershed's defaults if left out.
    channel : str or int, optional
        Which channel holds the nuclei. Left out: the one that a manifest states, or the only one.
    scene, time, axes, voxel_size : optional
        See `spotlight.read`; without a scene or timepoint all are taken.
    features : "quick" or "full"
        See `spotlight.profiles.ProfileSettings`.
    form : "ome.tif" or "ome.zarr"
        File format of the labels.
    tracking : TrackingSettings, optional
        Follow the nuclei of time-lapses: the table has ``track`` and ``parent``, see `spotlight.tracking.link`, and
        labels the numbers of tracks. Left out: numbers of different frames mean nothing to each other.
    progress : callable, optional
        See `spotlight.progress.Progress`.

    Returns
    -------
    list of SegmentedFile
        In the order of the images.

    Raises
    ------
    SpotlightError
        If there is one image and it cannot be read or segmented. Of several, those that fail have the state "failed".

    Examples
    --------
    >>> import spotlight
    >>> for found in spotlight.segment_files("stains", "nuclei"):  # doctest: +SKIP
    ...     print(found.labels, found.tables[0])
    """
    to, chosen = Path(to), settings or SegmentationSettings()
    listed = find_parts([images] if isinstance(images, (str, Path)) else images, scene, time, axes)
    if tracking is not None and not any(part.frames for part in listed):
        raise SpotlightError(
            "nuclei can be followed through time where a file has several timepoints, and none of these has. Leave "
            "--track (tracking=) out, or make time-lapses of files of single timepoints: spotlight stack-planes."
        )
    done: list[SegmentedFile] = []
    for part in tracked(listed, "segmenting", len(listed), progress):
        names = [to / f"{part.name}-{end}" for end in (f"labels.{form}", "nuclei.csv", "nuclei.parquet")]
        files = SegmentedFile(part, names[0], tuple(names[1:]), to / f"{part.name}-segmentation.yaml")
        asked = _Asked(part, chosen, features, channel, axes, voxel_size)
        try:
            done.append(_segment_file(files, asked, tracking, progress if len(listed) == 1 else None))
        except SpotlightError as error:
            if len(listed) == 1:
                raise
            log.error("%s: %s", part.name, error)
            done.append(replace(files, state="failed", reason=str(error)))
    return done


def _segment_file(
    files: SegmentedFile, asked: "_Asked", tracking: TrackingSettings | None, progress: Progress | None
) -> SegmentedFile:
    """Find the nuclei of one image and write them, unless they are there already."""
    part = files.part
    if part.fault:
        raise SpotlightError(part.fault)
    mark = asked.mark()
    made_from = fingerprint(mark, tracking)
    with working_on(files.labels), _workspace(asked, mark, files.labels) as workspace:
        known = load_yaml(files.record) if files.record.exists() else {}
        if known.get("made_from") == made_from and all(path.exists() for path in (files.labels, *files.tables)):
            return replace(files, doubts=tuple(known["doubts"]), state="kept")
        found, nuclei = asked.find(part) if not part.frames else _find_in_frames(asked, workspace, progress)
        if tracking is not None and part.frames:
            nuclei = link(nuclei, tracking)
            found = replace(found, labels=renumber_by_track(found.labels, nuclei))
            nuclei["label"] = nuclei["track"]
        # Were it to stay while the others are replaced, it would speak of files that it does not belong to.
        files.record.unlink(missing_ok=True)
        found.labels.save(files.labels)
        write_table(nuclei, files.tables[0].with_suffix(""))
        write_text(files.record, found.to_yaml(made_from))
    for doubt in found.doubts:
        log.warning("%s: %s", part.name, doubt)
    return replace(files, doubts=found.doubts)


@dataclass(frozen=True)
class _Asked:
    """What is to be found in an image."""

    part: Part
    settings: InstanceSettings
    features: Literal["quick", "full"]
    channel: str | int | None
    axes: str | None
    voxel_size: tuple[float, ...] | None

    def mark(self) -> str:
        """Fingerprint of the image and of all that its nuclei depend on."""
        states = states_of_image(self.part.path, self.part.scene, self.part.further)
        return fingerprint(self, [state.fingerprint for state in states], __version__)

    def find(self, part: Part, scale: Sequence[float] | None = None) -> tuple[Segmentation, DataFrame]:
        """Find and measure the nuclei of the image, or of one of its frames."""
        known = tuple(scale) if scale else None
        return nuclei_of(part, self.settings, self.channel, self.axes, self.voxel_size, self.features, known)


@contextmanager
def _workspace(asked: _Asked, mark: str, path: Path) -> Iterator[InFolder]:
    """Where frames of this very time-lapse are kept until all are there; those of another are removed."""
    workspace = workspace_of(path)
    if asked.part.frames and workspace.known("mark") != {"mark": mark}:
        workspace.remove()
        workspace.noted("mark", lambda: {"mark": mark})
    yield workspace
    workspace.remove()


def _find_in_frames(asked: _Asked, workspace: InFolder, progress: Progress | None) -> tuple[Segmentation, DataFrame]:
    """Find the nuclei of a time-lapse; memory is that of a frame, and frames that were kept are taken up."""
    notes: list[dict[str, Any]] = []
    tables: list[DataFrame] = []
    for number, frame in enumerate(asked.part.each_frame()):
        name = f"frame-{number}"
        table, note = workspace.folder / f"{name}.parquet", workspace.known(name)
        if note is None:
            # The scale that is assumed where none is stated must be the same for all frames.
            found, nuclei = asked.find(frame, notes[0]["scale"] if notes else None)
            nuclei.insert(0, "frame", number)
            workspace.once(name, partial(copy_values, found.labels.data))
            with atomic_file(table) as temporary:
                nuclei.to_parquet(temporary, index=False)
            facts = {"faint": found.faint, "scale": found.scale, "doubts": found.doubts}
            note = workspace.noted(name, lambda facts=facts: facts)  # type: ignore[misc]
        notes.append(note)
        tables.append(pd.read_parquet(table))
        if progress is not None:
            progress("segmenting frames", number + 1, asked.part.frames, {})
    frames = [np.load(workspace.folder / f"frame-{number}.npy", mmap_mode="r") for number in range(len(notes))]
    channel = asked.part.channel if asked.channel is None else asked.channel
    first = take(read_part(asked.part.each_frame()[0], asked.axes, asked.voxel_size), channel)
    one = Stack(frames[0], first.axes, first.voxel_size, ("labels",), first.source, labels=True)
    interval = read_part(replace(asked.part, further=()), asked.axes, asked.voxel_size).frame_interval
    nuclei = pd.concat(tables, ignore_index=True)
    scale = notes[0]["scale"]
    found = Segmentation(
        join_frames(frames, one, interval),
        nuclei["contrast"].to_numpy(),
        sum(note["faint"] for note in notes),
        asked.settings,
        tuple(scale) if scale else None,
        tuple(doubts_of_frames([note["doubts"] for note in notes])),
    )
    return found, nuclei
