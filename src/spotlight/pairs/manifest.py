"""The manifest: a table that assigns targets to inputs, and pairs to splits and groups."""

import difflib
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from spotlight.addresses import located
from spotlight.csv_files import guarded
from spotlight.errors import SpotlightError
from spotlight.files import require_path
from spotlight.images import count_images, stem
from spotlight.images.arrays import ArrayAddress
from spotlight.images.joining import SEPARATOR
from spotlight.images.modality import parse_modality
from spotlight.images.units import read_number
from spotlight.pairs.cells import channels_in, further_in, parse_offset, parse_time
from spotlight.pairs.pair import FILES, SPLITS, Pair
from spotlight.pairs.table import read_table, write_table
from spotlight.quoting import safe_name

log = logging.getLogger("spotlight")

COLUMNS = {
    "input": "file of the transmitted-light stack (required); for further channels in other files, input:NAME",
    "target": "file of the fluorescence stack (required); for several targets, one column target:NAME each",
    "labels": "file of instance labels",
    "foreground": "file of a foreground mask that replaces the mask of the threshold",
    "repeat": "file of a second image of the target, with independent noise",
    "split": "train, val or test",
    "group": "name of a group that must stay in one split, such as a plate or a day; specimen is another word for it",
    "scene": "name or zero-based index of the image, for files that hold several; for a plate, well and field: B/03/0",
    "time": "zero-based timepoint, for files that hold several",
    "input_channel": "name or zero-based index of the input's channel, or several separated by semicolons; luminance: "
    "the mean of red, green and blue; z=3: plane 3 of the only channel",
    "target_channel": "name or zero-based index of the target's channel",
    "region": "start:stop per spatial axis in voxels, for example ':, :, 0:80'",
    "axes": "axes as stored, for files that do not state them or state them wrongly, for example ZYX",
    "mask_axes": "axes of labels and foreground as stored, if they differ from those of the images",
    "voxel_size": "edge lengths in µm per spatial axis, for files that do not state them, for example 0.29 0.108 0.108",
    "modality": "brightfield, phase or dic (also BF, PC, DIC)",
    "focus_offset": "planes between the input and the best focus, for inputs of one plane",
}
SPECIMEN = "specimen"
"""Another name of the column group."""
ABSENT = "absent"
"""Content of a cell whose target does not exist."""
OF_TARGET = ("target", "target_channel", "foreground", "repeat")
"""Columns that every target has separately, as column:NAME, if there are several targets."""
NO_FILE = ("input", "class")
"""Columns that can stand in place of the target's and name no further file."""
OF_INPUT = ("input", "input_channel")
"""Columns that every further input has separately, as column:NAME."""


def require_distinct(pairs: Sequence[Pair]) -> None:
    """Raise a `SpotlightError` if two pairs have the same name, because outputs and scores are named after pairs."""
    uses = Counter(pair.name for pair in pairs)
    twice = sorted(name for name, count in uses.items() if count > 1)
    if twice:
        raise SpotlightError(f"several pairs are named {', '.join(map(repr, twice))}. Give each pair a unique name.")


def read_manifest(
    path: str | Path, target: str | None = None, every_target: bool = False, column: str = "target"
) -> list[Pair]:
    """Read a manifest.

    The columns are those of `COLUMNS`. Other columns are ignored, unless they look like a misspelt one. Relative paths
    refer to the manifest's folder. Either every row has a split, or none has.

    A manifest of several targets has columns ``target:NAME``, and optionally ``target_channel:NAME``, instead of
    ``target``. If a row lacks a target, its cell contains the word ``absent``.

    Tasks other than staining have another `column`, such as ``mask`` or ``mask:NAME``, in which an empty cell is
    absent, too. That of pretraining is ``input``: every input is its own target.

    Further channels of the input that are in files of their own have columns ``input:NAME`` and, optionally,
    ``input_channel:NAME``.

    Parameters
    ----------
    path : path
        CSV, or Parquet by its suffix.
    target : str, optional
        The target to use, if there are several. Rows in which it is absent are left out.
    every_target : bool
        Use all targets: a row becomes one pair per existing target.
    column : str
        Which column names the target; see `spotlight.tasks.Task.column`. With ``input``, rows need no target: the
        input stands in its place.

    Returns
    -------
    list of Pair
        In the order of the rows; of several targets, each row gives one per target that is there.

    Raises
    ------
    SpotlightError
        If the manifest, a required column or a file that it names is missing, a row does not fit the header, or there
        are several targets and none was chosen.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from spotlight.images import Stack
    >>> from spotlight.pairs import read_manifest
    >>> for name in ("bf1", "dna1", "bf2", "dna2"):
    ...     path = Stack(np.zeros((4, 16, 16), np.uint16), "ZYX", (0.5, 0.1, 0.1)).save(f"{name}.ome.tif")
    >>> rows = {"input": ["bf1.ome.tif", "bf2.ome.tif"], "target": ["dna1.ome.tif", "dna2.ome.tif"]}
    >>> pd.DataFrame(rows | {"split": ["train", "test"]}).to_csv("pairs.csv", index=False)
    >>> [(pair.name, pair.split) for pair in read_manifest("pairs.csv")]
    [('bf1', 'train'), ('bf2', 'test')]
    """
    path = Path(path)
    header, rows = read_table(path)
    targets = _check_header(path, header, column)
    if not rows:
        raise SpotlightError(f"{path}: has no rows. Add one per pair of input and target.")
    chosen = _choose(path, targets, target, every_target)
    pairs: list[Pair] = []
    places: list[str] = []
    for where, row in rows:
        cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
        for name in targets if column == "target" else ():
            if not cells[f"target:{name}"]:
                raise SpotlightError(f"{where}: target:{name} is empty. Name a file, or write {ABSENT}.")
        there = [name for name in chosen if not name or cells[f"{column}:{name}"].lower() not in ("", ABSENT)]
        pairs += [_pair(path, where, cells, name, len(chosen) > 1, column) for name in there]
        places += [where] * len(there)
    if not pairs:
        what = f"target {target!r}" if target else column
        raise SpotlightError(f"{path}: {what} is absent in every row. Choose another one.")
    if every_target and (empty := sorted({*chosen} - {pair.target_name for pair in pairs} - {""})) and len(chosen) > 1:
        log.warning("%s: absent in every row, so not learnt and not judged: %s.", path, ", ".join(empty))
    without = [where for where, pair in zip(places, pairs, strict=True) if not pair.split]
    if without and len(without) < len(pairs):
        raise SpotlightError(f"{without[0]}: has no split, but other rows do. Give every row one, or none.")
    _require_own_masks(path, pairs)
    return name_apart(pairs)


def _choose(path: Path, targets: Sequence[str], target: str | None, every: bool) -> Sequence[str]:
    """Return the names of the targets to use; one empty name if the manifest has a single target without a name."""
    if target is not None and target not in targets:
        known = f"it has {', '.join(targets)}" if targets else "its only target has no name"
        raise SpotlightError(f"{path}: has no target {target!r}; {known}.")
    if target is None and len(targets) > 1 and not every:
        raise SpotlightError(
            f"{path}: has the targets {', '.join(targets)}. Choose one with target= (Python) or --target."
        )
    return [target] if target is not None else targets or [""]


def write_manifest(pairs: Sequence[Pair], path: str | Path, column: str = "target") -> Path:
    """Write a manifest with the columns that are used; paths are relative to its folder if possible.

    Pairs with named targets that are equal in all other columns share a row; missing targets are written as absent.

    Parameters
    ----------
    pairs : sequence of Pair
        The rows.
    path : path
        CSV, or Parquet by its suffix.
    column : str
        What the column of the truth is called, for pairs of a single target; see `read_manifest`.
    """
    path = Path(path)
    targets = list(dict.fromkeys(pair.target_name for pair in pairs if pair.target_name))
    rows: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for number, pair in enumerate(pairs):
        row = {name: _cell(getattr(pair, name), path.parent) for name in COLUMNS}
        row["input_channel"] = (
            SEPARATOR.join(pair.input_channel) if isinstance(pair.input_channel, tuple) else row["input_channel"]
        )
        for one in pair.further_inputs or ():
            row |= {f"input:{one.name}": _cell(one.path, path.parent), f"input_channel:{one.name}": one.channel or ""}
        if pair.target_name:
            own = {f"{name}:{pair.target_name}": row.pop(name) for name in OF_TARGET}
            key = tuple(row.items())
            rows.setdefault(key, row | {f"target:{name}": ABSENT for name in targets}).update(own)
        else:
            rows[("row", str(number)),] = row
    inputs = dict.fromkeys(one.name for pair in pairs for one in pair.further_inputs or ())
    names = [*COLUMNS, *(f"{column}:{name}" for name in inputs for column in OF_INPUT)]
    names += [f"{column}:{name}" for name in targets for column in OF_TARGET]
    used = [name for name in names if any(row.get(name) for row in rows.values())]
    heads = [column if name == "target" else name for name in used]
    return write_table(
        heads, [{column if n == "target" else n: c for n, c in row.items()} for row in rows.values()], path
    )


def _cell(value: Any, folder: Path) -> str:
    if isinstance(value, ArrayAddress):
        raise value.refusal()
    if isinstance(value, Path):
        # Links are kept: what they lead to may have a name without meaning.
        file, here = value.absolute(), folder.absolute()
        shown = (file.relative_to(here) if file.is_relative_to(here) else file).as_posix()
        return f"./{shown}" if guarded(shown) != shown else shown  # for readers that know of no apostrophe
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _require_own_masks(path: Path, pairs: Sequence[Pair]) -> None:
    """Raise a `SpotlightError` if rows of several scenes or timepoints name the same mask of one image."""
    for column in ("labels", "foreground"):
        users: dict[tuple[Path, str | None], set[tuple[str | None, int | None]]] = {}
        for pair in pairs:
            mask = getattr(pair, column)
            if mask is not None:
                users.setdefault((mask, pair.mask_axes), set()).add((pair.scene, pair.time))
        for (mask, axes), uses in users.items():
            if len(uses) > 1 and count_images(mask, axes) == 1:
                raise SpotlightError(
                    f"{path}: {column}: {mask} holds one image, but rows of {len(uses)} scenes or timepoints name it. "
                    "Give each of them its own file."
                )


def _check_header(path: Path, header: list[str], column: str) -> list[str]:
    """Check a header, and return the names of its targets; none if it has only the column ``target``.

    `column` is ``target``, or what stands in its place; see `read_manifest`.
    """
    for name in header:
        if header.count(name) > 1:
            raise SpotlightError(f"{path}: has the column {name!r} twice. Remove one.")
        kind, colon, own = name.partition(":")
        what = f"a channel, for example {kind}:phase" if kind in OF_INPUT else f"a target, for example {kind}:DNA"
        if (
            colon
            and kind in (*OF_TARGET, *OF_INPUT, column)
            and (not own or set(own) & set('/\\:*?"<>|') or safe_name(own) != own)
        ):
            raise SpotlightError(
                f"{path}: the column {name!r} needs the name of {what}, without characters that file names cannot have."
            )
        near = difflib.get_close_matches(kind, (*COLUMNS, column), n=1, cutoff=0.75)
        if kind not in (*COLUMNS, column) and near:
            raise SpotlightError(f"{path}: unknown column {name!r}; did you mean {near[0] + colon + own!r}?")
    targets = [name.removeprefix("target:") for name in header if name.startswith("target:")]
    named = {kind: own for kind, _, own in (name.partition(":") for name in header) if own and kind in OF_TARGET}
    for kind, own in named.items():
        if own not in targets:
            raise SpotlightError(f"{path}: has {kind}:{own} but no target:{own}. Add that column.")
    for name in header:
        if name.startswith("input_channel:") and name.replace("_channel", "") not in header:
            raise SpotlightError(f"{path}: has {name} but no {name.replace('_channel', '')}. Add that column.")
    both = set(OF_TARGET) & set(header)
    if targets and both:
        raise SpotlightError(
            f"{path}: has {', '.join(sorted(both))} besides target:{targets[0]}. If targets have names, their columns "
            f"need them, too: {', '.join(f'{name}:{targets[0]}' for name in OF_TARGET)}."
        )
    if "group" in header and SPECIMEN in header:
        raise SpotlightError(f"{path}: has the columns group and {SPECIMEN}, which mean the same. Remove one.")
    names = [name.removeprefix(f"{column}:") for name in header if name.startswith(f"{column}:")]
    names = [] if column in (*OF_INPUT, "class") else names  # further channels, not further targets
    for needed in ("input", column):
        if needed not in header and not (needed == column and names):
            raise SpotlightError(
                f"{path}: has no column {needed!r}. A manifest needs the columns input and "
                f"{column if column == 'target' else f'{column} or {column}:NAME'}; "
                f"found: {', '.join(header) or 'nothing'}."
            )
    return names


def _pair(
    manifest: Path, where: str, row: dict[str, str], target_name: str, tell_apart: bool, target_column: str
) -> Pair:
    cells = {column: row.get(column) or None for column in COLUMNS}
    if target_name:
        cells |= {column: row.get(f"{column}:{target_name}") or None for column in OF_TARGET}
    if target_column != "target":
        cells |= dict.fromkeys(OF_TARGET)
        named = row[f"{target_column}:{target_name}" if target_name else target_column]
        if target_column == "class":
            if not named:
                raise SpotlightError(f"{where}: class is empty. Name one, or leave the row out.")
            target_name = named
        cells["target"] = (row["input"] if target_column in NO_FILE else named) or None
    files: dict[str, Path | None] = {}
    for column in FILES:
        cell = cells[column]
        files[column] = located(cell, manifest.parent) if cell else None
        file = files[column]
        if file is not None:
            try:
                require_path(file, "Correct the path.")
            except SpotlightError as error:
                raise SpotlightError(f"{where}: {column}: {error}") from error
    image, target = files["input"], files["target"]
    if image is None or target is None:
        raise SpotlightError(f"{where}: input or {target_column} is empty. Give both.")
    split = (cells["split"] or "").lower()
    if split and split not in SPLITS:
        raise SpotlightError(f"{where}: split must be train, val or test. Received: {split!r}.")
    return Pair(
        name=f"{stem(image)}-{target_name}" if tell_apart else stem(image),
        input=image,
        target=target,
        labels=files["labels"],
        foreground=files["foreground"],
        repeat=files["repeat"],
        split=split,
        input_channel=channels_in(row, where),
        target_channel=cells["target_channel"],
        region=cells["region"],
        group=cells["group"] or row.get(SPECIMEN, ""),
        scene=cells["scene"],
        time=parse_time(cells["time"], where) if cells["time"] else None,
        axes=cells["axes"],
        mask_axes=cells["mask_axes"],
        voxel_size=parse_voxel_size(cells["voxel_size"], where) if cells["voxel_size"] else None,
        target_name=target_name,
        modality=parse_modality(cells["modality"] or "", where),
        focus_offset=parse_offset(cells["focus_offset"], where) if cells["focus_offset"] else None,
        further_inputs=further_in(row, manifest.parent, where),
    )


def parse_voxel_size(text: str, where: str) -> tuple[float, ...]:
    """Read edge lengths in µm such as ``"0.29 0.108 0.108"``, separated by spaces, commas or x.

    Commas are separators, so a text in which they may be decimal commas is refused.
    """

    def lengths(between: str) -> tuple[float, ...] | None:
        sizes = [read_number(part) for part in re.split(between, text.strip())]
        known = tuple(size for size in sizes if size is not None and 0 < size < math.inf)
        return known if len(known) == len(sizes) in (2, 3) else None

    plain, decimal = lengths(r"[\s,x]+"), lengths(r"[,\s]*[\sx][,\s]*")
    if plain is None or decimal not in (None, plain):
        comma = f" Write decimal points: '{' '.join(f'{v:g}' for v in decimal)}'." if decimal else ""
        raise SpotlightError(
            f"{where}: a voxel size is two or three lengths in µm, such as '0.29 0.108 0.108'. Received: {text!r}."
            f"{comma}"
        )
    return plain


def name_apart(pairs: Iterable[Pair]) -> list[Pair]:
    """Make the names unique: pairs with the same file name (regions, or files in several folders) get a number."""
    pairs = list(pairs)
    uses = Counter(pair.name for pair in pairs)
    taken = {name for name, count in uses.items() if count == 1}
    numbers = dict.fromkeys(uses, 0)
    apart = []
    for pair in pairs:
        name = pair.name
        while uses[pair.name] > 1 and (name in taken or name == pair.name):
            numbers[pair.name] += 1
            name = f"{pair.name}-{numbers[pair.name]}"
        taken.add(name)
        apart.append(replace(pair, name=name))
    return apart
