"""`segment_files`: labels and measurements of the nuclei of image files, one set of files for each image."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

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
from spotlight.locks import Busy, share_out, working_on
from spotlight.plain_yaml import load_yaml
from spotlight.prediction.listing import find_parts, read_part, states_of_image
from spotlight.prediction.workspace import InFolder, workspace_of
from spotlight.profiles import ProfileSettings, measure, write_table
from spotlight.progress import Progress
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


class Asked(TypedDict, total=False):
    """What `segment_files` and `segment_plate` are asked for by name; all may be left out.

    Attributes
    ----------
    channel : str or int
        Which channel holds the nuclei. Left out: the one that a manifest states, or the only one.
    axes, voxel_size
        See `spotlight.read`.
    features : "quick" or "full"
        See `spotlight.profiles.ProfileSettings`.
    tracking : TrackingSettings
        Follow the nuclei of time-lapses: the table has ``track`` and ``parent``, see `spotlight.tracking.link`, and
        labels the numbers of tracks. Left out: numbers of different frames mean nothing to each other.
    """

    channel: str | int | None
    axes: str | None
    voxel_size: tuple[float, ...] | None
    features: Literal["quick", "full"]
    tracking: TrackingSettings | None


@dataclass(frozen=True)
class Search:
    """What is looked for in images, and how; see `Asked`."""

    settings: InstanceSettings
    channel: str | int | None = None
    axes: str | None = None
    voxel_size: tuple[float, ...] | None = None
    features: Literal["quick", "full"] = "quick"
    tracking: TrackingSettings | None = None

    def images(self, given: Sequence[str | Path], scene: str | None, time: int | None) -> list[Part]:
        """List the images; see `find_parts`.

        Raises
        ------
        SpotlightError
            If nuclei are to be followed through time and there is none, or an image cannot be read.
        """
        listed = find_parts(given, scene, time, self.axes)
        if self.tracking is not None and not any(part.frames for part in listed):
            raise SpotlightError(
                "nuclei can be followed through time where a file has several timepoints, and none of these has. Leave "
                "--track (tracking=) out, or make time-lapses of files of single timepoints: spotlight stack-planes."
            )
        return listed

    def nuclei(
        self, part: Part, workspace: InFolder, progress: Progress | None = None
    ) -> tuple[Segmentation, DataFrame]:
        """Find and measure the nuclei of an image; frames of a time-lapse are kept in the workspace until all are."""
        if not part.frames:
            return self.in_one(part)
        if self.tracking is not None:
            self._require_size(part)
        found, nuclei = self._in_frames(part, workspace, progress)
        if self.tracking is not None:
            nuclei = link(nuclei, self.tracking)
            found = replace(found, labels=renumber_by_track(found.labels, nuclei))
            nuclei["label"] = nuclei["track"]
        return found, nuclei

    def _require_size(self, part: Part) -> None:
        """Distances from frame to frame are in µm; pixels are not taken for them."""
        stack = read_part(part, self.axes, self.voxel_size)
        if stack.voxel_size is None:
            raise SpotlightError(
                f"{stack.source}: states no voxel size, and nuclei are followed over distances in µm. State it with "
                "--voxel-size (voxel_size=), or leave --track (tracking=) out."
            )

    def in_one(self, part: Part, scale: tuple[float, ...] | None = None) -> tuple[Segmentation, DataFrame]:
        """Find and measure the nuclei of one stack; see `find_instances` for the scale."""
        stack = take(
            read_part(part, self.axes, self.voxel_size), part.channel if self.channel is None else self.channel
        )
        found = find_instances(stack, self.settings, scale)
        nuclei = measure(found.labels, stack, ProfileSettings(features=self.features))
        return found, nuclei.assign(contrast=found.contrast)

    def _in_frames(self, part: Part, workspace: InFolder, progress: Progress | None) -> tuple[Segmentation, DataFrame]:
        """Go through a time-lapse; memory is that of a frame, and frames that were kept are taken up."""
        notes: list[dict[str, Any]] = []
        tables: list[DataFrame] = []
        for number, frame in enumerate(part.each_frame()):
            name = f"frame-{number}"
            table, note = workspace.folder / f"{name}.parquet", workspace.known(name)
            if note is None:
                # The scale that is assumed where none is stated must be the same for all frames.
                scale = notes[0]["scale"] if notes else None
                found, nuclei = self.in_one(frame, tuple(scale) if scale else None)
                nuclei.insert(0, "frame", number)
                workspace.once(name, partial(copy_values, found.labels.data))
                with atomic_file(table) as temporary:
                    nuclei.to_parquet(temporary, index=False)
                facts = {"faint": found.faint, "scale": found.scale, "doubts": found.doubts}
                note = workspace.noted(name, lambda facts=facts: facts)  # type: ignore[misc]
            notes.append(note)
            tables.append(pd.read_parquet(table))
            if progress is not None:
                progress("segmenting frames", number + 1, part.frames, {})
        frames = [np.load(workspace.folder / f"frame-{number}.npy", mmap_mode="r") for number in range(len(notes))]
        channel = part.channel if self.channel is None else self.channel
        first = take(read_part(part.each_frame()[0], self.axes, self.voxel_size), channel)
        one = Stack(frames[0], first.axes, first.voxel_size, ("labels",), first.source, labels=True)
        interval = read_part(replace(part, further=()), self.axes, self.voxel_size).frame_interval
        nuclei = pd.concat(tables, ignore_index=True)
        scale = notes[0]["scale"]
        found = Segmentation(
            join_frames(frames, one, interval),
            nuclei["contrast"].to_numpy(),
            sum(note["faint"] for note in notes),
            self.settings,
            tuple(scale) if scale else None,
            tuple(doubts_of_frames([note["doubts"] for note in notes])),
        )
        return found, nuclei

    def mark(self, part: Part) -> str:
        """Fingerprint of an image and of all that its nuclei, not yet followed through time, depend on."""
        states = states_of_image(part.path, part.scene, part.further)
        return fingerprint(part, replace(self, tracking=None), [state.fingerprint for state in states], __version__)

    @contextmanager
    def workspace(self, part: Part, path: Path, mark: str) -> Iterator[InFolder]:
        """Where frames of this very time-lapse are kept until all are there; what is of another is removed."""
        workspace = workspace_of(path)
        if workspace.known("mark") != {"mark": mark}:
            workspace.remove()
        if part.frames:
            workspace.noted("mark", lambda: {"mark": mark})
        yield workspace
        workspace.remove()


def segment_files(
    images: str | Path | Sequence[str | Path],
    to: str | Path,
    settings: InstanceSettings | None = None,
    *,
    scene: str | None = None,
    time: int | None = None,
    form: Literal["ome.tif", "ome.zarr"] = "ome.tif",
    progress: Progress | None = None,
    **asked: Unpack[Asked],
) -> list[SegmentedFile]:
    """Find the nuclei of image files, measure them, and write labels, tables and settings.

    What speaks against the labels is logged. A time-lapse is segmented frame by frame; its labels have the axis T, and
    its table has the column ``frame``. What an earlier call found in the same image with the same settings is kept, so
    that an interrupted call goes on, of a time-lapse at the frame. An image that fails does not stop the others.
    Several processes that make the same call share the images, and each ends when all are done.

    Parameters
    ----------
    images : path or sequence of path
        Files of fluorescence or stains, plates, folders of them, and manifests; see `spotlight.prediction.find_parts`.
    to : path
        Folder for ``NAME-labels``, ``NAME-nuclei.csv``, ``NAME-nuclei.parquet`` and ``NAME-segmentation.yaml`` of every
        image. Files of these names that were found otherwise are replaced.
    settings : InstanceSettings
        The method and every parameter of it; the watershed's defaults if left out.
    scene, time : optional
        See `spotlight.read`; without a scene or timepoint all are taken.
    form : "ome.tif" or "ome.zarr"
        File format of the labels.
    progress : callable, optional
        See `spotlight.progress.Progress`.

    Other Parameters
    ----------------
    channel, axes, voxel_size, features, tracking : optional
        See `spotlight.nuclei.Asked`.

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
    >>> import numpy as np
    >>> import spotlight
    >>> z, y, x = np.ogrid[:16, :40, :40]
    >>> body = (z - 8) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 49
    >>> image = np.random.default_rng(0).normal(100, 3, body.shape) + 400 * body
    >>> path = spotlight.Stack(image.astype(np.float32), "ZYX", (0.5, 0.5, 0.5)).save("stains/a1.ome.tif")
    >>> (found,) = spotlight.segment_files("stains", "nuclei")
    >>> found.state, found.labels.as_posix(), [table.name for table in found.tables]
    ('made', 'nuclei/a1-labels.ome.tif', ['a1-nuclei.csv', 'a1-nuclei.parquet'])
    """
    to, search = Path(to), Search(settings or SegmentationSettings(), **asked)
    listed = search.images([images] if isinstance(images, (str, Path)) else images, scene, time)
    done: dict[str, SegmentedFile] = {}

    def find(part: Part) -> None:
        names = [to / f"{part.name}-{end}" for end in (f"labels.{form}", "nuclei.csv", "nuclei.parquet")]
        files = SegmentedFile(part, names[0], tuple(names[1:]), to / f"{part.name}-segmentation.yaml")
        try:
            found = _segment_file(files, search, progress if len(listed) == 1 else None)
        except Busy:
            raise
        except SpotlightError as error:
            if len(listed) == 1:
                raise
            log.error("%s: %s", part.name, error)
            found = replace(files, state="failed", reason=str(error))
        for doubt in found.doubts:
            log.warning("%s: %s", part.name, doubt)
        other = to / f"{part.name}-labels.{'ome.zarr' if form == 'ome.tif' else 'ome.tif'}"
        if found.state == "made" and other.exists():
            log.warning("%s: is of an earlier run; the tables beside it are now those of %s.", other, found.labels)
        done[part.name] = found
        if progress is not None:
            progress("segmenting", len(done), len(listed), {})

    if progress is not None:
        progress("segmenting", 0, len(listed), {})
    share_out(listed, find)
    return [done[part.name] for part in listed]


def _segment_file(files: SegmentedFile, search: Search, progress: Progress | None) -> SegmentedFile:
    """Find the nuclei of one image and write them, unless they are there already."""
    part = files.part
    if part.fault:
        raise SpotlightError(part.fault)
    mark = search.mark(part)
    made_from = fingerprint(mark, search.tracking)
    with working_on(files.labels), search.workspace(part, files.labels, mark) as workspace:
        known = _recorded(files.record)
        if known.get("made_from") == made_from and all(path.exists() for path in (files.labels, *files.tables)):
            return replace(files, doubts=tuple(known["doubts"]), state="kept")
        found, nuclei = search.nuclei(part, workspace, progress)
        # Were it to stay while the others are replaced, it would speak of files that it does not belong to.
        files.record.unlink(missing_ok=True)
        found.labels.save(files.labels)
        write_table(nuclei, files.tables[0].with_suffix(""))
        write_text(files.record, found.to_yaml(made_from))
    return replace(files, doubts=found.doubts)


def _recorded(record: Path) -> dict[str, Any]:
    """What is recorded of labels; empty if there is no record that can be read, so that they are made anew."""
    try:
        found = load_yaml(record) if record.is_file() else {}
    except SpotlightError:
        return {}
    return found if isinstance(found, dict) else {}
