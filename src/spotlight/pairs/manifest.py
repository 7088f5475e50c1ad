"""The manifest: which input belongs to which target, and to which part of the experiment."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from spotlight.errors import SpotlightError
from spotlight.images import SUFFIXES, Stack, parse_region, read

COLUMNS = {
    "input": "file of the transmitted-light stack (required)",
    "target": "file of the fluorescence stack (required)",
    "labels": "file of instance labels",
    "foreground": "file of a foreground mask that replaces the threshold's",
    "split": "train, val or test",
    "input_channel": "name or zero-based index of the input's channel",
    "target_channel": "name or zero-based index of the target's channel",
    "region": "start:stop per spatial axis in voxels, for example ':, :, 0:80'",
    "axes": "axes as stored, for files that do not state them, for example ZYX",
    "voxel_size": "edge lengths in µm per spatial axis, for files that do not state them, for example 0.29 0.108 0.108",
}
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Pair:
    """One row of a manifest: files that show the same field.

    Attributes
    ----------
    name : str
        Unique within its manifest; outputs are named after it.
    input, target, labels, foreground : Path or None
        The files.
    split : str
        "train", "val" or "test"; empty where the manifest has no split.
    input_channel, target_channel : str or None
        Channel names or indices.
    region, axes, voxel_size
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

    def read_input(self) -> Stack:
        """Read the input's channel and region; finite or an error."""
        return self._read(self.input, self.input_channel)

    def read_target(self) -> Stack:
        """Read the target's channel and region; finite or an error."""
        return self._read(self.target, self.target_channel)

    def read_both(self) -> tuple[Stack, Stack]:
        """Read input and target and make sure that they match in axes, shape and voxel size."""
        image, target = self.read_input(), self.read_target()
        require_match(image, target)
        return image, target

    def read_labels(self, like: Stack) -> Stack | None:
        """Read the instance labels on the grid of `like`, or None if the row has none."""
        return self._read_mask(self.labels, like)

    def read_foreground(self, like: Stack) -> Stack | None:
        """Read the foreground mask on the grid of `like`, or None if the row has none."""
        return self._read_mask(self.foreground, like)

    def _read_mask(self, path: Path | None, like: Stack) -> Stack | None:
        if path is None:
            return None
        mask = self._read(path, None)
        if mask.voxel_size is None or like.voxel_size is None:
            mask = Stack(mask.data, mask.axes, like.voxel_size, mask.channels, mask.source)
        require_match(like, mask)
        return mask

    def _read(self, path: Path, channel: str | None) -> Stack:
        stack = read(path, axes=self.axes, voxel_size=self.voxel_size).channel(channel)
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


def read_manifest(path: str | Path) -> list[Pair]:
    """Read a CSV manifest.

    Columns are those of `COLUMNS`; others are ignored. Relative paths start at the manifest's own folder.

    Raises
    ------
    SpotlightError
        If the file or a required column is missing, a cell is empty where it must not be, or a file is absent.
    """
    path = Path(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise SpotlightError(f"{path}: cannot be read as a CSV manifest ({error}).") from error
    table.columns = table.columns.str.strip()
    for column in ("input", "target"):
        if column not in table.columns:
            raise SpotlightError(
                f"{path}: has no column {column!r}. A manifest needs the columns input and target; "
                f"found: {', '.join(table.columns)}."
            )
    if table.empty:
        raise SpotlightError(f"{path}: has no rows. Add one per pair of input and target.")
    return _name_apart([_pair(path, number, row) for number, row in enumerate(table.to_dict("records"), start=2)])


def _pair(manifest: Path, line: int, row: dict[Any, Any]) -> Pair:
    cells = {column: str(row.get(column, "")).strip() or None for column in COLUMNS}
    where = f"{manifest}, line {line}"
    files: dict[str, Path | None] = {}
    for column in ("input", "target", "labels", "foreground"):
        cell = cells[column]
        files[column] = manifest.parent / cell if cell else None
        file = files[column]
        if file is not None and not file.exists():
            raise SpotlightError(f"{where}: {column} file {file} does not exist. Correct the path.")
    image, target = files["input"], files["target"]
    if image is None or target is None:
        raise SpotlightError(f"{where}: input and target must both be given.")
    split = (cells["split"] or "").lower()
    if split and split not in SPLITS:
        raise SpotlightError(f"{where}: split must be train, val or test. Received: {split!r}.")
    return Pair(
        name=image.name.split(".")[0],
        input=image,
        target=target,
        labels=files["labels"],
        foreground=files["foreground"],
        split=split,
        input_channel=cells["input_channel"],
        target_channel=cells["target_channel"],
        region=cells["region"],
        axes=cells["axes"],
        voxel_size=parse_voxel_size(cells["voxel_size"], where) if cells["voxel_size"] else None,
    )


def parse_voxel_size(text: str, where: str) -> tuple[float, ...]:
    """Read edge lengths in µm such as ``"0.29 0.108 0.108"``; spaces, commas or x between them."""
    try:
        sizes = tuple(float(part) for part in re.split(r"[\s,x]+", text.strip()))
    except ValueError:
        sizes = ()
    if len(sizes) not in (2, 3) or min(sizes) <= 0:
        raise SpotlightError(
            f"{where}: a voxel size is two or three lengths in µm, such as '0.29 0.108 0.108'. Received: {text!r}."
        )
    return sizes


def pairs_from_folder(folder: str | Path, input_channel: str | None, target_channel: str | None) -> list[Pair]:
    """Take every TIFF file of a folder as a pair of two channels.

    Raises
    ------
    SpotlightError
        If the folder has no TIFF file, or a channel was not named.
    """
    folder = Path(folder)
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise SpotlightError(f"{folder}: has no TIFF files ({', '.join(SUFFIXES)}). Give a folder of stacks or a CSV.")
    if input_channel is None or target_channel is None:
        raise SpotlightError(
            f"{folder}: for a folder of stacks, say which channel is the input and which the target "
            "(--input-channel and --target-channel, names or zero-based indices)."
        )
    return _name_apart(
        [
            Pair(file.name.split(".")[0], file, file, input_channel=input_channel, target_channel=target_channel)
            for file in files
        ]
    )


def read_pairs(source: str | Path, input_channel: str | None = None, target_channel: str | None = None) -> list[Pair]:
    """Read pairs from a CSV manifest, or from a folder of stacks whose channels are named."""
    source = Path(source)
    if source.is_dir():
        return pairs_from_folder(source, input_channel, target_channel)
    if not source.exists():
        raise SpotlightError(f"{source}: no such file or folder. Give a CSV manifest or a folder of stacks.")
    if input_channel is not None or target_channel is not None:
        raise SpotlightError(f"{source}: a manifest names channels in its columns input_channel and target_channel.")
    return read_manifest(source)


def _name_apart(pairs: Sequence[Pair]) -> list[Pair]:
    """Make the names unique: rows of one file (regions) get a number."""
    names = [pair.name for pair in pairs]
    seen: dict[str, int] = {}
    apart = []
    for pair in pairs:
        seen[pair.name] = seen.get(pair.name, 0) + 1
        name = pair.name if names.count(pair.name) == 1 else f"{pair.name}-{seen[pair.name]}"
        apart.append(Pair(**{**pair.__dict__, "name": name}))
    return apart
