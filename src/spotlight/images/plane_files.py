"""Images of one file per plane: a list of these files, ``NAME.planes.yaml``, that is read as one image."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.files import write_text
from spotlight.images.facts import Facts, Scene
from spotlight.images.formats import PLANE_FILES, is_plane_files
from spotlight.images.layouts import PlaneFiles
from spotlight.images.microscope_notes import notes_of
from spotlight.images.reading import read
from spotlight.images.stack import Stack
from spotlight.plain_yaml import load_yaml
from spotlight.quoting import safe_name

ENTRIES = {"axes", "shape", "channels", "voxel_size", "files"}
HEAD = "# One image in several files, which follow each other along these axes, the last one fastest.\n"


class Sequenced:
    """Images of one shape and type along leading axes; each is opened when it is asked for.

    Parameters
    ----------
    path : Path
        The list, for messages.
    files : sequence of Path
        In order.
    leading : tuple of int
        Sizes of the leading axes.
    first : Stack
        What is in the first of the files, and must be alike in the others.
    """

    def __init__(self, path: Path, files: Sequence[Path], leading: tuple[int, ...], first: Stack) -> None:
        self.path, self.files, self.first = path, files, first
        self.leading = leading
        self.shape = (*leading, *first.shape)
        self.dtype = first.dtype

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        ahead, within = index[: len(self.leading)], index[len(self.leading) :]
        ranges = [range(n)[i] if isinstance(i, slice) else [i] for i, n in zip(ahead, self.leading, strict=True)]
        parts = [
            np.asarray(self._open(int(np.ravel_multi_index(place, self.leading))).array[within])
            for place in itertools.product(*ranges)
        ]
        kept = [len(r) for r, i in zip(ranges, ahead, strict=True) if isinstance(i, slice)]
        return np.stack(parts).reshape(*kept, *parts[0].shape)

    def _open(self, number: int) -> Stack:
        stack = read(self.files[number])
        if (stack.axes, stack.shape, stack.dtype) != (self.first.axes, self.first.shape, self.first.dtype):
            raise SpotlightError(
                f"{self.files[number]}: has {stack.axes} {stack.shape} of {stack.dtype}, but {self.first.source}, "
                f"which {self.path.name} says to be of the same image, has {self.first.axes} {self.first.shape} of "
                f"{self.first.dtype}. Correct the list, or export the planes again."
            )
        return stack


def listed_files(path: Path) -> list[Path]:
    """All files that a list names.

    Raises
    ------
    SpotlightError
        If it is no such list.
    """
    return _read_list(path)[0]


def scenes(path: Path) -> list[Scene]:
    """List the one image of a list of plane files; see `spotlight.images.scenes`."""
    return [Scene(path.name[: -len(PLANE_FILES)], lambda: _facts(path))]


def _facts(path: Path) -> Facts:
    files, axes, shape, channels, size = _read_list(path)
    first = read(files[0])
    if set(first.axes) & set(axes):
        raise SpotlightError(f"{path}: its files follow each other along {axes}, but {files[0]} has {first.axes}.")
    lengths = dict(zip(first.spatial_axes, first.voxel_size or (), strict=False)) | size
    known = channels or (first.channels if "C" in first.axes else ())
    return Facts(
        Sequenced(path, files, shape, first), axes + first.axes, known, lengths, unit="µm", unread=first.unread
    )


def _read_list(path: Path) -> tuple[list[Path], str, tuple[int, ...], tuple[str, ...], dict[str, float]]:
    found = load_yaml(path)
    try:
        unknown = set(found) - ENTRIES
        axes, shape = str(found["axes"]), tuple(int(n) for n in found["shape"])
        names = [str(name) for name in found["files"]]
        channels = tuple(str(name) for name in found.get("channels") or ())
        size = {str(axis): float(um) for axis, um in (found.get("voxel_size") or {}).items()}
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise SpotlightError(
            f"{path}: a list of plane files needs axes, such as 'CZ', shape, such as [2, 13], and files. Make it with "
            "spotlight stack-planes."
        ) from error
    fits = axes and "".join(a for a in "TCZ" if a in axes) == axes and len(axes) == len(shape) and min(shape) > 0
    named = not channels or ("C" in axes and len(channels) == shape[axes.index("C")])
    if unknown or not fits or not named or np.prod(shape, dtype=np.float64) != len(names) or set(size) - set("ZYX"):
        what = f"Unknown: {', '.join(sorted(unknown))}." if unknown else f"Received: {axes!r}, {shape}, {len(names)}."
        raise SpotlightError(
            f"{path}: axes are letters of TCZ in that order, shape their sizes, files as many as these make, channels "
            f"the names along C, and voxel_size lengths in µm by axis. {what}"
        )
    files = [path.parent / name for name in names]
    if any(map(is_plane_files, files)):
        raise SpotlightError(f"{path}: names another list of plane files. Name the files of planes themselves.")
    return files, axes, shape, channels, size


def write_plane_files(found: PlaneFiles, folder: Path) -> Path:
    """Write the list of an image's files, with what the microscope noted of it beside them, and return its path."""
    path = folder / f"{safe_name(found.name).replace('/', '-')}{PLANE_FILES}"
    notes = notes_of(found)
    listed: dict[str, Any] = {"axes": found.axes, "shape": list(found.shape)}
    if found.channels:
        listed["channels"] = list(notes.channels or found.channels)
    if notes.voxel_size:
        listed["voxel_size"] = notes.voxel_size
    listed["files"] = [_relative(file, folder) for file in found.files]
    write_text(path, HEAD + yaml.safe_dump(listed, allow_unicode=True, sort_keys=False, default_flow_style=None))
    return path


def _relative(file: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(file.absolute(), folder.absolute())).as_posix()
    except ValueError:  # on another drive
        return file.absolute().as_posix()
