"""The file format of docs/extending.md, as a package that is installed beside Spotlight."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from spotlight.errors import SpotlightError
from spotlight.images import FORMATS, Stack, is_image, read, stem, suffixes

ROOT = Path(__file__).parents[2]
STACK = Stack(np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5), "CZYX", (0.5, 0.2, 0.1), ("BF", "DNA"))


def forget() -> None:
    """Let entry points be looked for again."""
    vars(FORMATS).pop("_offered", None)
    sys.modules.pop("my_package", None)
    for name in ("lab", "broken"):
        FORMATS._known.pop(name, None)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages with the one that the document shows."""
    section = (
        (ROOT / "docs" / "extending.md").read_text(encoding="utf-8").split("## A file format")[1].split("\n## ")[0]
    )
    (code,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (table,) = re.findall(r"^```toml\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (line,) = [line for line in table.splitlines() if "=" in line]
    site = tmp_path / "site"
    facts = site / "my_package-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "my_package.py").write_text(code, encoding="utf-8")
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[spotlight.formats]\n" + line.replace('"', "") + "\n")
    monkeypatch.syspath_prepend(site)
    forget()
    yield site
    forget()


def test_a_format_of_another_package_is_read_and_written(package: Path, tmp_path: Path) -> None:
    path = STACK.save(tmp_path / "a.LAB")
    assert is_image(path)
    assert ".lab" in suffixes()
    assert stem(path) == "a"
    stack = read(path)
    assert (stack.axes, stack.voxel_size, stack.channels) == (STACK.axes, STACK.voxel_size, STACK.channels)
    np.testing.assert_array_equal(read(path, channel="DNA")[1:, :2], STACK.data[1, 1:, :2])
    assert read(STACK.save(tmp_path / "b.lab", "float32")).dtype == np.float32


def test_its_reader_is_protected(package: Path, tmp_path: Path) -> None:
    path = STACK.save(tmp_path / "a.lab")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SpotlightError, match=r"a\.lab: cannot be read as lab"):
        read(path).data  # noqa: B018
    (tmp_path / "no.lab").write_bytes(b"{")
    with pytest.raises(SpotlightError, match=r"no\.lab: cannot be read as lab .*damaged"):
        read(tmp_path / "no.lab")
    os.mkfifo(tmp_path / "pipe.lab")
    with pytest.raises(SpotlightError, match="pipe"):
        read(tmp_path / "pipe.lab")
    with pytest.raises(SpotlightError, match="is an address"):
        read("https://host/a.lab")


def test_a_package_that_cannot_be_loaded_harms_no_other_format(
    package: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    points = package / "my_package-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text() + "broken = my_package:MISSING\n")
    forget()
    assert read(STACK.save(tmp_path / "a.lab")).axes == STACK.axes
    assert not is_image(tmp_path / "a.txt")
    assert "the file format 'broken' of the package my_package cannot be loaded" in caplog.text
