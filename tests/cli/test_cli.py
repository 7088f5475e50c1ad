"""The command line as a user meets it: prompt, whole, and with errors of one line."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer.main
from typer.testing import CliRunner

from command_line import run_command, run_process
from conftest import TINY
from spotlight import read
from spotlight.cli import app
from spotlight.version import __version__


def test_help_answers_without_loading_anything_heavy() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom spotlight.cli import app\n"
        "heavy = ('torch', 'numpy', 'pydantic', 'skimage', 'lightning', 'boto3', 'botocore')\n"
        "for command in ([], ['data', 'allen-dna']):\n"
        "    assert CliRunner().invoke(app, [*command, '--help']).exit_code == 0\n"
        "    print([m for m in heavy if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() in (["[]", "[]"], ["[]", "['pydantic']"])


def test_help_has_groups_and_cuts_nothing_at_80_columns() -> None:
    waiting: list[tuple[Any, tuple[str, ...]]] = [(typer.main.get_command(app), ())]
    helps = {}
    while waiting:
        command, path = waiting.pop()
        waiting += [(part, (*path, name)) for name, part in getattr(command, "commands", {}).items()]
        shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).output
        helps[" ".join(path)] = shown
        assert not [line for line in shown.splitlines() if "…" in line or len(line) > 80], path
    groups = {"train": {"Method"}, "predict": {"Cluster"}, "segment": {"Tuning"}, "evaluate": {"Method"}}
    for name, more in groups.items():
        found = {line.split()[1] for line in helps[name].splitlines() if line.startswith("╭")}
        assert {"Input", "Output", "Computing"} | more <= found
        assert "--device" in helps[name]


def test_version() -> None:
    assert run_process("--version").stdout.strip() == __version__


@pytest.mark.slow
def test_from_files_to_a_page(manifest: Path, tmp_path: Path) -> None:
    settings = tmp_path / "experiment.yaml"
    settings.write_text(TINY.to_yaml())
    trained = run_process("train", manifest, "--to", "model", "--settings", settings, "--steps", "8", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "model: model" in trained.stdout
    assert "training  8/8" in trained.stderr
    assert "Warning" not in trained.stderr

    field = manifest.parent / "field-03.ome.tif"
    stained = run_command("predict", "model", field, "--to", "stains", cwd=tmp_path)
    assert stained.stdout.strip() == "stains/field-03-stain.ome.tif"
    assert read(tmp_path / "stains/field-03-stain.ome.tif").shape == (32, 64, 64)

    options = tmp_path / "segmentation.yaml"
    options.write_text("min_size: 20\nclear_border: false\n")
    found = run_command("segment", field, "--channel", "DNA", "--to", "nuclei", "--settings", options, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    table = pd.read_csv(tmp_path / "nuclei/field-03-nuclei.csv")
    assert len(table) == read(tmp_path / "nuclei/field-03-labels.ome.tif").data.max()

    judged = run_command("evaluate", manifest, "--model", "model", "--to", "evaluation", cwd=tmp_path)
    assert judged.returncode == 0, judged.stderr
    assert "mean AP" in judged.stdout
    assert (tmp_path / "evaluation/report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "absent.csv", "--to", "m"], "absent.csv: no such file or folder"),
        (["train", "{manifest}", "--to", "m", "--protocol", "unet"], "unknown protocol 'unet'"),
        (["train", "{manifest}", "--to", "m", "--steps", "0"], "training.steps"),
        (["settings", "unet"], "unknown protocol 'unet'"),
        (["train", "{manifest}", "--to", "m", "--grid", "fine"], "preparation.grid"),
        (["predict", "absent", "x.tif", "--to", "o"], "absent: no such file or folder. Give a model folder, or a name"),
        (["predict", "{model}", "x.tif", "--to", "out", "--workers", "2"], "give --cluster slurm, too"),
        (
            ["predict", "{model}", "x.tif", "--to", "out", "--seams", "--cluster", "slurm"],
            "--seams is measured on this machine",
        ),
        (["predict", "{model}", "absent.tif", "--to", "o"], "absent.tif: no such file"),
        (["predict", "{model}", "{labels}", "--to", "o", "--voxel-size", "1"], "two or three lengths"),
        (["segment", "{field}", "--to", "o"], "has 2 channels (0: Brightfield, 1: DNA)"),
        (["segment", "{field}", "--channel", "1", "--to", "o", "--settings", "{manifest}"], "pairs.csv"),
        (["segment", "{field}", "--to", "o", "--device", "cpu"], "--device does not apply to watershed"),
        (["predict", "{model}", "{field}", "--to", "o", "--seams", "--device", "tpu"], "device 'tpu' cannot be used"),
        (["train", "{manifest}", "--to", "m", "--device", "tpu"], "training.device"),
        (["evaluate", "{manifest}", "--model", "{model}", "--split", "x", "--to", "o"], "setting 'split'"),
        (["import-fnet", "{manifest}", "--to", "o"], "cannot be loaded as a checkpoint"),
        (["simulate", "--to", "o", "--settings", "absent.yaml"], "absent.yaml: no such file"),
    ],
)
def test_errors_are_one_line_and_leave_nothing_behind(
    arguments: list[str], message: str, manifest: Path, model_folder: Path, tmp_path: Path
) -> None:
    places = {
        "manifest": manifest,
        "model": model_folder,
        "field": manifest.parent / "field-03.ome.tif",
        "labels": manifest.parent / "field-03-labels.ome.tif",
    }
    result = run_command(*[a.format(**places) for a in arguments], cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    said = [line for line in result.stderr.splitlines() if not line.endswith(("/1", " so far"))]  # of progress
    assert said[0].startswith("error: ")
    assert "Traceback" not in result.stderr
    assert list(tmp_path.rglob("*")) == []


def test_a_process_that_fails_has_a_status_and_no_traceback(tmp_path: Path) -> None:
    result = run_process("info", "absent.tif", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].startswith("error: absent.tif: no such file")
    assert "Traceback" not in result.stderr


def test_two_inputs_of_one_name_are_refused_before_any_work(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "x.ome.tif").write_bytes((manifest.parent / "field-03.ome.tif").read_bytes())
    files = ("a/x.ome.tif", "b/x.ome.tif")
    for command in (("predict", model_folder), ("segment",)):
        result = run_command(*command, *files, "--to", "out", cwd=tmp_path)
        assert result.returncode == 2
        assert "would overwrite" in result.stderr
    assert not (tmp_path / "out").exists()
