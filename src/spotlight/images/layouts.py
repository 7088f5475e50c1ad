"""One file per plane: what the names that microscopes give to such files say of field, channel, plane and timepoint."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spotlight.images.formats import stem

LAYOUTS = {
    "Opera Phenix": r"(?P<k>(?:.*/)?r\d+c\d+f\d+)p(?P<z>\d+)-(?P<c>ch\d+)sk(?P<t>\d+)(?:fk\d+)?(?:fl\d+)?",
    "Micro-Manager": r"(?P<k>(?:.*/)?)img_(?P<c>channel\d+)_(?P<k2>position\d+)_time(?P<t>\d+)_z(?P<z>\d+)",
    "Micro-Manager 1.4": r"(?P<k>(?:.*/)?)img_(?P<t>\d{9})_(?P<c>.*?)_(?P<z>\d{3})",
    "Yokogawa": r"(?P<k>(?:.*/)?[^/]+)_T(?P<t>\d{4})(?P<k2>F\d+L\d+)A\d+Z(?P<z>\d+)(?P<c>C\d+)",
    "MetaXpress": r"(?P<k>(?:.*?/)??)(?:TimePoint_(?P<t>\d+)/)?(?:ZStep_(?P<z>\d+)/)?(?P<k2>[^/]*?_[A-P]\d\d(?:_s\d+)?)"
    r"(?:_(?P<c>w\d))?(?:_t(?P<t2>\d+))?(?:_z(?P<z2>\d+))?(?:[0-9A-F]{8}-[0-9A-F-]{27})?",
    "Incucyte": r"(?P<k>(?:.*/)?[^/]+_[A-P]\d{1,2}_\d+)_(?P<t>(?:\d{4}y\d\dm)?\d\dd_?\d\dh\d\dm)",
    "NIS-Elements": r"(?P<k>(?:.*/)?[^/]*?)(?:t(?P<t>\d{2,}))?(?P<k2>xy\d+)?(?:z(?P<z>\d+))(?P<c>c\d+)",
}
"""Patterns of whole paths without their endings. Groups k and k2 name the field, c the channel, z and t the place."""
WORDS = {"z": "z|zstep|slice|plane|zplane", "t": "t|time|timepoint|tp|frame", "c": "ch|channel|w|c"}
"""In other names, a word of these before a number tells the same; Leica writes ``_t00_z00_ch00``."""
FEWEST_TIMES = 3
"""Timepoints from which on a number behind a t alone, in a name of no known microscope, is believed."""


@dataclass(frozen=True)
class Place:
    """Where a file belongs.

    Attributes
    ----------
    field : str
        What the names of all files of a field share, with their folders.
    channel : str
        As the name has it; empty if it has none.
    plane, time : str
        Digits; empty if the name has none.
    layout : str
        Whose names these are.
    """

    field: str
    channel: str
    plane: str
    time: str
    layout: str


@dataclass(frozen=True)
class PlaneFiles:
    """Files that together are one image.

    Attributes
    ----------
    name : str
        Path of the field from the folder that was searched, without what varies.
    axes : str
        Letters of TCZ along which the files follow each other.
    shape : tuple of int
        How many there are along each of these.
    files : tuple of Path
        In the order of the axes.
    channels : tuple of str
        As the names have them; empty if the axes have no C.
    layout : str
        Whose names these are.
    """

    name: str
    axes: str
    shape: tuple[int, ...]
    files: tuple[Path, ...]
    channels: tuple[str, ...]
    layout: str


def place_of(path: str) -> Place | None:
    """Read the name of a file: a path with ``/``, without its ending. None if it tells neither plane nor timepoint.

    Examples
    --------
    >>> place_of("Images/r01c02f03p04-ch1sk2fk1fl1")
    Place(field='Images/r01c02f03', channel='ch1', plane='04', time='2', layout='Opera Phenix')
    >>> place_of("day 1/img_z012_BF")
    Place(field='day 1/img_BF', channel='', plane='012', time='', layout='numbered')
    >>> place_of("day 1/field 3") is None
    True
    """
    for layout, pattern in LAYOUTS.items():
        found = re.fullmatch(pattern, path)
        parts: Mapping[str, str | None] = found.groupdict() if found else {}
        plane, time = (parts.get(axis) or parts.get(f"{axis}2") or "" for axis in "zt")
        if plane or time:
            field = f"{parts['k'] or ''}{parts.get('k2') or ''}".rstrip("_- ")
            return Place(field, parts.get("c") or "", plane, time, layout)
    folders, slash, name = path.rpartition("/")
    taken = {}
    for axis, words in WORDS.items():
        found = re.search(rf"(?:^|(?<=[_\-. ]))({words})[=_\-]?(\d+)(?=$|[_\-. ])", name, re.IGNORECASE)
        if found:
            taken[axis] = found[0] if axis == "c" else found[2]
            name = name[: found.start()] + name[found.end() :]
    if not {"z", "t"} & set(taken):
        return None
    bare = re.sub(r"[_\-. ]*([_\-. ])(?=[_\-. ]|$)|^[_\-. ]+", "", name)
    return Place(f"{folders}{slash}{bare}", taken.get("c", ""), taken.get("z", ""), taken.get("t", ""), "numbered")


def find_plane_files(files: Iterable[Path], folder: Path) -> tuple[list[PlaneFiles], list[str]]:
    """Find the files of a folder that are planes or timepoints of one image each.

    Channels of a field become one image if each has the same planes and timepoints, and an image each otherwise.

    Parameters
    ----------
    files : iterable of Path
        Below `folder`.
    folder : Path
        Where their names start.

    Returns
    -------
    (list of PlaneFiles, list of str)
        The images, and sentences about those that lack a plane, which are left out.
    """
    fields: dict[tuple[str, str, str], dict[str, dict[tuple[str, str], Path]]] = defaultdict(lambda: defaultdict(dict))
    for file in files:
        path = file.relative_to(folder).with_name(stem(file)).as_posix()
        place = place_of(path)
        if place is not None:
            key = (place.field, file.suffix.lower(), place.layout)
            fields[key][place.channel][place.time, place.plane] = file
    found: list[PlaneFiles] = []
    faults: list[str] = []
    for (field, _, layout), channels in sorted(fields.items()):
        together = len({frozenset(of_one) for of_one in channels.values()}) == 1
        for names in [sorted(channels)] if together else [[name] for name in sorted(channels)]:
            places = channels[names[0]]
            times, planes = ({place[n] for place in places} for n in range(2))
            if len(planes) < 2 and len(times) < (FEWEST_TIMES if layout == "numbered" else 2):
                continue
            called = field if together or not names[0] else f"{field}_{names[0]}"
            lost = [(t, z) for t in times for z in planes if (t, z) not in places]
            if lost:
                faults.append(f"{called}: {_lost(lost, len(times), len(planes))}")
                continue
            found.append(_image(called, names, sorted(times, key=_order), sorted(planes, key=_order), channels, layout))
    return found, faults


def _image(
    name: str,
    channels: Sequence[str],
    times: Sequence[str],
    planes: Sequence[str],
    files: Mapping[str, Mapping[tuple[str, str], Path]],
    layout: str,
) -> PlaneFiles:
    counts = {"T": len(times), "C": len(channels), "Z": len(planes)}
    axes = "".join(axis for axis, count in counts.items() if count > 1)
    ordered = tuple(files[c][t, z] for t in times for c in channels for z in planes)
    return PlaneFiles(
        name, axes, tuple(counts[a] for a in axes), ordered, tuple(channels) if "C" in axes else (), layout
    )


def _order(number: str) -> tuple[int, str]:
    """Numbers by their size; dates, which have letters, as text."""
    return (int(number) if number.isdecimal() else -1, number)


def _lost(lost: Sequence[tuple[str, str]], times: int, planes: int) -> str:
    time, plane = min(lost)
    where = " and ".join(f"{what} {number}" for what, number in (("timepoint", time), ("plane", plane)) if number)
    return f"{len(lost)} of {times * planes} files are missing, the first of {where}"
