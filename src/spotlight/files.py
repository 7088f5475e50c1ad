"""Writing files so that what stands under a name is always whole."""

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
"""Errors that tell of a program, or of a package of an unfitting version, rather than of a file."""
UNKNOWN_FORM = re.compile(
    r"codec not available|unknown codec|not a known compression|not supported|requires the '", re.I
)
"""What packages say of files that are right, but compressed or stored as they do not know."""

# The mask can only be read by setting it, which is safe just once, before there are threads.
UMASK = os.umask(0)
os.umask(UMASK)

_unfinished: set[Path] = set()
"""Temporary files and folders that this process is writing."""


def remove_unfinished() -> None:
    """Remove what this process has half written, before an end that no ``finally`` sees, or that threads outlive."""
    for path in tuple(_unfinished):
        _remove(path)
        if path.parent.suffix == ".part":
            with suppress(OSError):
                path.parent.rmdir()  # made anew by such a thread


atexit.register(remove_unfinished)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends without an error.

    On an error the temporary file is removed and whatever stood under `path` before stays untouched.

    Raises
    ------
    SpotlightError
        If the folder cannot be made or written to, for example because the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    with explained_writing(path), _removed(temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with suppress(OSError):  # some file systems have no permissions
            temporary.chmod(0o666 & ~UMASK)  # some writers keep their files private
        temporary.replace(path)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Do the same as `atomic_file` for a folder that is one thing, such as an OME-Zarr; an old one is replaced.

    Raises
    ------
    SpotlightError
        If the folder cannot be made or written to.
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
    """Remove what is left of a temporary file or folder at the end of the block, or of the process."""
    _unfinished.add(temporary)
    try:
        yield
    except BaseException:
        _remove(temporary)
        time.sleep(0.05)  # threads that write may not have noticed yet; at the end of the process it is looked again
        _remove(temporary)
        raise
    _remove(temporary)
    _unfinished.discard(temporary)


def _remove(path: Path) -> None:
    """Remove a file or folder; again where threads that are ending add to it meanwhile."""
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
    """Turn what the system says when a file cannot be written into a `SpotlightError` with a remedy.

    Nothing is written to addresses, of which the system would make folders.
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
            f"{path}: cannot be written: {name} is no Unicode, such as a file name in another encoding. Rename it."
        ) from error


def require_path(path: str | Path, hint: str) -> Path:
    """Return the path if a file or folder stands there, which can be read without waiting for somebody to write.

    Raises
    ------
    SpotlightError
        If nothing does, it cannot be looked at, or it is a pipe, a socket or a device; the message ends with `hint`, or
        with what to do about a path of Windows. Or if it is an address.
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
    """What to do about a path that leads nowhere because it is written as on Windows; empty if it is not."""
    if os.sep == "\\" or "\\" not in path:
        return ""
    if re.search(r"(^|/)([A-Za-z]:\\|\\\\)", path):
        return "It is a path of Windows. Give the path that the file has on this machine."
    return f"Here folders are separated by /, not by \\. Write {path.replace(chr(92), '/')!r}."


def require_file(path: str | Path, hint: str) -> Path:
    """Return the path if a file stands there; see `require_path`.

    Raises
    ------
    SpotlightError
        If something else does, or nothing; the message ends with `hint`.
    """
    path = require_path(path, hint)
    if path.is_dir():
        raise SpotlightError(f"{path}: is a folder, not a file. {hint}")
    return path


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all; what is no Unicode, as in some files' names, as escapes."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def unreadable(path: Path, kind: str, error: Exception, packages: Sequence[str] = ()) -> SpotlightError:
    """Return the error for what a parser said of a file: that the file is damaged, or that the program failed on it.

    Parsers of damaged bytes fail in many ways. But where a package lacks what is asked of it, or takes other arguments,
    it is the program that failed, or the package has another version than the program was written for.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        As what it was to be read.
    error : Exception
        What was said.
    packages : sequence of str
        The packages that read such files, whose versions are told.
    """
    said = f"{path}: cannot be read as {kind} ({type(error).__name__}: {error})."
    if not isinstance(error, PROGRAM_FAULTS):
        if UNKNOWN_FORM.search(str(error)):
            remedy = "save it in another one with a program that opens it"
            return SpotlightError(f"{said} Its compression or form is not known here; {remedy}.")
        return SpotlightError(f"{said} The file is damaged or of another kind; copy it again from its source.")
    found = []
    for package in packages:
        with suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return SpotlightError(
        f"{said} This is a fault of the program, or of a package whose version does not fit"
        + (f" ({', '.join(found)})" if found else "")
        + ". Update Spotlight and its packages; if that does not help, and another program opens the file, report it."
    )


def _reason(error: OSError) -> str:
    remedies = {
        errno.ENOSPC: "the disk is full; free some space or write elsewhere",
        errno.EDQUOT: "the disk quota is used up; free some space or write elsewhere",
        errno.EACCES: "permission denied; write to a folder of yours",
        errno.EROFS: "the file system is read-only; write elsewhere",
        errno.EFBIG: "the file would be larger than is allowed here; see ulimit -f, or choose another file system",
        errno.EISDIR: "a folder of that name is in the way",
    }
    return remedies.get(error.errno or 0, str(error))
