"""The rules of the house: who may import whom, who may print, and what is written whole."""

import ast
import errno
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import spotlight
from spotlight.errors import SpotlightError
from spotlight.files import atomic_file, write_text

SOURCE = Path(spotlight.__file__).parent
ROAD = [
    [
        *("errors", "quoting", "version", "addresses", "files", "fingerprint", "locks", "installation"),
        *("plain_yaml", "csv_files", "settings", "stopping", "processes", "deferred", "given", "progress"),
    ],
    ["registry", "psf", "checkpoints", "weights"],
    ["images", "networks", "losses", "tiles", "devices"],
    ["foreground"],
    ["simulation"],
    ["pairs"],
    ["tasks"],
    ["model"],
    [
        "training",
        "import_fnet",
        "import_viscy",
        "catalogue",
        "prediction",
    ],  # staining must not wait for Lightning's import
    ["metrics"],
    ["segmentation", "profiles", "tracking"],
    ["evaluation", "nuclei"],
    ["comparison", "plates"],
    ["report"],
    ["demonstration", "plan", "export"],
    ["cli", "napari"],
    ["__main__"],
]
STATION = {room: number for number, rooms in enumerate(ROAD) for room in rooms}
GROUND = {"deferred", "errors", "given", "registry", "settings"}
OUTSIDERS = {"networks": GROUND, "losses": GROUND | {"psf"}, "tiles": set()}
"""Rooms that know nothing of files, and what little of ours they may import."""
NEVER = {"evaluation": {"training"}, "report": {"training", "comparison"}}
"""Rooms that must not import these, although they lie behind: each process of an evaluation would wait for them."""


def modules() -> list[tuple[str, Path]]:
    files = sorted(SOURCE.rglob("*.py"))
    return [(f.relative_to(SOURCE).parts[0].removesuffix(".py"), f) for f in files if f != SOURCE / "__init__.py"]


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("spotlight."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("spotlight.")}
    return found


@pytest.mark.parametrize(("room", "file"), modules(), ids=lambda v: str(getattr(v, "name", v)))
def test_a_station_imports_only_what_lies_behind_it(room: str, file: Path) -> None:
    needed = imports(parsed(file)) - {room}
    ahead = {other for other in needed if STATION[other] >= STATION[room] and STATION[other] > 0}
    assert ahead == set()
    if room in OUTSIDERS:
        assert needed <= OUTSIDERS[room]
    assert not needed & NEVER.get(room, set())


@pytest.mark.slow
def test_no_module_hides_a_public_name() -> None:
    """Importing a module puts it under its own name into its package: `spotlight.demo` would be no function then."""
    code = """
import importlib, pkgutil, types, spotlight
for path in ["spotlight", *(m.name for m in pkgutil.walk_packages(spotlight.__path__, "spotlight.") if m.ispkg)]:
    package = importlib.import_module(path)
    public = set(getattr(package, "__all__", []) if path != "spotlight.cli" else [])  # modules are what it offers
    for module in public & {m.name for m in pkgutil.iter_modules(package.__path__)}:
        importlib.import_module(f"{path}.{module}")
        assert not isinstance(getattr(package, module), types.ModuleType), f"{path}.{module}"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_evaluating_does_not_import_lightning() -> None:
    code = "import sys, spotlight.evaluation, spotlight.report; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


LATE_CIRCLES = (
    {"networks.settings", "networks.fnet", "networks.unetpp", "networks.pix2pix"},
    {"losses.blurred", "losses.sharp"},
    {"losses.settings", "losses.task_settings", "losses.batch", "losses.pixels", "losses.spotlight"}
    | {"losses.classes", "losses.hidden", "losses.masks", "losses.structure"},
    {"prediction.files", "prediction.former", "prediction.records", "prediction.tasks"},
)
"""Circles that an import within a function, or for type checkers alone, closes. Such an import hides a circle rather
than removes it, so each one needs a reason: settings must not wait for PyTorch, and types cost nothing."""


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def import_graph(late: bool) -> dict[str, set[str]]:
    """Files by their names, and the files that each imports; with the imports that do not run with the file if `late`.

    A folder's ``__init__`` counts where a name is imported from the folder itself.
    """
    files = {".".join(f.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): f for _, f in modules()}
    graph: dict[str, set[str]] = {}
    for name, file in files.items():
        waiting: list[ast.AST] = [parsed(file)]
        graph[name] = set()
        while waiting:
            node = waiting.pop()
            runs_late = isinstance(node, (ast.FunctionDef, ast.Lambda)) or (
                isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            )
            if late or not runs_late:
                waiting += ast.iter_child_nodes(node)
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("spotlight"):
                within = node.module.removeprefix("spotlight").removeprefix(".")
                for alias in node.names:
                    one = f"{within}.{alias.name}".removeprefix(".")
                    graph[name].add(one if one in files else within)
            elif isinstance(node, ast.Import):
                graph[name] |= {a.name.removeprefix("spotlight.") for a in node.names} & set(files)
    return graph


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Sets of files each of which leads to all others of its set."""
    reach = {name: set(needed) & set(graph) for name, needed in graph.items()}
    while True:
        wider = {name: there.union(*(reach[other] for other in there)) for name, there in reach.items()}
        if wider == reach:
            break
        reach = wider
    found: list[set[str]] = []
    for name in graph:
        circle = {other for other in reach[name] if name in reach[other]}
        if circle and circle not in found:
            found.append(circle)
    return found


def test_no_file_imports_itself_by_way_of_others() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]
    assert circles(import_graph(late=False)) == []
    for circle in circles(import_graph(late=True)):
        assert any(circle <= known for known in LATE_CIRCLES), circle


def test_nothing_but_the_command_line_prints() -> None:
    for room, file in modules():
        calls = [n for n in ast.walk(parsed(file)) if isinstance(n, ast.Call)]
        names = {n.func.id for n in calls if isinstance(n.func, ast.Name)}
        assert room == "cli" or "print" not in names, file


def test_what_holds_arrays_is_never_compared_by_its_values() -> None:
    """NumPy and pandas compare value by value, so that == of what dataclasses write would raise."""
    found = []
    for _, file in modules():
        for node in ast.walk(parsed(file)):
            if not isinstance(node, ast.ClassDef):
                continue
            made = [one for one in node.decorator_list if ast.unparse(one).startswith("dataclass")]
            fields = [ast.unparse(one.annotation) for one in node.body if isinstance(one, ast.AnnAssign)]
            arrays = any(name in field for field in fields for name in ("NDArray", "DataFrame", "Tensor"))
            if made and arrays and "eq=False" not in ast.unparse(made[0]):
                found.append(f"{file.relative_to(SOURCE)}: {node.name}")
    assert not found


def test_every_public_name_has_a_home() -> None:
    for name in spotlight.__all__:
        assert getattr(spotlight, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        spotlight.nonsense  # noqa: B018
    assert len(spotlight.__all__) <= 25


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_text(path, "first")
    with pytest.raises(ValueError, match="halfway"), atomic_file(path) as temporary:
        temporary.write_text("sec")
        raise ValueError("halfway")
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "first")
    with pytest.raises(SpotlightError, match=r"file\.txt: cannot be written \(the disk is full") as caught:
        with atomic_file(path) as temporary:
            temporary.symlink_to("/dev/full")
            temporary.write_text("second")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "file.txt").mkdir()
    with pytest.raises(SpotlightError, match="a folder has that name"):
        write_text(tmp_path / "file.txt", "x")
