"""Stopping a command in order: on Ctrl-C, on SIGTERM from a cluster's scheduler, or when the terminal is closed."""

import os
import signal
import sys
import threading
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
ABORTED = 128
"""The exit status of a process ended by a signal is this number plus the signal's number."""
IMPORTS = "<frozen importlib._bootstrap>"

_asked = 0


def install() -> None:
    """Install handlers: the first signal raises an exception, a second one ends the process at once.

    Signals that are already ignored, for example by ``nohup``, stay ignored.
    """
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, stop)


def asked() -> int:
    """Return the number of the signal that asked this process to stop; 0 if none has."""
    return _asked


def note(number: int) -> bool:
    """Record a received signal; return True if it is the first."""
    global _asked
    first, _asked = not _asked, number
    return first


def stop(number: int, frame: FrameType | None) -> None:
    """Raise `KeyboardInterrupt`; on a second signal, or during imports, remove unfinished files and end at once.

    Imports are treated differently because they turn this exception into other ones.
    """
    if note(number) and not _is_importing(frame):
        raise KeyboardInterrupt
    files = sys.modules.get("spotlight.files")  # not imported at the top, so that handlers are installed early
    if files is not None:
        files.remove_unfinished()
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"stopped\n")
    os._exit(ABORTED + number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == IMPORTS:
            return True
        frame = frame.f_back
    return False
