"""Import of VisCy's and Cytoland's checkpoints: VSCyto2D, VSCyto3D, VSNeuromast, and others of these networks."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from spotlight.checkpoints import read_state_dict
from spotlight.errors import SpotlightError
from spotlight.model import DESCRIPTION, InputDescription, ModelDescription, save_model
from spotlight.networks import FcmaeSettings, UNeXt, UNeXt2Settings
from spotlight.tasks import TargetDescription

LAYERS = {
    "conv_dw": "depthwise",
    "dwconv": "depthwise",
    "norm": "norm",
    "layernorm": "norm",
    "mlp.fc1": "expand",
    "mlp.grn": "response",
    "mlp.fc2": "reduce",
}
"""Parts of a block: VisCy's names and ours."""
FIXED = {
    "stem.conv": "stem",
    "encoder_stages.stem_1": "stem_norm",
    "head.conv.0.conv": "mix",
    "head.conv.1": "head",
    "encoder.stem.conv3d": "stem",
    "encoder.stem.norm": "stem_norm",
}
STAGE = re.compile(r"(encoder_stages\.stages_|encoder\.stages\.|decoder\.decoder_stages\.)(\d+)\.(?:conv\.)?(.+)")
BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.(weight|bias)")


def import_viscy(
    checkpoint: str | Path,
    to: str | Path,
    outputs: Sequence[str],
    *,
    input_channel: str = "",
    voxel_size: Sequence[float] | None = None,
    greatest_voxel_size: Sequence[float] | None = None,
) -> Path:
    """Convert a checkpoint of VisCy to a model folder.

    The input is normalised by median and interquartile range of the stack and stays on its own voxels. Stains are
    z-scores of the targets, because such checkpoints do not contain intensities.

    Parameters
    ----------
    checkpoint : path
        A Lightning checkpoint with a UNeXt2 or FCMAE network, or a state dict of one. Only tensors are loaded
        (``weights_only``); depths, widths, planes and outputs are derived from their shapes.
    to : path
        The model folder to write.
    outputs : sequence of str
        What the outputs stain, in their order, which no checkpoint states: nuclei, membrane in VisCy's recipes.
    input_channel : str
        Name of the channel that it was trained on. Left out: channels of any name are taken.
    voxel_size, greatest_voxel_size : sequence of float, optional
        Voxel size of the training stacks in µm, one value per axis; or the least and the greatest one. Stacks of
        other voxel sizes are then refused.

    Raises
    ------
    SpotlightError
        If the folder already holds a model, the file is not such a checkpoint, or the number of outputs is another.

    Examples
    --------
    >>> import_viscy("VSCyto3D.ckpt", "vscyto3d", ["nuclei", "membrane"], voxel_size=(0.2, 0.1, 0.1))  # doctest: +SKIP
    """
    if (Path(to) / DESCRIPTION).exists():
        raise SpotlightError(f"{to}: already holds a model. Write to another folder.")
    network, settings = read_viscy(checkpoint)
    if len(outputs) != network.stains or len(set(outputs)) < len(outputs):
        raise SpotlightError(
            f"{checkpoint}: has {network.stains} outputs, which need names of their own in the order of the training "
            f"(the file does not state it). Received: {', '.join(outputs) or 'none'}. Give them with --outputs, for "
            "example --outputs nuclei membrane."
        )
    axes: Literal["ZYX", "YX"] = "ZYX" if network.dims == 3 else "YX"
    bounds = None
    if voxel_size is None and greatest_voxel_size is not None:
        raise SpotlightError("the greatest voxel size needs the least one. Give --voxel-size, too.")
    if voxel_size is not None:
        bounds = tuple(zip(voxel_size, greatest_voxel_size or voxel_size, strict=False))
        sizes = {len(voxel_size), len(greatest_voxel_size or voxel_size)}
        if sizes != {len(axes)} or any(not 0 < low <= high for low, high in bounds):
            raise SpotlightError(
                f"a voxel size is {len(axes)} positive lengths in µm for {axes}, and the greatest one is not below the "
                f"least. Received: {tuple(voxel_size)}, {greatest_voxel_size and tuple(greatest_voxel_size)}."
            )
    first, *further = (
        TargetDescription(channel=name, center="mean", normalised_range=(0.0, 1.0), intensity_range=(0.0, 1.0))
        for name in outputs
    )
    description = ModelDescription(
        format=1,
        network=settings,
        input=InputDescription(
            channel=input_channel, axes=axes, grid="native", voxel_size=bounds, normalisation="median/iqr"
        ),
        target=first,
        further_targets=tuple(further),
        training={"imported": Path(checkpoint).name},
    )
    return save_model(to, description, network)


def read_viscy(path: str | Path) -> tuple[UNeXt, UNeXt2Settings | FcmaeSettings]:
    """Read a checkpoint of VisCy: the network, and its settings.

    Raises
    ------
    SpotlightError
        If the file cannot be loaded safely, or holds no UNeXt2 or FCMAE network of one input channel.
    """
    state, _ = read_state_dict(path, "state_dict", "VisCy")
    model = {name.removeprefix("model."): value for name, value in state.items()}
    return network_of(model, str(path))


def network_of(state: Mapping[str, Tensor], path: str) -> tuple[UNeXt, UNeXt2Settings | FcmaeSettings]:
    """Build the network of a state dict with VisCy's names; `path` is named in errors."""
    try:
        settings, dims, stains = _sizes(state)
    except (KeyError, IndexError, ValueError) as error:
        raise SpotlightError(
            f"{path}: is no UNeXt2 or FCMAE network of VisCy with one input channel ({error}). Give one of VSCyto2D, "
            "VSCyto3D or VSNeuromast, or another checkpoint of these networks."
        ) from error
    shortened = dict(state)
    if dims == 2:  # what such a network computes one plane with
        for part in ("weight", "bias"):
            flat = shortened.get(f"encoder.stem.conv2d.{part}", shortened[f"encoder.stem.conv3d.{part}"])
            shortened[f"encoder.stem.conv3d.{part}"] = flat.unsqueeze(2) if flat.ndim == 4 else flat
    renamed = {}
    for name, value in shortened.items():
        if not name.startswith("encoder.stem.conv2d."):
            ours = _rename(name, state, path)
            renamed[ours] = value.flatten(1) if ours.endswith(("expand.weight", "reduce.weight")) else value
    network = settings.build(dims, stains)
    assert isinstance(network, UNeXt)
    try:
        network.load_state_dict(renamed)
    except RuntimeError as error:
        raise SpotlightError(
            f"{path}: does not fit the network that its shapes describe, {settings.describe()} ({error}). Give an "
            "unchanged checkpoint."
        ) from error
    return network, settings


def _sizes(state: Mapping[str, Tensor]) -> tuple[UNeXt2Settings | FcmaeSettings, int, int]:
    """Read settings, dimensions and number of stains from the shapes of tensors."""
    fcmae = "encoder.stem.conv3d.weight" in state
    stem = state["encoder.stem.conv3d.weight" if fcmae else "stem.conv.weight"]
    prefix, depthwise = ("encoder.stages.", "dwconv") if fcmae else ("encoder_stages.stages_", "conv_dw")
    depths: list[int] = []
    widths: list[int] = []
    while f"{prefix}{len(depths)}.blocks.0.{depthwise}.weight" in state:
        stage = f"{prefix}{len(depths)}.blocks."
        widths.append(state[f"{stage}0.{depthwise}.weight"].shape[0])
        depths.append(sum(name.startswith(stage) and name.endswith(f"{depthwise}.weight") for name in state))
    folded, channels, planes, pixels = stem.shape[:4]
    if channels != 1:
        raise ValueError(f"it has {channels} input channels")
    window = planes * widths[0] // folded
    last = state[f"decoder.decoder_stages.{len(widths) - 2}.conv.blocks.0.conv_dw.weight"].shape[0]
    per_plane = window * pixels**2 if fcmae else (window + 2) * pixels**2
    stains, rest = divmod(last, per_plane)
    if rest or not stains:
        raise ValueError(f"its decoder ends in {last} channels, which no whole number of outputs explains")
    sizes: dict[str, Any] = {"depths": tuple(depths), "widths": tuple(widths), "window": window}
    sizes["stem"] = (planes, pixels)
    settings = FcmaeSettings(**sizes) if fcmae else UNeXt2Settings(**sizes)
    return settings, 2 if window == 1 else 3, stains


def _rename(name: str, state: Mapping[str, Tensor], path: str) -> str:
    """Our name of a tensor."""
    if name == "head.conv.0.adn.A.weight":
        return "rectify.weight"
    layer, _, part = name.rpartition(".")
    if layer in FIXED:
        return f"{FIXED[layer]}.{part}"
    found = STAGE.fullmatch(name)
    if found is not None:
        prefix, number, rest = found.groups()
        place = f"{'decoder' if prefix.startswith('decoder') else 'encoder'}.{number}"
        block = BLOCK.fullmatch(rest)
        if rest.startswith("downsample."):
            return f"{place}.{rest.removeprefix('downsample.')}"
        if block is not None and block[2] in LAYERS:
            before = name[: -len(rest)] + "downsample."
            offset = 2 if any(other.startswith(before) for other in state) else 0
            return f"{place}.{int(block[1]) + offset}.{LAYERS[block[2]]}.{block[3]}"
    raise SpotlightError(
        f"{path}: has a tensor {name!r}, which neither UNeXt2 nor FCMAE has. Give a checkpoint of these networks."
    )
