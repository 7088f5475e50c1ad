"""What microscopes write beside images of one file per plane: names of channels and the voxel size."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spotlight.images.layouts import PlaneFiles
from spotlight.images.micromanager import stated
from spotlight.images.units import read_lengths, read_number

MOST_BYTES = 256 * 2**20
"""Of notes that are read; larger ones are not what they seem."""


@dataclass(frozen=True)
class Notes:
    """What is stated of an image.

    Attributes
    ----------
    channels : tuple of str
        Names, in the order of the image's; empty if none are stated.
    voxel_size : dict of str to float
        Edge lengths in µm by axis, as far as they are stated.
    """

    channels: tuple[str, ...] = ()
    voxel_size: dict[str, float] = field(default_factory=dict)


def notes_of(found: PlaneFiles) -> Notes:
    """Read what the microscope noted of an image in a file of a known name beside its planes, if there is one.

    Opera Phenix and Operetta write ``Index.idx.xml`` or ``Index.xml``, Micro-Manager ``metadata.txt``.
    """
    folder = found.files[0].parent
    if found.layout == "Opera Phenix":
        for name in ("Index.idx.xml", "Index.xml"):
            for place in (folder / name, folder.parent / name):
                if _is_sane(place):
                    return _of_phenix(place, found)
    place = folder / "metadata.txt"
    if found.layout.startswith("Micro-Manager") and _is_sane(place):
        return _of_micromanager(place, found)
    return Notes()


def _is_sane(path: Path) -> bool:
    return path.is_file() and path.stat().st_size < MOST_BYTES


def _of_phenix(path: Path, found: PlaneFiles) -> Notes:
    """One element Image per file, which has its name, channel, pixel size and height."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # a few lines of these can stand for gigabytes
        return Notes()
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return Notes()
    entries = {image.findtext("{*}URL", ""): image for image in root.iterfind(".//{*}Images/{*}Image")}
    own = [entries[file.name] for file in found.files if file.name in entries]
    if len(own) < len(found.files):
        return Notes()
    count = found.shape[found.axes.index("C")] if "C" in found.axes else 1
    planes = found.shape[found.axes.index("Z")] if "Z" in found.axes else 1
    names = [own[planes * number].findtext("{*}ChannelName", "") for number in range(count)]
    lengths: dict[str, tuple[float | str, str]] = {}
    for axis in "YX":
        element = own[0].find(f"{{*}}ImageResolution{axis}")
        if element is not None and element.text:
            lengths[axis] = (element.text, element.get("Unit", "m"))
    heights = [read_number(entry.findtext("{*}PositionZ", "")) for entry in own[:planes]]
    known = [height for height in heights if height is not None]
    if planes > 1 and len(known) == planes:
        unit = own[0].find("{*}PositionZ")
        step = float(np.median(np.abs(np.diff(known))))
        lengths["Z"] = (step, "m" if unit is None else unit.get("Unit", "m"))
    return Notes(tuple(names) if count > 1 and all(names) else (), read_lengths(lengths).um)


def _of_micromanager(path: Path, found: PlaneFiles) -> Notes:
    try:
        summary = json.loads(path.read_text(encoding="utf-8", errors="replace"))["Summary"]
        channels, lengths = stated(summary)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # often cut off when it was stopped
        return Notes()
    numbered = all(name.startswith("channel") for name in found.channels)
    fits = numbered and len(channels) == len(found.channels)
    return Notes(channels if fits else (), lengths.um)
