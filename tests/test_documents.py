"""Every fenced block of the documents runs or says why not, commands and settings exist, and links lead somewhere.

A comment right before a block says why it is not run: ``<!-- not run: it fetches a gigabyte -->``. The Python blocks of
a page run one after another in one empty folder.
"""

import ast
import contextlib
import csv
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer

from spotlight.cli import app
from spotlight.comparison import Comparison
from spotlight.evaluation import EvaluationSettings
from spotlight.images import Stack
from spotlight.plain_yaml import parse_yaml
from spotlight.segmentation import SegmentationSettings
from spotlight.simulation import LightSheetSettings
from spotlight.training import Experiment

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"(?:<!-- not run: (.+?) -->\n\n?)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS: Any = typer.main.get_command(app)
STRANGERS = {"cp", "dask", "git", "mkdir", "napari", "openssl", "pip", "python3", "pre-commit", "sbatch"}
"""Programs of others, whose options are not looked at."""
SETTINGS: dict[str, list[Any]] = {
    "docs/evaluation.md": [EvaluationSettings, Comparison],
    "docs/instances.md": [SegmentationSettings],
    "docs/light-sheet.md": [LightSheetSettings],
    "docs/models.md": [Experiment],
    "docs/restoration.md": [Experiment],
    "docs/segmentation-models.md": [Experiment],
}
"""What the YAML blocks of a page are."""
RESULTS = {"README.md": ["stain.ome.tif", "evaluation/report.html"]}
"""Files that the Python blocks of a page write."""


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    reason: str
    language: str
    text: str


BLOCKS = [
    Block(str(page.relative_to(ROOT)), *match.groups(default=""))
    for page in PAGES
    for match in FENCE.finditer(page.read_text(encoding="utf-8"))
]


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages and not block.reason]


def given(page: str) -> dict[str, Any]:
    """What the Python blocks of a page need from elsewhere."""
    if page != "docs/profiles.md":
        return {}
    labels = np.zeros((8, 24, 24), np.uint8)
    labels[2:6, 4:12, 4:12], labels[2:6, 14:20, 14:22] = 1, 2
    image = np.random.default_rng(0).normal(100, 9, labels.shape).astype(np.float32)
    return {"labels": Stack(labels, "ZYX", (0.29,) * 3), "image": Stack(image, "ZYX", (0.29,) * 3)}


def test_every_block_has_a_language_that_is_looked_at() -> None:
    fences = sum(page.read_text(encoding="utf-8").count("\n```") for page in PAGES)
    assert fences == 2 * len(BLOCKS)
    assert {block.language for block in BLOCKS if not block.reason} <= {"csv", "python", "sh", "yaml"}


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({block.page for block in of("python")}))
def test_python_blocks_run(page: str, tmp_path: Path) -> None:
    names = given(page)
    with contextlib.chdir(tmp_path):
        for block in of("python"):
            if block.page == page:
                exec(compile(block.text, page, "exec"), names)
    assert all((tmp_path / name).exists() for name in RESULTS.get(page, ()))


def test_tables_have_as_many_cells_in_every_row() -> None:
    for block in of("csv"):
        assert len({len(row) for row in csv.reader(block.text.splitlines())}) == 1, block


def test_settings_are_valid() -> None:
    for page in {block.page for block in of("yaml")}:
        found = [parse_yaml(block.text, page) for block in of("yaml") if block.page == page]
        for values, settings in zip(found, SETTINGS.get(page, []), strict=False):
            settings.parse(values, page)


def command_lines(text: str) -> Iterator[list[str]]:
    """Words of each command of a shell block, without settings of variables before it."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            del words[0]
        if words:
            yield words


@pytest.mark.parametrize("block", of("sh"), ids=lambda block: f"{block.page}: {block.text.splitlines()[0]}")
def test_commands_and_their_options_exist(block: Block) -> None:
    for words in command_lines(block.text):
        program, *arguments = words
        if program == "spotlight":
            command, name, arguments = found_command(arguments)
            command.make_context(name, arguments)  # an error if an option or argument is none, or missing
        elif program == "make":
            targets = [word for word in arguments if "=" not in word]
            assert all(re.search(rf"^{t}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for t in targets), words
        elif program == "python" and arguments[0].startswith("benchmarks/"):
            source = (ROOT / arguments[0]).read_text(encoding="utf-8")
            assert all(f'"{word}"' in source for word in arguments if word.startswith("--")), words
        else:
            assert program in STRANGERS, words


def test_commands_in_sentences_exist() -> None:
    for page in PAGES:
        for line in re.findall(r"`spotlight ((?!\.)[^`]+)`", page.read_text(encoding="utf-8")):
            command, _, arguments = found_command(shlex.split(line.split(">")[0]))
            known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
            assert {word for word in arguments if word.startswith("-")} <= known, f"{page.name}: {line}"


def found_command(words: list[str]) -> tuple[Any, str, list[str]]:
    """The command that words begin with, its name, and the rest."""
    command, rest = COMMANDS, list(words)
    name = "spotlight"
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        name = rest.pop(0)
        assert name in command.commands, f"there is no command {name!r}: {words}"
        command = command.commands[name]
    return command, name, rest


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def shown_by_the_reference() -> set[str]:
    """Modules and names that the reference shows, dotted."""
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs/reference").glob("*.md")]
    modules = {name for page in pages for name in re.findall(r"^::: (\S+)", page, re.MULTILINE)}
    found = {name: importlib.import_module(name) for name in modules}
    return modules | {f"{name}.{part}" for name, here in found.items() for part in getattr(here, "__all__", dir(here))}


def names_in(page: Path) -> Iterator[str]:
    """Names of ours that the sentences of a page name and its Python blocks import, dotted."""
    # Of a method, the class is what the reference shows. What begins with an underscore is no name for users.
    yield from re.findall(r"`(spotlight(?:\.[a-z]\w*)*\.[A-Za-z]\w*)(?:\.\w+)?[`(]", page.read_text(encoding="utf-8"))
    for block in of("python"):
        for node in ast.walk(ast.parse(block.text)) if ROOT / block.page == page else ():
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("spotlight"):
                yield from (f"{node.module}.{part.name}" for part in node.names)


def test_names_of_the_documents_are_in_the_reference() -> None:
    shown = shown_by_the_reference()
    for page in PAGES:
        unknown = set(names_in(page)) - shown
        assert not unknown, f"{page.name}: no page of docs/reference shows {', '.join(sorted(unknown))}"


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w/-]+\.md$", text, re.MULTILINE))
    here = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert here | {"contributing.md", "changes.md"} == named, "name every page of docs/ under nav in mkdocs.yml"


def test_questions_quote_messages_that_exist() -> None:
    source = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "src").rglob("*.py"))
    headings = re.findall(r"^## `(.+?)`", (ROOT / "docs/faq.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(headings) > 5
    for heading in headings:
        for words in heading.split(" ... "):
            assert words.strip(" .") in source, f"no message says {words!r}"
