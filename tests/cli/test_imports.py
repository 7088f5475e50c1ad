"""What commands import: each says its first word within two seconds, so the light ones must not load PyTorch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
from spotlight.cli import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["spotlight", *command]
    try:
        main()
    except SystemExit as ended:
        heavy = [name for name in ("torch", "lightning", "matplotlib") if name in sys.modules]
        print("ended", command[0], ended.code, heavy)
"""


def imported(*commands: list[str]) -> list[str]:
    """Give commands in one process; of each its name, its status, and what had been imported of what is heavy."""
    given = [sys.executable, "-c", SCRIPT, json.dumps(commands)]
    result = subprocess.run(given, capture_output=True, text=True, check=True, timeout=120)
    return [line.removeprefix("ended ") for line in result.stdout.splitlines() if line.startswith("ended ")]


@pytest.mark.slow
def test_commands_on_files_do_not_load_pytorch(manifest: Path, tmp_path: Path) -> None:
    field = str(manifest.parent / "field-03.ome.tif")
    labels = str(manifest.parent / "field-03-labels.ome.tif")
    to = ["--to", str(tmp_path)]
    found = imported(
        ["info", field],
        ["settings"],
        ["import-pairs", "light-my-cells", str(tmp_path), *to],
        ["clear-cache", str(tmp_path)],
        ["resample", field, "--like", field, *to],
        ["label", labels, *to],
        ["segment", field, "--channel", "DNA", *to],
        ["init", str(manifest.parent), "--to", str(tmp_path / "plan")],
        ["check", str(manifest), "--workers", "1", "--to", str(tmp_path / "check")],
    )
    assert [line.split(" ", 2)[2] for line in found if line.split()[1] == "0"] == ["[]"] * 7, found
    assert all(line.endswith("[]") for line in found), found


@pytest.mark.slow
def test_staining_does_not_load_lightning(model_folder: Path, tmp_path: Path) -> None:
    assert imported(["predict", str(model_folder), "absent.tif", "--to", str(tmp_path)]) == ["predict 2 ['torch']"]
