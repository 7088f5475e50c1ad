"""What Windows does otherwise and can be tested here: drives, backslashes, names, encodings, processes."""

import ast
import re
from pathlib import Path, PureWindowsPath

import pytest

import spotlight
from spotlight.addresses import Address, located
from spotlight.images.images_in import UNFIT
from spotlight.images.ome_xml import beside

SOURCES = sorted(Path(spotlight.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize(
    "text", [r"C:\data\a.zarr", "C:/data/a.zarr", "d:a.zarr", r"\\server\share\a.ome.tif", "//server/share/a.zarr"]
)
def test_drives_and_shares_are_paths(text: str) -> None:
    assert not isinstance(located(text), Address)
    assert not isinstance(located(PureWindowsPath(text)), Address)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [r"D:\scope\day 1\b.ome.tif", r"day 1\b.ome.tif", r"\\server\scope\b.ome.tif"])
def test_files_that_a_microscope_named_on_windows_are_found_beside(name: str, tmp_path: Path) -> None:
    first, second = tmp_path / "a.ome.tif", tmp_path / "b.ome.tif"
    second.touch()
    assert beside(first, name) == second


@pytest.mark.parametrize("name", ["B/03/0", r"a\b", "10:30", 'x"y', "a|b?*<c>"])
def test_names_of_images_become_names_of_files(name: str) -> None:
    made = PureWindowsPath("C:/stains") / f"plate-{UNFIT.sub('-', name)}-stain.ome.tif"
    assert len(made.parts) == 3
    assert not set(made.name) & set('/\\:*?"<>|')


def test_only_one_module_starts_processes_and_it_spawns_them() -> None:
    starting = {
        file.name
        for file in SOURCES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        and {getattr(node, "module", None), *(alias.name for alias in node.names)}
        & {"multiprocessing", "concurrent.futures.process", "ProcessPoolExecutor"}
    }
    assert starting == {"processes.py"}
    methods = re.findall(r"get_context\((.*?)\)", (SOURCES[0].parent / "processes.py").read_text(encoding="utf-8"))
    assert methods == ['"spawn"']
