"""What a command says: lines for people, one JSON object for scripts, and progress on stderr."""

import json
import logging
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import typer

from spotlight.progress import duration_in_words
from spotlight.quoting import visible

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

FIRST, PAUSE, LATER = 1.5, 2.5, 20.0
"""Seconds without a word until the first line of progress, until each further one, and from the tenth minute on."""
LONG = 600.0


class Output:
    """What the running command has to say, and how.

    Attributes
    ----------
    quiet : bool
        Nothing but the result, warnings and errors.
    as_json : bool
        The result as one JSON object; lines for people go to stderr.
    result : dict
        What the command found and wrote, for that object.
    warnings : list of str
        All that was warned of.
    """

    def __init__(self, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet, self.as_json = quiet, as_json
        self.result: dict[str, Any] = {"paths": []}
        self.warnings: list[str] = []

    def finish(self, command: str, status: int, error: str = "") -> None:
        """Print the JSON object, if it was asked for."""
        if self.as_json:
            told = {"command": command, "status": status} | ({"error": error} if error else {})
            print(json.dumps(_plain(told | self.result | {"warnings": self.warnings}), indent=2, allow_nan=False))


_output = Output()


def current() -> Output:
    """Give the output of the running command."""
    return _output


def begin(quiet: bool, as_json: bool) -> None:
    """Start the output of a command."""
    global _output
    _output = Output(quiet, as_json)
    if quiet:
        logging.getLogger("spotlight").setLevel(logging.WARNING)


def say(*lines: object, err: bool = False) -> None:
    """Print lines that --quiet leaves out; characters that would act on the terminal are written as escapes."""
    if not _output.quiet:
        _echo(*lines, err=err or _output.as_json)


def answer(*lines: object, **values: Any) -> None:
    """Print lines that are what the command was asked for, and keep the same as values for --json."""
    _output.result |= values
    _echo(*lines, err=_output.as_json)


def wrote(path: Path, text: str = "{}") -> None:
    """Print a line with a path that was written; with --quiet the path alone."""
    _output.result["paths"].append(path)
    line = str(path) if _output.quiet else text.replace("{}", str(path), 1)
    _echo(line, err=_output.as_json)


def warn(*lines: str) -> None:
    """Print warnings."""
    _output.warnings += lines
    _echo(*(f"warning: {line}" for line in lines), err=True)


def report_failures(failed: dict[str, str], count: int) -> None:
    """Print which files failed and why, and leave with status 1, or 2 if it was the only one."""
    if failed:
        _output.result["failed"] = failed
    if failed and count > 1:  # the reason of a single one was logged
        _echo("", f"{len(failed)} of {count} failed:", err=True)
        _echo(*(f"  {name}: {reason}" for name, reason in failed.items()), err=True)
    if failed:
        raise typer.Exit(2 if count == 1 else 1)


def say_commands(*commands: tuple[object, ...]) -> None:
    """Print what to type next; a shell takes every word as it is, whatever a file is called."""
    for command in commands:
        say(f"  spotlight {shlex.join(map(str, command))}")


def loading() -> None:
    """Say that PyTorch is being loaded, which takes seconds, unless this process has it already."""
    if "torch" not in sys.modules:
        say("loading PyTorch", err=True)
        _pulse.note(lambda: "loading PyTorch")


def is_first() -> bool:
    """Whether this process is the first of those that torchrun or srun started together, or the only one."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0


def _echo(*lines: object, err: bool) -> None:
    for line in lines:
        typer.echo(visible(str(line)), err=err)


def _plain(value: Any) -> Any:
    """Make of a value what JSON has: tables become lists of rows, and numbers that are none become null."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if hasattr(value, "to_dict"):  # a table, known without importing pandas
        return _plain(value.to_dict("records"))
    if hasattr(value, "item"):  # a number of NumPy
        value = value.item()
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


class Pulse:
    """Repeats what is being done whenever nothing was said for a while, from a thread of its own."""

    def __init__(self) -> None:
        self.running = False
        self.line: Callable[[], str] = str
        self.started = self.spoke = self.began = 0.0

    def note(self, line: Callable[[], str], new: bool = True) -> None:
        """Take note of what is being done and has just been said; `new` work has not taken any time yet."""
        self.line, self.spoke = line, time.monotonic()
        self.started = self.spoke if new else self.started

    def turn_to(self, work: str) -> None:
        """Take note of work that has begun and need not be told at once."""
        self.line, self.started = (lambda: work), time.monotonic()

    def pause(self) -> float:
        """Give the seconds after which a further line is due."""
        now = time.monotonic()
        return LATER if now - self.began > LONG else PAUSE if self.spoke > self.began else FIRST

    @contextmanager
    def beating(self, line: str) -> Iterator[None]:
        """Speak while a command runs."""
        ended = threading.Event()
        self.line, self.running = (lambda: line), is_first()
        self.began = self.spoke = self.started = time.monotonic()

        def beat() -> None:
            while not ended.wait(0.25):
                now = time.monotonic()
                if self.running and now - self.spoke >= self.pause():
                    self.spoke = now
                    say(f"{self.line()}  {duration_in_words(now - self.started)} so far", err=True)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


_pulse = Pulse()
beating = _pulse.beating


class Reporter:
    """Shows progress: a bar on a terminal, a line every few seconds elsewhere, and nothing with --quiet.

    Parameters
    ----------
    resumable : bool
        Whether the command goes on where it was when it is given again.
    """

    has_said: ClassVar[bool] = False

    def __init__(self, resumable: bool = False) -> None:
        self.resumable = resumable
        self.bar: Bar | None = None
        self.task: TaskID | None = None
        self.work = ""
        self.first = 0
        self.started = 0.0
        if sys.stderr.isatty() and not _output.quiet:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self.bar = Progress(
                SpinnerColumn(finished_text=" "),
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left:"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}", markup=False),
                console=Console(stderr=True),
            )

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
            _pulse.running = False  # the bar moves by itself
        _pulse.turn_to("starting")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
            _pulse.running = is_first()
        _pulse.turn_to("finishing")
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.say_stopped("; the same command goes on from here" if self.resumable else "")

    @classmethod
    def say_stopped(cls, more: str = "") -> None:
        """Say once that the command was stopped."""
        if not cls.has_said:
            _echo(f"stopped{more}", err=True)
        cls.has_said = True

    def __call__(self, work: str, done: int, total: int, figures: dict[str, float]) -> None:
        """Take note of how far a piece of work is."""
        now = time.monotonic()
        # Of a validation, its loss and what a training step does not have.
        twice = {f"validation_{name}" for name in figures} - {"validation_loss"}
        chosen = {n: v for n, v in figures.items() if n not in twice}
        shown = "  ".join(f"{name} {value:.4g}" for name, value in chosen.items())
        new = work != self.work
        if new:
            self.work, self.first, self.started = work, done, now
        each = (now - self.started) / (done - self.first) if done > self.first else 0.0
        speed = f"{1 / each:.3g} per second" if each else ""
        if self.bar is not None:
            if new or self.task is None:
                if self.task is not None:  # what comes next has begun
                    self.bar.stop_task(self.task)
                self.task = self.bar.add_task(visible(work), total=total, figures="")
            self.bar.update(self.task, completed=done, total=total, figures=f"{speed}  {shown}")
            return

        def line() -> str:
            rest = max(0.0, each * (total - done) - (time.monotonic() - now))
            left = f"{duration_in_words(rest)} left, {speed}" if each and done < total else ""
            return f"{work}  {done}/{total}  {left}  {shown}".rstrip()

        if new or done == total or now - _pulse.spoke >= _pulse.pause():
            say(line(), err=True)
            _pulse.note(line, new)
        else:
            _pulse.line = line
        if done == total:
            _pulse.turn_to("finishing")

    def tiles(self, work: str) -> Any:
        """Give a callback of (done, total) for a piece of work."""
        return lambda done, total: self(work, done, total, {})
