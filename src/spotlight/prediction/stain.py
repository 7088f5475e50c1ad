"""`load_model(folder).predict(stack)`: a stain on the input's own grid."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.images import Stack, read
from spotlight.images.lazy import LazyArray
from spotlight.images.normalise import grid_shape, input_statistics, prepare_input
from spotlight.images.slabs import Allocate
from spotlight.model import DESCRIPTION, ModelDescription, read_model
from spotlight.networks import FNet
from spotlight.prediction.settings import PredictionSettings
from spotlight.prediction.steps import Steps
from spotlight.prediction.workspace import InMemory, Workspace

log = logging.getLogger("spotlight")

COLOR = "00FFFF"
"""In which viewers show stains."""
VIRTUAL = " (virtual)"
"""What is added to the name of the target that a channel is a stain of."""
SPREAD = ", spread"
"""What is added to that, for the channel that says how sure the stain is."""


FAR = 4
"""A stack's mean or contrast is doubted when it is so many times those of all training stacks, or so much less."""


class Model:
    """A trained model, or an ensemble of models that differ by their seeds, ready to stain.

    Attributes
    ----------
    description : ModelDescription
        Everything in the folder's ``model.yaml``; of an ensemble, that of its first member.
    networks : tuple of FNet
        The network, or those of all members, in evaluation mode.
    name : str
        The folder's name.
    """

    def __init__(self, description: ModelDescription, network: FNet | Sequence[FNet], name: str = "model") -> None:
        self.description = description
        self.networks = (network,) if isinstance(network, FNet) else tuple(network)
        self.name = name
        for member in self.networks:
            member.eval()

    @property
    def digest(self) -> str:
        """Fingerprint of the weights and the description."""
        seal = hashlib.sha256(json.dumps(self.description.model_dump(mode="json"), sort_keys=True).encode())
        for network in self.networks:
            for name, weight in sorted(network.state_dict().items()):
                seal.update(name.encode())
                seal.update(np.ascontiguousarray(weight.cpu().numpy()).tobytes())
        return seal.hexdigest()

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
        return Model(self.description.model_copy(update={"target": target}), self.networks, self.name)

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
        if scene is not None and not isinstance(image, (str, Path)):
            raise SpotlightError(f"scene={scene!r} chooses an image of a file, but an array or stack was given.")
        if isinstance(image, (str, Path)):
            image = read(image, scene=scene, axes=axes, voxel_size=voxel_size)
        stack = self.accept(image, channel, time, axes, voxel_size, any_voxel_size)
        stain, _ = self.stain(stack, settings, normalised=normalised, flatten=flatten, progress=progress)
        return stain

    def stain(
        self,
        stack: Stack,
        settings: PredictionSettings | None = None,
        workspace: Workspace | None = None,
        *,
        normalised: bool = False,
        flatten: bool | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[Stack, dict[str, Any]]:
        """Stain a stack that the model `accept`s, in a workspace.

        Returns
        -------
        (Stack, dict)
            The stain, whose values may still be in the workspace's files; and how it was computed.
        """
        steps = self.steps(stack, settings or PredictionSettings(), workspace or InMemory())
        return self.finish(stack, steps, normalised=normalised, flatten=flatten, progress=progress)

    def steps(self, stack: Stack, settings: PredictionSettings, workspace: Workspace) -> Steps:
        """Give what is to be done for a stack that the model `accept`s; nothing is done yet.

        Raises
        ------
        SpotlightError
            If the stack is too thin for the network.
        """
        grid = self.description.input.grid
        shape = grid_shape(stack, grid)
        self._require_extent(stack, shape)

        def prepare(allocate: Allocate) -> NDArray[np.float32]:
            statistics = input_statistics(stack)
            self._doubt(stack, *statistics)
            return prepare_input(stack, grid, shape, allocate, statistics)

        return Steps(self.networks, shape, prepare, settings, workspace)

    def finish(
        self,
        stack: Stack,
        steps: Steps,
        *,
        normalised: bool = False,
        flatten: bool | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[Stack, dict[str, Any]]:
        """Do what is left of the steps for a stack, and give its stain; see `stain`."""
        # Flattened after resampling, since a spline would ring at the step that flattening makes.
        results = steps.results(stack.shape, progress)
        flatten = self.description.target.flatten if flatten is None else flatten
        settled = steps.settled
        device = settled.device.split(":")[0]
        facts = {"precision": settled.precision, "device": device, "tile": list(steps.tiling.tile)}
        return self._finished(stack, results, normalised, flatten), facts

    def _finished(self, stack: Stack, results: Sequence[NDArray[np.float32]], normalised: bool, flatten: bool) -> Stack:
        """Results of the network as a stack in the units that were asked for."""
        target = self.description.target

        def finish(values: NDArray[np.float32], which: int) -> NDArray[np.float32]:
            if flatten and which == 0:
                values = target.flattened(values)
            if normalised:
                return values
            if which == 0:
                return target.to_intensity(values)  # type: ignore[no-any-return]
            return values * np.float32(target.to_intensity(1.0) - target.to_intensity(0.0))

        unit = "standard deviations of the target" if normalised else "intensity of the training targets"
        name = f"{target.channel or 'target'}{VIRTUAL}"
        finished = _Finished(results, finish)
        several = len(results) > 1
        array = LazyArray.of(finished) if isinstance(results[0], np.memmap) else finished[()]
        return Stack(
            array if several else array[0],
            f"C{stack.axes}" if several else stack.axes,
            stack.voxel_size,
            (name, f"{name}{SPREAD}")[: len(results)],
            stack.source,
            f"Virtual stain of {Path(stack.source).name} by model {self.name} (spotlight "
            f"{self.description.spotlight}); unit: {unit}",
            colors=(COLOR, "FFFFFF")[: len(results)],
        )

    def accept(
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

    def _doubt(self, stack: Stack, mean: float, std: float) -> None:
        """Say so if a stack's intensities are far from those of the training stacks."""
        found = {"mean": mean, "contrast": std / mean if mean > 0 else None}
        for name, value in found.items():
            trained = getattr(self.description.input, name)
            if trained is None or value is None:
                continue
            low, high = trained
            if not low / FAR <= value <= high * FAR:
                log.warning(
                    "%s: has a %s of %.3g, but model %s was trained on %.3g to %.3g. If it is another kind of image, "
                    "its stain means nothing.",
                    stack.source,
                    {"mean": "mean intensity", "contrast": "standard deviation over mean"}[name],
                    value,
                    self.name,
                    low,
                    high,
                )

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
        least = self.networks[0].divisor
        for axis, size in zip(stack.axes, shape, strict=True):
            if size < least:
                raise SpotlightError(
                    f"{stack.source}: is too thin: {size} voxels along {axis} on the network's grid "
                    f"({self.description.input.grid} µm), but model {self.name} needs at least {least}."
                )


class _Finished:
    """Results side by side along a first axis, finished where and when a region is asked for."""

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        results: Sequence[NDArray[np.float32]],
        finish: Callable[[NDArray[np.float32], int], NDArray[np.float32]],
    ) -> None:
        self.results = results
        self.finish = finish

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.results), *self.results[0].shape

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[np.float32]:
        first, rest = (index[0], index[1:]) if index else (slice(None), ())
        if isinstance(first, int):
            return self._part(first, rest)
        return np.stack([self._part(which, rest) for which in range(len(self.results))[first]])

    def _part(self, which: int, index: tuple[int | slice, ...]) -> NDArray[np.float32]:
        return self.finish(np.asarray(self.results[which][index]), which).astype(np.float32, copy=False)


def load_model(folder: str | Path) -> Model:
    """Load a model folder written by `spotlight.train` or `spotlight import-fnet`, or an ensemble.

    An ensemble is a folder of model folders, such as ``spotlight train --seeds`` writes; its stain is the mean of
    theirs.

    Raises
    ------
    SpotlightError
        If a part of the folder is missing, damaged or from a newer version, or members do not go together.
    """
    folder = Path(folder)
    members = [] if (folder / DESCRIPTION).exists() else sorted(folder.glob(f"*/{DESCRIPTION}"))
    if not members:
        description, network = read_model(folder)
        return Model(description, network, folder.resolve().name)
    loaded = [read_model(member.parent) for member in members]
    first = loaded[0][0]
    for member, (description, _) in zip(members, loaded, strict=True):
        differs = [name for name in ("input", "target") if getattr(description, name) != getattr(first, name)]
        if differs:
            raise SpotlightError(
                f"{folder}: an ensemble has one {' and '.join(differs)}, but those of {members[0].parent.name} and "
                f"{member.parent.name} differ. Train its members on the same pairs with the same settings."
            )
    return Model(first, [network for _, network in loaded], folder.resolve().name)
