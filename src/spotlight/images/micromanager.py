"""Stacks of Micro-Manager: an index says which page is which plane, and a summary says the rest."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from spotlight.images.lazy import LazyArray, Source, tell
from spotlight.images.ome_planes import REMEDY
from spotlight.images.ome_xml import Disagreement
from spotlight.images.units import Lengths, read_lengths

COUNTS = {"C": "Channels", "Z": "Slices", "T": "Frames", "R": "Positions"}
"""What the summary calls how many there are."""
MOST_PLANES, MOST_PER_PAGE = 10**5, 100
"""In a set of files there are at most so many planes, or so many times as many as one of the files has pages."""
HEAD = 162
"""Bytes of a page's own header in these files, behind which its values begin."""


def require_index(path: Path, tif: tifffile.TiffFile, pages: frozenset[int]) -> None:
    """The index must name the pages that the file has, where they are; an index of another file does not.

    Parameters
    ----------
    path : path
        What messages name.
    tif : TiffFile
        Whose `is_mmstack` is true.
    pages : frozenset of int
        Where the pages begin.
    """
    metadata: dict[str, Any] = tif.micromanager_metadata or {}
    places, named = metadata["IndexMap"][:, :4], metadata["IndexMap"][:, 4].tolist()
    if set(named) != pages or len(named) != len(pages):
        raise Disagreement(
            f"{path}: its Micro-Manager index names {len(set(named))} planes, {len(set(named) & pages)} of them where "
            f"the file has pages, but the file has {len(pages)} pages. {REMEDY}"
        )
    summary = metadata["Summary"]
    sizes = [max(int(n) + 1, _count(summary, axis)) for axis, n in zip("CZTR", places.max(0), strict=True)]
    if math.prod(sizes) > max(MOST_PLANES, MOST_PER_PAGE * len(pages)):
        raise Disagreement(
            f"{path}: its Micro-Manager index and summary state {math.prod(sizes)} planes, but the file has "
            f"{len(pages)} pages. {REMEDY}"
        )
    last = max(named)
    tif.filehandle.seek(last)
    found = tifffile.TiffPage(tif, index=len(named) - 1).dataoffsets
    if tuple(found) != (last + HEAD,):
        raise Disagreement(
            f"{path}: its Micro-Manager index has the values of the last plane at byte {last + HEAD}, but they are at "
            f"{', '.join(map(str, found))}: another program has changed the file. {REMEDY}"
        )


def doubt_count(path: Path, summary: Mapping[str, Any], image: tifffile.TiffPageSeries) -> None:
    """Warn if the summary states more planes than the files of the set have: they are missing, or it was stopped."""
    there = dict(zip(image.get_axes(squeeze=False), image.get_shape(squeeze=False), strict=True))
    stated = {axis: _count(summary, axis) for axis in COUNTS}
    fewer = [f"{there.get(a, 1)} of {n} {COUNTS[a].lower()}" for a, n in stated.items() if there.get(a, 1) < n]
    if fewer:
        tell(
            f"{path}: has {', '.join(fewer)} that its Micro-Manager summary states: the acquisition was stopped, or "
            "other files of the set are missing. What is there is read."
        )


def _count(summary: Mapping[str, Any], axis: str) -> int:
    found = summary.get(COUNTS[axis])
    return found if isinstance(found, int) and found > 0 else 1


def positions(source: Source, axes: str) -> list[tuple[Source, str]]:
    """Take stage positions, axis R, apart; each with the axes that are left."""
    if "R" not in axes:
        return [(source, axes)]
    place = axes.index("R")
    view = LazyArray.of(source)
    each = [view[(slice(None),) * place + (number,)] for number in range(view.shape[place])]
    return [(one, axes.replace("R", "")) for one in each]


def files_of_positions(image: tifffile.TiffPageSeries) -> list[tifffile.TiffFile | None]:
    """Of each stage position of a set of files, the file with its first plane; None if it has no plane at all."""
    axes, shape = image.get_axes(squeeze=False), image.get_shape(squeeze=False)
    leading = len(axes) - len(image.keyframe.shape)
    numbers = np.arange(len(image.pages)).reshape(shape[:leading])
    apart = np.moveaxis(numbers, axes.index("R"), 0).reshape(shape[axes.index("R")], -1)
    pages = [[page for number in one if (page := image.pages[number]) is not None] for one in apart.tolist()]
    return [found[0].parent if found else None for found in pages]


def stated(summary: Mapping[str, Any]) -> tuple[tuple[str, ...], Lengths]:
    """Names of the channels and the voxel size, as the summary has them; a size of 0 is none."""
    names = summary.get("ChNames")
    names = tuple(map(str, names)) if isinstance(names, list) and all(names) else ()
    lengths = {"Z": summary.get("z-step_um"), "Y": summary.get("PixelSize_um"), "X": summary.get("PixelSize_um")}
    known = {axis: (abs(um), "µm") for axis, um in lengths.items() if isinstance(um, (int, float)) and um}
    return names, read_lengths({axis: length for axis, length in known.items() if np.isfinite(length[0])})
