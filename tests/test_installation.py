"""Hints to install extras work for whoever reads them; the package says what it is."""

import json
import re
import tomllib
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from spotlight import installation
from spotlight.installation import install_command, missing_package

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        (None, "pip install 'spotlight-stain[czi]'"),
        ({"url": "file:///home/a%20b", "dir_info": {"editable": True}}, "pip install -e '/home/a b[czi]'"),
        ({"url": "file:///home/ada/spotlight", "dir_info": {}}, "pip install '/home/ada/spotlight[czi]'"),
        (
            {"url": "file:///w/spotlight_stain-0.1.0-py3-none-any.whl", "archive_info": {}},
            "pip install 'spotlight-stain[czi] @ file:///w/spotlight_stain-0.1.0-py3-none-any.whl'",
        ),
        (
            {"url": "https://host/spotlight.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "pip install 'spotlight-stain[czi] @ git+https://host/spotlight.git@abc'",
        ),
    ],
)
def test_the_hint_fits_how_spotlight_was_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recorded: dict[str, object] | None, expected: str
) -> None:
    if recorded is not None:
        (tmp_path / "direct_url.json").write_text(json.dumps(recorded))
    monkeypatch.setattr(installation, "distribution", lambda _: PathDistribution(tmp_path))
    assert install_command("czi") == expected


def test_every_extra_that_is_named_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    named = {
        extra
        for file in sources
        for pattern in (r"'\.\[(\w+)\]'", r"missing_package\([^()]*(?:\([^()]*\))?[^()]*\"(\w+)\"(?:, \"[^\"]+\")?\)")
        for extra in re.findall(pattern, file.read_text())
    }
    assert {"czi", "cluster", "data", "tensorboard"} <= named <= set(extras)
    assert not [file for file in sources if "spotlight-stain[" in file.read_text() and file.name != "installation.py"]


def test_a_missing_package_is_named_with_its_remedy() -> None:
    error = missing_package("reading CZI files", ImportError("no", name="pylibCZIrw"), "czi")
    assert re.match(
        r"reading CZI files needs the package pylibCZIrw, .* Install it with: pip install .*\[czi\]", str(error)
    )


@pytest.mark.parametrize(("name", "extra"), [("spotlight.images.lazy", "czi"), ("numpy", "")])
def test_faults_of_the_program_are_not_called_missing_packages(name: str, extra: str) -> None:
    with pytest.raises(ImportError):
        missing_package("reading CZI files", ImportError("no", name=name), extra)
