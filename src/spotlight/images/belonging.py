"""Which files an image consists of, so that a change of any of them is seen."""

import html
import re
from pathlib import Path

import tifffile

from spotlight.images.formats import is_companion, is_plane_files, is_zarr
from spotlight.images.lazy import no_problems
from spotlight.images.ome_xml import beside
from spotlight.images.plane_files import listed_files

NAMED = re.compile(r'\b(FileName|MetadataFile)="([^"]+)"')


def files_of(path: Path, scene: str | None = None) -> list[Path]:
    """All files from which an image is read, itself first.

    Of an OME-Zarr, its folder; of a field of a plate, that of the field. Of an OME-TIFF, or the companion of several,
    also those beside it that its OME-XML names. Of a list of plane files, all that it names.

    Parameters
    ----------
    path : Path
        The image file.
    scene : str, optional
        Which of its images.
    """
    if path.is_dir():
        return [path / scene] if scene and is_zarr(path / scene) else [path]
    if not path.is_file():
        return [path]
    if is_plane_files(path):
        return [path, *(part for file in listed_files(path) for part in files_of(file))]
    found = {path: None}
    waiting = [path]
    while waiting:
        one = waiting.pop()
        for kind, name in NAMED.findall(_ome_xml(one)):
            name = html.unescape(name)
            other = beside(one, name) or one.parent / name
            if other not in found:
                found[other] = None
                if kind == "MetadataFile":  # the only other file whose XML says more than the first one's
                    waiting.append(other)
    return list(found)


def _ome_xml(path: Path) -> str:
    """The OME-XML of a TIFF file or a companion file; empty if there is none or it cannot be read."""
    try:
        if is_companion(path):
            return path.read_text(encoding="utf-8", errors="replace")
        with path.open("rb") as file:
            if file.read(2) not in (b"II", b"MM"):
                return ""
        with no_problems(path), tifffile.TiffFile(path, _multifile=False) as tif:
            return str(tif.pages.first.description)
    except Exception:  # the reader of the file reports what is wrong with it
        return ""
