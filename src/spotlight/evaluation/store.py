"""Stored scores: what was computed from the same files and settings is not computed again."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from spotlight.errors import SpotlightError
from spotlight.evaluation.settings import EvaluationSettings
from spotlight.files import atomic_folder
from spotlight.fingerprint import fingerprint, plain
from spotlight.pairs.pair import FILES, Pair

Kind = TypeVar("Kind")

LAYOUT = 3
FACTS = "facts.json"
ELSEWHERE = {"split", "pictured", "range_stacks", "data_range", "metrics", "any_voxel_size"}
"""Settings that do not change the scores of one stack, or are in the key in another form."""
FORMER = {"second": "cellpose"}
"""Settings that had another name: stored scores are known by that."""


def key_of(pair: Pair, settings: EvaluationSettings, *more: object) -> str:
    """Fingerprint of all that stored scores depend on: the stack's files, the settings and what else is given."""
    chosen = {FORMER.get(name, name): value for name, value in plain(settings).items() if name not in ELSEWHERE}
    return fingerprint(LAYOUT, pair.digest(), pair.labels, pair.fingerprints(FILES), chosen, *more)


def save(found: Any, key: str, folder: Path) -> None:
    """Write a dataclass of tables, arrays and plain values, whole or not at all."""
    with atomic_folder(folder) as temporary:
        temporary.mkdir()
        facts: dict[str, Any] = {}
        for part in fields(found):
            value = getattr(found, part.name)
            if isinstance(value, pd.DataFrame):
                value.to_parquet(temporary / f"{part.name}.parquet", index=False)
            elif isinstance(value, np.ndarray):
                np.save(temporary / f"{part.name}.npy", value)
            else:
                facts[part.name] = value
        (temporary / FACTS).write_text(json.dumps({"key": key, "facts": facts}), encoding="utf-8")


def load(kind: type[Kind], key: str, folder: Path) -> Kind | None:
    """Read a dataclass that `save` wrote, if it is there and depends on the same."""
    if not (folder / FACTS).is_file():
        return None
    try:
        stored = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if stored["key"] != key:
            return None
        tables = {file.stem: pd.read_parquet(file) for file in folder.glob("*.parquet")}
        arrays = {file.stem: np.load(file) for file in folder.glob("*.npy")}
        return kind(**stored["facts"], **tables, **arrays)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpotlightError(f"{folder}: is damaged ({error}). Remove this folder; it is made again.") from error
