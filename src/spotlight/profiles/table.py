"""Writing a table of nuclei."""

from pathlib import Path

import pandas as pd

from spotlight.csv_files import write_csv
from spotlight.files import atomic_file


def write_table(table: pd.DataFrame, stem: str | Path) -> tuple[Path, Path]:
    """Write a table as CSV, for people and spreadsheets, and as Parquet, with types and full precision.

    Parameters
    ----------
    table : DataFrame
        From `measure`.
    stem : path
        Path without an ending; ``.csv`` and ``.parquet`` are added to the name, whatever dots it has.

    Returns
    -------
    tuple of Path
        The two files.

    Raises
    ------
    SpotlightError
        If a file cannot be written.

    Examples
    --------
    >>> import pandas as pd
    >>> from spotlight.profiles import write_table
    >>> table = pd.DataFrame({"label": [1, 2], "volume": [510.2, 498.7]})
    >>> [path.name for path in write_table(table, "tables/a1")]
    ['a1.csv', 'a1.parquet']
    """
    stem = Path(stem)
    csv, parquet = (stem.with_name(f"{stem.name}.{ending}") for ending in ("csv", "parquet"))
    write_csv(table, csv, "%.6g")
    with atomic_file(parquet) as temporary:
        table.to_parquet(temporary, index=False, engine="pyarrow")
    return csv, parquet
