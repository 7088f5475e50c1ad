"""Quoting foreign values in our messages: short, and without characters that control a terminal."""

import re
import reprlib
from typing import Any

LONGEST = 4000
"""Most characters of a message; a longer one is cut in the middle, because the remedy stands at its end."""
LONGEST_QUOTE = 400
LONGEST_DIGITS = 40
ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters, characters that change the writing direction, and bytes of file names that are not UTF-8."""

_short = reprlib.Repr()
_short.maxlevel, _short.maxstring, _short.maxother = 3, 120, 120
_short.maxlist = _short.maxtuple = _short.maxset = _short.maxdict = 6


def quoted(value: Any) -> str:
    """Write a value for a message as `repr` does, but shortened if it is large or deeply nested.

    >>> quoted("0,3")
    "'0,3'"
    """
    if isinstance(value, int) and value.bit_length() > 3.3 * LONGEST_DIGITS:
        return f"a whole number of about {round(value.bit_length() * 0.30103)} digits"
    try:
        return visible(shortened(_short.repr(value), LONGEST_QUOTE))
    except ValueError:  # it contains a large number: Python does not write more than 4300 digits
        return f"a {type(value).__name__} that holds a very large number"


def counted(number: int, one: str, many: str = "") -> str:
    """Write how many there are: ``1 stack``, ``2 stacks``, ``2 nuclei`` with ``many="nuclei"``.

    >>> counted(1, "nucleus", "nuclei")
    '1 nucleus'
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def visible(text: str, lines: bool = False) -> str:
    r"""Replace invisible control characters by escapes, such as ``\x1b``, which starts the commands of a terminal.

    Parameters
    ----------
    text : str
        Any text, such as a file's name.
    lines : bool
        Keep line breaks; further lines are indented, so none looks like a separate message.
    """
    if lines:
        return "\n  ".join(visible(line.expandtabs()) for line in text.split("\n"))
    return ACTING.sub(lambda found: _escape(found[0]), text)


def shortened(text: str, longest: int = LONGEST) -> str:
    """Cut out the middle of a text with more than `longest` characters."""
    if len(text) <= longest:
        return text
    end = longest // 4
    return f"{text[: longest - end]} [... {len(text) - longest} characters are left out ...] {text[-end:]}"


def safe_name(name: str) -> str:
    r"""Replace control characters of a file name by ``%`` and two digits per byte: ``a\x1b`` becomes ``a%1B``.

    The result can be printed and stored as UTF-8 anywhere; other names are unchanged.
    """
    return ACTING.sub(lambda found: "".join(f"%{byte:02X}" for byte in _bytes(found[0])), name)


def _escape(character: str) -> str:
    if "\ud800" <= character <= "\udfff":
        return "".join(f"\\x{byte:02x}" for byte in _bytes(character))
    return character.encode("unicode_escape").decode("ascii")


def _bytes(character: str) -> bytes:
    """Encode a character in UTF-8; Python represents undecodable bytes by characters from U+DC80 on."""
    is_byte = "\udc80" <= character <= "\udcff"
    return character.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass")
