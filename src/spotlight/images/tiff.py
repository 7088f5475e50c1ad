"""Reading OME-TIFF, ImageJ and plain TIFF files, with every fact that they state."""

import itertools
import mmap
import sys
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.images.colour import sample_names
from spotlight.images.facts import Facts, Scene
from spotlight.images.formats import explained_reading, is_companion, is_image
from spotlight.images.imagej import calibrated
from spotlight.images.lazy import WORKERS, Source, no_problems, tell
from spotlight.images.micromanager import doubt_count, files_of_positions, positions, require_index, stated
from spotlight.images.ome_planes import (
    REMEDY,
    doubt_of_image,
    doubt_of_pages,
    pages_as_they_lie,
    require_planes,
    require_shape,
)
from spotlight.images.ome_xml import (
    Described,
    Description,
    Disagreement,
    describe,
    describe_companion,
    facts_of,
    frame_interval_of,
    value_type,
)
from spotlight.images.units import Lengths, read_lengths, read_number, seconds

MAPPED_BYTES = 8 * 2**20
"""About how much of an uncompressed file is mapped at a time."""


class OpenFile:
    """A TIFF file that is closed when nothing refers to it any more.

    `path` is what messages name: the file itself or its companion. `options` are those of `tifffile.TiffFile`.
    """

    def __init__(self, path: Path, file: Path | None = None, **options: Any) -> None:
        self.path = path
        self.tif = tifffile.TiffFile(file or path, **options)
        weakref.finalize(self, self.tif.close)


class Series:
    """The pixel values of one image of a file."""

    def __init__(self, file: OpenFile, series: tifffile.TiffPageSeries, missing: tuple[str, ...] = ()) -> None:
        self.file = file
        self.series = series
        self.missing = missing
        """Names of files that hold the planes that are not there."""
        self.shape = tuple(self.series.shape)
        self.dtype = np.dtype(self.series.dtype)

    def __getitem__(self, index: tuple[int | slice, ...]) -> Any:
        path = self.file.path
        with explained_reading(path, "TIFF"), no_problems(path):
            if self.series.dataoffset is not None and not self.series.is_multifile:
                tif = self.series.keyframe.parent
                place, stored = Path(tif.filehandle.path), self.dtype.newbyteorder(tif.byteorder)
                needed = self.series.dataoffset + stored.itemsize * int(np.prod(self.shape, dtype=np.int64))
                _require_size(place, needed)
                return _contiguous(place, self.series.dataoffset, stored, self.shape, index)
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
                lost = ", ".join(map(repr, self.missing[:5]))
                again = "Copy the file again, or leave the plane out if it was never taken."
                remedy = f"It is in {lost}: copy that beside this file." if lost else again
                raise SpotlightError(f"{self.file.path}: plane {number} of {len(pages)} is missing. {remedy}")
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


def scenes(path: Path) -> list[Scene]:
    """List the images of a TIFF file, or of the companion of several; see `spotlight.images.scenes`."""
    with explained_reading(path, "TIFF"):
        if is_companion(path):
            return _described_scenes(path, describe_companion(path))
        with no_problems(path):
            file = OpenFile(path)
            pages = _require_chain(file)
            text = file.tif.pages.first.description
            described = "<OME" in text[:1000] and not file.tif.is_mmstack
        try:
            if not described:
                return _plain_scenes(file, pages)
            with no_problems(path):
                description = describe(path, text)
            return _described_scenes(path, description)
        except Disagreement as error:
            return _undescribed_scenes(file, str(error))


def _plain_scenes(file: OpenFile, offsets: frozenset[int]) -> list[Scene]:
    """List the images of a file whose planes are not found by OME-XML; its pages begin at these offsets."""
    tif, pages = file.tif, len(offsets)
    if tif.is_mmstack:
        require_index(file.path, tif, offsets)
    kind = "Micro-Manager" if tif.is_mmstack else "tifffile" if tif.is_shaped else "ImageJ" if tif.is_imagej else ""
    try:
        with explained_reading(file.path, "TIFF"), no_problems(file.path):
            series = tif.series
    except SpotlightError as error:
        if not kind:
            raise
        raise Disagreement(
            f"{file.path}: its {kind} metadata do not fit the {pages} pages that are there, or the file is damaged or "
            f"truncated. {REMEDY}"
        ) from error
    if series[0].kind == "mmstack":
        return _micromanager_scenes(file, series[0])
    if kind == "tifffile":
        require_shape(file.path, tif, pages)
    elif kind == "ImageJ":
        require_planes(file.path, tif, pages)
    return [Scene(image.name or str(n), partial(_facts, file, image)) for n, image in enumerate(series)]


def _micromanager_scenes(file: OpenFile, image: tifffile.TiffPageSeries) -> list[Scene]:
    """List the stage positions of a stack of Micro-Manager."""
    summary = (file.tif.micromanager_metadata or {})["Summary"]
    doubt_count(file.path, summary, image)
    channels, lengths = stated(summary)
    interval = seconds(summary.get("Interval_ms", 0), "ms")
    found = positions(Series(file, image), image.axes)
    here = [first is file.tif for first in files_of_positions(image)]
    samples = _samples(image)
    return [
        Scene(
            str(number),
            partial(Facts, values, axes, channels, *lengths, samples=samples, frame_interval=interval),
            here[number],
        )
        for number, (values, axes) in enumerate(found)
    ]


def _undescribed_scenes(file: OpenFile, doubt: str) -> list[Scene]:
    """List the pages of a file whose metadata do not fit, as they lie."""
    with no_problems(file.path):
        plain = _as_they_lie(file.path)
        images = list(enumerate(plain.tif.series))
    return [Scene(str(number), partial(_facts, file, image, plain, doubt)) for number, image in images]


def _as_they_lie(path: Path) -> OpenFile:
    """Open a file without its metadata."""
    return OpenFile(path, is_ome=False, is_imagej=False, is_shaped=False, is_mmstack=False)


def _described_scenes(path: Path, description: Description) -> list[Scene]:
    """List the images of OME-XML that leads to the planes."""
    with no_problems(path):
        file = OpenFile(path, description.file, omexml=description.xml, is_shaped=False, is_mmstack=False)
        if description.file != path:
            _require_chain(file)
        # An image without pages that fit has no series.
        found = {image.name: image for image in file.tif.series if image.kind == "ome"}
        series = [found.get(str(number)) for number in range(len(description.images))]
        doubt = doubt_of_pages(path, file.tif, [image for image in series if image is not None])
    if description.renamed:
        tell(f"{path}: its OME-XML calls it {description.renamed!r}; the pages of this file are read.")
    return [
        Scene(
            described.name or str(number),
            partial(_described_facts, file, image, described, doubt, alone=len(series) == 1),
            is_companion(path) or _starts_here(file, image, described, description.silent),
        )
        for number, (image, described) in enumerate(zip(series, description.images, strict=True))
    ]


def _starts_here(
    file: OpenFile, image: tifffile.TiffPageSeries | None, described: Described, silent: frozenset[Path]
) -> bool:
    """Whether an image is to be listed with this file of a set: with that of its first plane, if it can be."""
    if image is None:
        return not described.missing
    first = image.pages[0]
    if first is None or first.parent is file.tif:
        return True
    start = Path(first.parent.filehandle.path)
    return start in silent or start.parent.resolve() != file.path.parent.resolve() or not is_image(start)


def _require_stated(path: Path, page: Any, number: int) -> None:
    """A page states where its values are and how many bytes they have, which must do if they are not compressed."""
    plain = page.keyframe.compression == 1
    if plain and page.keyframe.predictor != 1:
        raise SpotlightError(
            f"{path}: is damaged: the header says that its values are differences, as in compressed files, but not "
            "that they are compressed. Copy it again from its source, or write it anew."
        )
    needed = page.size * page.keyframe.bitspersample // 8 if plain else 1
    stated = sum(page.databytecounts)
    if stated < needed or not all(page.dataoffsets) or not all(page.databytecounts):
        raise SpotlightError(
            f"{path}: is damaged: plane {number}: the header says {stated} bytes"
            + (f", but {needed} are needed" if stated < needed else ", but not where they are")
            + ". Copy the file again."
        )


def _require_chain(file: OpenFile) -> frozenset[int]:
    """Follow the pages once, and say where they begin: in a damaged file they may run in a circle, and tifffile too."""
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
                f"{file.path}: is truncated or damaged: the header says that page {len(seen)} is at byte {place} "
                f"of {handle.size}. Copy it again from its source."
            )
        seen.add(place)
        tags = number(place, form.tagnosize)
        place = number(place + form.tagnosize + tags * form.tagsize, form.offsetsize)
    return frozenset(seen)


def _facts(file: OpenFile, image: tifffile.TiffPageSeries, plain: OpenFile | None = None, doubt: str = "") -> Facts:
    """Facts without OME-XML; `plain` is the file whose pages are taken as they lie since there is a doubt."""
    with explained_reading(file.path, "TIFF"), no_problems(file.path):
        values: Source = _checked(plain or file, image)
        lengths, interval = Lengths({}, "", ""), None
        if file.tif.is_imagej and file.tif.imagej_metadata:
            stated = file.tif.imagej_metadata
            interval = seconds(stated.get("finterval", 0), str(stated.get("tunit", "s")))
            lengths = _imagej_voxel_size(file.tif)
            values, said = calibrated(values, file.tif.imagej_metadata)
            if said:
                tell(f"{file.path}: {said}")
        flat = values if plain is not None else None
        more: dict[str, Any] = {"samples": _samples(image), "doubt": doubt, "flat": flat, "frame_interval": interval}
        return Facts(values, image.axes, (), *lengths, **more)


def _samples(series: tifffile.TiffPageSeries) -> tuple[str, ...]:
    """Names of the samples of a pixel if the file says that they are red, green and blue."""
    page = series.keyframe
    decoded = page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression == tifffile.COMPRESSION.JPEG
    colour = decoded or page.photometric == tifffile.PHOTOMETRIC.RGB
    return sample_names(page.samplesperpixel) if colour else ()


def _described_facts(
    file: OpenFile, image: tifffile.TiffPageSeries | None, described: Described, doubt: str, alone: bool
) -> Facts:
    with explained_reading(file.path, "TIFF"), no_problems(file.path):
        doubt = doubt_of_image(file.path, file.tif, image, described, alone) or doubt
        flat = None
        if doubt and alone and not is_companion(file.path):
            plain = _as_they_lie(file.path)
            pages = pages_as_they_lie(plain.tif, image)
            flat = Series(plain, pages) if pages is not None else None
        facts, interval = facts_of(described.pixels), frame_interval_of(described.pixels)
        stated = value_type(described.pixels)
        if image is not None:
            kind = image.dtype.name
            if stated not in ("", "bool", kind):
                tell(f"{file.path}: its OME-XML says {stated!r}, but its pages say {kind}, and are read as {kind}.")
            values: Source = _checked(file, image, described.missing)
            more: dict[str, Any] = {"doubt": doubt, "flat": flat, "frame_interval": interval}
            return Facts(values, image.axes, *facts, samples=_samples(image), **more)
        if flat is None:
            raise SpotlightError(doubt)
        return Facts(flat, flat.series.axes, *facts, samples=_samples(flat.series), doubt=doubt, flat=flat)


def _checked(file: OpenFile, image: tifffile.TiffPageSeries, missing: tuple[str, ...] = ()) -> Series:
    if image.dataoffset is not None and any(image.keyframe.databytecounts):
        _require_stated(file.path, image.keyframe, 0)
    return Series(file, image, missing)


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
