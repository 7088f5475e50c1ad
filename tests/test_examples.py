"""Every public name has an example, which runs as a user would type it; functions describe what they take and give."""

import contextlib
import doctest
import importlib
import inspect
import logging
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import spotlight

OTHERS = ("cli", "napari")
"""Rooms of commands and widgets, whose help is tested elsewhere."""


def public_names() -> dict[str, Any]:
    """Everything public that has a docstring of its own, by the name by which it is imported."""
    rooms = [room.name for room in pkgutil.iter_modules(spotlight.__path__) if room.ispkg and room.name not in OTHERS]
    found: dict[int, tuple[str, Any]] = {}
    for module in (spotlight, *(importlib.import_module(f"spotlight.{room}") for room in rooms)):
        for name in module.__all__:
            public = getattr(module, name)
            if inspect.isclass(public) or inspect.isroutine(public):
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
    assert not set(signature.parameters) - described, f"{name}: section Parameters lacks some"
    gives = signature.return_annotation not in (None, "None")
    assert "\nReturns\n---" in text or not gives, f"{name}: lacks a section Returns"
