"""Signals and deaths: every command ends in order, soon and with a word, and takes its processes with it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

DEFAULT = [signal.SIGINT, signal.SIGTERM]

WORKERS = """
import os, signal, sys, time
from pathlib import Path
from spotlight import stopping
from spotlight.files import atomic_file
from spotlight.processes import processes

def work(number):
    with atomic_file(Path(sys.argv[1]) / f"{number}.txt") as temporary:
        temporary.write_text("half")
        os.write(1, f"{os.getpid()}\\n".encode())
        time.sleep(60)

if __name__ == "__main__":
    stopping.install()
    with processes(2) as run:
        list(run(work, range(4)))
"""


def start(command: list[str], **more: object) -> "subprocess.Popen[str]":
    """Start a process that hears signals, which a shell's background processes do not."""

    def hear() -> None:
        for number in DEFAULT:
            signal.signal(number, signal.SIG_DFL)

    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear,
        start_new_session=True,
        **more,
    )


def waits_until(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes as Linux lists them")
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(tmp_path: Path, ending: signal.Signals) -> None:
    script = tmp_path / "script.py"
    script.write_text(WORKERS)
    with start([str(script), str(tmp_path)]) as process:
        assert process.stdout is not None
        pids = [int(process.stdout.readline()) for _ in range(2)]
        assert all(map(runs, pids))
        begin = time.monotonic()
        os.kill(process.pid, ending) if ending == signal.SIGKILL else os.killpg(process.pid, ending)
        process.wait(20)
        assert waits_until(lambda: not any(map(runs, pids)))
        assert time.monotonic() - begin < 15
    assert [file.name for file in tmp_path.iterdir()] == ["script.py"]  # nothing half written


@pytest.mark.parametrize(("ending", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_is_still_being_imported_ends_at_once(ending: signal.Signals, status: int) -> None:
    code = "from spotlight.__main__ import main; import spotlight.stopping as s\ns.install(); print(flush=True); main()"
    process = start(["-c", code, "evaluate", "pairs.csv", "--model", "m", "--to", "x"])
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(ending)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said.removeprefix("loading PyTorch\n")) == (status, "stopped\n")


@pytest.mark.slow
def test_a_command_at_work_says_that_it_was_stopped(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("shape: [16, 32, 32]\n")
    command = ["-m", "spotlight", "simulate", "--to", "data", "--settings", "s.yaml", "--train", "2000"]
    process = start(command, cwd=tmp_path)
    assert process.stderr is not None
    assert any("simulating" in line for line in iter(process.stderr.readline, ""))
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert said.splitlines()[-1].startswith("stopped")
    assert "Traceback" not in said
    assert not list(tmp_path.rglob("*.part"))
