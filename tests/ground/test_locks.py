"""Locks of outputs, with processes that really run, end and are killed."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from locking import holder
from spotlight import locks, segment_files
from spotlight.locks import Busy, share_out, working_in, working_on


def test_who_is_at_work_is_said_and_a_killed_process_is_followed_at_once(tmp_path: Path) -> None:
    output = tmp_path / "out" / "stain.ome.tif"
    with holder(output) as process:
        with pytest.raises(Busy, match=rf"stain\.ome\.tif: is being written by process {process.pid} on "):
            with working_on(output):
                pass
        process.kill()
        process.wait()
        assert (output.parent / ".stain.ome.tif.lock").exists()
        with working_on(output):
            assert json.loads((output.parent / ".stain.ome.tif.lock").read_text())["pid"] == os.getpid()
        assert list(output.parent.iterdir()) == []


def test_a_process_that_ends_leaves_nothing(tmp_path: Path) -> None:
    with holder(tmp_path / "new" / "out") as process:
        process.communicate(b"\n")
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="halfway"), working_in(tmp_path / "new" / "out"):
        raise ValueError("halfway")
    assert list(tmp_path.iterdir()) == []


def test_a_thread_takes_a_lock_again_and_no_other_thread_does(tmp_path: Path) -> None:
    said = []

    def other() -> None:
        try:
            with working_in(tmp_path):
                said.append("held")
        except Busy as error:
            said.append(str(error))

    with working_in(tmp_path):
        with working_in(tmp_path), working_on(tmp_path / "other"):
            pass
        assert (tmp_path / ".spotlight.lock").exists()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "another thread of this process" in said[0]
    other()
    assert said[1:] == ["held"]


def elsewhere(output: Path, seconds: float, **changes: object) -> Path:
    """A lock that a process of another machine took and last updated so long ago."""
    lock = output.with_name(f".{output.name}.lock")
    facts = {"host": "node7", "pid": 42, "since": "2026-01-01 10:00:00", "token": "x", "machine": "y", "begun": "1"}
    lock.write_text(json.dumps(facts | changes))
    before = lock.stat().st_mtime - seconds
    os.utime(lock, (before, before))
    return lock


def test_processes_of_other_machines_are_known_by_their_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PAUSE", 0.0)
    output = tmp_path / "out"
    lock = elsewhere(output, 100)
    with pytest.raises(
        Busy, match=r"process 42 on node7 since 2026-01-01 10:00:00.*last updated its lock 100 s ago.*remove"
    ):
        with working_on(output):
            pass
    elsewhere(output, locks.LAPSE + 1)
    with working_on(output):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    lock.write_text("")  # being written
    with pytest.raises(Busy, match="an unknown machine"), working_on(output):
        pass
    assert list(tmp_path.iterdir()) == [lock]


def test_a_later_process_of_the_same_number_is_not_the_holder(tmp_path: Path) -> None:
    if not locks._machine().startswith(locks.socket.gethostname() + " "):
        pytest.skip("this system does not say when a process began")
    own = {"machine": locks._machine(), "pid": os.getpid()}
    elsewhere(tmp_path / "out", 0, **own, begun="1")
    with working_on(tmp_path / "out"):
        pass
    elsewhere(tmp_path / "out", 0, **own, begun=locks._begun(os.getpid()))
    with pytest.raises(Busy), working_on(tmp_path / "out"):
        pass


def test_signs_of_life_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_beating", None)
    beaten = threading.Event()
    monkeypatch.setattr(locks.time, "sleep", lambda _: beaten.wait(5))
    with working_in(tmp_path):
        lock = tmp_path / ".spotlight.lock"
        os.utime(lock, (0, 0))
        beaten.set()
        for _ in range(1000):
            if lock.stat().st_mtime > 0:
                break
            threading.Event().wait(0.01)
        assert lock.stat().st_mtime > 0


def test_many_at_once_are_one_after_another(tmp_path: Path) -> None:
    """Three processes take the same lock again and again; a mark shows that never two hold it."""
    code = """
import sys
from pathlib import Path
from spotlight.locks import Busy, working_on
won = 0
for number in range(100):
    try:
        with working_on(sys.argv[1]):
            mark = Path(sys.argv[1] + ".mark")
            mark.touch(exist_ok=False)
            mark.unlink()
            won += 1
    except Busy:
        pass
print(won)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    found = [process.communicate() for process in processes]
    assert [error for _, error in found] == [b""] * 3
    assert all(int(out) > 0 for out, _ in found)
    assert list(tmp_path.iterdir()) == []


def test_commands_that_write_folders_say_who_is_at_work(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    """Each is refused before it does anything, as quickly as it is called."""
    from spotlight.comparison import compare
    from spotlight.demonstration import demo
    from spotlight.evaluation import evaluate, evaluate_light_my_cells
    from spotlight.simulation import simulate_light_my_cells, simulate_pairs

    to = tmp_path / "out"
    with holder(to, "working_in") as process:
        for call in (
            lambda: evaluate(manifest, model_folder, to),
            lambda: evaluate_light_my_cells(manifest, {}, to),
            lambda: compare(manifest, to),
            lambda: demo(to),
            lambda: simulate_pairs(to, {"train": 1}),
            lambda: simulate_light_my_cells(to, {"train": 1}),
        ):
            with pytest.raises(Busy, match=f"out: is being written by process {process.pid}"):
                call()


@pytest.mark.slow
def test_segmenting_waits_and_says_for_whom(manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = manifest.parent / "field-00.ome.tif"
    with holder(tmp_path / "field-00-labels.ome.tif") as process:

        def end() -> None:
            process.kill()
            process.wait()

        threading.Timer(1.5, end).start()
        (found,) = segment_files(image, tmp_path, channel="DNA")
    assert "Waiting for another process." in caplog.text
    assert f"field-00-labels.ome.tif: is being written by process {process.pid}" in caplog.text
    assert found.state == "made"


@pytest.mark.slow
def test_waiting_for_another_machine_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """How long that machine has been silent changes with every look."""
    output = tmp_path / "out"
    lock = elsewhere(output, 100)
    done: list[str] = []

    def do(name: str) -> None:
        with working_on(tmp_path / name):
            done.append(name)

    threading.Timer(2 * locks.LOOK + 0.5, lock.unlink).start()
    share_out(["out", "other"], do)
    assert done == ["other", "out"]
    assert caplog.text.count("Waiting for another process.") == 1


SHARING = """
import sys, time
from pathlib import Path
from spotlight.locks import share_out, working_on
folder = Path(sys.argv[1])
def do(name):
    with working_on(folder / name):
        if not (folder / name).exists():
            time.sleep(0.02)
            (folder / name).write_text("")
            print(name, flush=True)
share_out([f"{number:02}" for number in range(40)], do)
print("all there:", len([path for path in folder.iterdir() if path.name[0] != "."]))
"""


def test_processes_with_the_same_work_share_it(tmp_path: Path) -> None:
    """Nothing is done twice, and each process ends when all is done."""
    command = [sys.executable, "-c", SHARING, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(3)]
    said = [process.communicate()[0].decode().split("\n") for process in processes]
    assert [lines[-2] for lines in said] == ["all there: 40"] * 3
    assert sorted(name for lines in said for name in lines[:-2]) == [f"{number:02}" for number in range(40)]
