"""One process at a time writes an output: a lock file beside it says who is at work."""

import functools
import inspect
import json
import logging
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from spotlight.errors import SpotlightError
from spotlight.files import explained_writing

if sys.platform != "win32":
    import fcntl

log = logging.getLogger("spotlight")

P = ParamSpec("P")
T = TypeVar("T")

BEAT = 15.0
"""Seconds between signs of life: the lock file's time is set anew."""
LAPSE = 180.0
"""Seconds without one after which the holder is taken to be dead, where its process cannot be looked for."""
PAUSE = 0.5
"""Seconds after which it is looked whether another machine has taken over the same lock at the same time."""


class Busy(SpotlightError):
    """Another process, or another thread of this one, is at work on the output."""


@dataclass
class _Hold:
    """A lock that this process holds."""

    path: Path
    output: Path
    thread: int = field(default_factory=threading.get_ident)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    count: int = 1
    made: list[Path] = field(default_factory=list)

    def text(self) -> str:
        """What the lock file says."""
        found = {"host": socket.gethostname(), "pid": os.getpid(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        return json.dumps(found | {"token": self.token, "machine": _machine(), "begun": _begun(os.getpid())})


_holds: dict[tuple[int, Path], _Hold] = {}  # by process, too: a forked one holds nothing
_changing = threading.RLock()
_beating: threading.Thread | None = None


@contextmanager
def working_in(folder: str | Path) -> Iterator[None]:
    """Be the only process that writes into a folder; see `working_on`. The folder is made if needed."""
    folder = Path(folder)
    with _held(folder / ".spotlight.lock", folder):
        yield


@contextmanager
def working_on(file: str | Path) -> Iterator[None]:
    """Be the only process that writes a file, or a folder that is one thing, such as an OME-Zarr.

    The lock is a file with host, process and start, which is removed at the end. That of a dead process is taken over:
    at once where the process would be on this machine, else after three minutes without a sign of life. It needs no
    locks of the file system, so that it holds on network file systems, too. A thread that holds a lock can take it
    again.

    Raises
    ------
    Busy
        If another is at work; the message says who.
    SpotlightError
        If the lock cannot be written.
    """
    file = Path(file)
    with _held(file.with_name(f".{file.name}.lock"), file):
        yield


def works_in(parameter: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let a function run only where it is alone `working_in` the folder that this parameter names."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def alone(*args: P.args, **kwargs: P.kwargs) -> T:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            with working_in(given.arguments[parameter]):
                return function(*args, **kwargs)

        return alone

    return decorate


@contextmanager
def _held(path: Path, output: Path) -> Iterator[None]:
    path = path.parent.resolve() / path.name
    key = os.getpid(), path
    with _changing:
        hold = _holds.get(key)
        if hold is not None and hold.thread != threading.get_ident():
            raise Busy(f"{output}: is being written by another thread of this process. Wait until it has ended.")
        if hold is not None:
            hold.count += 1
        else:
            hold = _Hold(path, output)
            hold.made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
            with explained_writing(output):
                path.parent.mkdir(parents=True, exist_ok=True)
                _take(hold)
            _holds[key] = hold
            _give_signs_of_life()
    try:
        yield
    finally:
        with _changing:
            hold.count -= 1
            if not hold.count:
                del _holds[key]
                with suppress(OSError):
                    if _read(path).get("token") == hold.token:
                        path.unlink()
                    for folder in hold.made:  # what was made for the lock alone is removed
                        folder.rmdir()


def _take(hold: _Hold) -> None:
    path = hold.path
    with _alone_in(path.parent):
        while True:
            try:
                with path.open("x", encoding="utf-8") as file:
                    file.write(hold.text())
                return
            except FileExistsError:
                found = _read(path)
            with suppress(FileNotFoundError):  # removed meanwhile
                silent = _silence(path)
                here = found.get("machine", "") == _machine() != ""
                alive = _is_alive(found) if here else silent < LAPSE
                if alive:
                    raise Busy(_who(hold.output, path, found, here, silent))
                break
        log.info("%s: process %s on %s has died; its work is taken over.", hold.output, *_named(found))
        temporary = path.with_name(f"{path.name}.{hold.token[:8]}.part")
        temporary.write_text(hold.text(), encoding="utf-8")
        temporary.replace(path)
    if not here:
        time.sleep(PAUSE)
        if _read(path).get("token") != hold.token:
            raise Busy(_who(hold.output, path, _read(path), False, 0.0))


def _who(output: Path, path: Path, found: dict[str, Any], here: bool, silent: float) -> str:
    pid, host = _named(found)
    said = f"{output}: is being written by process {pid} on {host} since {found.get('since', 'an unknown time')}. "
    said += "Wait until it has ended, or write to another folder."
    if here:
        return said
    return (
        f"{said} Its last sign of life is {max(0, silent):.0f} s old; it is taken to be dead after {LAPSE:.0f} s "
        f"without one. If you know that it is, remove {path}."
    )


def _named(found: dict[str, Any]) -> tuple[Any, Any]:
    return found.get("pid", "?"), found.get("host", "an unknown machine")


def _read(path: Path) -> dict[str, Any]:
    """What a lock file says; nothing while it is being written."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _silence(path: Path) -> float:
    """Seconds since the last sign of life, by the clock of the file system, which all machines share."""
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _give_signs_of_life() -> None:
    global _beating
    if _beating is None or not _beating.is_alive():
        _beating = threading.Thread(target=_beat, name="spotlight-locks", daemon=True)
        _beating.start()


def _beat() -> None:
    """Give signs of life as long as there are locks."""
    global _beating
    while True:
        time.sleep(BEAT)
        with _changing:
            own = [hold for (pid, _), hold in _holds.items() if pid == os.getpid()]
            if not own:
                _beating = None
                return
        for hold in own:
            if _read(hold.path).get("token", hold.token) != hold.token:
                log.warning("%s: another process took this one to be dead and works on it, too.", hold.output)
            else:
                with suppress(OSError):
                    os.utime(hold.path)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine from taking a lock in the folder at the same time, where that can be."""
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # not on all network file systems
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _machine() -> str:
    """Where the number of a process has a meaning: a start of a machine, and a container on it; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return "" if sys.platform == "win32" else socket.gethostname()


def _begun(pid: int) -> str:
    """When a process was started, which tells it from a later one of the same number; empty if it does not run."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if facts[0] in "ZX" else facts[19]  # a zombie has ended


def _is_alive(found: dict[str, Any]) -> bool:
    """Whether a process of this machine, which wrote a lock, still runs."""
    if found.get("begun"):
        return _begun(int(found["pid"])) == str(found["begun"])
    try:
        os.kill(int(found["pid"]), 0)
    except ProcessLookupError:
        return False
    except (OSError, KeyError, ValueError):
        return True
    return True
