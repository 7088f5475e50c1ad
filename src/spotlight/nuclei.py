"""`segment_files`: labels and measurements of the nuclei of image files, one set of files for each image."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from spotlight.files import write_text
from spotlight.images import Part
from spotlight.images.joining import take
from spotlight.locks import working_on
from spotlight.prediction.listing import find_parts, read_part
from spotlight.profiles import ProfileSettings, measure, write_table
from spotlight.progress import Progress, tracked
from spotlight.segmentation import InstanceSettings, Segmentation, SegmentationSettings, find_instances

log = logging.getLogger("spotlight")


@dataclass(frozen=True)
class SegmentedFile:
    """What was found in one image, and where it was written.

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
    """

    part: Part
    labels: Path
    tables: tuple[Path, ...]
    record: Path
    doubts: tuple[str, ...]


def nuclei_of(
    part: Part,
    settings: InstanceSettings,
    channel: str | int | None,
    axes: str | None,
    voxel_size: tuple[float, ...] | None,
    features: Literal["quick", "full"],
) -> tuple[Segmentation, pd.DataFrame]:
    """Find and measure the nuclei of one image; see `segment_files`."""
    stack = take(read_part(part, axes, voxel_size), part.channel if channel is None else channel)
    found = find_instances(stack, settings)
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
    progress: Progress | None = None,
) -> list[SegmentedFile]:
    """Find the nuclei of image files, measure them, and write labels, tables and settings.

    What speaks against the labels is logged.

    Parameters
    ----------
    images : path or sequence of path
        Files of fluorescence or stains, plates, folders of them, and manifests; see `spotlight.prediction.find_parts`.
    to : path
        Folder for ``NAME-labels``, ``NAME-nuclei.csv``, ``NAME-nuclei.parquet`` and ``NAME-segmentation.yaml`` of every
        image. Files of these names are replaced.
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
    progress : callable, optional
        See `spotlight.progress.Progress`.

    Returns
    -------
    list of SegmentedFile
        In the order of the images.

    Raises
    ------
    SpotlightError
        If an image cannot be read or segmented. Those before it are written.

    Examples
    --------
    >>> import spotlight
    >>> for found in spotlight.segment_files("stains", "nuclei"):  # doctest: +SKIP
    ...     print(found.labels, found.tables[0])
    """
    to, chosen = Path(to), settings or SegmentationSettings()
    listed = find_parts([images] if isinstance(images, (str, Path)) else images, scene, time, axes, strict=True)
    done: list[SegmentedFile] = []
    for part in tracked(listed, "segmenting", len(listed), progress):
        path = to / f"{part.name}-labels.{form}"
        with working_on(path):
            found, nuclei = nuclei_of(part, chosen, channel, axes, voxel_size, features)
            labels = found.labels.save(path)
            tables = write_table(nuclei, to / f"{part.name}-nuclei")
            record = to / f"{part.name}-segmentation.yaml"
            write_text(record, found.to_yaml())
        for doubt in found.doubts:
            log.warning("%s: %s", part.name, doubt)
        done.append(SegmentedFile(part, labels, tables, record, found.doubts))
    return done
