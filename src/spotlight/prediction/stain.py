"""`load_model(folder).predict(stack)`: a stain on the input's own grid."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt

from spotlight.errors import SpotlightError
from spotlight.images import Stack, read, resample
from spotlight.images.normalise import prepare_input
from spotlight.model import ModelDescription, read_model
from spotlight.networks import FNet, channels_last
from spotlight.settings import Settings
from spotlight.tiles import apply_tiled

COLOR = "00FFFF"
"""In which viewers show stains."""


class PredictionSettings(Settings):
    """How a stack is cut into tiles and computed."""

    tile: tuple[PositiveInt, ...] | None = Field(
        None,
        description="Most voxels per axis of the network's grid; left out: 96x192x192, or 1024x1024 in two dimensions.",
    )
    overlap: tuple[NonNegativeInt, ...] | None = Field(
        None, description="Least overlap of tiles; left out: a quarter of the tile."
    )
    precision: Literal["float32", "bf16"] = Field("float32", description="Arithmetic of the network.")
    device: str = Field("auto", description="'auto' (a GPU if there is one), 'cpu', 'cuda', 'mps'.")


class Model:
    """A trained model, ready to stain.

    Attributes
    ----------
    description : ModelDescription
        Everything in the folder's ``model.yaml``.
    network : FNet
        The network, in evaluation mode.
    name : str
        The folder's name.
    """

    def __init__(self, description: ModelDescription, network: FNet, name: str = "model") -> None:
        self.description = description
        self.network = network.eval()
        self.name = name

    def flattened(self, flatten: bool = True) -> "Model":
        """Give the model with stains that are flattened below the foreground threshold, or not, by default.

        Raises
        ------
        SpotlightError
            If the model knows no threshold.
        """
        if flatten and self.description.target.threshold is None:
            raise SpotlightError(f"model {self.name} knows no foreground threshold, so its stains cannot be flattened.")
        target = self.description.target.model_copy(update={"flatten": flatten})
        return Model(self.description.model_copy(update={"target": target}), self.network, self.name)

    def predict(
        self,
        image: str | Path | Stack | NDArray[Any],
        *,
        channel: str | int | None = None,
        scene: str | int | None = None,
        time: int | None = None,
        axes: str | None = None,
        voxel_size: tuple[float, ...] | None = None,
        normalised: bool = False,
        flatten: bool | None = None,
        any_voxel_size: bool = False,
        settings: PredictionSettings | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Stack:
        """Stain a transmitted-light stack.

        Parameters
        ----------
        image : path, Stack or ndarray
            A file, a stack, or an array with the axes that the model was trained on (ZYX or YX).
        channel : str or int, optional
            Which channel to stain. Left out: the only one, or the one named as in training.
        scene, time : optional
            Which image and timepoint of a file that holds several; see `spotlight.read`.
        axes, voxel_size : optional
            Facts that the file or array does not state; see `spotlight.read`. An array without a voxel size is taken
            to have that of the training stacks.
        normalised : bool
            Return the network's own units (standard deviations of the target) instead of intensities.
        flatten : bool, optional
            Replace what lies below the foreground threshold by the background of the training targets; left out: as
            the model's training settings say.
        any_voxel_size : bool
            Accept a voxel size unlike that of the training stacks.
        settings : PredictionSettings
            Tiles, precision and device.
        progress : callable, optional
            Called with the number of tiles done and their total.

        Returns
        -------
        Stack
            float32 on the input's grid, in the intensity range of the training targets, with the target's channel
            name and the input's voxel size.

        Raises
        ------
        SpotlightError
            If the input is not what the model was trained for.
        """
        settings = settings or PredictionSettings()
        if scene is not None and not isinstance(image, (str, Path)):
            raise SpotlightError(f"scene={scene!r} chooses an image of a file, but an array or stack was given.")
        if isinstance(image, (str, Path)):
            image = read(image, scene=scene, axes=axes, voxel_size=voxel_size)
        stack = self._accept(image, channel, time, axes, voxel_size, any_voxel_size)
        prepared = prepare_input(stack, self.description.input.grid)
        self._require_extent(stack, prepared.shape)
        target = self.description.target
        # Flattened after resampling, since a spline would ring at the step that flattening makes.
        stain = resample(predict_array(self.network, prepared, settings, progress), stack.shape)
        if target.flatten if flatten is None else flatten:
            stain = target.flattened(stain)
        if not normalised:
            stain = target.to_intensity(stain)
        unit = "standard deviations of the target" if normalised else "intensity of the training targets"
        return Stack(
            stain.astype(np.float32, copy=False),
            stack.axes,
            stack.voxel_size,
            (f"{target.channel or 'target'} (virtual)",),
            stack.source,
            f"Virtual stain of {Path(stack.source).name} by model {self.name} (spotlight "
            f"{self.description.spotlight}); unit: {unit}",
            colors=(COLOR,),
        )

    def _accept(
        self,
        image: Stack | NDArray[Any],
        channel: str | int | None,
        time: int | None,
        axes: str | None,
        voxel_size: tuple[float, ...] | None,
        any_voxel_size: bool,
    ) -> Stack:
        """Turn the input into one channel with the model's axes and a voxel size that fits, or say why not."""
        expected = self.description.input
        if isinstance(image, np.ndarray):
            size = voxel_size or (tuple(sum(r) / 2 for r in expected.voxel_size) if expected.voxel_size else None)
            stack = Stack(image, axes or expected.axes, size)
        else:
            stack = image if voxel_size is None else replace(image, voxel_size=voxel_size)
        stack = stack.timepoint(time)
        if channel is None and expected.channel and expected.channel in stack.channels:
            channel = expected.channel
        elif channel is None and expected.channel and len(stack.channels) == 1:
            raise SpotlightError(
                f"{stack.source}: its channel is named {stack.channels[0]!r}, but model {self.name} was trained on "
                f"{expected.channel!r}. If it is the same, say so with channel={stack.channels[0]!r} (--channel)."
            )
        stack = stack.channel(channel)
        if stack.axes != expected.axes:
            raise SpotlightError(
                f"{stack.source}: has axes {stack.axes} {stack.shape}, but model {self.name} stains {expected.axes} "
                "stacks. Give such a stack, or use a model trained on stacks like this one."
            )
        stack.load_if_small()
        stack.require_finite()
        if not any_voxel_size:
            self._require_voxel_size(stack)
        return stack

    def _require_voxel_size(self, stack: Stack) -> None:
        expected = self.description.input
        if expected.voxel_size is None:
            return
        tolerance = expected.voxel_size_tolerance
        for size, (low, high) in zip(stack.require_voxel_size(), expected.voxel_size, strict=True):
            if not low * (1 - tolerance) <= size <= high * (1 + tolerance):
                trained = " x ".join(f"{a:g}" if a == b else f"{a:g} to {b:g}" for a, b in expected.voxel_size)
                found = " x ".join(f"{v:g}" for v in stack.require_voxel_size())
                raise SpotlightError(
                    f"{stack.source}: has voxels of {found} µm, but model {self.name} was trained on {trained} µm "
                    f"({expected.axes}, tolerance {100 * tolerance:g} %). Use a model for this magnification, or "
                    "accept it with any_voxel_size (--any-voxel-size)."
                )

    def _require_extent(self, stack: Stack, shape: tuple[int, ...]) -> None:
        least = self.network.divisor
        for axis, size in zip(stack.axes, shape, strict=True):
            if size < least:
                raise SpotlightError(
                    f"{stack.source}: is too thin: {size} voxels along {axis} on the network's grid "
                    f"({self.description.input.grid} µm), but model {self.name} needs at least {least}."
                )


def load_model(folder: str | Path) -> Model:
    """Load a model folder written by `spotlight.train` or `spotlight import-fnet`.

    Raises
    ------
    SpotlightError
        If a part of the folder is missing, damaged or from a newer version.
    """
    description, network = read_model(folder)
    return Model(description, network, Path(folder).resolve().name)


def predict_array(
    network: FNet,
    array: NDArray[np.float32],
    settings: PredictionSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Apply a network to a normalised array of any size, in blended tiles.

    Parameters
    ----------
    network : FNet
        In evaluation mode.
    array : (Z, Y, X) or (Y, X) float32
        Normalised, on the network's grid.
    settings : PredictionSettings
        Tiles, precision and device.
    """
    settings = settings or PredictionSettings()
    dims = network.dims
    tile = settings.tile or ((96, 192, 192) if dims == 3 else (1024, 1024))
    overlap = settings.overlap or tuple(t // 4 for t in tile)
    for name, value in (("tile", tile), ("overlap", overlap)):
        if len(value) != dims:
            raise SpotlightError(f"{name} must be {dims} numbers of voxels for this model. Received: {value}.")
    device = _device(settings.device)
    memory = channels_last(dims)
    network.to(device, memory_format=memory)  # type: ignore[call-overload]

    def run(values: NDArray[np.float32]) -> NDArray[np.float32]:
        image = torch.tensor(values)[None, None].to(device, memory_format=memory)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, settings.precision == "bf16"):
            return network(image)[0, 0].float().cpu().numpy()  # type: ignore[no-any-return]

    return apply_tiled(run, array, tile, overlap, network.divisor, progress)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SpotlightError(f"device {name!r} cannot be used here ({error}). Use 'auto' or 'cpu'.") from error
    return device
