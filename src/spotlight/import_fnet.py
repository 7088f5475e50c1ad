"""Import of checkpoints of the original F-net implementation."""

import re
from pathlib import Path

import torch
from torch import Tensor

from spotlight.errors import SpotlightError
from spotlight.model import DESCRIPTION, InputDescription, ModelDescription, TargetDescription, save_model
from spotlight.networks import FNet, FNetSettings

# Layers of one level in the original's names, and where they stand here: list and index within its Sequential.
LAYERS = {
    "sub_2conv_more.conv1": ("encoders", 0),
    "sub_2conv_more.bn1": ("encoders", 1),
    "sub_2conv_more.conv2": ("encoders", 3),
    "sub_2conv_more.bn2": ("encoders", 4),
    "conv_down": ("downs", 0),
    "bn0": ("downs", 1),
    "convt": ("ups", 0),
    "bn1": ("ups", 1),
    "sub_2conv_less.conv1": ("decoders", 0),
    "sub_2conv_less.bn1": ("decoders", 1),
    "sub_2conv_less.conv2": ("decoders", 3),
    "sub_2conv_less.bn2": ("decoders", 4),
}
NAME = re.compile(r"^(?:module\.)?net_recurse\.((?:sub_u\.)*)(" + "|".join(map(re.escape, LAYERS)) + r")\.(\w+)$")


def import_fnet(checkpoint: str | Path, to: str | Path) -> Path:
    """Turn a checkpoint of the original implementation into a model folder.

    Its stains are in the original's units, z-scores of the target, since such checkpoints hold no intensities. Inputs
    are z-scored and resampled to 0.29 µm, as the original's published pipeline does.

    Parameters
    ----------
    checkpoint : path
        See `read_original_fnet`.
    to : path
        The model folder to write.
    """
    if (Path(to) / DESCRIPTION).exists():
        raise SpotlightError(f"{to}: holds a model already. Write to another folder.")
    network, settings = read_original_fnet(checkpoint)
    description = ModelDescription(
        network=settings,
        input=InputDescription(axes="ZYX" if network.dims == 3 else "YX", grid=0.29),
        target=TargetDescription(
            center="mean", normalised_range=(0.0, 1.0), intensity_range=(0.0, 1.0), threshold=None
        ),
        training={"imported": Path(checkpoint).name},
    )
    return save_model(to, description, network)


def read_original_fnet(path: str | Path) -> tuple[FNet, FNetSettings]:
    """Read a checkpoint (``model.p``) of the original implementation.

    Only tensors are loaded (``weights_only``); depth, width and dimensions are read from their shapes.

    Parameters
    ----------
    path : str or Path
        A file saved by the original code, or a bare state dict of its network.

    Raises
    ------
    SpotlightError
        If the file cannot be loaded safely or does not hold an F-net.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged archives fail in more ways than can be listed
        raise SpotlightError(
            f"{path}: cannot be loaded as a checkpoint of tensors ({error}). Files that need arbitrary pickles are "
            "not opened; save the network's state dict with the program that made it."
        ) from error
    state = content.get("nn_state", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise SpotlightError(f"{path}: holds no network weights ('nn_state' or a state dict of tensors).")
    renamed = {_rename(str(name), str(path)): tensor for name, tensor in state.items()}
    first, head = renamed.get("encoders.0.0.weight"), renamed.get("head.weight")
    if first is None or head is None or first.ndim not in (4, 5) or "encoders.1.0.weight" not in renamed:
        raise SpotlightError(f"{path}: is not an F-net checkpoint; layers are missing.")
    if first.shape[1] != 1 or head.shape[0] != 1:
        raise SpotlightError(
            f"{path}: has {first.shape[1]} input and {head.shape[0]} output channels; only networks with one of each "
            "can be imported."
        )
    depth = max(int(name.split(".")[1]) for name in renamed if name.startswith("encoders."))
    settings = FNetSettings(depth=depth, mult_chan=first.shape[0])
    network = FNet(first.ndim - 2, depth, first.shape[0])
    try:
        network.load_state_dict(renamed)
    except RuntimeError as error:
        raise SpotlightError(f"{path}: does not fit an F-net of depth {depth} ({error}).") from error
    return network, settings


def _rename(name: str, path: str) -> str:
    plain = name.removeprefix("module.")
    if plain.startswith("conv_out."):
        return plain.replace("conv_out", "head")
    match = NAME.match(plain)
    if match is None:
        raise SpotlightError(
            f"{path}: has a tensor {name!r}, which no F-net has. It is a checkpoint of another network."
        )
    level = match[1].count("sub_u.")
    list_name, place = LAYERS[match[2]]
    return f"{list_name}.{level}.{place}.{match[3]}"
