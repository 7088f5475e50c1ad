"""Weights of networks in files: safetensors, written whole or not at all, and checked when they are read."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialise
from safetensors.torch import save as serialise
from torch import Tensor

from spotlight.errors import SpotlightError
from spotlight.files import atomic_file


def save_weights(path: Path, network: torch.nn.Module) -> str:
    """Write a network's weights as safetensors, completely or not at all; return the SHA-256 of the file.

    Parameters
    ----------
    path : Path
        The file to write.
    network : Module
        Whose weights are written, those of normalisations among them.

    Returns
    -------
    str
        The SHA-256, in hexadecimal.

    Raises
    ------
    SpotlightError
        If a weight is not finite, or the file cannot be written.
    """
    state = {name: tensor.detach().contiguous().cpu() for name, tensor in network.state_dict().items()}
    fault = _fault(state)
    if fault:
        raise SpotlightError(
            f"{path}: was not written, because {fault}. Train again with a lower training.learning_rate or with "
            "training.precision float32. If the weights come from an imported file, import another copy of it."
        )
    content = serialise(state)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def load_weights(path: Path, network: torch.nn.Module, sha256: str = "") -> None:
    """Load weights saved by `save_weights` into a network of the same architecture.

    Parameters
    ----------
    path : Path
        The file.
    network : Module
        The network that gets the weights.
    sha256 : str
        The SHA-256 that the file must have; empty if it is unknown.

    Raises
    ------
    SpotlightError
        If the file is missing, damaged, of another network or has another SHA-256, if a weight is not finite or has
        another type than the network's, or if a variance is negative.
    """
    try:
        content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if sha256 and found != sha256:
            raise ValueError(f"the file's SHA-256 is {found}, but model.yaml states {sha256}")
        state = deserialise(content)
        own = network.state_dict()
        for name, tensor in state.items():
            if name in own and tensor.dtype != own[name].dtype:
                raise ValueError(f"{name} has type {tensor.dtype}, but the network needs {own[name].dtype}")
        fault = _fault(state)
        if fault:
            raise ValueError(fault)
        network.load_state_dict(state)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise SpotlightError(
            f"{path}: the weights cannot be loaded ({error}). Copy the model folder again, or train again."
        ) from error


def _fault(state: Mapping[str, Tensor]) -> str:
    """Return what is wrong with the values of weights; empty if nothing is."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            return f"{name} has values that are not finite"
        if name.endswith("running_var") and (tensor < 0).any():
            return f"{name} has negative variances"
    return ""
