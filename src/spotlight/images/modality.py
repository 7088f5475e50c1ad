"""Modalities of transmitted light: what they are called in tables, file names and channel names."""

import re

from spotlight.errors import SpotlightError
from spotlight.images.stack import Stack

MODALITIES = {"brightfield": "BF", "phase": "PC", "dic": "DIC"}
"""Modalities, and how Light My Cells abbreviates them."""

WORDS = {
    "brightfield": ("bf", "brightfield*", "bright field*"),
    "phase": ("pc", "ph", "phc", "phase*"),
    "dic": ("dic", "nomarski", "differential interference*"),
}
"""Words by which channel names tell modalities; after a star anything may follow."""
TRANSMITTED = ("transmitted*", "transmission*")
"""Words for transmitted light without contrast optics, unless a word of `WORDS` names these."""
OTHER_LIGHT = ("bright", "trans", "tl", "tpmt", "esid", "oblique", "dpc", "qpi", "lightfield", "ph1", "ph2", "ph3")
"""Further words for transmitted light, which tell no modality."""
LIGHT_WORDS = frozenset(
    word.removesuffix("*") for words in (*WORDS.values(), TRANSMITTED, OTHER_LIGHT) for word in words if " " not in word
)
"""All single words, in lower case, by which names of files, folders and channels tell transmitted light."""


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
    """Find the modality in the name of a channel.

    Parameters
    ----------
    image : Stack or str
        A stack with channel names, or one such name: ``BF``, ``Transmitted light``, ``Phase contrast``, ``TL-DIC``.
        Other channels of the stack, such as ``DNA``, do not matter.

    Returns
    -------
    str or None
        ``brightfield``, ``phase`` or ``dic``; None where no name states one, or where they state several.
        Transmitted light that no word describes further counts as brightfield.

    Examples
    --------
    >>> from spotlight.images import modality_of
    >>> modality_of("Phase contrast"), modality_of("DAPI")
    ('phase', None)
    """
    names = (image,) if isinstance(image, str) else image.channels
    found = {modality for name in names if (modality := _modality_in(name)) is not None}
    return found.pop() if len(found) == 1 else None


def _modality_in(name: str) -> str | None:
    # "PhaseContrast", "phase_contrast2" and "Phase contrast" have the same words.
    words = " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)).lower()

    def has_any(known: tuple[str, ...]) -> bool:
        pattern = "|".join(word.replace("*", ".*") for word in known)
        return re.search(rf"\b(?:{pattern})\b", words) is not None

    found = [modality for modality, known in WORDS.items() if has_any(known)]
    if not found and has_any(TRANSMITTED):
        return "brightfield"
    return found[0] if len(found) == 1 else None
