"""Commands as a user gives them: in this process, or in one of their own."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from spotlight import stopping
from spotlight.cli import main

Done = subprocess.CompletedProcess[str]
PLAIN = {"NO_COLOR": "1", "COLUMNS": "200"}


def run_command(*arguments: str | Path, cwd: Path | None = None) -> Done:
    """Give a command in this process, which saves the imports of a new one."""
    command = ["spotlight", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with (
        chdir(cwd or Path.cwd()),
        patch.object(sys, "argv", command),
        patch.dict(os.environ, PLAIN),
        _same_signals(),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            status = ended.code
    return Done(command, int(status or 0), out.getvalue(), err.getvalue())


def run_process(*arguments: str | Path, cwd: Path | None = None) -> Done:
    """Give a command in a process of its own, where warnings are shown."""
    command = [sys.executable, "-m", "spotlight", *map(str, arguments)]
    environment = {"PYTHONWARNINGS": "default"} | os.environ | PLAIN
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300)


@contextmanager
def _same_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
