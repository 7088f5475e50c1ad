"""Import of checkpoints of the original F-net implementation."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from spotlight.errors import SpotlightError
from spotlight.files import require_file
from spotlight.images.normalise import Grid
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


class Preprocessing(NamedTuple):
    """What a branch of the original code does to an input before the network sees it."""

    grid: Grid
    central_planes: int | None


PREPROCESSING = {"release_1": Preprocessing(0.29, None), "master": Preprocessing("native", 32)}
"""By branch of the original code."""
MARKS = {"nn_module": "release_1", "fnet_model_class": "master"}
"""Entries of a checkpoint that only one of the branches writes."""


def import_fnet(
    checkpoint: str | Path,
    to: str | Path,
    *,
    branch: Literal["release_1", "master"] | None = None,
    grid: Grid | None = None,
    voxel_size: Sequence[float] | None = None,
) -> Path:
    """Turn a checkpoint of the original implementation into a model folder.

    Its stains are in the original's units, z-scores of the target, since such checkpoints hold no intensities. The two
    branches of the original code prepare inputs differently, and a checkpoint tells which of them wrote it:
    ``release_1`` (the code of the paper) normalises by mean and standard deviation of the whole stack and resamples to
    0.29 µm; ``master`` normalises by those of the 32 planes in the middle and leaves the grid as it is.

    Parameters
    ----------
    checkpoint : path
        See `read_original_fnet`.
    to : path
        The model folder to write.
    branch : {"release_1", "master"}, optional
        Which branch trained the network, for a file that does not tell, such as a bare state dict.
    grid : float or "native", optional
        Edge of the cubic voxels in µm that the network was trained on, where its training differed from the branch's
        published pipeline.
    voxel_size : sequence of float, optional
        Of the training stacks, in µm, one per axis; stacks of another size are then refused.

    Raises
    ------
    SpotlightError
        If the folder holds a model, the file is no checkpoint of an F-net, or its branch is not known.
    """
    if (Path(to) / DESCRIPTION).exists():
        raise SpotlightError(f"{to}: holds a model already. Write to another folder.")
    network, settings, found = read_original_fnet(checkpoint)
    if branch is None and found is None:
        raise SpotlightError(
            f"{checkpoint}: does not tell which branch of the original code wrote it, and the branches prepare inputs "
            "differently. State it: --branch release_1 (the code of the paper) or --branch master."
        )
    published = PREPROCESSING[branch or found or ""]
    axes: Literal["ZYX", "YX"] = "ZYX" if network.dims == 3 else "YX"
    if voxel_size is not None and (len(voxel_size) != len(axes) or min(voxel_size) <= 0):
        raise SpotlightError(
            f"the voxel size must be {len(axes)} positive lengths in µm for {axes}. Received: {tuple(voxel_size)}."
        )
    description = ModelDescription(
        network=settings,
        input=InputDescription(
            axes=axes,
            grid=published.grid if grid is None else grid,
            voxel_size=None if voxel_size is None else tuple((v, v) for v in voxel_size),
            central_planes=published.central_planes if axes == "ZYX" else None,
        ),
        target=TargetDescription(
            center="mean", normalised_range=(0.0, 1.0), intensity_range=(0.0, 1.0), threshold=None
        ),
        training={"imported": Path(checkpoint).name, "branch": branch or found},
    )
    return save_model(to, description, network)


def read_original_fnet(path: str | Path) -> tuple[FNet, FNetSettings, str | None]:
    """Read a checkpoint (``model.p``) of the original implementation: the network, its settings and the code's branch.

    Only tensors are loaded (``weights_only``); depth, width and dimensions are read from their shapes.

    Parameters
    ----------
    path : str or Path
        A file saved by the original code, or a bare state dict of its network, which does not tell the branch.

    Raises
    ------
    SpotlightError
        If the file cannot be loaded safely or does not hold an F-net.
    """
    path = require_file(path, "Give a checkpoint of the original code.")
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
    branches = {MARKS[mark] for mark in MARKS if mark in content}
    return network, settings, branches.pop() if len(branches) == 1 else None


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
