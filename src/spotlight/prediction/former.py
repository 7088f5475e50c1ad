"""Stains that were made before states of files were recorded, and whose fingerprint held every setting there was."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from spotlight.fingerprint import State
from spotlight.images import Part
from spotlight.prediction.stain import Model

if TYPE_CHECKING:
    from spotlight.prediction.options import StainOptions

SETTINGS = ("tile", "voxels", "overlap", "blend", "precision", "device", "augment", "spread")
OPTIONS = (
    "channel",
    "axes",
    "voxel_size",
    "normalised",
    "flatten",
    "any_voxel_size",
    "plane",
    "modality",
    "form",
    "kind",
)
"""What there was to set, in its order."""


def is_former(
    record: Mapping[str, Any], model: Model, part: Part, options: "StainOptions", states: Sequence[State]
) -> bool:
    """Whether a record is that of a stain of this model, input and options, made when no state was recorded.

    The input must not have changed since then, as far as the times of its files tell.
    """
    if "inputs" in record or "key" not in record or not states:
        return False
    file = part.path.stat()
    chosen = {name: getattr(options.settings, name) for name in SETTINGS}
    stated = ", ".join(f"{name}={value!r}" for name, value in chosen.items())
    wanted = [f"{name}={getattr(options, name)!r}" for name in OPTIONS]
    which = [str(fact) for fact in (part.scene, part.time, part.channel, part.axes, part.voxel_size, part.modality)]
    facts = [_digest(model), str(part.path.resolve()), file.st_size, file.st_mtime_ns, *which]
    facts += [chosen, f"StainOptions({', '.join(wanted)}, settings=PredictionSettings({stated}))"]
    made = datetime.fromisoformat(str(record.get("made", "1970-01-01T00:00:00+00:00"))).timestamp()
    newest = max((changed for state in states for _, _, changed, _, _ in state.files), default=0)
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return bool(record["key"] == key) and newest / 1e9 <= made + 1  # it was written down in whole seconds


def _digest(model: Model) -> str:
    """The fingerprint of a model as it was then: of the weights and of all that its description states."""
    described = model.description.model_dump(mode="json", exclude_unset=True)
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for network in model.networks:
        for name, weight in sorted(network.state_dict().items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(weight.cpu().numpy()).tobytes())
    for separate in model.separate.values():
        digest.update(_digest(separate).encode())
    return digest.hexdigest()
