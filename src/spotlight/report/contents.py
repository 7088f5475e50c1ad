"""What an evaluation's folder holds: its record and its tables."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from spotlight.csv_files import unguarded
from spotlight.errors import SpotlightError
from spotlight.files import require_file
from spotlight.plain_yaml import load_yaml

TARGET = "target"
"""Name of the real fluorescence among the methods."""
REPEAT = "repeat"
"""Name of a second image of the same fluorescence: what noise alone does to the scores."""
TRUTH = "truth"
"""Name of the true nuclei among the folders of labels."""
REFERENCES = (TARGET, REPEAT)
"""Methods that are no models, and compete with none."""

NAMES = {"stack", "method", "baseline", "metric", "pipeline", "verdict", "kind", "direction", "feature"}
"""Columns that are text whatever they look like."""
OPTIONAL = ("average_precision", "nuclei", "features", "histograms", "resolution", "sweep", "comparison")


@dataclass(frozen=True, eq=False)
class Contents:
    """An evaluation as it was written.

    Attributes
    ----------
    folder : Path
        Where it is.
    record : dict
        ``evaluation.yaml``.
    scores : DataFrame
        One row per stack and method, and per seed if there are several.
    tables : dict of str to DataFrame
        Those of the other tables that are there and hold a row.
    """

    folder: Path
    record: dict[str, Any]
    scores: pd.DataFrame
    tables: dict[str, pd.DataFrame]

    @property
    def stacks(self) -> list[dict[str, Any]]:
        """What the record says of every stack."""
        return list(self.record["stacks"])

    @property
    def methods(self) -> list[str]:
        """Names of the methods, as they first appear."""
        return list(dict.fromkeys(self.scores["method"]))

    @property
    def pictured(self) -> list[str]:
        """Stacks whose input and target were kept."""
        return [entry["name"] for entry in self.stacks if self.image("images", TARGET, entry["name"]).exists()]

    def image(self, kind: str, of: str, stack: str) -> Path:
        """Path of an image: `kind` is ``images``, ``stains`` or ``labels``."""
        return self.folder / kind / of / f"{stack}.ome.tif"


def read_contents(folder: str | Path) -> Contents:
    """Read the record and the tables of an evaluation.

    Raises
    ------
    SpotlightError
        If the folder holds no evaluation, or a table of it cannot be read.
    """
    folder = Path(folder)
    record = load_yaml(folder / "evaluation.yaml")
    entries = record.get("stacks") if isinstance(record, dict) else None
    if not entries:
        raise SpotlightError(f"{folder / 'evaluation.yaml'}: names no stacks. Run the evaluation again.")
    paths = {name: folder / f"{name}.csv" for name in ("scores", *OPTIONAL)}
    tables = {name: _table(path) for name, path in paths.items() if name == "scores" or path.exists()}
    scores = tables.pop("scores")
    missing = {"stack", "method"} - set(scores)
    if missing or scores.empty:
        fault = f"has no column {min(missing)!r}" if missing else "has no row"
        raise SpotlightError(f"{paths['scores']}: {fault}. Run the evaluation again.")
    return Contents(folder, record, scores, {name: table for name, table in tables.items() if not table.empty})


def first_of(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the first seed of every method and of the first pipeline: those that the pictures show."""
    if "pipeline" in table:
        table = table[table["pipeline"] == table["pipeline"].iloc[0]]
    if "seed" in table:
        first = table.groupby("method")["seed"].transform("first")
        table = table[(table["seed"] == first) | first.isna()]
    return table


def _table(path: Path) -> pd.DataFrame:
    """Read a table in which a stack may be named 007 and a method None: only columns of numbers become numbers."""
    try:
        table = pd.read_csv(require_file(path, "Run the evaluation again."), dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise SpotlightError(f"{path}: cannot be read ({error}). Run the evaluation again.") from error
    table = table.map(unguarded)
    for column in set(table) - NAMES:
        numbers = pd.to_numeric(table[column], errors="coerce")
        if (numbers.notna() | table[column].str.lower().isin(["", "nan"])).all():
            table[column] = numbers
    return table
