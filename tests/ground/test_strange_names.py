"""Names of files and channels that act on a terminal, a page or a spreadsheet, or are no text at all."""

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from command_line import run_command
from spotlight.cli import Visible
from spotlight.cli.output import Reporter, say, say_commands
from spotlight.csv_files import guarded, unguarded, write_csv
from spotlight.errors import SpotlightError
from spotlight.images import Stack, read, stem
from spotlight.pairs import Pair, check, read_pairs
from spotlight.pairs.manifest import write_manifest
from spotlight.prediction import find_parts
from spotlight.quoting import safe_name, visible
from spotlight.report import write_check_page
from spotlight.report.contents import _table

EVIL = "a\x1b[31m\x9b2J\u202eb\rc\nd\udcff"
MARKUP = "field[red]01[/red]<b>&amp;"


def stack(channels: tuple[str, ...] = ("BF", "DNA")) -> Stack:
    rng = np.random.default_rng(0)
    return Stack(rng.normal(100, 9, (2, 16, 32, 32)).astype(np.float32), "CZYX", (0.3, 0.3, 0.3), channels)


def spotlight(*arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "spotlight", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, env=os.environ | environment, timeout=120)


def acts(text: str) -> bool:
    return any(visible(c) != c for c in text if c not in "\n\t")


def test_what_acts_is_shown_and_what_is_text_stays() -> None:
    assert visible(EVIL) == r"a\x1b[31m\x9b2J\u202eb\rc\nd\xff"
    assert visible("µm é 日本 👩‍🔬 a\\b") == "µm é 日本 👩‍🔬 a\\b"
    assert safe_name(EVIL) == "a%1B[31m%C2%9B2J%E2%80%AEb%0Dc%0Ad%FF"
    assert stem(f"plate/{EVIL}.ome.tif") == safe_name(EVIL)
    assert stem(MARKUP.replace("/", "") + ".tif") == MARKUP.replace("/", "")
    assert visible("one\ntwo: error", lines=True) == "one\n  two: error"


def test_nothing_that_is_printed_acts(capsys: pytest.CaptureFixture[str]) -> None:
    say(EVIL, Path(EVIL), f"{MARKUP} is whole")
    say_commands(("check", Path("a; rm -rf b/pairs.csv")))
    with Reporter() as report:
        report(f"staining {EVIL}", 1, 2, {})
    printed = capsys.readouterr()
    assert not acts(printed.out + printed.err)
    assert f"{MARKUP} is whole" in printed.out
    assert "spotlight check 'a; rm -rf b/pairs.csv'" in printed.out
    record = logging.LogRecord("spotlight", logging.INFO, "", 0, "%s: done", (EVIL,), None)
    assert not acts(Visible().format(record))


def test_markup_in_names_stays_in_the_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    reporter = Reporter()
    assert reporter.bar is not None
    shown = io.StringIO()
    reporter.bar.live.console = Console(file=shown, width=120)
    reporter(f"staining {MARKUP} \x1b[31m", 1, 2, {})
    reporter.bar.live.console.print(reporter.bar.get_renderable())
    assert f"staining {MARKUP} \\x1b[31m" in shown.getvalue()


@pytest.mark.parametrize("text", ["=1+1", "+cmd|x", "-a", "@SUM(A1)", "'=1", "''=1", "=", "a=1", "'a", "", "-"])
def test_texts_of_tables_are_no_formulas_and_come_back(text: str) -> None:
    assert unguarded(guarded(text)) == text
    assert not (len(text) > 1 and text[0] in "=+-@" and guarded(text) == text)


@pytest.mark.parametrize("number", ["-3", "+3", "-0.5", "-1e-05", "-.5", "-inf", "12"])
def test_numbers_stay_numbers(number: str) -> None:
    assert guarded(number) == number


def test_a_table_for_spreadsheets(tmp_path: Path) -> None:
    evil = EVIL.removesuffix("\udcff")  # of which pandas makes no text
    table = pd.DataFrame({"stack": ["=HYPERLINK(1)", evil, "-5"], "figure": [-1.5, np.nan, -2e-9], "n": [-1, 2, 3]})
    path = write_csv(table, tmp_path / "t.csv", "%.6g")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[1:] == ["'=HYPERLINK(1),-1.5,-1", f"{visible(evil)},,2", "-5,-2e-09,3"]
    assert _table(path)["stack"].tolist() == ["=HYPERLINK(1)", visible(evil), "-5"]
    assert _table(path)["n"].tolist() == [-1, 2, 3]


def test_a_manifest_of_strange_names(tmp_path: Path) -> None:
    for name in ("-a.ome.tif", "=b.ome.tif"):
        stack(("=BF", "-DNA")).save(tmp_path / name)
    pairs = [
        Pair(name[:2], tmp_path / name, tmp_path / name, input_channel="=BF", target_channel="-DNA", group="+1 day")
        for name in ("-a.ome.tif", "=b.ome.tif")
    ]
    manifest = write_manifest(pairs, tmp_path / "pairs.csv")
    cells = [cell for line in manifest.read_text().splitlines()[1:] for cell in line.split(",")]
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    assert read_pairs(manifest) == pairs
    broken = os.fsdecode(b"\xff.ome.tif")
    with pytest.raises(SpotlightError, match="Rename it"):
        write_manifest([Pair("x", tmp_path / broken, tmp_path / broken)], tmp_path / "other.csv")
    assert not (tmp_path / "other.csv").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.slow
def test_names_that_are_no_text_go_all_the_way(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for number in range(2):
        stack().save(folder / os.fsdecode(f"f{number}".encode() + b"\xff\x1b[31m.ome.tif"))
    pairs = read_pairs(folder, "BF", "DNA")
    damaged = tmp_path / os.fsdecode(b"f2\xff.ome.tif")
    damaged.write_bytes(b"II*\0")
    result = check([*pairs, Pair("f2", damaged, damaged)], tmp_path / "check")
    page = write_check_page(result, tmp_path / "check")
    assert result.pairs["pair"].tolist() == ["f0%FF%1B[31m", "f1%FF%1B[31m", "f2"]
    assert "f2\\xff.ome.tif" in result.findings["found"].iloc[0]
    assert "f0%FF%1B[31m" in page.read_text(encoding="utf-8")
    file = next(iter(sorted(folder.iterdir())))
    environment = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    told = spotlight("info", str(file), cwd=tmp_path, **environment)
    assert told.returncode == 0, told.stderr
    assert b"\\xff\\x1b[31m" in told.stdout
    found = spotlight("segment", str(file), "--channel", "DNA", "--to", "out", cwd=tmp_path, **environment)
    assert b"Traceback" not in found.stderr
    if found.returncode == 0:
        assert {".csv", ".parquet", ".tif"} <= {path.suffix for path in (tmp_path / "out").iterdir()}
        assert read(next((tmp_path / "out").glob("*.tif"))).axes == "ZYX"
    else:
        assert not (tmp_path / "out").exists()
    assert b"\x1b" not in told.stdout + told.stderr + found.stdout + found.stderr
    assert [part.name for part in find_parts([file])] == ["f0%FF%1B[31m"]


def test_a_wrong_argument_is_shown_and_does_nothing(tmp_path: Path) -> None:
    wrong = run_command("check", "x.csv", "\x1b[31mtoo much", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "\x1b" not in wrong.stdout + wrong.stderr
    assert "too much" in wrong.stderr
    absent = run_command("check", "\x1b[31m\nx.csv", cwd=tmp_path)
    assert absent.returncode == 2
    assert "error: \\x1b[31m\n  x.csv: no such file" in absent.stderr
