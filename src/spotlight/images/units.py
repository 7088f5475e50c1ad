"""Lengths as people's software writes them, in µm; and which voxel sizes no light microscope has."""

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

_METRES = {"": 1e6, "centi": 1e4, "milli": 1e3, "micro": 1.0, "mikro": 1.0, "nano": 1e-3, "pico": 1e-6}
UNITS_UM = {
    "μm": 1.0, "μ": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "mikron": 1.0, "?m": 1.0, "??m": 1.0, "�m": 1.0,
    "nm": 1e-3, "pm": 1e-6, "å": 1e-4, "angstrom": 1e-4, "angstroms": 1e-4, "ångström": 1e-4, "ångstrom": 1e-4,
    "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25400.0, "inches": 25400.0, "in": 25400.0,
    **{prefix + word: um for prefix, um in _METRES.items() for word in ("meter", "meters", "metre", "metres")},
}  # fmt: skip
"""Micrometres per unit of length, by the names that files use, in small letters.

Programs that cannot write µ put question marks in its place; no other unit of length becomes ``?m``.
"""
UNITS_S = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("μs", "us", "usec", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
"""Seconds per unit of time, by the names that files use, in small letters."""
OTHERS = ("Mm", "Pm")
"""Megametre and petametre: names of units that differ from others only by their capitals."""


class Lengths(NamedTuple):
    """What a file states of its voxel size.

    Attributes
    ----------
    um : dict
        Edge lengths in µm by axis, as far as they could be read.
    unit : str
        In which they are stated.
    unread : str
        Stated values that could not be read, as written in the file; empty if there are none.
    """

    um: dict[str, float]
    unit: str = ""
    unread: str = ""


def read_lengths(stated: Mapping[str, tuple[Any, str]]) -> Lengths:
    """Turn what a file states, a length and its unit by axis, into µm; what has no clear meaning is quoted.

    Parameters
    ----------
    stated : mapping
        By axis, the length (a number or a text) and the name of its unit.
    """
    um: dict[str, float] = {}
    units, unread = [], []
    for axis, (value, unit) in stated.items():
        length, factor = read_number(value), micrometres(unit)
        if length is not None and factor is not None and 0 < length < math.inf:
            um[axis] = length * factor
            units.append(unit)
        elif unit or length != 1:  # 1 without a unit is what programs write that know no size
            shown = f"{value:.6g}" if isinstance(value, float) else repr(value)[:40]
            unread.append(f"{axis} {shown} " + (repr(unit)[:40] if unit else "without a unit"))
    return Lengths(um, ", ".join(dict.fromkeys(units)), ", ".join(unread))


def micrometres(unit: str) -> float | None:
    r"""Micrometres per unit of length; None if the unit is not known.

    Escapes (``\u00B5m``), capitals, spellings, ``/pixel`` and UTF-8 that was read as Latin-1 (``Âµm``) make no
    difference.
    """
    name = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), unit.strip(" \t\r\n\0\"'."))
    for _ in range(2):  # some have been read wrongly twice
        try:
            name = name.encode("cp1252").decode()
        except UnicodeError:
            break
    name = unicodedata.normalize("NFKC", name)
    name = re.sub(r"\s*(/|\bper\b)\s*(px|pixel|voxel|slice|plane)s?$", "", name)
    return None if name in OTHERS else UNITS_UM.get(name.lower())


def seconds(value: Any, unit: str) -> float | None:
    """Turn a stated time between frames into seconds; None if it is not positive or has no clear meaning.

    Examples
    --------
    >>> seconds("5", "min"), seconds(1, ""), seconds(0, "s")
    (300.0, None, None)
    """
    number, factor = read_number(value), UNITS_S.get(unicodedata.normalize("NFKC", unit.strip()).lower())
    return number * factor if number and factor and 0 < number < math.inf else None


def read_number(value: Any) -> float | None:
    """Read a number, also with a decimal comma; None if it is none, or has two meanings as ``1,234`` has."""
    text = str(value).strip()
    thousands = re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text)
    try:
        return float(text if "." in text or thousands else text.replace(",", "."))
    except ValueError:
        return None


LATERAL_UM, AXIAL_UM = (0.002, 30.0), (0.002, 300.0)
"""No light microscope has voxels outside of these, even with expanded samples or the lowest magnification."""
USUAL_LATERAL_UM, USUAL_AXIAL_UM = (0.04, 2.0), (0.04, 10.0)
"""Light resolves about 0.2 µm, and a nucleus of 10 µm is 5 voxels of 2 µm wide."""


def impossible_size(size: tuple[float, ...]) -> str:
    """Say why no light microscope has a voxel size in µm (Z if there is one, Y, X); empty if some have."""
    if _within(size, LATERAL_UM, AXIAL_UM):
        return ""
    return (
        f"a voxel size of {format_size(size)} is none of a light microscope (widths of {LATERAL_UM[0]:g} to "
        f"{LATERAL_UM[1]:g} µm, steps in Z up to {AXIAL_UM[1]:g} µm). It was probably stated in another unit"
    )


def unusual_size(size: tuple[float, ...]) -> str:
    """Say why a voxel size in µm is to be doubted; empty if it is as usual."""
    across = max(size[-2:]) / min(size[-2:])
    deep = size[0] / min(size[-2:])
    if _within(size, USUAL_LATERAL_UM, USUAL_AXIAL_UM) and across <= 2 and (len(size) < 3 or 0.2 <= deep <= 50):
        return ""
    return (
        f"a voxel size of {format_size(size)} is unusual for a light microscope (widths of {USUAL_LATERAL_UM[0]:g} to "
        f"{USUAL_LATERAL_UM[1]:g} µm, steps in Z of {USUAL_AXIAL_UM[0]:g} to {USUAL_AXIAL_UM[1]:g} µm)"
    )


def format_size(size: tuple[float, ...]) -> str:
    """Write a voxel size, such as ``0.29 x 0.108 x 0.108 µm``."""
    return " x ".join(f"{edge:.6g}" for edge in size) + " µm"


def _within(size: tuple[float, ...], lateral: tuple[float, float], axial: tuple[float, float]) -> bool:
    limits = [axial, lateral, lateral][-len(size) :]
    return all(low <= edge <= high for edge, (low, high) in zip(size, limits, strict=True))
