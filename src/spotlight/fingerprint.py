"""Whether a kept result is still valid: fingerprints of settings, and states of files.

**Settings.** A setting with its default value is left out of the fingerprint, so a new setting in a later version does
not invalidate old results. A default must therefore not change silently: old fingerprints, which omit the former
default, would then stand for the new one. A class whose default changes names the former default in `unsaid`. That
value is left out from then on, and the new default is part of the fingerprint. A class with a new setting whose default
changes the behaviour names in `unsaid` the value that keeps the old behaviour. ``tests/ground/unsaid.json`` lists all
values that are left out, and a test compares them.

**Files.** The state of a file is its size, its times of change, its inode and a hash of its contents. If size, times
and inode are unchanged, the file counts as unchanged and is not read. Otherwise the hash decides. Files of up to
`WHOLE_BYTES` are hashed completely, so a copied or touched file is recognised. Of larger files, evenly spaced blocks
are hashed, and size and time of change must also be unchanged. The state of a folder, such as an OME-Zarr, covers all
files in it but its labels, which are images of their own and may be written from this one.

Not detected: a change of the same size within one tick of the file system's clock (4 ms, on some network drives 2 s);
on systems without a time of status change, a change of the same size by a program that resets the time of change;
changes in files that neither the image nor its folder names; and changes at an address (``https://``, ``s3://``), which
is identified by its name only.
"""

import dataclasses
import hashlib
import json
import os
import stat
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, get_origin

from pydantic import BaseModel

from spotlight.addresses import located
from spotlight.errors import SpotlightError

WHOLE_BYTES = 64 * 2**20
"""Files and folders up to this size are hashed completely."""
BLOCK_BYTES = 64 * 2**10
BLOCKS = 64
"""Of larger ones, this number of blocks of `BLOCK_BYTES` is hashed."""
LABELS = "labels"
"""The folder of an OME-Zarr image that holds its labels."""
LISTED = 100
"""An image of at most this number of files has one recorded state per file; a larger one has a single state."""


def fingerprint(*facts: Any) -> str:
    """SHA-256, in hexadecimal digits, of numbers, strings, paths, settings, and lists and mappings of them."""
    return hashlib.sha256(json.dumps(plain(facts), sort_keys=True).encode()).hexdigest()


def plain(value: Any) -> Any:
    """Turn a value into types that JSON has; of settings, only the fields that are not `left_out`."""
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    elif isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    elif isinstance(value, float) and value.is_integer():
        return int(value)  # 1 and 1.0 are the same setting
    else:
        return str(value.resolve()) if isinstance(value, Path) else value
    unsaid = left_out(type(value))  # type: ignore[arg-type]
    said = {name: plain(part) for name, part in fields.items()}
    return {name: part for name, part in said.items() if name not in unsaid or unsaid[name] != part}


def differences(first: Mapping[str, Any], second: Mapping[str, Any], within: str = "") -> list[str]:
    """Name the values in which two mappings differ, such as ``training.steps`` where one holds another mapping."""
    found = []
    for name in dict.fromkeys((*first, *second)):
        one, other = first.get(name), second.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += differences(one, other, f"{within}{name}.")
        elif one != other:
            found.append(f"{within}{name}")
    return found


@lru_cache
def left_out(kind: Any) -> dict[str, Any]:
    """Map each field of a class of settings to the plain value that is left out of fingerprints.

    It is the default or, if the class names it in `unsaid`, the former default. A field with a single possible value,
    which distinguishes kinds of settings, is never left out.
    """
    defaults: dict[str, Any] = {}
    if issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            single = get_origin(field.annotation) is Literal and len(field.annotation.__args__) == 1
            if not field.is_required() and not single:
                defaults[name] = field.get_default(call_default_factory=True)
    else:
        fields = [field for field in dataclasses.fields(kind) if field.default is not dataclasses.MISSING]
        defaults = {field.name: field.default for field in fields}
    return {name: _declared(value) for name, value in (defaults | getattr(kind, "unsaid", {})).items()}


def _declared(default: Any) -> Any:
    """Return the plain value of a default; for settings, the fields stated where the default is declared."""
    if not isinstance(default, BaseModel):
        return plain(default)
    kind = type(default)
    stated = default.model_fields_set
    return {name: part for name, part in plain(default).items() if name in stated or name not in left_out(kind)}


@dataclasses.dataclass(frozen=True)
class State:
    """The state of a file, or of a folder such as an OME-Zarr, at one moment.

    Attributes
    ----------
    path : Path
        The file or folder.
    files : tuple
        For each of its files: path, size, times of change of contents and of status in ns, and inode. Empty if it does
        not exist.
    """

    path: Path
    files: tuple[tuple[str, int, int, int, int], ...]

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of names, sizes, times and inodes: if it is equal, the files count as unchanged."""
        return fingerprint(self.files)

    @cached_property
    def dated(self) -> str:
        """Fingerprint of names, sizes and times of change, which a copy may share with its original."""
        return fingerprint([(name, size, changed) for name, size, changed, _, _ in self.files])

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(size for _, size, *_ in self.files)

    def record(self) -> dict[str, str]:
        """Return the record to store and compare later; reads the file or parts of it."""
        content = "whole" if self.size <= WHOLE_BYTES else "sampled"
        return {"stamp": self.fingerprint, "dated": self.dated, content: _content(self.path, self.files)}

    def is_as(self, record: Mapping[str, str]) -> bool:
        """Whether the state agrees with a `record`."""
        if record.get("stamp") == self.fingerprint:
            return True
        if self.size <= WHOLE_BYTES:
            return record.get("whole") == _content(self.path, self.files)
        return record.get("dated") == self.dated and record.get("sampled") == _content(self.path, self.files)


def state_of(path: str | Path) -> State:
    """Return the current state of a file or folder without its labels; a missing one has a state, too."""
    path = located(path).resolve()
    if not path.is_dir():
        return State(path, tuple(_facts("", path)))
    found = []
    for folder, folders, names in os.walk(path):
        if Path(folder) == path and LABELS in folders:
            folders.remove(LABELS)
        below = os.path.relpath(folder, path)
        for name in names:
            found += _facts(f"{below}/{name}", Path(folder, name))
    return State(path, tuple(sorted(found)))


def states_of(images: Iterable[Iterable[Path]]) -> list[State]:
    """Return the current states of images of one or several files; an image of many files has a single state."""
    states: dict[Path, State] = {}
    for files in images:
        found = [state_of(file) for file in files]
        if len(found) > LISTED:
            found = [State(found[0].path, tuple((str(s.path), *facts[1:]) for s in found for facts in s.files))]
        states |= {state.path: state for state in found}
    return list(states.values())


def recorded(states: Iterable[State]) -> dict[str, dict[str, str]]:
    """Return the records of several states, by their paths."""
    return {str(state.path): state.record() for state in states}


def changed(record: Mapping[str, Mapping[str, str]], states: Iterable[State]) -> list[str]:
    """Return the paths whose state differs from the record, or that only one of the two has."""
    now = {str(state.path): state for state in states}
    return [
        path for path in {**record, **now} if path not in record or path not in now or not now[path].is_as(record[path])
    ]


def _facts(name: str, path: Path) -> list[tuple[str, int, int, int, int]]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):  # a pipe or a device has no end
        return []
    return [(name, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)]


@lru_cache(maxsize=4096)
def _content(path: Path, files: tuple[tuple[str, int, int, int, int], ...]) -> str:
    """Hash the contents of files, or blocks that are evenly spaced over all of them; read once per state."""
    digest = hashlib.sha256(json.dumps([(name, size) for name, size, *_ in files]).encode())
    sizes = [size for _, size, *_ in files]
    total = sum(sizes)
    try:
        if total <= WHOLE_BYTES:
            for name, *_ in files:
                with (path / name).open("rb") as file:
                    while block := file.read(2**20):
                        digest.update(block)
            return digest.hexdigest()
        ends = list(accumulate(sizes))
        for number in range(BLOCKS):
            place = number * (total - BLOCK_BYTES) // (BLOCKS - 1)
            which = bisect_right(ends, place)
            with (path / files[which][0]).open("rb") as file:
                file.seek(place - (ends[which] - sizes[which]))
                digest.update(file.read(BLOCK_BYTES))
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest()


def _unreadable(path: Path, error: OSError) -> SpotlightError:
    return SpotlightError(f"{path}: cannot be read ({error}). Check the path and its permissions.")
