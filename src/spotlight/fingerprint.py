"""What decides whether something that is kept still holds: the fingerprint of settings, and the state of files.

**Settings.** A setting that has its default is left out of the fingerprint, so that a setting that a later version adds
changes nothing where it is not used. So a default may not change silently: what was left out with the former default
would then stand for the new one. A class whose default changes therefore names the former one in `unsaid`, which is
left out from then on, while the new default is part of the fingerprint. So does a class with a new setting whose
default does other than was done without it: there, the value that does the same. ``tests/ground/unsaid.json`` holds all
values that are left out, and a test compares.

**Files.** The state of a file is its size, its times of change, its number on the disk (inode) and a hash of what it
holds. If size, times and number are as they were, it is the same, and nothing is read. If not, the hash decides: files
of up to `WHOLE_BYTES` are hashed whole, so that a copy, or a file that was only touched, is known again; of larger ones
evenly spaced blocks are, and besides size and time of change must be as they were. A folder, such as an OME-Zarr, is
all files in it.

What it cannot see: another content of the same size that is written within one tick of the file system's clock (4 ms,
on some network drives 2 s) or, on systems without a time of status change, by whoever sets the time of change back; and
files that an image needs but that neither it nor its folder names; and anything that changes at an address
(``https://``, ``s3://``), which is known by its name alone.
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
"""Files and folders of up to so many bytes are hashed whole."""
BLOCK_BYTES = 64 * 2**10
BLOCKS = 64
"""Of larger ones, so many blocks of so many bytes are."""
LISTED = 100
"""Files of one image whose states are recorded one by one; of more files, one state is."""


def fingerprint(*facts: Any) -> str:
    """SHA-256, in hexadecimal digits, of numbers, texts, paths, settings, and lists and mappings of them."""
    return hashlib.sha256(json.dumps(plain(facts), sort_keys=True).encode()).hexdigest()


def plain(value: Any) -> Any:
    """Turn a value into what JSON knows; of settings, only fields that differ from what goes without saying."""
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    elif isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    elif isinstance(value, float) and value.is_integer():
        return int(value)  # 1 and 1.0 say the same
    else:
        return str(value.resolve()) if isinstance(value, Path) else value
    unsaid = left_out(type(value))  # type: ignore[arg-type]
    said = {name: plain(part) for name, part in fields.items()}
    return {name: part for name, part in said.items() if name not in unsaid or unsaid[name] != part}


@lru_cache
def left_out(kind: Any) -> dict[str, Any]:
    """By field, the plain value that goes without saying in settings of a class.

    It is the default or, where the class names it in `unsaid`, the former one. What tells kinds of settings apart, a
    field with a single possible value, is never left out.
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
    """The plain value of a default; of settings, what its declaration states, whatever their own defaults are now."""
    if not isinstance(default, BaseModel):
        return plain(default)
    kind = type(default)
    stated = default.model_fields_set
    return {name: part for name, part in plain(default).items() if name in stated or name not in left_out(kind)}


@dataclasses.dataclass(frozen=True)
class State:
    """A file, or a folder that is one thing, as it was at a moment.

    Attributes
    ----------
    path : Path
        Where it lies.
    files : tuple
        Of all its files: path, size, times of change of contents and of status in ns, and inode. Empty if it is not
        there.
    """

    path: Path
    files: tuple[tuple[str, int, int, int, int], ...]

    @cached_property
    def stamp(self) -> str:
        """Fingerprint of names, sizes, times and inodes: if it is the same, nothing has changed."""
        return fingerprint(self.files)

    @cached_property
    def dated(self) -> str:
        """Fingerprint of names, sizes and times of change, which a copy may have in common with its original."""
        return fingerprint([(name, size, changed) for name, size, changed, _, _ in self.files])

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(size for _, size, *_ in self.files)

    def record(self) -> dict[str, str]:
        """What to write down, to compare with later; reads the file or parts of it."""
        content = "whole" if self.size <= WHOLE_BYTES else "sampled"
        return {"stamp": self.stamp, "dated": self.dated, content: _content(self.path, self.files)}

    def is_as(self, record: Mapping[str, str]) -> bool:
        """Whether it is as a `record` says."""
        if record.get("stamp") == self.stamp:
            return True
        if self.size <= WHOLE_BYTES:
            return record.get("whole") == _content(self.path, self.files)
        return record.get("dated") == self.dated and record.get("sampled") == _content(self.path, self.files)


def state_of(path: str | Path) -> State:
    """Look at a file or folder as it is now; one that is missing has a state, too."""
    path = located(path).resolve()
    if not path.is_dir():
        return State(path, tuple(_facts("", path)))
    found = []
    for folder, _, names in os.walk(path):
        below = os.path.relpath(folder, path)
        for name in names:
            found += _facts(f"{below}/{name}", Path(folder, name))
    return State(path, tuple(sorted(found)))


def states_of(images: Iterable[Iterable[Path]]) -> list[State]:
    """Look at images of one or several files; those of very many files are one state each."""
    states: dict[Path, State] = {}
    for files in images:
        found = [state_of(file) for file in files]
        if len(found) > LISTED:
            found = [State(found[0].path, tuple((str(s.path), *facts[1:]) for s in found for facts in s.files))]
        states |= {state.path: state for state in found}
    return list(states.values())


def recorded(states: Iterable[State]) -> dict[str, dict[str, str]]:
    """What to write down of several, by their paths."""
    return {str(state.path): state.record() for state in states}


def changed(record: Mapping[str, Mapping[str, str]], states: Iterable[State]) -> list[str]:
    """Paths whose state is not the recorded one, or of which either has none."""
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
    """Hash of all that files hold, or of blocks that are evenly spaced over all of them; read once for a state."""
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
