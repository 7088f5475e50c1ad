"""Registries: named parts of one kind, from Spotlight and from other packages.

A part is a class of settings that builds what it describes. A package registers its own parts by an entry point:

.. code-block:: toml

    [project.entry-points."spotlight.networks"]
    my_network = "my_package:MyNetworkSettings"

Entry points are read when Spotlight itself does not have a requested name, and when all names are listed.
"""

import difflib
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from spotlight.errors import SpotlightError
from spotlight.quoting import quoted
from spotlight.settings import Settings

Part = TypeVar("Part", bound=Settings)
Known = TypeVar("Known")


class Names(Generic[Known]):
    """Named parts of one kind.

    Parameters
    ----------
    kind : str
        The kind, as messages call it, such as "network".
    group : str
        Group of entry points by which packages add parts, such as "spotlight.networks".
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind, self.group = kind, group
        self._known: dict[str, Known] = {}

    def add(self, name: str, part: Known) -> None:
        """Add a part under a name.

        Raises
        ------
        SpotlightError
            If the name belongs to another part.
        """
        if self._known.get(name, part) is not part:
            raise SpotlightError(f"a {self.kind} named {name!r} already exists. Choose another name.")
        self._known[name] = part

    def find(self, name: str) -> Known:
        """Return the part of this name.

        Raises
        ------
        SpotlightError
            If no part has this name, or its package cannot be imported.
        """
        if name not in self._known and name in self._offered:
            self.add(name, self._load(self._offered[name]))
        if name not in self._known:
            near = difflib.get_close_matches(name, self.names(), n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(self.names())}."
            raise SpotlightError(
                f"unknown {self.kind} {quoted(name)}. {hint} If another package provides it, install that package."
            )
        return self._known[name]

    def names(self) -> tuple[str, ...]:
        """Names of all parts: first ours, in the order in which they were added, then those of other packages."""
        return (*self._known, *sorted(name for name in self._offered if name not in self._known))

    @cached_property
    def _offered(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}

    def _load(self, point: EntryPoint) -> Known:
        try:
            found: Known = point.load()
        except Exception as error:  # importing a foreign module can raise anything
            package = point.dist.name if point.dist is not None else point.module
            raise SpotlightError(
                f"the {self.kind} {point.name!r} of the package {package} cannot be loaded ({point.value}: "
                f"{type(error).__name__}: {error}). Update or remove that package."
            ) from error
        return found


class Registry(Names[type[Part]]):
    """Classes of settings of one kind; one field, the tag, names the class.

    Parameters
    ----------
    kind, group
        See `Names`.
    base : type
        The class that all of them extend.
    tag : str
        The field that names the class, such as "architecture".
    default : str
        The tag of plain values that do not state it.
    """

    def __init__(self, kind: str, group: str, base: Any, tag: str, default: str) -> None:
        super().__init__(kind, group)
        self.base, self.tag, self.default = base, tag, default
        self.of_given: Callable[[Any], Part] | None = None
        """Makes settings of a function or class that a caller gives in Python."""

    def register(self, part: type[Part]) -> type[Part]:
        """Add a class under the default value of its tag; use it as a decorator.

        Raises
        ------
        SpotlightError
            If the class is of another kind, or another class has its name.
        """
        self.add(self._name_of(part), part)
        return part

    def parse(self, values: Any) -> Any:
        """Turn plain values, a name, or a function or class into settings; return all other values unchanged.

        For fields of other settings: ``Annotated[SerializeAsAny[Base], BeforeValidator(registry.parse), registry]``;
        errors then name the nearest field of the class that the tag names.

        Raises
        ------
        ValueError
            If the tag names no part.
        pydantic.ValidationError
            If the values do not fit it.
        """
        if isinstance(values, str):
            values = {self.tag: values}
        if callable(values) and self.of_given is not None:
            return self.of_given(values)
        if not isinstance(values, dict):
            return values
        try:
            return self.find(self._tag_of(values)).model_validate(values)
        except SpotlightError as error:
            raise ValueError(str(error)) from error

    def class_of(self, values: Any) -> type[Part] | None:
        """Return the class that the tag of plain values names, or None if there is no such class."""
        name = self._tag_of(values) if isinstance(values, dict) else ""
        return self.find(name) if name in self.names() else None

    def _tag_of(self, values: dict[str, Any]) -> str:
        return str(values.get(self.tag, self.default))

    def _name_of(self, part: Any) -> str:
        fits = isinstance(part, type) and issubclass(part, self.base)
        if not fits:
            raise SpotlightError(
                f"a {self.kind} must be a class that extends {self.base.__name__}. Received: {part!r}."
            )
        field = part.model_fields.get(self.tag)
        if field is None or not isinstance(field.default, str):
            raise SpotlightError(
                f'{part.__name__} must name itself: {self.tag}: Literal["my_name"] = "my_name". '
                f"Received: {'nothing' if field is None else repr(field.default)}."
            )
        return field.default

    def _load(self, point: EntryPoint) -> type[Part]:
        found = super()._load(point)
        name = self._name_of(found)
        if name != point.name:
            raise SpotlightError(
                f"the entry point {point.name!r} of {self.group} names {found.__name__}, whose {self.tag} is "
                f"{name!r}. Both names must be equal; correct one of them in that package."
            )
        return found
