"""Importers of public data sets: their tables and folder layouts become pairs."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spotlight.errors import SpotlightError
from spotlight.files import require_file, require_path
from spotlight.images import stem
from spotlight.images.modality import parse_modality
from spotlight.pairs.manifest import name_apart
from spotlight.pairs.pair import Pair
from spotlight.pairs.splits import split_by_group

SPLIT_SEED = 42
TRAIN_SHARE = 0.75
STAINS = ("Nucleus", "Mitochondria", "Tubulin", "Actin")
"""Targets of Light My Cells."""


def read_label_free(table: str | Path, root: str | Path | None = None, first_train: int | None = None) -> list[Pair]:
    """Read a table of the Allen label-free data (Ounkomol et al. 2018), split as published.

    The rows are shuffled by pandas with the seed 42; the first 75 % are for training, the others for testing. This
    split puts fields of one plate into both parts.

    Parameters
    ----------
    table : path
        CSV with ``path_czi``, ``channel_signal``, ``channel_target``, or with ``path_signal``, ``path_target``.
    root : path, optional
        Folder that the table's relative paths refer to. Default: the table's folder.
    first_train : int, optional
        Keep only this number of training rows. The published runs never exchanged their buffer of 30 images, so each
        model saw only the first 30 rows.

    Raises
    ------
    SpotlightError
        If columns are missing.
    """
    rows = _table(table)
    base = Path(root) if root is not None else Path(table).parent
    if {"path_czi", "channel_signal", "channel_target"} <= set(rows):
        columns = ("path_czi", "path_czi", "channel_signal", "channel_target")
    elif {"path_signal", "path_target"} <= set(rows):
        columns = ("path_signal", "path_target", "", "")
    else:
        raise SpotlightError(
            f"{table}: a label-free table needs the columns path_czi, channel_signal and channel_target, or "
            f"path_signal and path_target. Found: {', '.join(map(str, rows))}. Give such a table."
        )
    shuffled = rows.sample(frac=1, random_state=np.random.RandomState(SPLIT_SEED)).to_dict("records")
    count = round(TRAIN_SHARE * len(shuffled))
    kept = shuffled[: count if first_train is None else max(0, min(first_train, count))]
    return name_apart(
        _row(row, base, columns, split) for split, part in (("train", kept), ("test", shuffled[count:])) for row in part
    )


def read_integrated_cell(table: str | Path, root: str | Path | None = None, fields: int | None = None) -> list[Pair]:
    """Read ``metadata.csv`` of the Allen package ``pipeline_integrated_cell``: brightfield, DNA and nuclear masks.

    It has one row per cell; every field becomes one pair, in the order of the table, the first 75 % for training.

    Parameters
    ----------
    table : path
        The CSV.
    root : path, optional
        Folder that its paths refer to. Default: the table's folder.
    fields : int, optional
        Use only this number of fields, from the start of the table.
    """
    rows = _table(table)
    files = ("SourceReadPath", "NucleusSegmentationReadPath")
    channels = ("ChannelNumberBrightfield", "ChannelNumber405")
    missing = [name for name in ("FOVId", *files, *channels) if name not in rows]
    if missing:
        raise SpotlightError(f"{table}: lacks {', '.join(missing)}. Give metadata.csv of pipeline_integrated_cell.")
    base = Path(root) if root is not None else Path(table).parent
    chosen = rows.drop_duplicates("FOVId").head(len(rows) if fields is None else fields).to_dict("records")
    count = round(TRAIN_SHARE * len(chosen))
    pairs = []
    for number, row in enumerate(chosen):
        pair = _row(row, base, (files[0], files[0], *channels), "train" if number < count else "test")
        pairs.append(Pair(**vars(pair) | {"labels": base / row[files[1]] if row[files[1]].strip() else None}))
    return name_apart(pairs)


def read_light_my_cells(folder: str | Path, target: str | None = None) -> list[Pair]:
    """Read study folders of Light My Cells: every plane of transmitted light with the targets of its field.

    Files are named ``Study_N/image_FIELD_BF_zK.ome.tiff`` (or PC, DIC) and ``image_FIELD_Nucleus.ome.tiff``. The groups
    are the studies or, with fewer than three studies, the fields. No group is in two splits. Files do not state which
    plane of a field is in focus.

    Parameters
    ----------
    folder : path
        The folder that contains the study folders.
    target : str, optional
        "Nucleus", "Mitochondria", "Tubulin" or "Actin"; fields without this target are left out. Default: all targets,
        one pair for each target of a field.

    Raises
    ------
    SpotlightError
        If no field has such a target.
    """
    folder = require_path(folder, "Give the folder that holds Study_1, Study_2, ...")
    if target is not None and target not in STAINS:
        raise SpotlightError(f"the target must be one of {', '.join(STAINS)}. Received: {target!r}.")
    pairs = []
    for image in sorted(folder.glob("Study_*/image_*_z*.ome.tiff")):
        named = re.fullmatch(r"image_(\d+)_(BF|PC|DIC)_z\d+\.ome\.tiff", image.name)
        if named is None:
            continue
        files = {name: image.with_name(f"image_{named[1]}_{name}.ome.tiff") for name in (target and [target]) or STAINS}
        # All planes of a field stay in one split. If there are enough studies, a study stays in one split, too.
        field = f"{image.parent.name}/{named[1]}"
        pairs += [
            Pair(
                stem(image) if target else f"{stem(image)}-{name}",
                image,
                file,
                group=field,
                target_name=name,
                modality=parse_modality(named[2], image.name),
            )
            for name, file in files.items()
            if file.exists()
        ]
    studies = {pair.input.parent.name for pair in pairs}
    if len(studies) > 2:
        pairs = [replace(pair, group=pair.input.parent.name) for pair in pairs]
    if not pairs:
        raise SpotlightError(
            f"{folder}: no field in Study_*/ has both transmitted light and {target or ' or '.join(STAINS)}. Give the "
            "folder that holds Study_1, Study_2, ..."
        )
    return split_by_group(name_apart(pairs))[0]


LAYOUTS: dict[str, Callable[..., list[Pair]]] = {
    "label-free": read_label_free,
    "integrated-cell": read_integrated_cell,
    "light-my-cells": read_light_my_cells,
}
"""Importers by the name of the data set."""


def _table(path: str | Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(require_file(path, "Give the data set's CSV."), dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise SpotlightError(f"{path}: cannot be read as CSV ({error}).") from error
    if rows.empty:
        raise SpotlightError(f"{path}: has no rows. Give the data set's table.")
    return rows


def _row(row: dict[Any, Any], base: Path, columns: tuple[str, str, str, str], split: str) -> Pair:
    for name in filter(None, columns):
        if not row[name].strip():
            raise SpotlightError(f"a row of the table has no {name}: {row}. Fill it in, or remove the row.")
    image, target, *channels = columns
    which = [_channel(row[name]) if name else None for name in channels]
    return Pair(
        stem(row[image]),
        base / row[image],
        base / row[target],
        split=split,
        input_channel=which[0],
        target_channel=which[1],
    )


def _channel(cell: str) -> str:
    """Return a channel's index, written as a number in these tables, or its name."""
    return f"#{int(float(cell))}" if re.fullmatch(r"[0-9]+(\.0+)?", cell.strip()) else cell.strip()
