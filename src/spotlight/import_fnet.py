"""Import of checkpoints of the original F-net implementation."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from spotlight.checkpoints import read_state_dict
from spotlight.errors import SpotlightError
from spotlight.images.normalise import Grid
from spotlight.model import DESCRIPTION, InputDescription, ModelDescription, save_model
from spotlight.networks import FNet, FNetSettings
from spotlight.tasks import TargetDescription

# Layers of one level: the original's name, and our list and the index within its Sequential.
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
    """How a branch of the original code prepares an input for the network."""

    grid: Grid
    central_planes: int | None


PREPROCESSING = {"release_1": Preprocessing(0.29, None), "master": Preprocessing("native", 32)}
"""By branch of the original code."""
MARKS = {"nn_module": "release_1", "fnet_model_class": "master"}
"""Entries of a checkpoint that only one branch writes."""


def import_fnet(
    checkpoint: str | Path,
    to: str | Path,
    *,
    branch: Literal["release_1", "master"] | None = None,
    grid: Grid | None = None,
    voxel_size: Sequence[float] | None = None,
) -> Path:
    """Convert a checkpoint of the original implementation to a model folder.

    Its stains are z-scores of the target, because such checkpoints do not contain intensities. The two branches of the
    original code prepare inputs differently, and most checkpoints show which branch wrote them: ``release_1`` (the code
    of the paper) normalises by mean and standard deviation of the whole stack and resamples to 0.29 µm; ``master``
    normalises by those of the 32 central planes and does not resample.

    Parameters
    ----------
    checkpoint : path
        See `read_original_fnet`.
    to : path
        The model folder to write.
    branch : {"release_1", "master"}, optional
        The branch that trained the network, for a file that does not show it, such as a bare state dict.
    grid : float or "native", optional
        Edge in µm of the cubic voxels on which the network was trained, if it differs from the branch's published
        pipeline.
    voxel_size : sequence of float, optional
        Voxel size of the training stacks in µm, one value per axis. Stacks of another voxel size are then refused.

    Raises
    ------
    SpotlightError
        If the folder already holds a model, the file is not a checkpoint of an F-net, or its branch is unknown.
    """
    if (Path(to) / DESCRIPTION).exists():
        raise SpotlightError(f"{to}: already holds a model. Write to another folder.")
    network, settings, found = read_original_fnet(checkpoint)
    if branch is None and found is None:
        raise SpotlightError(
            f"{checkpoint}: does not show which branch of the original code wrote it, and the branches prepare inputs "
            "differently. State the branch: --branch release_1 (the code of the paper) or --branch master."
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

    Only tensors are loaded (``weights_only``). Depth, width and dimensions are derived from their shapes.

    Parameters
    ----------
    path : str or Path
        A file saved by the original code, or a bare state dict of its network, which does not show the branch.

    Raises
    ------
    SpotlightError
        If the file cannot be loaded safely or does not hold an F-net.
    """
    state, content = read_state_dict(path, "nn_state", "F-net")
    renamed = {_rename(name, str(path)): tensor for name, tensor in state.items()}
    first, head = renamed.get("encoders.0.0.weight"), renamed.get("head.weight")
    if first is None or head is None or first.ndim not in (4, 5) or "encoders.1.0.weight" not in renamed:
        raise SpotlightError(f"{path}: is not a checkpoint of F-net; layers are missing. Give a complete one.")
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
        raise SpotlightError(
            f"{path}: does not fit an F-net of depth {depth} ({error}). Give an unchanged checkpoint of F-net."
        ) from error
    branches = {MARKS[mark] for mark in MARKS if mark in content}
    return network, settings, branches.pop() if len(branches) == 1 else None


def _rename(name: str, path: str) -> str:
    plain = name.removeprefix("module.")
    if plain.startswith("conv_out."):
        return plain.replace("conv_out", "head")
    match = NAME.match(plain)
    if match is None:
        raise SpotlightError(
            f"{path}: has a tensor {name!r}, which F-net does not have. Give a checkpoint of F-net, not of another "
            "network."
        )
    level = match[1].count("sub_u.")
    list_name, place = LAYERS[match[2]]
    return f"{list_name}.{level}.{place}.{match[3]}"
