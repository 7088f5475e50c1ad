"""Tables of text, as CSV or Parquet: what manifests are stored in."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spotlight.csv_files import guarded, unguarded
from spotlight.errors import SpotlightError
from spotlight.files import atomic_file, require_file, unreadable

PARQUET = (".parquet", ".pq")
SEPARATORS = {";": "semicolons", "\t": "tabs, so its columns cannot be separated", "|": "bars"}
"""What else stands between cells, as programs save tables."""


def read_table(path: str | Path) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Read a table as text, whatever its columns are.

    Parameters
    ----------
    path : path
        CSV in UTF-8, or Parquet by its suffix. Rows without any value are left out.

    Returns
    -------
    (list of str, list of (str, list of str))
        The header in lower case up to a colon, and for every row where it stands and its cells; "" is an empty cell.

    Raises
    ------
    SpotlightError
        If the file is missing or damaged, or a row does not fit the header.
    """
    path = require_file(path, "Give a CSV or Parquet manifest, or a folder of stacks.")
    header, rows = _read_parquet(path) if path.suffix.lower() in PARQUET else _read_csv(path)
    return [_lower(name) for name in header], rows


def write_table(columns: Sequence[str], rows: Sequence[dict[str, str]], path: Path) -> Path:
    """Write a table of text as CSV, or as Parquet by the suffix of its path; missing cells are empty."""
    with atomic_file(path) as temporary:
        table = pd.DataFrame(rows, columns=list(columns)).fillna("")
        if path.suffix.lower() in PARQUET:
            table.to_parquet(temporary, index=False)
        else:
            table.map(guarded).to_csv(temporary, index=False)
    return path


def _lower(name: str) -> str:
    """A column's name; what follows the colon of target:DNA is the user's own."""
    kind, colon, own = name.strip().partition(":")
    return kind.strip().lower() + colon + own.strip()


def _read_csv(path: Path) -> tuple[list[str], list[tuple[str, list[str]]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            rows = [
                (f"{path}, line {reader.line_num}", [unguarded(cell) for cell in row])
                for row in reader
                if any(cell.strip() for cell in row)
            ]
    except UnicodeDecodeError as error:
        raise SpotlightError(
            f"{path}: cannot be read as a CSV manifest in UTF-8 ({error}). Save it as UTF-8: in Excel, choose the file "
            "type 'CSV UTF-8 (comma delimited)'."
        ) from error
    except (OSError, ValueError, csv.Error) as error:
        raise SpotlightError(f"{path}: cannot be read as a CSV manifest in UTF-8 ({error}).") from error
    if header and header[0].strip().lower().startswith("sep="):
        raise SpotlightError(
            f"{path}: its first row is {','.join(header)!r}, which only Excel understands. Remove that row"
            + ("." if header[0].strip().lower() == "sep=" and len(header) > 1 else ", and save the table with commas.")
        )
    if len(header) == 1:
        for separator, name in SEPARATORS.items():
            if separator in header[0]:
                raise SpotlightError(f"{path}: its cells are separated by {name}. Save it with commas.")
    for where, row in rows:
        if len(row) != len(header):
            raise SpotlightError(
                f"{where}: has {len(row)} cells, but the header has {len(header)}. Quote cells that hold "
                "commas, such as regions."
            )
    return header, rows


def _read_parquet(path: Path) -> tuple[list[str], list[tuple[str, list[str]]]]:
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # a parser of damaged bytes fails in more ways than can be listed
        raise unreadable(path, "a Parquet manifest", error, ("pandas", "pyarrow")) from error
    cells = [[_text(cell) for cell in row] for row in table.itertuples(index=False, name=None)]
    rows = [(f"{path}, row {number}", row) for number, row in enumerate(cells, start=1) if any(row)]
    return [str(name) for name in table.columns], rows


def _text(cell: Any) -> str:
    """A cell as it would stand in a CSV; whole numbers in a column with gaps are stored as fractions."""
    if isinstance(cell, (list, tuple, np.ndarray)):
        return " ".join(map(_text, cell))
    if cell is None or cell is pd.NA or (isinstance(cell, float) and np.isnan(cell)):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()
