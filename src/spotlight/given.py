"""Functions and classes that a caller gives in Python: recorded by where they are and a digest of their source.

Nothing is pickled, and a recorded path is never imported: a model folder from someone else cannot choose what runs.
What a path stands for was either given in this process, or belongs to a module that the user has imported.
"""

import hashlib
import inspect
import logging
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from spotlight.errors import SpotlightError

log = logging.getLogger("spotlight")

PLAIN = (bool, int, float, str, tuple, type(None))
_given: dict[tuple[str, str], Any] = {}


def path_of(thing: Any) -> str:
    """Name the module and place of a function, a class, or the class of another object: "package.module:Name"."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}:{named.__qualname__}"


def digest_of(thing: Any) -> str:
    """SHA-256 of the source of a function or class and of the plain values that it holds."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    try:
        source = inspect.getsource(named)
    except (OSError, TypeError):  # typed at a prompt, or not written in Python
        source = path_of(thing)
    held = inspect.getclosurevars(thing).nonlocals if inspect.isfunction(thing) else {}
    if thing is not named:
        held = vars(thing)
    values = sorted((name, repr(value)) for name, value in held.items() if isinstance(value, PLAIN))
    return hashlib.sha256(f"{source}{values if values else ''}".encode()).hexdigest()


def remember(thing: Any, kind: Any = None) -> dict[str, str]:
    """Keep what a caller gives for this process; returns what settings record: `source` and `sha256`, of its `kind`."""
    if isinstance(thing, partial):
        raise SpotlightError(
            f"functools.partial of {path_of(thing.func)} has no source of its own. Define a function instead: "
            "def my_function(...)."
        )
    kind = thing if kind is None else kind
    record = {"source": path_of(kind), "sha256": digest_of(kind)}
    _given[record["source"], record["sha256"]] = thing
    return record


def recall(source: str, sha256: str, kind: str) -> Any:
    """Return what was given in this process.

    Raises
    ------
    SpotlightError
        If nothing was.
    """
    if (source, sha256) not in _given:
        raise SpotlightError(
            f"these settings need the {kind} {source} (SHA-256 of its source {sha256[:12] or 'unknown'}), which only "
            f"Python can give. Call spotlight.train with it again, or register it: see docs/extending.md."
        )
    return _given[source, sha256]


def recall_class(source: str, sha256: str, base: type) -> Any:
    """Return a class that was given in this process, or belongs to a module that has been imported.

    Raises
    ------
    SpotlightError
        If there is none; the message names what to import.
    """
    if (source, sha256) in _given:
        return _given[source, sha256]
    module, _, name = source.partition(":")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise SpotlightError(
            f"the network is the class {name} of the module {module}, which is not imported here. Install the package "
            f"that has it and run `import {module}` before you load the model; or register it, so that the command "
            "line finds it: see docs/extending.md."
        )
    if sha256 and digest_of(found) != sha256:
        log.warning("%s: its source is not the one with which the model was trained.", source)
    return found


def wanted(function: Callable[..., Any], offered: Iterable[str]) -> tuple[str, ...]:
    """Return which of the offered arguments a function has parameters for, after its first two."""
    called = getattr(function, "forward", function)  # of a torch module, whose __call__ takes anything
    names = list(inspect.signature(called).parameters)[2:]
    return tuple(name for name in offered if name in names)
