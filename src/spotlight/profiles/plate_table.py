"""One table of all nuclei of a plate: with what was done in each well, under the names that other tools expect."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from spotlight.csv_files import NUMBER, write_csv
from spotlight.errors import SpotlightError
from spotlight.files import atomic_file
from spotlight.installation import missing_package
from spotlight.pairs.table import PARQUET, read_table
from spotlight.profiles.measure import FEATURES, FULL_FEATURES, INTENSITIES
from spotlight.quoting import quoted

Naming = Literal["plain", "pycytominer"]
WELL = re.compile(r"([A-Za-z]+)[ /_-]?0*([0-9]+)")
PLACE = {
    "plate": "Plate",
    "well": "Well",
    "field": "Site",
    "frame": "Timepoint",
    "label": "ObjectNumber",
    "track": "Track",
    "parent": "ParentTrack",
    "z": "Location_Center_Z",
    "y": "Location_Center_Y",
    "x": "Location_Center_X",
    "touches_border": "TouchesBorder",
}
"""Columns that say which nucleus it is and where, which are no measurements, and pycytominer's words for them."""
ENDINGS = (".csv", *PARQUET, ".h5ad")


def read_wells(path: str | Path) -> pd.DataFrame:
    r"""Read what was done in each well.

    Parameters
    ----------
    path : path
        CSV or Parquet with a column ``well`` (``B03``, ``B3`` or ``B/03``) and any others, one row a well.

    Returns
    -------
    DataFrame
        The other columns, by `well_key`; numbers where all cells of a column are numbers.

    Raises
    ------
    SpotlightError
        If it cannot be read, has no such column, or has a well twice.

    Examples
    --------
    >>> _ = Path("layout.csv").write_text("well,dose\nB03,0.5\nB04,1\n")
    >>> read_wells("layout.csv")["dose"].to_dict()
    {'B3': 0.5, 'B4': 1.0}
    """
    header, rows = read_table(path)
    if "well" not in header:
        raise SpotlightError(
            f"{path}: has no column 'well'. Found: {', '.join(header) or 'nothing'}. Name the column of wells so, with "
            "cells such as B03."
        )
    for number, name in enumerate(header):
        if not name or name in header[:number]:
            raise SpotlightError(f"{path}: every column needs a name of its own. Received: {quoted(header)}.")
    table = pd.DataFrame([cells for _, cells in rows], columns=header).map(str.strip)
    table.index = pd.Index(table.pop("well").map(well_key))
    twice = table.index[table.index.duplicated()]
    if len(twice):
        raise SpotlightError(f"{path}: has the well {twice[0]} twice. Leave one row a well.")
    return table.apply(_as_numbers)


def well_key(name: str) -> str:
    """Give a well's name without what people write differently.

    >>> well_key("b/03"), well_key("B3"), well_key("B-03")
    ('B3', 'B3', 'B3')
    """
    found = WELL.fullmatch(name.strip())
    return f"{found[1].upper()}{int(found[2])}" if found else name.strip().replace("/", "")


def _as_numbers(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Turn a column into numbers if all its cells are; 007 is a name."""
    cells = column[column != ""]
    numbers = cells.map(lambda cell: bool(NUMBER.fullmatch(cell)) and not re.match(r"[+-]?0[0-9]", cell))
    if not len(cells) or not numbers.all():
        return column
    return column.mask(column == "").astype(float)


def require_own_names(wells: pd.DataFrame, source: str | Path, features: Literal["quick", "full"]) -> None:
    """Raise a `SpotlightError` if what was done in wells has the name of a measurement, before anything is measured."""
    shapes = FULL_FEATURES if features == "full" else FEATURES
    measured = {"plate", *PLACE, "contrast", *INTENSITIES, *(name for names in shapes.values() for name in names)}
    taken = [name for name in wells.columns if name in measured]
    if taken:
        raise SpotlightError(f"{source}: has a column {taken[0]!r}, as tables of nuclei have. Rename it.")


def join_wells(table: pd.DataFrame, wells: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Put what was done in its well beside every nucleus, behind the column ``field``.

    Parameters
    ----------
    table : DataFrame
        With a column ``well``.
    wells : DataFrame
        From `read_wells`, with `require_own_names`.

    Returns
    -------
    (DataFrame, list of str)
        The table, and the wells of which nothing is said, whose cells are empty.
    """
    keys = table["well"].map(well_key)
    joined = wells.reindex(keys).set_axis(table.index)
    texts = [name for name in wells.columns if not pd.api.types.is_numeric_dtype(wells[name])]
    joined[texts] = joined[texts].fillna("")
    at = list(table.columns).index("field") + 1
    unknown = sorted(set(table["well"][~keys.isin(wells.index)]))
    return pd.concat([table.iloc[:, :at], joined, table.iloc[:, at:]], axis=1), unknown


def require_writable(path: str | Path) -> None:
    """Raise a `SpotlightError` if a table cannot be written under that name, before work begins."""
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise SpotlightError(f"{path}: a table of nuclei ends in {', '.join(ENDINGS)}.")
    if ending == ".h5ad":
        try:
            import anndata  # noqa: F401
        except ImportError as error:
            raise missing_package(f"{path}: writing AnnData", error, "anndata") from error


def write_plate_table(
    table: pd.DataFrame, path: str | Path, naming: Naming = "plain", known: Sequence[str] = ()
) -> Path:
    """Write a table of nuclei as CSV, Parquet or AnnData, by the ending of the path.

    Parameters
    ----------
    table : DataFrame
        One row a nucleus, with the columns ``plate``, ``well`` and ``field``.
    path : path
        Ending in ``.csv``, ``.parquet`` or ``.h5ad``. In AnnData measurements are X, all else is obs.
    naming : "plain" or "pycytominer"
        Names as they are, or with ``Nuclei_`` before measurements and ``Metadata_`` before all else, by which
        pycytominer and other tools for profiles tell them apart.
    known : sequence of str
        Columns of what was done in the wells.

    Raises
    ------
    SpotlightError
        If the file cannot be written, or anndata is missing.
    """
    path = Path(path)
    require_writable(path)
    apart = [name for name in table.columns if name in PLACE or name in known]
    measured = [name for name in table.columns if name not in apart]
    if naming == "pycytominer":
        names = {name: f"Metadata_{PLACE.get(name, name)}" for name in apart}
        names |= {name: f"Nuclei_{name}" for name in measured}
        table, apart, measured = table.rename(columns=names), [names[n] for n in apart], [names[n] for n in measured]
    if path.suffix.lower() == ".csv":
        return write_csv(table, path, "%.6g")
    with atomic_file(path) as temporary:
        if path.suffix.lower() in PARQUET:
            table.to_parquet(temporary, index=False, engine="pyarrow")
        else:
            from anndata import AnnData

            # Words as objects: older readers of AnnData do not know pandas' strings.
            about = table[apart].set_axis(table.index.astype(str).astype(object))
            about = about.astype({name: object for name in about if pd.api.types.is_string_dtype(about[name])})
            features = pd.DataFrame(index=pd.Index(measured, dtype=object))
            AnnData(table[measured].to_numpy(np.float64), obs=about, var=features).write_h5ad(temporary)
    return path
