"""Cells of a row of a manifest that need reading: channels, further inputs, timepoints, offsets."""

import re
from collections.abc import Mapping
from pathlib import Path

from spotlight.addresses import located
from spotlight.errors import SpotlightError
from spotlight.files import require_path
from spotlight.images.joining import parse_channels
from spotlight.images.selection import FurtherInput


def channels_in(row: Mapping[str, str], where: str) -> str | tuple[str, ...] | None:
    """Read the cell input_channel of a row: one channel, or several separated by semicolons."""
    try:
        return parse_channels(row.get("input_channel") or None)  # type: ignore[return-value]
    except SpotlightError as error:
        raise SpotlightError(f"{where}: input_channel: {error}") from error


def further_in(row: Mapping[str, str], folder: Path, where: str) -> tuple[FurtherInput, ...] | None:
    """Read the cells input:NAME and input_channel:NAME of a row; None if there are none."""
    found = []
    for column, cell in row.items():
        name = column.removeprefix("input:")
        if name == column:
            continue
        if not cell:
            raise SpotlightError(f"{where}: {column} is empty. Name a file; every row needs all channels of the input.")
        path = located(cell, folder)
        try:
            require_path(path, "Correct the path.")
        except SpotlightError as error:
            raise SpotlightError(f"{where}: {column}: {error}") from error
        found.append(FurtherInput(name, path, row.get(f"input_channel:{name}") or None))
    return tuple(found) or None


def parse_time(text: str, where: str) -> int:
    """Read the index of a timepoint."""
    if not (text.isascii() and text.isdecimal()):
        raise SpotlightError(f"{where}: time must be a zero-based index of a timepoint. Received: {text!r}.")
    return int(text)


def parse_offset(text: str, where: str) -> int:
    """Read a number of planes, with or without a sign."""
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise SpotlightError(
            f"{where}: focus_offset must be a whole number of planes from the best focus, or empty. Received: {text!r}."
        )
    return int(text)
