"""Locks on outputs: only one process at a time writes an output, and a lock file beside it names that process."""

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
from collections.abc import Callable, Iterable, Iterator
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
"""Seconds between updates of the lock file's time, by which its holder shows that it is alive."""
LAPSE = 180.0
"""Seconds without an update after which a holder on another machine counts as dead."""
LOOK = 1.0
"""Seconds between looks at what another process is at work on."""
PAUSE = 0.5
"""Seconds to wait after taking over a lock, before checking that no other machine took it over at the same time."""


class Busy(SpotlightError):
    """Another process, or another thread of this process, is writing the output."""


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
        """Return the contents of the lock file."""
        found = {"host": socket.gethostname(), "pid": os.getpid(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        return json.dumps(found | {"token": self.token, "machine": _machine(), "begun": _begun(os.getpid())})


_holds: dict[tuple[int, Path], _Hold] = {}  # the key includes the process: a forked process holds no locks
_changing = threading.RLock()
_beating: threading.Thread | None = None


@contextmanager
def working_in(folder: str | Path) -> Iterator[None]:
    """Lock a folder for the block; see `working_on`. The folder is created if needed."""
    folder = Path(folder)
    with _held(folder / ".spotlight.lock", folder):
        yield


@contextmanager
def working_on(file: str | Path) -> Iterator[None]:
    """Lock an output for the block: a file, or a folder such as an OME-Zarr.

    The lock is a file that names host, process and start time. It is removed at the end. The lock of a dead process is
    taken over: at once if the process ran on this machine, otherwise after three minutes without an update. It does not
    use locks of the file system, so it also works on network file systems. A thread may lock the same output again.

    Raises
    ------
    Busy
        If another process or thread writes the output; the message names it.
    SpotlightError
        If the lock cannot be written.
    """
    file = Path(file)
    with _held(file.with_name(f".{file.name}.lock"), file):
        yield


def share_out(things: Iterable[T], do: Callable[[T], None]) -> None:
    """Do all things, of which other processes do some: what one of them is at work on comes last, when it has ended.

    So the same call in several processes, on one machine or on many that see the same files, shares the work; each
    ends when all is done.

    Parameters
    ----------
    things : iterable
        In the order in which they are done.
    do : callable
        Does one of them; finds what another process has done already, and raises `Busy` while one is at work on it.
    """
    later: list[T] = []
    for thing in things:
        try:
            do(thing)
        except Busy:
            later.append(thing)
    for thing in later:
        waiting = False
        while True:
            try:
                do(thing)
            except Busy as error:
                if not waiting:  # said once: how long the other has been silent would change it with every look
                    log.warning("Waiting for another process. %s", error)
                waiting = True
                time.sleep(LOOK)
            else:
                break


def works_in(parameter: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function to run while it is `working_in` the folder that this parameter names."""

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
                    for folder in hold.made:  # folders created only for the lock are removed
                        folder.rmdir()


def _take(hold: _Hold) -> None:
    path = hold.path
    with _alone_in(path.parent):
        while True:
            try:
                _create(path, hold)
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
        log.info("%s: process %s on %s has died; this process continues its work.", hold.output, *_named(found))
        temporary = path.with_name(f"{path.name}.{hold.token[:8]}.part")
        temporary.write_text(hold.text(), encoding="utf-8")
        temporary.replace(path)
    if not here:
        time.sleep(PAUSE)
        if _read(path).get("token") != hold.token:
            raise Busy(_who(hold.output, path, _read(path), False, 0.0))


def _create(path: Path, hold: _Hold) -> None:
    """Make the lock file with its text at once: one without, of who was killed between, would name no process.

    Raises
    ------
    FileExistsError
        If there is one.
    """
    temporary = path.with_name(f"{path.name}.{hold.token[:8]}.part")
    temporary.write_text(hold.text(), encoding="utf-8")
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        with path.open("x", encoding="utf-8") as file:
            file.write(hold.text())
    finally:
        temporary.unlink()


def _who(output: Path, path: Path, found: dict[str, Any], here: bool, silent: float) -> str:
    pid, host = _named(found)
    said = f"{output}: is being written by process {pid} on {host} since {found.get('since', 'an unknown time')}. "
    said += "Wait until it has ended, or write to another folder."
    if here:
        return said
    return (
        f"{said} It last updated its lock {max(0, silent):.0f} s ago; after {LAPSE:.0f} s without an update it counts "
        f"as dead. If you know that it no longer runs, remove {path}."
    )


def _named(found: dict[str, Any]) -> tuple[Any, Any]:
    return found.get("pid", "?"), found.get("host", "an unknown machine")


def _read(path: Path) -> dict[str, Any]:
    """Return the contents of a lock file; empty while it is being written."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _silence(path: Path) -> float:
    """Return the seconds since the last update, by the clock of the file system, which all machines share."""
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
    """Update the times of lock files as long as this process holds locks."""
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
                log.warning(
                    "%s: another process also writes it, because this one did not update its lock for %.0f s.",
                    hold.output,
                    LAPSE,
                )
            else:
                with suppress(OSError):
                    os.utime(hold.path)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine from taking a lock in the folder at the same time, if the system can."""
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems do not support it
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _machine() -> str:
    """Return the boot of this machine and the container in which process numbers are unique; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return "" if sys.platform == "win32" else socket.gethostname()


def _begun(pid: int) -> str:
    """Return the start time of a process, because numbers are reused; empty if it does not run."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if facts[0] in "ZX" else facts[19]  # a zombie has ended


def _is_alive(found: dict[str, Any]) -> bool:
    """Whether the process of this machine that wrote a lock still runs."""
    if found.get("begun"):
        return _begun(int(found["pid"])) == str(found["begun"])
    try:
        os.kill(int(found["pid"]), 0)
    except ProcessLookupError:
        return False
    except (OSError, KeyError, ValueError):
        return True
    return True
