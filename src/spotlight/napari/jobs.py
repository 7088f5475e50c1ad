"""Work in a thread, with progress and a way to stop it."""

from collections.abc import Callable
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal

import spotlight

Tell = Callable[..., None]


class Stopped(Exception):
    """The user pressed Cancel."""


class Job(QObject):
    """One piece of work at a time, in a thread of its own.

    Signals come in the thread of the window: ``progressed`` (done, total), ``returned`` (the result), ``failed`` (a
    sentence) and ``ended``.
    """

    progressed = Signal(int, int)
    returned = Signal(object)
    failed = Signal(str)
    ended = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.worker: Any = None
        self.outcome: tuple[Any, Any] = (self.failed, "Cancelled.")

    @property
    def runs(self) -> bool:
        """Whether something is at work."""
        return self.worker is not None

    def start(self, work: Callable[[Tell], Any]) -> None:
        """Begin; `work` gets a function (done, total) that it calls now and then, which raises `Stopped`."""

        def tell(*said: Any) -> None:
            if worker.abort_requested:
                raise Stopped
            self.progressed.emit(*(int(value) for value in said[:2]))

        def run() -> None:
            try:
                self.outcome = self.returned, work(tell)
            except Stopped:
                self.outcome = self.failed, "Cancelled."
            except spotlight.SpotlightError as error:
                self.outcome = self.failed, str(error)
            except Exception as error:  # whatever it is, the window must say it and be usable again
                self.outcome = self.failed, f"{type(error).__name__}: {error}"

        self.worker = worker = create_worker(run, _start_thread=False)
        worker.finished.connect(self._take)
        worker.start()

    def stop(self) -> None:
        """Ask the work to end; it does so at its next call."""
        if self.worker is not None:
            self.worker.quit()

    def _take(self) -> None:
        self.worker = None
        signal, value = self.outcome
        signal.emit(value)
        self.ended.emit()
