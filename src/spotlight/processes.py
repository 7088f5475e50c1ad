"""Work in several processes, which always end together with the process that started them."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import FrameType
from typing import TYPE_CHECKING, Any

from spotlight.files import remove_unfinished
from spotlight.stopping import ABORTED, SIGNALS

TICK_S = 0.5
PATIENCE_S = 2.0
"""Seconds that a process gets to end before it is killed."""

__all__ = ["BrokenProcessPool", "numbers", "processes"]

CONTEXT = multiprocessing.get_context("spawn")

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

    Numbers = SimpleQueue[int]


def numbers() -> "Numbers":
    """Make a queue by which processes that start here can send numbers back."""
    return CONTEXT.SimpleQueue()


@contextmanager
def processes(
    workers: int,
    begin: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yield a function like `map` that runs its calls in `workers` processes, or in this process for one worker.

    When the block ends with an error or by Ctrl-C, the processes end too, and their unfinished files are removed. When
    this process is killed, they detect it and end. They do not receive Ctrl-C. They are spawned, not forked, because a
    forked process can hang when a library has started threads. So a script needs ``if __name__ == "__main__":``.

    The function takes a further argument, ``tick``, which is called twice a second while a result is awaited from
    other processes.

    Parameters
    ----------
    workers : int
        Number of processes.
    begin : callable, optional
        Called first in each new process, not in this one.
    arguments : tuple
        Arguments of `begin`.

    Raises
    ------
    BrokenProcessPool
        If one of the processes dies.
    """
    if workers <= 1:
        yield lambda function, *tasks, tick=None: map(function, *tasks)
        return
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, CONTEXT, _begin, (begin, arguments))

    def run(function: Callable[..., Any], *tasks: Any, tick: Callable[[], None] | None = None) -> Iterator[Any]:
        with _signals_held(SIGNALS[:1]):  # processes that start here must not receive it either
            return _results([pool.submit(function, *one) for one in zip(*tasks, strict=False)], tick)

    try:
        yield run
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        _end(set(multiprocessing.active_children()) - others)
        raise
    finally:
        pool.shutdown()


def _results(futures: list[Future[Any]], tick: Callable[[], None] | None) -> Iterator[Any]:
    futures.reverse()
    while futures:
        future = futures.pop()  # so that its result is not kept
        while tick is not None and not wait_for([future], TICK_S).done:
            tick()
        yield future.result()


def _end(children: "set[multiprocessing.process.BaseProcess]") -> None:
    for child in children:
        child.terminate()
    deadline = time.monotonic() + PATIENCE_S
    for child in children:
        child.join(max(0, deadline - time.monotonic()))
        if child.is_alive():
            child.kill()


@contextmanager
def _signals_held(numbers: tuple[signal.Signals, ...]) -> Iterator[None]:
    """Delay signals until the end of the block."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(begin: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """Make a new process end together with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent receives it and ends this process
    for number in SIGNALS[1:]:
        signal.signal(number, _leave)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), name="end with parent", daemon=True).start()
    if begin is not None:
        begin(*arguments)


def _leave(number: int, frame: FrameType | None) -> None:
    remove_unfinished()
    os._exit(ABORTED + number)


def _end_with_parent(starter: int) -> None:
    parent = multiprocessing.parent_process()
    while parent is not None and not wait([parent.sentinel], 1) and os.getppid() == starter:
        pass
    remove_unfinished()
    os._exit(1)
