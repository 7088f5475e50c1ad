"""How a command ends when it is asked to: by Ctrl-C, by SIGTERM from a cluster's manager, or by a closed terminal."""

import os
import signal
import sys
import threading
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
ABORTED = 128
"""Added to a signal's number, this is the exit status of who was ended by it."""
IMPORTS = "<frozen importlib._bootstrap>"

_asked = 0


def install() -> None:
    """Make signals stop this process in order: an exception at the first, the end at a second one.

    A signal that is ignored, as by ``nohup``, stays ignored.
    """
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, stop)


def asked() -> int:
    """Give the number of the signal that asked this process to stop; 0 if none has."""
    return _asked


def note(number: int) -> bool:
    """Remember that a signal came; True if it is the first."""
    global _asked
    first, _asked = not _asked, number
    return first


def stop(number: int, frame: FrameType | None) -> None:
    """Raise `KeyboardInterrupt`; end at once during imports, which turn exceptions into others, and when asked again.

    What is half written is removed.
    """
    if note(number) and not _is_importing(frame):
        raise KeyboardInterrupt
    files = sys.modules.get("spotlight.files")  # not imported here, so that this module is there soon
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
