"""Whether the planes that metadata describe are those that the files have."""

import math
from collections import defaultdict
from collections.abc import Sequence, Sized
from pathlib import Path

import tifffile

from spotlight.images.ome_xml import STATE_AXES, Described, Disagreement
from spotlight.quoting import counted

REMEDY = f"{STATE_AXES}; or write the file anew."
REMEDY_OF_SEVERAL = (
    "To read an image as it is described, state its axes with axes=, --axes or an axes column; or write the file anew."
)


def require_planes(path: Path, tif: tifffile.TiffFile, pages: int) -> None:
    """An ImageJ file states its planes twice, and has a page for each of them or one page for all."""
    image = tif.series[0]
    planes = image.size // max(tif.pages.first.size, 1)
    stated = (tif.imagej_metadata or {}).get("images", planes)
    if image.kind == "imagej" and (stated != planes or pages not in (1, planes)):
        raise Disagreement(
            f"{path}: its ImageJ metadata do not fit its pages: {image.axes} {image.shape} has {planes} planes, but "
            f"{stated} are stated and the file has {pages} pages. {REMEDY}"
        )


def require_shape(path: Path, tif: tifffile.TiffFile, pages: int) -> None:
    """A file that tifffile wrote states the shape of each image, and whether one page stands for all of its planes."""
    for image, stated in zip(tif.series, tif.shaped_metadata or (), strict=False):
        shape = tuple(stated.get("shape", ()))
        enough = stated.get("truncated") or (image.size <= image.keyframe.size * pages and not image.is_truncated)
        if image.size != math.prod(shape) or not enough:
            raise Disagreement(
                f"{path}: its tifffile metadata do not fit its pages: the shape {shape} is stated, but the file has "
                f"{pages} pages of {image.keyframe.shape}. {REMEDY}"
            )


def doubt_of_pages(path: Path, tif: tifffile.TiffFile, images: Sequence[tifffile.TiffPageSeries]) -> str:
    """Why the pages of files and the planes of their images do not fit, or nothing."""
    remedy = REMEDY if len(images) == 1 else REMEDY_OF_SEVERAL
    used: dict[tifffile.TiffFile, set[int]] = defaultdict(set)
    used[tif] = set()
    seen: dict[tuple[tifffile.TiffFile, int], str] = {}
    for image in images:
        for page in image.pages:
            if page is not None:
                used[page.parent].add(page.offset)
                first = seen.setdefault((page.parent, page.offset), image.name)
                if first != image.name:
                    both = f"{first} and {image.name}"
                    return f"{path}: its OME-XML takes one page for a plane of two images, {both}. {remedy}"
    sizes = _sizes(images)
    for file, offsets in used.items():
        if len(file.pages) > len(offsets):
            left = _planes_left(Path(file.filehandle.path), offsets, sizes)
            if left:
                there = len(offsets) + left
                name = "the file" if file is tif else file.filename
                return f"{path}: its OME-XML describes {_count(offsets)}, but {name} has {there} pages. {remedy}"
    return ""


def _count(planes: Sized) -> str:
    return counted(len(planes), "plane")


def _sizes(images: Sequence[tifffile.TiffPageSeries]) -> set[tuple[int, int]]:
    return {(image.keyframe.imagelength, image.keyframe.imagewidth) for image in images}


def pages_as_they_lie(
    plain: tifffile.TiffFile, image: tifffile.TiffPageSeries | None
) -> tifffile.TiffPageSeries | None:
    """Choose the pages that are no masks or small copies, if they all have the same size and type."""
    sizes = _sizes([image] if image is not None else [])
    full = [series for series in plain.series if _is_full(series.keyframe, sizes)]
    return full[0] if len(full) == 1 else None


def _is_full(page: tifffile.TiffPage, sizes: set[tuple[int, int]]) -> bool:
    return not (page.is_reduced or page.is_mask or _is_small_copy(page, sizes))


def _planes_left(file: Path, offsets: set[int], sizes: set[tuple[int, int]]) -> int:
    """Count the pages that are not described, without masks and small copies of those that are."""
    with tifffile.TiffFile(file) as tif:
        left = [page for page in tif.pages if isinstance(page, tifffile.TiffPage) and page.offset not in offsets]
        return sum(_is_full(page, sizes) for page in left)


def _is_small_copy(page: tifffile.TiffPage, sizes: set[tuple[int, int]]) -> bool:
    """Whether a page is as a described plane would be if it were shrunk; thumbnails are not always marked as such."""
    rows, columns = page.imagelength, page.imagewidth
    return any(
        rows < height and columns < width and abs(rows * width / height - columns) <= max(1, width / height)
        for height, width in sizes
    )


def doubt_of_image(
    path: Path, tif: tifffile.TiffFile, image: tifffile.TiffPageSeries | None, described: Described, alone: bool
) -> str:
    """Why an image cannot have the planes that OME-XML describes, or nothing.

    Planes in files that are missing are no doubt: the others can be read.
    `alone` is an image that has no other beside it.
    """
    remedy = REMEDY if alone else REMEDY_OF_SEVERAL
    if image is None and described.missing:
        lost = ", ".join(map(repr, described.missing[:5]))
        return f"{path}: the planes of this image are in {lost}. Copy that beside this file."
    if image is None and described.pixels.find("{*}TiffData") is None:
        return f"{path}: its OME-XML does not say on which pages the planes are. {remedy}"
    if image is None:
        page = tif.pages.first
        stated = " x ".join(described.pixels.get(f"Size{axis}", "?") for axis in "YX")
        return (
            f"{path}: its OME-XML describes planes of {stated}, but the pages of the file are {page.imagelength} x "
            f"{page.imagewidth}. {remedy}"
        )
    pages = [(page.parent, page.offset) for page in image.pages if page is not None]
    if len(set(pages)) < len(pages):
        return f"{path}: its OME-XML is wrong: {len(pages)} planes are to be found on {len(set(pages))} pages. {remedy}"
    if len(pages) < len(image.pages) and not described.missing:
        return (
            f"{path}: its OME-XML describes {len(image.pages)} planes, but there are only {len(pages)} pages. {remedy}"
        )
    return ""
