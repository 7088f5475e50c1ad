"""All that the reference shows has an example that runs as it stands; functions describe what they take and give."""

import contextlib
import doctest
import importlib
import inspect
import logging
import re
from pathlib import Path
from typing import Any

import pytest

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"


def public_names() -> dict[str, Any]:
    """Every class and function of the reference, by the name by which it is imported; each once."""
    pages = [page.read_text(encoding="utf-8") for page in sorted(REFERENCE.glob("*.md"))]
    shown = sorted(module for page in pages for module in re.findall(r"^::: (\S+)", page, re.MULTILINE))
    found: dict[int, tuple[str, Any]] = {}
    for module in map(importlib.import_module, shown):
        own = [name for name, part in vars(module).items() if getattr(part, "__module__", "") == module.__name__]
        for name in getattr(module, "__all__", own):
            public = getattr(module, name)
            if name[0] != "_" and (inspect.isclass(public) or inspect.isroutine(public)):
                found.setdefault(id(public), (f"{module.__name__}.{name}", public))
    return dict(found.values())


PUBLIC = public_names()


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_have_examples_that_run(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    text = inspect.getdoc(PUBLIC[name]) or ""
    section = text.partition("\nExamples\n--------\n")[2]
    assert ">>> " in section, f"the docstring of {name} lacks a section Examples"
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    said: list[str] = []
    with contextlib.chdir(tmp_path):
        result = doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert not result.failed, "".join(said)


@pytest.mark.parametrize("name", [name for name, public in PUBLIC.items() if inspect.isroutine(public)])
def test_public_functions_describe_parameters_and_result(name: str) -> None:
    text = (inspect.getdoc(PUBLIC[name]) or "").partition("\nExamples\n")[0]
    signature = inspect.signature(PUBLIC[name])
    described = set(re.findall(r"\w+", text.partition("\nParameters\n---")[2]))
    # What stands behind ** is described by its own names.
    named = {part.name for part in signature.parameters.values() if part.kind is not part.VAR_KEYWORD}
    missing = named - described
    assert not missing, f"the docstring of {name} does not describe {', '.join(sorted(missing))}"
    gives = signature.return_annotation not in (None, "None")
    assert "\nReturns\n---" in text or not gives, f"the docstring of {name} lacks a section Returns"
