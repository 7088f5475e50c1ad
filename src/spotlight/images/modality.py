"""Modalities of transmitted light: what they are called in tables, file names and channel names."""

import re

from spotlight.errors import SpotlightError
from spotlight.images.stack import Stack

MODALITIES = {"brightfield": "BF", "phase": "PC", "dic": "DIC"}
"""Modalities, and how Light My Cells abbreviates them."""

WORDS = {
    "brightfield": r"bf|bright ?field.*",
    "phase": r"pc|ph|phc|phase.*",
    "dic": r"dic|nomarski|differential interference.*",
}
"""Words by which channel names tell modalities; spaces stand between words however they are joined."""
TRANSMITTED = r"transmitted.*|transmission.*"
"""Words for transmitted light without contrast optics, unless a word of `WORDS` names these."""


def parse_modality(text: str, where: str) -> str:
    """Read a modality by its name or abbreviation, in any case; "" is none.

    Parameters
    ----------
    text : str
        ``brightfield``, ``phase`` or ``dic``, or ``BF``, ``PC`` or ``DIC``.
    where : str
        Where it was found, for the error.

    Raises
    ------
    SpotlightError
        If it is no known modality.
    """
    names = {name: name for name in MODALITIES} | {short.lower(): name for name, short in MODALITIES.items()}
    found = text.strip().lower()
    if found and found not in names:
        known = ", ".join(f"{name} ({short})" for name, short in MODALITIES.items())
        raise SpotlightError(f"{where}: modality must be one of {known}, or empty. Received: {text!r}.")
    return names.get(found, "")


def modality_of(image: Stack | str) -> str | None:
    """Tell the modality from the name of a channel.

    Parameters
    ----------
    image : Stack or str
        A stack with channel names, or one such name: ``BF``, ``Transmitted light``, ``Phase contrast``, ``TL-DIC``.
        Other channels of the stack, such as ``DNA``, do not matter.

    Returns
    -------
    str or None
        ``brightfield``, ``phase`` or ``dic``; None where no name tells, or where they tell several. Transmitted
        light that no word describes further counts as brightfield.
    """
    names = (image,) if isinstance(image, str) else image.channels
    told = {modality for name in names if (modality := _told(name)) is not None}
    return told.pop() if len(told) == 1 else None


def _told(name: str) -> str | None:
    # "PhaseContrast", "phase_contrast2" and "Phase contrast" have the same words.
    words = " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)).lower()

    def says(pattern: str) -> bool:
        return re.search(rf"\b(?:{pattern})\b", words) is not None

    told = [modality for modality, pattern in WORDS.items() if says(pattern)]
    if not told and says(TRANSMITTED):
        return "brightfield"
    return told[0] if len(told) == 1 else None
