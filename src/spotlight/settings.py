"""The base of all settings: frozen, documented, strict, and readable from YAML."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from spotlight.errors import SpotlightError
from spotlight.plain_yaml import load_yaml
from spotlight.quoting import quoted

MOST = 10**18
"""Greatest absolute value of a whole number in settings; seeds may be large."""


class Settings(BaseModel):
    """A frozen group of settings in which an unknown key is an error that names the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    unsaid: ClassVar[Mapping[str, Any]] = {}
    """The former default of each field whose default has changed; see `spotlight.fingerprint`."""

    @model_validator(mode="after")
    def _whole_numbers_are_countable(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, int) and abs(value) > MOST:
                raise ValueError(f"{name} is {quoted(value)}, but must be at most {MOST}")
        return self

    @classmethod
    def parse(cls, values: Any, where: str) -> Self:
        """Build the settings from plain values.

        Parameters
        ----------
        values : mapping
            Field names and values, nested like the settings.
        where : str
            Name of the source in an error, for example the file's name.

        Raises
        ------
        SpotlightError
            If a key is unknown, or a value is missing or out of range.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SpotlightError(f"{where}: {explain(error, cls, values)}") from error

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Read the settings from a YAML file; see `parse` for the errors."""
        return cls.parse(load_yaml(path), str(path))

    def to_yaml(self) -> str:
        """Write the settings as YAML text that `from_yaml` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def commented_yaml(settings: BaseModel, indent: str = "") -> str:
    """Write settings as YAML with every field's description above it."""
    lines = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if field.description:
            lines.append(f"{indent}# {field.description}\n")
        if isinstance(value, BaseModel):
            lines.append(f"{indent}{name}:\n{commented_yaml(value, indent + '  ')}")
        else:
            plain = settings.model_dump(mode="json", include={name})
            text = yaml.safe_dump(plain, allow_unicode=True, width=1000)
            lines.append("".join(f"{indent}{line}\n" for line in text.splitlines()))
    return "".join(lines)


def explain(error: ValidationError, model: type[BaseModel], values: Any) -> str:
    """Describe each fault of settings in one line; for an unknown key, name the nearest known one.

    Parameters
    ----------
    error : ValidationError
        The error of pydantic.
    model : type
        The class of the settings.
    values : mapping
        The values that were given.
    """
    lines = []
    for problem in error.errors():
        location = [str(part) for part in problem["loc"]]
        name = ".".join(location) or "settings"
        if problem["type"] == "extra_forbidden":
            known = _fields_at(model, location[:-1], values)
            near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(sorted(known))}."
            lines.append(f"unknown setting '{name}'; {hint}")
        else:
            lines.append(f"setting '{name}': {problem['msg']}. Received: {quoted(problem['input'])}")
    return "; ".join(lines)


class Chooser(Protocol):
    """An annotation of a field whose value may be of several classes: it chooses the class for plain values."""

    def class_of(self, values: Any) -> type[BaseModel] | None:
        """Return the class for plain values, or None if there is none."""


def _fields_at(model: type[BaseModel], location: list[str], values: Any) -> list[str]:
    """Return the names of the fields of the settings nested at `location` inside `model`."""
    nested: list[type[BaseModel]] = []
    for part in location:
        # If several kinds of settings are allowed, the next part of the location is the name of the kind.
        kinds = [option for option in nested if part in (f.default for f in option.model_fields.values())]
        if len(nested) > 1 and kinds:
            model, nested = kinds[0], []
            continue
        field = model.model_fields.get(part)
        if field is None:
            return []
        values = values.get(part) if isinstance(values, dict) else None
        chosen = [one.class_of(values) for one in field.metadata if hasattr(one, "class_of")]
        options = [*chosen, field.annotation, *getattr(field.annotation, "__args__", ())]
        options = [getattr(option, "__origin__", option) for option in options]  # unwrap Annotated types
        nested = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
        if not nested:
            return []
        model = nested[0]
    return list(model.model_fields)
