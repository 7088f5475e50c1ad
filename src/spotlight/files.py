"""Writing files completely or not at all, and checking paths before they are read."""

import atexit
import errno
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from spotlight.addresses import Address, located
from spotlight.errors import SpotlightError
from spotlight.quoting import quoted

PROGRAM_FAULTS = (AttributeError, ImportError, NameError, NotImplementedError, TypeError)
"""Errors that mean a fault of the program, or a package of the wrong version, not a damaged file."""
UNKNOWN_FORM = re.compile(
    r"codec not available|unknown codec|not a known compression|not supported|requires the '", re.I
)
"""How packages report intact files whose compression or form they do not support."""

# The mask can only be read by setting it. That is safe only once, before threads start.
UMASK = os.umask(0)
os.umask(UMASK)

_unfinished: set[Path] = set()
"""Temporary files and folders that this process is writing."""


def remove_unfinished() -> None:
    """Remove the unfinished files of this process, for exits that run no ``finally`` or that threads outlive."""
    for path in tuple(_unfinished):
        _remove(path)
        if path.parent.suffix == ".part":
            with suppress(OSError):
                path.parent.rmdir()  # such a thread has created it again


atexit.register(remove_unfinished)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` when the block ends without an error.

    After an error the temporary file is removed, and an existing file at `path` is unchanged.

    Raises
    ------
    SpotlightError
        If the folder cannot be created or written to, for example because the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    with explained_writing(path), _removed(temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with suppress(OSError):  # some file systems have no permissions
            temporary.chmod(0o666 & ~UMASK)  # some writers create files that only their owner can read
        temporary.replace(path)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Do what `atomic_file` does, for a folder such as an OME-Zarr; an existing folder is replaced.

    Raises
    ------
    SpotlightError
        If the folder cannot be created or written to.
    """
    path = Path(path)
    mark = uuid.uuid4().hex[:8]
    temporary, old = (path.with_name(f".{path.name}.{mark}.{ending}") for ending in ("part", "old"))
    with explained_writing(path), _removed(temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if path.exists():
            path.replace(old)
        try:
            temporary.replace(path)
        except BaseException:
            if old.exists():
                old.replace(path)
            raise
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _removed(temporary: Path) -> Iterator[None]:
    """Remove a temporary file or folder at the end of the block or of the process, if it still exists."""
    _unfinished.add(temporary)
    try:
        yield
    except BaseException:
        _remove(temporary)
        time.sleep(0.05)  # threads may still be writing; it is removed once more at the end of the process
        _remove(temporary)
        raise
    _remove(temporary)
    _unfinished.discard(temporary)


def _remove(path: Path) -> None:
    """Remove a file or folder; try again while threads that are ending still write into it."""
    for _ in range(20):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        if not os.path.lexists(path):
            return
        time.sleep(0.05)


@contextmanager
def explained_writing(path: str | Path) -> Iterator[None]:
    """Turn the system's error when a file cannot be written into a `SpotlightError` with a remedy.

    Addresses are refused, because the system would create folders of that name.
    """
    if isinstance(located(path), Address):
        raise SpotlightError(
            f"{located(path)}: is an address, but results are written to files and folders. Give a path."
        )
    try:
        yield
    except OSError as error:
        raise SpotlightError(f"{path}: cannot be written ({_reason(error)}).") from error
    except UnicodeEncodeError as error:
        name = quoted(error.object[max(0, error.start - 40) : error.end + 40])
        raise SpotlightError(
            f"{path}: cannot be written: {name} is not valid Unicode; a file name may have another encoding. Rename it."
        ) from error


def require_path(path: str | Path, hint: str) -> Path:
    """Return the path if it is a regular file or a folder, so that reading never waits for a writer.

    Raises
    ------
    SpotlightError
        If it does not exist, cannot be opened, or is a pipe, a socket or a device; the message ends with `hint`, or
        with the remedy for a Windows path. Also if it is an address.
    """
    path = located(path)
    if isinstance(path, Address):
        raise path.refusal()
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        found = "no such file or folder" if isinstance(error, FileNotFoundError) else f"cannot be opened ({error})"
        raise SpotlightError(f"{path}: {found}. {_of_windows(str(path)) or hint}") from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kinds = {stat.S_IFIFO: "a pipe (FIFO)", stat.S_IFSOCK: "a socket"}
        raise SpotlightError(f"{path}: is {kinds.get(stat.S_IFMT(mode), 'a device')}, not a file. {hint}")
    return path


def _of_windows(path: str) -> str:
    """Return the remedy for a path written in the Windows style; empty if it is not."""
    if os.sep == "\\" or "\\" not in path:
        return ""
    if re.search(r"(^|/)([A-Za-z]:\\|\\\\)", path):
        return "It is a Windows path. Give the path that the file has on this machine."
    return f"On this machine, folders are separated by /, not by \\. Write {path.replace(chr(92), '/')!r}."


def require_file(path: str | Path, hint: str) -> Path:
    """Return the path if it is a file; see `require_path`.

    Raises
    ------
    SpotlightError
        If it is not a file; the message ends with `hint`.
    """
    path = require_path(path, hint)
    if path.is_dir():
        raise SpotlightError(f"{path}: is a folder, not a file. {hint}")
    return path


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file completely or not at all; characters that are not valid Unicode become escapes."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def unreadable(path: Path, kind: str, error: Exception, packages: Sequence[str] = ()) -> SpotlightError:
    """Return the error for a file that a parser could not read: either the file is damaged, or the program failed.

    Parsers of damaged files raise many kinds of errors. But `PROGRAM_FAULTS` mean that the program called a package
    wrongly, or that the package has a version for which the program was not written.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        The expected kind of file.
    error : Exception
        The parser's error.
    packages : sequence of str
        The packages that read such files; the message states their versions.
    """
    said = f"{path}: cannot be read as {kind} ({type(error).__name__}: {error})."
    if not isinstance(error, PROGRAM_FAULTS):
        if UNKNOWN_FORM.search(str(error)):
            remedy = "open it in another program and save it with another compression"
            return SpotlightError(f"{said} Its compression or form is not supported; {remedy}.")
        return SpotlightError(f"{said} The file is damaged or of another kind; copy it again from its source.")
    found = []
    for package in packages:
        with suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return SpotlightError(
        f"{said} This is a fault of Spotlight, or of a package whose version does not fit"
        + (f" ({', '.join(found)})" if found else "")
        + ". Update Spotlight and its packages; if that does not help, and another program opens the file, report it."
    )


def _reason(error: OSError) -> str:
    remedies = {
        errno.ENOSPC: "the disk is full; free some space or write elsewhere",
        errno.EDQUOT: "the disk quota is used up; free some space or write elsewhere",
        errno.EACCES: "permission denied; write to a folder in which you may create files",
        errno.EROFS: "the file system is read-only; write elsewhere",
        errno.EFBIG: "the file would be too large; see ulimit -f, or choose another file system",
        errno.EISDIR: "a folder has that name; choose another name",
    }
    return remedies.get(error.errno or 0, str(error))
