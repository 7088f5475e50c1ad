"""A process that holds the lock of an output."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOLDING = """
import sys
from spotlight import locks
with getattr(locks, sys.argv[2])(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def holder(output: Path, how: str = "working_on") -> Iterator["subprocess.Popen[bytes]"]:
    """A process that holds the lock of an output until it is told to end."""
    command = [sys.executable, "-c", HOLDING, str(output), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()
