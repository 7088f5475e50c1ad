"""What commands say: one JSON object for scripts, paths alone for --quiet, and progress while nothing else is said."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer.main

from command_line import run_command
from spotlight.cli import app, output
from spotlight.cli.output import Output, Reporter, answer, beating, begin, say, wrote


def every_command() -> dict[str, Any]:
    waiting: list[tuple[Any, tuple[str, ...]]] = [(typer.main.get_command(app), ())]
    found = {}
    while waiting:
        command, path = waiting.pop()
        parts = getattr(command, "commands", {})
        waiting += [(part, (*path, name)) for name, part in parts.items()]
        if not parts:
            found[" ".join(path)] = command
    return found


def test_every_command_takes_the_options_for_scripts() -> None:
    commands = every_command()
    assert {"train", "data allen-dna", "few-shot"} <= set(commands)
    for name, command in commands.items():
        assert {"--quiet", "--json"} <= {word for one in command.params for word in one.opts}, name


def test_json_is_all_of_stdout(manifest: Path, tmp_path: Path) -> None:
    field = manifest.parent / "field-03.ome.tif"
    done = run_command("info", field, "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert (told["command"], told["status"], told["warnings"]) == ("info", 0, [])
    (image,) = told["images"]
    assert (image["axes"], image["channels"]) == ("CZYX", ["Brightfield", "DNA"])
    assert image["voxel_size_um"].keys() == set("ZYX")
    assert "Brightfield" in done.stderr  # the table, for people


def test_files_that_state_the_same_are_told_together(manifest: Path, tmp_path: Path) -> None:
    fields = sorted(manifest.parent.glob("field-0?.ome.tif"))
    (tmp_path / "cut.tif").write_bytes(fields[0].read_bytes()[:2000])
    done = run_command("info", *fields, "cut.tif", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert [image["file"] for image in told["images"]] == [str(field) for field in fields]
    assert f"and {len(fields) - 3} more that state the same" in done.stderr
    assert done.stderr.count("0: Brightfield") == 1
    # One damaged file does not hide what the others state.
    assert told["status"] == done.returncode == 1
    assert "truncated or damaged" in told["failed"]["cut.tif"]


def test_paths_and_nothing_else_when_quiet(manifest: Path, tmp_path: Path) -> None:
    masks = manifest.parent / "field-03-labels.ome.tif"
    quiet = run_command("label", masks, "--to", "a", "--quiet", cwd=tmp_path)
    assert (quiet.stdout, quiet.stderr) == ("a/field-03-labels-labels.ome.tif\n", "")
    told = json.loads(run_command("label", masks, "--to", "b", "--json", cwd=tmp_path).stdout)
    assert told["paths"] == ["b/field-03-labels-labels.ome.tif"]
    assert (tmp_path / told["paths"][0]).is_file()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("info", "absent.tif"), "absent.tif: no such file"),
        (("info",), "Missing argument"),
        (("info", "--no-such-option", "x.tif"), "No such option"),
    ],
)
def test_errors_are_json_too(arguments: tuple[str, ...], error: str, tmp_path: Path) -> None:
    done = run_command(*arguments, "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert done.returncode == told["status"] == 2
    assert told["command"] == "info"
    assert error in told["error"]
    assert error in done.stderr


def test_files_that_fail_are_named(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "bad.tif").write_text("no image")
    done = run_command("predict", model_folder, "images", "--to", "out", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert done.returncode == told["status"] == 2
    assert list(told["failed"]) == ["bad"]
    assert told["paths"] == []


def test_values_that_json_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    begin(quiet=False, as_json=True)
    table = pd.DataFrame({"stack": ["a"], "mean_ap": [np.nan], "n": [np.int64(3)]})
    answer("for people", scores=table, best=float("inf"), size=(1, np.float32(0.5)))
    wrote(Path("\x1b[31m.tif"))
    output.current().finish("evaluate", 0)
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {
        "command": "evaluate",
        "status": 0,
        "paths": ["\x1b[31m.tif"],
        "scores": [{"stack": "a", "mean_ap": None, "n": 3}],
        "best": None,
        "size": [1, 0.5],
        "warnings": [],
    }
    assert "\x1b" not in printed.out + printed.err
    assert printed.err.startswith("for people\n")
    begin(quiet=False, as_json=False)
    Output().finish("evaluate", 0)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_command_that_says_nothing_is_spoken_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "FIRST", 0.1)
    monkeypatch.setattr(output, "PAUSE", 0.2)
    begin(quiet=False, as_json=False)
    with beating("starting"):
        time.sleep(0.6)
        with Reporter() as report:
            report("training", 3, 8, {"loss": 0.5})
            time.sleep(0.8)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "starting  0 s so far"
    assert lines.index("training  3/8    loss 0.5") < len(lines) - 1
    assert lines[-1].startswith("training  3/8    loss 0.5  ")
    assert lines[-1].endswith("s so far")

    monkeypatch.setenv("RANK", "1")  # the first process speaks for all
    with beating("starting"):
        time.sleep(0.5)
    assert capsys.readouterr().err == ""
    monkeypatch.delenv("RANK")

    begin(quiet=True, as_json=False)
    with beating("starting"), Reporter() as report:
        report("training", 3, 8, {})
        say("a table")
        time.sleep(0.5)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")
    begin(quiet=False, as_json=False)
