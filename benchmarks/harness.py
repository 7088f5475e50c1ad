"""What benchmarks share: rows in processes of their own, tables that are printed and kept as JSON, and a history.

    python benchmarks/NAME.py --json NAME.json      # the figures of its table, too, for benchmarks with this option
    python benchmarks/harness.py NAME.json ...      # one line per figure in benchmarks/history/NAME.csv

A line of the history has the day, the commit, the machine, the row and the figure's name and value, so that a figure
that has become worse since another commit is seen.
"""

import argparse
import csv
import importlib.util
import inspect
import json
import multiprocessing
import platform
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

HISTORY = Path(__file__).parent / "history"
COLUMNS = ("day", "commit", "machine", "row", "figure", "value")


def call(function: Callable[..., T], *arguments: Any, python: str | Path = sys.executable) -> T:
    """Call a function of a benchmark in a process of its own, so that peaks of memory and imports are its alone.

    Arguments and result travel as JSON. It raises `subprocess.CalledProcessError`, whose `stderr` says why.
    """
    given = [__file__, "--call", inspect.getfile(function), function.__name__, json.dumps(arguments)]
    done = subprocess.run([python, "-W", "ignore", *given], capture_output=True, text=True, check=True)
    sys.stderr.write(done.stderr)
    result: T = json.loads(done.stdout.splitlines()[-1])
    return result


def options(documentation: str | None) -> argparse.ArgumentParser:
    """The options of a benchmark, with the one that keeps its figures."""
    parser = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser


class Table:
    """A Markdown table that is printed row by row; its figures are kept in a JSON file if one is named."""

    def __init__(self, file: Path | None, *heads: str) -> None:
        self.file, self.figures = file, dict[str, dict[str, float]]()
        print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|", flush=True)

    def add(self, row: str, *cells: str, **figures: float) -> None:
        """Print a row, and keep its figures."""
        print(f"| {row} | {' | '.join(cells)} |", flush=True)
        self.keep(row, **figures)

    def keep(self, row: str, **figures: float) -> None:
        """Keep the figures of a row that is not printed."""
        self.figures[row] = figures
        keep(self.file, self.figures)


def keep(file: Path | None, figures: dict[str, dict[str, float]]) -> None:
    """Write figures by row and name as JSON, if a file is named."""
    if file is not None:
        file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def timed(work: Callable[[], T]) -> tuple[dict[str, float], T]:
    """Seconds on the clock, seconds of the processor, and growth of the peak of memory in bytes; and the result."""
    before, clock, processor = peak(), time.perf_counter(), time.process_time()
    result = work()
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    return {"clock": clock, "processor": processor, "memory": peak() - before}, result


def peak() -> int:
    """Bytes at the peak of this process. A new process may begin with that of the one that starts it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def loading() -> None:
    """Say that a script has started, before it imports what takes seconds. Processes that it starts are silent."""
    main = sys.modules["__main__"]
    if multiprocessing.parent_process() is None and not hasattr(main, "_said"):
        print(f"{Path(sys.argv[0]).name}: loading", file=sys.stderr, flush=True)
        main._said = True  # type: ignore[attr-defined]


_spoke = time.monotonic()


def say(work: str, done: int, total: int, figures: dict[str, float]) -> None:
    """Print how far work is, once a minute and when it is done: a `Progress` for runs that are watched in a file."""
    global _spoke
    if done == total or time.monotonic() > _spoke + 60:
        print(f"{work}: {done} of {total}", flush=True)
        _spoke = time.monotonic()


def growth(work: Callable[[], T]) -> tuple[int, T]:
    """Bytes by which own memory grows at most while work is done, looked at by a thread; and the work's result.

    Pages of mapped files do not count, since the system takes them back when it needs to.
    """
    before, highest, done = own_memory(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            highest[0] = max(highest[0], own_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = work()
    finally:
        done.set()
        watcher.join()
    return highest[0] - before, result


def own_memory() -> int:
    """Bytes of this process that no file stands for."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def append(file: Path, folder: Path = HISTORY) -> Path:
    """Append the figures of a JSON file to the history of its name."""
    git = ["git", "-C", str(Path(__file__).parent)]
    commit = subprocess.run([*git, "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    begin = (time.strftime("%Y-%m-%d"), commit.stdout.strip(), f"{platform.system()} {platform.machine()}")
    history = folder / f"{file.stem}.csv"
    folder.mkdir(exist_ok=True)
    new = not history.exists()
    with history.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([COLUMNS] if new else [])
        for row, figures in json.loads(file.read_text(encoding="utf-8")).items():
            writer.writerows((*begin, row, name, f"{value:.4g}") for name, value in figures.items())
    return history


def run(script: str, name: str, arguments: list[Any]) -> Any:
    """Call a function of a script that is not run as a whole."""
    found = importlib.util.spec_from_file_location("benchmark", script)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["benchmark"] = module
    found.loader.exec_module(module)
    return getattr(module, name)(*arguments)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--call"]:
        print(json.dumps(run(*sys.argv[2:4], json.loads(sys.argv[4]))))
    else:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("files", nargs="+", type=Path, help="JSON files of benchmarks")
        for given in parser.parse_args().files:
            print(append(given))
