"""Checkpoints of other programs: weights are read, and code that a file may hold is never run."""

from pathlib import Path

import torch
from torch import Tensor

from spotlight.errors import SpotlightError
from spotlight.files import require_file


def read_state_dict(path: str | Path, key: str, program: str) -> tuple[dict[str, Tensor], set[str]]:
    """Read the weights of a checkpoint, under `key` or, of a bare state dict, all; and the names of all it holds.

    Raises
    ------
    SpotlightError
        If the file cannot be loaded safely, or holds no weights; `program` is named in the message.
    """
    path = require_file(path, f"Give a checkpoint of {program}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged archives fail in more ways than can be listed
        raise SpotlightError(
            f"{path}: cannot be loaded as a checkpoint of tensors ({error}). Files with arbitrary pickles are not "
            "opened, because they can run code; save the network's state dict with the program that made the file."
        ) from error
    state = content.get(key, content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise SpotlightError(
            f"{path}: holds no network weights ('{key}' or a state dict of tensors). Give a checkpoint of {program}."
        )
    return {str(name): value for name, value in state.items()}, {str(name) for name in content}
