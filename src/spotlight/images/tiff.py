"""Reading OME-TIFF, ImageJ and plain TIFF files, with every fact that they state."""

import itertools
import logging
import mmap
import re
import sys
import weakref
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.images.colour import sample_names
from spotlight.images.lazy import WORKERS, explained_reading
from spotlight.images.reading import Facts, Scene
from spotlight.images.units import Lengths, read_lengths, read_number

MAPPED_BYTES = 8 * 2**20
"""About how much of an uncompressed file is mapped at a time."""


class OpenFile:
    """A TIFF file that is closed when nothing refers to it any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tif = tifffile.TiffFile(path)
        weakref.finalize(self, self.tif.close)
        named = re.findall(r'FileName="([^"]*)"', self.tif.ome_metadata or "") if self.tif.is_ome else []
        self.others = bool(set(named) - {path.name})
        """Whether planes of its images may lie in other files."""


class Series:
    """The pixel values of one image of a file."""

    def __init__(self, file: OpenFile, number: int) -> None:
        self.file = file
        self.series = file.tif.series[number]
        self.shape = tuple(self.series.shape)
        self.dtype = np.dtype(self.series.dtype)

    def __getitem__(self, index: tuple[int | slice, ...]) -> Any:
        path = self.file.path
        with explained_reading(path, "TIFF"), _no_problems(path):
            if self.series.dataoffset is not None and not self.file.others:
                order = self.file.tif.byteorder
                stored = self.dtype.newbyteorder(order)
                _require_size(path, self.series.dataoffset + stored.itemsize * int(np.prod(self.shape, dtype=np.int64)))
                return _contiguous(path, self.series.dataoffset, stored, self.shape, index)
            self._require_whole(index)
            with self.series.aszarr(level=0, maxworkers=WORKERS) as store:
                return zarr.open_array(store, mode="r")[index]

    def _require_whole(self, index: tuple[int | slice, ...]) -> None:
        """Where segments are missing, tifffile gives zeros; here that is an error."""
        pages = self.series.pages
        leading = 0
        while leading < len(self.shape) and int(np.prod(self.shape[:leading])) < len(pages):
            leading += 1
        if int(np.prod(self.shape[:leading])) == len(pages):
            numbers = np.arange(len(pages)).reshape(self.shape[:leading])[index[:leading]].ravel().tolist()
        else:
            numbers = list(range(len(pages)))
        for number in numbers:
            page = pages[number]
            if page is None:
                raise SpotlightError(
                    f"{self.file.path}: plane {number} of {len(pages)} is missing. Copy the file again."
                )
            _require_stated(self.file.path, page, number)
            ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
            size = page.parent.filehandle.size
            if ends and max(ends) > size:
                raise SpotlightError(
                    f"{self.file.path}: is truncated: plane {number} of {len(pages)} ends at byte {max(ends)}, the "
                    f"file at {size}. Copy it again from its source."
                )


def _contiguous(
    path: Path, offset: int, kind: np.dtype[Any], shape: tuple[int, ...], index: tuple[int | slice, ...]
) -> NDArray[Any]:
    """Read a region of an array that lies in a file as it is.

    A few rows are mapped at a time: fetched together they come faster, and a map of the whole array would keep in
    memory what lies around the region.
    """
    ranges = [range(n)[i] if isinstance(i, slice) else range(i, i + 1) for n, i in zip(shape, index, strict=True)]
    *leading, rows, columns = ranges
    out = np.empty([len(r) for r in ranges], kind)
    width = shape[-1] * kind.itemsize
    step = max(1, MAPPED_BYTES // width)
    starts = rows[::step] if out.size else []
    with path.open("rb") as file:
        for place, plane in zip(itertools.product(*leading), out.reshape(-1, *out.shape[-2:]), strict=True):
            for start in starts:
                part = plane[start - rows.start :][:step]
                first = offset + int(np.ravel_multi_index((*place, start), shape[:-1])) * width
                skip = first % mmap.ALLOCATIONGRANULARITY
                length = skip + len(part) * width
                with mmap.mmap(file.fileno(), length, offset=first - skip, access=mmap.ACCESS_READ) as mapped:
                    if sys.platform != "win32":
                        mapped.madvise(mmap.MADV_WILLNEED)
                    part[:] = np.ndarray((len(part), shape[-1]), kind, mapped, skip)[:, columns.start : columns.stop]
    return out.reshape([len(r) for r, i in zip(ranges, index, strict=True) if isinstance(i, slice)])


def _require_size(path: Path, needed: int) -> None:
    size = path.stat().st_size
    if needed > size:
        raise SpotlightError(
            f"{path}: is truncated: its values end at byte {needed}, the file at {size}. Copy it again from its source."
        )


@contextmanager
def _no_problems(path: Path) -> Iterator[None]:
    """Make errors of what tifffile logs as errors while it carries on."""
    problems: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            problems.append(record.getMessage())

    handler = Collect(logging.ERROR)
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
    if problems:
        raise SpotlightError(f"{path}: the TIFF file is damaged ({problems[0]}). Copy it again from its source.")


def scenes(path: Path) -> list[Scene]:
    """List the images of a TIFF file; see `spotlight.images.scenes`."""
    with explained_reading(path, "TIFF"), _no_problems(path):
        file = OpenFile(path)
        pages = _require_chain(file)
        series = file.tif.series
        if series and series[0].kind == "imagej":
            _require_planes(file, series[0], pages)
        described: list[ElementTree.Element | None] = []
        if file.tif.is_ome and file.tif.ome_metadata:
            described = list(_ome_images(path, file.tif.ome_metadata))
        if len(described) != len(series):
            described = [None] * len(series)
        return [
            Scene(image.name or str(number), partial(_facts, file, number, pixels), _starts_here(file, image))
            for number, (image, pixels) in enumerate(zip(series, described, strict=True))
        ]


def _starts_here(file: OpenFile, series: tifffile.TiffPageSeries) -> bool:
    """Whether the first plane of an image lies in this file of a set."""
    first = series.pages[0] if file.others else None
    return first is None or first.parent is file.tif


def _require_stated(path: Path, page: Any, number: int) -> None:
    """A page states where its values are and how many bytes they have, which must do if they are not compressed."""
    plain = page.keyframe.compression == 1
    if plain and page.keyframe.predictor != 1:
        raise SpotlightError(
            f"{path}: is damaged: its values are said to be differences, as in compressed files, but not to be "
            "compressed. Copy it again from its source, or write it anew."
        )
    needed = page.size * page.keyframe.bitspersample // 8 if plain else 1
    stated = sum(page.databytecounts)
    if stated < needed or not all(page.dataoffsets) or not all(page.databytecounts):
        raise SpotlightError(
            f"{path}: is damaged: plane {number} is said to have {stated} bytes of values"
            + (f", but has {needed}" if stated < needed else ", some of them nowhere")
            + ". Copy the file again."
        )


def _require_planes(file: OpenFile, series: tifffile.TiffPageSeries, pages: int) -> None:
    """An ImageJ file states its planes twice, and has a page for each of them or one page for all."""
    planes = series.size // max(file.tif.pages.first.size, 1)
    stated = (file.tif.imagej_metadata or {}).get("images", planes)
    if stated != planes or pages not in (1, planes):
        raise SpotlightError(
            f"{file.path}: is damaged: {series.axes} {series.shape} has {planes} planes, but {stated} are stated and "
            f"the file has {pages} pages. Copy it again from its source."
        )


def _require_chain(file: OpenFile) -> int:
    """Follow the pages once and count them: in a damaged file they may run in a circle, and tifffile with them."""
    handle, form = file.tif.filehandle, file.tif.tiff
    order = "little" if file.tif.byteorder == "<" else "big"

    def number(place: int, size: int) -> int:
        handle.seek(place)
        return int.from_bytes(handle.read(size), order)  # type: ignore[arg-type]

    seen: set[int] = set()
    place = number(8 if file.tif.is_bigtiff else 4, form.offsetsize)
    while place:
        if place in seen or place >= handle.size:
            raise SpotlightError(
                f"{file.path}: is truncated or damaged: page {len(seen)} is said to be at byte {place} of "
                f"{handle.size}. Copy it again from its source."
            )
        seen.add(place)
        tags = number(place, form.tagnosize)
        place = number(place + form.tagnosize + tags * form.tagsize, form.offsetsize)
    return len(seen)


def _facts(file: OpenFile, number: int, described: ElementTree.Element | None) -> Facts:
    with explained_reading(file.path, "TIFF"), _no_problems(file.path):
        series = Series(file, number)
        if series.series.dataoffset is not None and any(series.series.keyframe.databytecounts):
            _require_stated(file.path, series.series.keyframe, 0)
        axes = series.series.axes
        samples = _samples(series.series)
        if described is not None:
            _require_each_plane(file.path, series.series)
            return Facts(series, axes, *_ome_facts(described), samples=samples)
        if file.tif.is_imagej and file.tif.imagej_metadata:
            return Facts(series, axes, (), *_imagej_voxel_size(file.tif), samples=samples)
        return Facts(series, axes, samples=samples)


def _samples(series: tifffile.TiffPageSeries) -> tuple[str, ...]:
    """Names of the samples of a pixel if the file says that they are red, green and blue."""
    page = series.keyframe
    decoded = page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression == tifffile.COMPRESSION.JPEG
    colour = decoded or page.photometric == tifffile.PHOTOMETRIC.RGB
    return sample_names(page.samplesperpixel) if colour else ()


def _require_each_plane(path: Path, series: tifffile.TiffPageSeries) -> None:
    """No two planes of an OME-TIFF are the same page; where the reference to a page is damaged, they are."""
    pages = [(id(page.parent), page.offset) for page in series.pages if page is not None]
    if len(set(pages)) < len(pages):
        raise SpotlightError(
            f"{path}: is damaged: {len(pages)} planes are to be found on {len(set(pages))} pages. Copy it again from "
            "its source."
        )


def _ome_images(path: Path, xml: str) -> list[ElementTree.Element]:
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise SpotlightError(f"{path}: its OME-XML is broken ({error}). Write the file anew.") from error
    return root.findall(".//{*}Pixels")


def _ome_facts(pixels: ElementTree.Element) -> tuple[tuple[str, ...], dict[str, float], str, str]:
    sizes = {axis: f"PhysicalSize{axis}" for axis in "ZYX"}
    stated = {a: (pixels.get(key), pixels.get(f"{key}Unit", "µm")) for a, key in sizes.items() if key in pixels.attrib}
    names = [channel.get("Name") for channel in pixels.findall("{*}Channel")]
    channels = tuple(name for name in names if name) if all(names) else ()
    return channels, *read_lengths(stated)


def _imagej_voxel_size(tif: tifffile.TiffFile) -> Lengths:
    metadata = tif.imagej_metadata or {}
    lengths = {}
    if "spacing" in metadata:
        spacing = read_number(metadata["spacing"])
        lengths["Z"] = metadata["spacing"] if spacing is None else abs(spacing)  # negative: downwards
    for axis in "YX":
        tag = tif.pages.first.tags.get(f"{axis}Resolution")
        if tag is not None and np.size(tag.value) == 2 and tag.value[0]:
            lengths[axis] = tag.value[1] / tag.value[0]
    units = {axis: str(metadata.get(f"{axis.lower()}unit", metadata.get("unit", ""))) for axis in lengths}
    return read_lengths({axis: (length, units[axis]) for axis, length in lengths.items()})
