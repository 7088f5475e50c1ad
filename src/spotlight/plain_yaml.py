"""Reading YAML files of plain values, with limits on their size and without surprising conversions of text."""

import re
from pathlib import Path
from typing import Any

import yaml

from spotlight.errors import SpotlightError
from spotlight.files import require_file
from spotlight.quoting import quoted, shortened

MOST_BYTES = 32 * 2**20
MOST_LEVELS = 40
MOST_VALUES = 10_000
"""Limit for a file with aliases, which can turn a few values into very many."""
MOST_DIGITS = 19
"""Limit for a whole number; a 64-bit number has no more digits."""


class PlainLoader(yaml.SafeLoader):
    """YAML in which ``12:00:00``, ``no``, ``0123`` and ``2024-01-01`` are text, and a repeated key is an error.

    In YAML 1.1 they would be the number 43200, false, the number 83 and a date. Files written by PyYAML are read back
    unchanged.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML requires a mutable class attribute

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.levels = 0
        self.has_aliases = False
        self.sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Build a node; count its nesting level and the number of values that it stands for."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self.levels >= MOST_LEVELS:
            raise _fault(f"values are nested more than {MOST_LEVELS} levels deep", event)
        self.levels += 1
        node = super().compose_node(parent, index)
        self.levels -= 1
        if isinstance(event, yaml.AliasEvent):
            self.has_aliases = True
            if id(node) not in self.sizes:
                raise _fault("a value contains itself", event)
        elif node is not None:
            parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
            size = 1 + sum(self.sizes[id(part)] for part in parts if isinstance(part, yaml.Node))
            if self.has_aliases and size > MOST_VALUES:
                raise _fault(f"aliases expand it to more than {MOST_VALUES} values", event)
            self.sizes[id(node)] = size
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Build a mapping whose keys differ."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise _fault(f"the key {quoted(key.value)} appears twice", key)
                seen.add((key.tag, key.value))
        return node

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        """Build a whole number of at most `MOST_DIGITS` digits."""
        text = str(self.construct_scalar(node))
        if len(text) > MOST_DIGITS:
            raise _fault(f"a whole number of {len(text)} digits; at most {MOST_DIGITS} are allowed", node)
        return int(text)

    def construct_real(self, node: yaml.ScalarNode) -> float:
        """Build a real number, including ``.inf`` and ``.nan``."""
        return float(str(self.construct_scalar(node)).lower().replace(".inf", "inf").replace(".nan", "nan"))


def _fault(problem: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


_EXPONENT = "(?:[eE][-+][0-9]+)?"
for _tag, _pattern, _first in (
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", "[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        rf"[-+]?[0-9]+\.[0-9]*{_EXPONENT}|\.[0-9]+{_EXPONENT}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", "<<", "<"),
):
    PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))
PlainLoader.add_constructor("tag:yaml.org,2002:int", PlainLoader.construct_whole)
PlainLoader.add_constructor("tag:yaml.org,2002:float", PlainLoader.construct_real)


def load_yaml(path: str | Path) -> Any:
    """Read a YAML file of plain values.

    Raises
    ------
    SpotlightError
        If the file is missing, unreadable or not YAML, repeats a key, or exceeds the limits on size and depth.
    """
    path = require_file(path, "Give a YAML file.")
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise SpotlightError(
                f"{path}: has {size} bytes, but a settings file has at most {MOST_BYTES}. Give a settings file."
            )
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SpotlightError(f"{path}: cannot be read ({error}). Check the path and its permissions.") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """Read YAML text of plain values; see `load_yaml`. `where` names its source in errors."""
    try:
        values = yaml.load(text, PlainLoader)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise SpotlightError(
            f"{where}: is not valid YAML ({shortened(str(error))}). Correct it, or write it again."
        ) from error
    return {} if values is None else values
