"""The manifest: which input belongs to which target, and to which part of the experiment."""

import csv
import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from spotlight.errors import SpotlightError
from spotlight.files import require_path
from spotlight.images import SUFFIXES, Stack, is_image, parse_region, parts, read, scenes, stem

COLUMNS = {
    "input": "file of the transmitted-light stack (required)",
    "target": "file of the fluorescence stack (required)",
    "labels": "file of instance labels",
    "foreground": "file of a foreground mask that replaces the threshold's",
    "split": "train, val or test",
    "group": "what belongs together, such as a plate or a day",
    "scene": "name or zero-based index of the image, for files that hold several; a plate's well and field: B/03/0",
    "time": "zero-based timepoint, for files that hold several",
    "input_channel": "name or zero-based index of the input's channel",
    "target_channel": "name or zero-based index of the target's channel",
    "region": "start:stop per spatial axis in voxels, for example ':, :, 0:80'",
    "axes": "axes as stored, for files that do not state them, for example ZYX",
    "voxel_size": "edge lengths in µm per spatial axis, for files that do not state them, for example 0.29 0.108 0.108",
}
FILES = ("input", "target", "labels", "foreground")
USES = ("name", "split", "group", "labels")
"""What says how a pair is used, not what it shows."""
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Pair:
    """One row of a manifest: files that show the same field.

    Attributes
    ----------
    name : str
        Unique among the pairs of a call; outputs are named after it.
    input, target, labels, foreground : Path or None
        The files.
    split : str
        "train", "val" or "test"; empty where none is stated.
    input_channel, target_channel : str or None
        Channel names or indices.
    group : str
        What belongs together, such as a plate; empty where none is stated.
    region, axes, voxel_size, scene, time
        See `COLUMNS`.
    """

    name: str
    input: Path
    target: Path
    labels: Path | None = None
    foreground: Path | None = None
    split: str = ""
    input_channel: str | None = None
    target_channel: str | None = None
    region: str | None = None
    axes: str | None = None
    voxel_size: tuple[float, ...] | None = None
    group: str = ""
    scene: str | None = None
    time: int | None = None

    def read_input(self) -> Stack:
        """Read the input's channel and region; finite or an error."""
        return self._part(self._read(self.input), self.input_channel)

    def read_target(self) -> Stack:
        """Read the target's channel and region; finite or an error."""
        return self._part(self._read(self.target), self.target_channel)

    def read_both(self) -> tuple[Stack, Stack]:
        """Read input and target and make sure that they match in axes, shape and voxel size."""
        if self.input == self.target:
            both = self._read(self.input)
            image, target = self._part(both, self.input_channel), self._part(both, self.target_channel)
        else:
            image, target = self.read_input(), self.read_target()
        require_match(image, target)
        return image, target

    def read_labels(self, like: Stack) -> Stack | None:
        """Read the instance labels on the grid of `like`, or None if the row has none."""
        return self._read_mask(self.labels, like)

    def read_foreground(self, like: Stack) -> Stack | None:
        """Read the foreground mask on the grid of `like`, or None if the row has none."""
        return self._read_mask(self.foreground, like)

    def digest(self) -> str:
        """Fingerprint of what the pair shows: its files with their sizes, channels and region."""
        facts = {name: str(value) for name, value in asdict(self).items() if name not in USES}
        for name in FILES:
            file = getattr(self, name)
            if file is not None and name in facts:
                facts[name] = f"{file.resolve()} {require_path(file, 'Correct the path.').stat().st_size}"
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def _read_mask(self, path: Path | None, like: Stack) -> Stack | None:
        if path is None:
            return None
        # The columns axes and voxel_size describe the images; a mask that states nothing itself is on their grid.
        several = len(scenes(path)) > 1
        mask = read(path, scene=self.scene if several else None, axes_if_unstated=like.axes)
        mask = self._part(mask.timepoint(self.time) if "T" in mask.axes else mask, None)
        if mask.voxel_size is None or like.voxel_size is None:
            mask = replace(mask, voxel_size=like.voxel_size)
        require_match(like, mask)
        return mask

    def _read(self, path: Path) -> Stack:
        stack = read(path, scene=self.scene, axes=self.axes, voxel_size=self.voxel_size)
        return stack.timepoint(self.time)

    def _part(self, stack: Stack, channel: str | None) -> Stack:
        stack = stack.channel(channel)
        if self.region is not None:
            stack = stack.crop(parse_region(self.region, stack.spatial_axes, f"{stack.source} (row {self.name!r})"))
        stack.require_finite()
        return stack


def require_match(first: Stack, second: Stack) -> None:
    """Raise a `SpotlightError` unless two stacks have the same axes, shape and, within 1 %, voxel size."""
    if first.axes != second.axes or first.shape != second.shape:
        raise SpotlightError(
            f"{first.source} and {second.source} must show the same field on the same grid, but have axes "
            f"{first.axes} {first.shape} and {second.axes} {second.shape}. Register and crop them to one grid."
        )
    if first.voxel_size and second.voxel_size:
        if any(abs(a / b - 1) > 0.01 for a, b in zip(first.voxel_size, second.voxel_size, strict=True)):
            raise SpotlightError(
                f"{first.source} and {second.source} state different voxel sizes: {first.voxel_size} and "
                f"{second.voxel_size} µm. Correct the files, or state the size in a voxel_size column."
            )
    elif first.voxel_size or second.voxel_size:
        missing = second if first.voxel_size else first
        missing.require_voxel_size()


def require_distinct(pairs: Sequence[Pair]) -> None:
    """Raise a `SpotlightError` if two pairs have one name, since outputs and scores go by it."""
    names = [pair.name for pair in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpotlightError(f"several pairs are named {', '.join(map(repr, twice))}; give each a name of its own.")


def read_manifest(path: str | Path) -> list[Pair]:
    """Read a CSV manifest.

    Columns are those of `COLUMNS`; others are ignored unless they look like a misspelt one. Relative paths start at
    the manifest's own folder. Either every row has a split or none has.

    Raises
    ------
    SpotlightError
        If the file, a required column or a file that it names is missing, or a row does not fit the header.
    """
    path = require_path(path, "Give a CSV manifest or a folder of stacks.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip().lower() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, ValueError, csv.Error) as error:
        raise SpotlightError(f"{path}: cannot be read as a CSV manifest in UTF-8 ({error}).") from error
    _check_header(path, header)
    if not rows:
        raise SpotlightError(f"{path}: has no rows. Add one per pair of input and target.")
    for line, row in rows:
        if len(row) != len(header):
            raise SpotlightError(
                f"{path}, line {line}: has {len(row)} cells, but the header has {len(header)}. Quote cells that hold "
                "commas, such as regions."
            )
    pairs = [_pair(path, line, dict(zip(header, row, strict=True))) for line, row in rows]
    without = [line for (line, _), pair in zip(rows, pairs, strict=True) if not pair.split]
    if without and len(without) < len(pairs):
        raise SpotlightError(
            f"{path}, line {without[0]}: has no split, but other rows do. Give every row one, or none."
        )
    _require_own_masks(path, pairs)
    return name_apart(pairs)


def _require_own_masks(path: Path, pairs: Sequence[Pair]) -> None:
    """One mask cannot serve several scenes or timepoints."""
    for column in ("labels", "foreground"):
        users: dict[Path, set[tuple[str | None, int | None]]] = {}
        for pair in pairs:
            mask = getattr(pair, column)
            if mask is not None:
                users.setdefault(mask, set()).add((pair.scene, pair.time))
        for mask, uses in users.items():
            if len(uses) > 1 and len(parts(mask)) == 1:
                raise SpotlightError(
                    f"{path}: {column}: {mask} holds one image, but rows of {len(uses)} scenes or timepoints name it. "
                    "Give each its own."
                )


def _check_header(path: Path, header: list[str]) -> None:
    if len(header) == 1 and ";" in header[0]:
        raise SpotlightError(f"{path}: its cells are separated by semicolons. Save it with commas.")
    for name in header:
        if header.count(name) > 1:
            raise SpotlightError(f"{path}: has the column {name!r} twice. Remove one.")
        near = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.75)
        if name not in COLUMNS and near:
            raise SpotlightError(f"{path}: unknown column {name!r}; did you mean {near[0]!r}?")
    for column in ("input", "target"):
        if column not in header:
            raise SpotlightError(
                f"{path}: has no column {column!r}. A manifest needs the columns input and target; "
                f"found: {', '.join(header) or 'nothing'}."
            )


def _pair(manifest: Path, line: int, row: dict[str, str]) -> Pair:
    cells = {column: row.get(column, "").strip() or None for column in COLUMNS}
    where = f"{manifest}, line {line}"
    files: dict[str, Path | None] = {}
    for column in FILES:
        cell = cells[column]
        files[column] = manifest.parent / cell if cell else None
        file = files[column]
        if file is not None:
            try:
                require_path(file, "Correct the path.")
            except SpotlightError as error:
                raise SpotlightError(f"{where}: {column}: {error}") from error
    image, target = files["input"], files["target"]
    if image is None or target is None:
        raise SpotlightError(f"{where}: input and target must both be given.")
    split = (cells["split"] or "").lower()
    if split and split not in SPLITS:
        raise SpotlightError(f"{where}: split must be train, val or test. Received: {split!r}.")
    return Pair(
        name=stem(image),
        input=image,
        target=target,
        labels=files["labels"],
        foreground=files["foreground"],
        split=split,
        input_channel=cells["input_channel"],
        target_channel=cells["target_channel"],
        region=cells["region"],
        group=cells["group"] or "",
        scene=cells["scene"],
        time=_parse_time(cells["time"], where) if cells["time"] else None,
        axes=cells["axes"],
        voxel_size=parse_voxel_size(cells["voxel_size"], where) if cells["voxel_size"] else None,
    )


def _parse_time(text: str, where: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise SpotlightError(f"{where}: time must be a zero-based index of a timepoint. Received: {text!r}.")
    return int(text)


def parse_voxel_size(text: str, where: str) -> tuple[float, ...]:
    """Read edge lengths in µm such as ``"0.29 0.108 0.108"``; spaces, commas or x between them."""
    try:
        sizes = tuple(float(part) for part in re.split(r"[\s,x]+", text.strip()))
    except ValueError:
        sizes = ()
    if len(sizes) not in (2, 3) or not min(sizes) > 0:
        raise SpotlightError(
            f"{where}: a voxel size is two or three lengths in µm, such as '0.29 0.108 0.108'. Received: {text!r}."
        )
    return sizes


def pairs_from_folder(folder: str | Path, input_channel: str | None, target_channel: str | None) -> list[Pair]:
    """Take every image file of a folder, with every scene and timepoint of it, as a pair of two channels.

    Raises
    ------
    SpotlightError
        If the folder has no image file, or a channel was not named.
    """
    folder = require_path(folder, "Give a folder of stacks.")
    try:
        files = sorted(file for file in folder.iterdir() if is_image(file))
    except OSError as error:
        raise SpotlightError(f"{folder}: cannot be listed ({error}).") from error
    if not files:
        raise SpotlightError(f"{folder}: has no image files ({', '.join(SUFFIXES)}). Give a folder of stacks or a CSV.")
    if input_channel is None or target_channel is None:
        raise SpotlightError(
            f"{folder}: for a folder of stacks, say which channel is the input and which the target "
            "(--input-channel and --target-channel, names or zero-based indices)."
        )
    pairs = [
        Pair(
            part.name,
            file,
            file,
            input_channel=input_channel,
            target_channel=target_channel,
            scene=part.scene,
            time=part.time,
        )
        for file in files
        for part in parts(file)
    ]
    return name_apart(pairs)


def read_pairs(
    source: str | Path | Sequence[Pair], input_channel: str | None = None, target_channel: str | None = None
) -> list[Pair]:
    """Read pairs from a CSV manifest, or from a folder of stacks whose channels are named; pairs are passed on."""
    if not isinstance(source, (str, Path)):
        pairs = list(source)
        require_distinct(pairs)
        return pairs
    source = require_path(source, "Give a CSV manifest or a folder of stacks.")
    if source.is_dir():
        return pairs_from_folder(source, input_channel, target_channel)
    if input_channel is not None or target_channel is not None:
        raise SpotlightError(f"{source}: a manifest names channels in its columns input_channel and target_channel.")
    return read_manifest(source)


def name_apart(pairs: Iterable[Pair]) -> list[Pair]:
    """Make the names unique: pairs of one file name (regions, or the same name in several folders) get a number."""
    pairs = list(pairs)
    names = [pair.name for pair in pairs]
    taken = {name for name in names if names.count(name) == 1}
    apart = []
    for pair in pairs:
        name, number = pair.name, 1
        while names.count(pair.name) > 1 and (name in taken or name == pair.name):
            name, number = f"{pair.name}-{number}", number + 1
        taken.add(name)
        apart.append(replace(pair, name=name))
    return apart
