"""How a stain was made: the JSON file beside it, and how another one that is in its place differs from it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spotlight.fingerprint import differences, fingerprint, plain
from spotlight.images import Part
from spotlight.images.plates import OWN, read_attributes, zarr_around
from spotlight.prediction.stain import Model

if TYPE_CHECKING:
    from spotlight.prediction.options import StainOptions

OF_PART = ("scene", "time", "channel", "axes", "voxel_size", "modality")
"""What is stated of an image."""


def record_of(path: Path) -> Path:
    """The file that says how a stain was made."""
    return path.with_name(f"{path.name}.json")


def read_record(path: Path) -> dict[str, Any]:
    """What is recorded of the stain at a path; empty if there is no record that can be read.

    That of a field of a plate is part of its metadata.
    """
    if zarr_around(path) is not None:
        own = read_attributes(path).get(OWN)
        return own if isinstance(own, dict) else {}
    file = record_of(path)
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def doubts_of(path: Path) -> tuple[str, ...]:
    """In which ways the input of a stain is unlike those that the model was trained on, as its record says."""
    found = read_record(path).get("doubts")
    return tuple(map(str, found)) if isinstance(found, list) else ()


def key_of(model: Model, part: Part, options: "StainOptions") -> str:
    """Fingerprint of all that a stain depends on, besides what the files of the input hold."""
    which = tuple(getattr(part, name) for name in OF_PART)
    return fingerprint(model.digest, part.path, (*which, *part.further), options)


def made_from(model: Model, part: Part, options: "StainOptions") -> dict[str, dict[str, Any]]:
    """What `key_of` is the fingerprint of, by the names under which messages say in what two stains differ."""
    stated = {name: plain(getattr(part, name)) for name in OF_PART}
    if part.further:
        stated["further channels"] = plain(part.further)
    return {"model": {"digest": model.digest}, "input": {"path": plain(part.path)} | stated, "options": plain(options)}


def made_from_others(record: Mapping[str, Any], now: Mapping[str, Mapping[str, Any]]) -> str:
    """Say from what else the stain of a record was made.

    Parameters
    ----------
    record : dict
        That of the stain that is there.
    now : dict
        What `made_from` gives for the stain that is asked for.
    """
    before = record.get("made_from")
    if not isinstance(before, dict) or not all(isinstance(before.get(name), dict) for name in now):
        return "from another model, input or options" if record else "without a record of what it was made from"
    found = {name: differences(before[name], facts) for name, facts in now.items()}
    named = ["another model"] if found["model"] else []
    named += [f"another input ({', '.join(found['input'])})"] if found["input"] else []
    named += [f"other options ({', '.join(found['options'])})"] if found["options"] else []
    return f"from {' and '.join(named) or 'another version of Spotlight'}"
