"""Every public name has an example in its docstring, and the examples run."""

import contextlib
import doctest
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
