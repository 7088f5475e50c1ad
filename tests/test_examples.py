"""Every public name has an example in its docstring, and the examples run."""

import contextlib
import doctest
import importlib
import inspect
import logging
from pathlib import Path
from typing import Any

import pytest

import spotlight

NAMES = [name for name in spotlight.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", NAMES)
def test_public_names_have_examples_that_run(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    public: Any = getattr(spotlight, name)
    text = inspect.getdoc(public) or ""
    assert "\nExamples\n--------\n>>> " in text, f"the docstring of spotlight.{name} lacks a section Examples"
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    said: list[str] = []
    with contextlib.chdir(tmp_path):
        result = doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert not result.failed, "".join(said)


FEWEST = {"images": 17, "pairs": 9, "prediction": 8, "segmentation": 6, "profiles": 3, "metrics": 21, "evaluation": 9}
"""Public names of a room that have an example; these numbers only go up."""


@pytest.mark.parametrize("room", FEWEST)
def test_examples_of_a_room_run(room: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    package = importlib.import_module(f"spotlight.{room}")
    told = 0
    for name in package.__all__:
        public = getattr(package, name)
        text = (inspect.isclass(public) or callable(public)) and inspect.getdoc(public)
        if not text or ">>> " not in text:
            continue
        told += 1
        scope = dict(vars(importlib.import_module(public.__module__)))
        example = doctest.DocTestParser().get_doctest(text, scope, f"{room}.{name}", None, None)
        said: list[str] = []
        (tmp_path / name).mkdir()
        with contextlib.chdir(tmp_path / name):
            result = doctest.DocTestRunner(verbose=False).run(example, out=said.append)
        assert not result.failed, "".join(said)
    assert told >= FEWEST[room], f"spotlight.{room}: fewer names have an example than before"
