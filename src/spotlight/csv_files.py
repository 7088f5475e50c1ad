"""Tables as CSV files that are safe to open in a spreadsheet, which would run text that begins with ``=``."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from spotlight.files import atomic_file
from spotlight.quoting import visible

FORMULA = re.compile(r"'*[=+\-@＝＋－＠].")
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:inf|nan)")


def write_csv(table: pd.DataFrame, path: Path, float_format: str | None = None) -> Path:
    """Write a table as CSV in UTF-8, completely or not at all; text is `guarded`, numbers are unchanged.

    Parameters
    ----------
    table : DataFrame
        Its index is not written.
    path : Path
        Where to write.
    float_format : str, optional
        Format of real numbers, for example ``"%.6g"``.

    Raises
    ------
    SpotlightError
        If the file cannot be written.
    """
    texts = {name: column.map(_safe) for name, column in table.items() if not pd.api.types.is_numeric_dtype(column)}
    with atomic_file(path) as temporary:
        table.assign(**{str(name): column for name, column in texts.items()}).to_csv(
            temporary, index=False, float_format=float_format
        )
    return path


def guarded(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would run as a formula; numbers are unchanged.

    >>> guarded("=1+1"), guarded("-3.5")
    ("'=1+1", '-3.5')
    """
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def unguarded(text: str) -> str:
    """Remove the apostrophe that `guarded` adds."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def _safe(cell: Any) -> Any:
    return guarded(visible(cell)) if isinstance(cell, str) else cell
