"""`load_model(folder).predict(stack)`: a stain on the input's own grid."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.fingerprint import fingerprint
from spotlight.images import Selection, Stack, read
from spotlight.images.joining import parse_channels, separate, take
from spotlight.images.normalise import grid_shape, prepare_channels
from spotlight.images.scaling import input_scale
from spotlight.images.selection import ALL, Channels
from spotlight.images.slabs import Allocate, in_memory
from spotlight.model import ModelDescription
from spotlight.networks import Conditioned, StainNetwork, Windowed
from spotlight.prediction.acceptance import accept, find_doubts, modality_of_stack, require_extent, tell_doubts
from spotlight.prediction.finishing import finished
from spotlight.prediction.settings import PredictionSettings
from spotlight.prediction.steps import Steps
from spotlight.prediction.workspace import InMemory, Workspace
from spotlight.tasks import StainTask, TargetDescription

log = logging.getLogger("spotlight")


class Model:
    """A trained model, or an ensemble of models that differ by their seeds, ready to stain.

    Attributes
    ----------
    description : ModelDescription
        Everything in the folder's ``model.yaml``; of an ensemble, that of its first member.
    networks : tuple of StainNetwork
        The network, or those of all members, in evaluation mode.
    name : str
        The folder's name.
    separate : dict of Model
        Models for one modality each, of which the one that suits a stack is used instead of this one; mostly none.

    Examples
    --------
    >>> import numpy as np
    >>> import spotlight
    >>> model = spotlight.load_model("demo-nuclei")
    >>> model.description.input.grid, [target.channel for target in model.description.targets]
    (0.29, ['DNA'])
    >>> light = np.random.default_rng(0).normal(1000, 100, (8, 32, 32))  # warns: noise is unlike brightfield
    >>> stain = model.predict(light, voxel_size=(0.29, 0.29, 0.29))
    >>> stain.save("stain.ome.tif").name
    'stain.ome.tif'
    """

    def __init__(
        self,
        description: ModelDescription,
        network: StainNetwork | Sequence[StainNetwork],
        name: str = "model",
        separate: "Mapping[str, Model] | None" = None,
    ) -> None:
        self.description = description
        self.networks = (network,) if isinstance(network, StainNetwork) else tuple(network)
        self.name = name
        self.separate = dict(separate or {})
        for member in self.networks:
            member.eval()

    @property
    def digest(self) -> str:
        """Fingerprint of all that a stain depends on: network, weights, input, targets, and the patch of training."""
        said = self.description
        weights = hashlib.sha256()
        for network in self.networks:
            for name, weight in sorted(network.state_dict().items()):
                weights.update(name.encode())
                weights.update(np.ascontiguousarray(weight.cpu().numpy()).tobytes())
        separate = [(modality, model.digest) for modality, model in self.separate.items()]
        patch = said.training.get("patch")
        facts = [weights.hexdigest(), said.network, said.input, said.targets, patch, separate]
        return fingerprint(*facts, *([] if isinstance(said.task, StainTask) else [said.task]))

    def flattened(self, flatten: bool = True) -> "Model":
        """Give the model with stains that are flattened below the foreground threshold, or not, by default.

        Raises
        ------
        SpotlightError
            If the model knows no threshold.
        """
        if flatten and any(target.threshold is None for target in self.description.targets):
            raise SpotlightError(f"model {self.name} knows no foreground threshold, so its stains cannot be flattened.")
        separate = {modality: model.flattened(flatten) for modality, model in self.separate.items()}
        first, *further = (target.model_copy(update={"flatten": flatten}) for target in self.description.targets)
        changed = {"target": first, "further_targets": tuple(further)}
        return Model(self.description.model_copy(update=changed), self.networks, self.name, separate)

    @property
    def needs_modality(self) -> bool:
        """Whether the modality of a stack must be known: as an input of the network, or to choose a model by."""
        return bool(self.separate) or self.networks[0].modalities > 0

    def for_modality(self, modality: str) -> "Model":
        """Give the model for stacks of one modality.

        Raises
        ------
        SpotlightError
            If the model was not trained on it.
        """
        known = tuple(self.separate) or self.description.input.modalities
        if modality not in known:
            raise SpotlightError(
                f"model {self.name} was trained on {', '.join(known) or 'stacks of no stated modality'}. Received: "
                f"{modality!r}. Use a model that was trained on it."
            )
        if self.separate:
            return self.separate[modality]
        if not self.needs_modality:
            return self
        one_hot = torch.tensor([float(name == modality) for name in known])
        # Such a network is for this modality alone, and must not be taken for one of another.
        expected = self.description.input.model_copy(update={"modalities": (modality,)})
        description = self.description.model_copy(update={"input": expected})
        return Model(description, [Conditioned(network, one_hot) for network in self.networks], self.name)

    def suited(self, image: Stack | NDArray[Any], modality: str | None, channel: Channels = None) -> "Model":
        """Give the model for the modality of a stack, which is stated or follows from the name of the channel.

        Parameters
        ----------
        image : Stack or ndarray
            The input.
        modality : "brightfield", "phase" or "dic", or None
            None: what the channel's name says.
        channel : str, int or tuple of these, optional
            Which channel of the stack is the input.

        Raises
        ------
        SpotlightError
            If it has to be known and is not, or the model was not trained on it.
        """
        if modality is None and not self.needs_modality:
            return self
        if channel is not None and isinstance(image, Stack):
            image = take(image.timepoint(0 if "T" in image.axes else None), parse_channels(channel))
        return self.for_modality(modality_of_stack(image, modality))

    def predict(
        self,
        image: str | Path | Stack | NDArray[Any],
        *,
        channel: Channels = None,
        scene: str | int | None = None,
        time: int | None = None,
        axes: str | None = None,
        voxel_size: tuple[float, ...] | None = None,
        plane: int | None = None,
        modality: str | None = None,
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
            A file, a stack, or an array of the axes ZYX or YX; for a model of several channels, of the axes CZYX or CYX
            with its channels in their order.
        channel : str, int or tuple of these, optional
            Which channel to stain, or which channels, for a model of several. Left out: the only one, or those named as
            in training.
        scene, time : optional
            Which image and timepoint of a file that holds several; see `spotlight.read`.
        axes, voxel_size : optional
            Facts that the file or array does not state; see `spotlight.read` and `spotlight.images.as_stack`. The
            voxel size of an array must be stated. Until version 0.3, that of the training stacks is taken with a
            warning.
        plane : int, optional
            Which plane of a stack to stain, zero-based, for a model that sees one plane at a time.
        modality : "brightfield", "phase" or "dic", optional
            Modality of the stack, for a model that needs it. Left out: what the channel's name says.
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
            name and the input's voxel size. Several stains, and spreads, are channels.

        Raises
        ------
        SpotlightError
            If the input is not what the model was trained for.
        """
        if self.description.task.learns == "classes":
            raise SpotlightError(
                f"model {self.name} tells classes apart, and gives no image. Call spotlight.prediction.classify(model, "
                "image)."
            )
        if scene is not None and not isinstance(image, (str, Path)):
            raise SpotlightError(f"scene={scene!r} chooses an image of a file, but an array or stack was given.")
        chosen = Selection(channel=channel, time=time, axes=axes, voxel_size=voxel_size, plane=plane)
        if isinstance(image, (str, Path)):
            image = read(image, scene=scene, axes=axes, voxel_size=voxel_size)
            chosen = chosen.only("channel", "time", "plane")
        model = self.suited(image, modality, channel)
        stack = model.accept(image, chosen, any_voxel_size)
        stain, facts = model.stain(stack, settings, normalised=normalised, flatten=flatten, progress=progress)
        tell_doubts(model.name, {stack.source: facts["doubts"]})
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

        Parameters
        ----------
        stack : Stack
            As `accept` gives it.
        settings, normalised, flatten, progress
            See `predict`.
        workspace : Workspace, optional
            Where arrays are made; in memory, if left out.

        Returns
        -------
        (Stack, dict)
            The stain, whose values may still be computed from the workspace's files when they are asked for; and how
            it was made.
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
        shape = grid_shape(stack, self.description.input.grid)
        network = self.sliding(settings)[0]
        least = network.divisors
        if isinstance(network, Windowed):
            least = (network.planes, *least[1:])
        require_extent(least, self.description.input, self.name, stack, shape)
        return self.steps_of(lambda: stack, shape, settings, workspace)

    def sliding(self, settings: PredictionSettings) -> tuple[StainNetwork, ...]:
        """Give the networks as a stack of any depth goes through them: by a sliding window, if they need one.

        Raises
        ------
        SpotlightError
            If the window of the settings does not go with them.
        """
        window = settings.window or self.networks[0].window
        if window is None:
            return self.networks
        try:
            return tuple(Windowed(network, window, settings.window_step) for network in self.networks)
        except ValueError as error:
            raise SpotlightError(f"model {self.name}: {error} Change window or window_step (--settings).") from error

    def steps_of(
        self, load: Callable[[], Stack], shape: tuple[int, ...], settings: PredictionSettings, workspace: Workspace
    ) -> Steps:
        """Give what is to be done for a stack of this shape on the network's grid, which is loaded when needed."""
        networks = self.sliding(settings)
        patch = self.description.training.get("patch")
        if settings.tile is None and self.networks[0].reach is None and patch:
            # What such a network makes of a voxel depends on all of the tile, which is to be as it was in training.
            settings = settings.model_copy(update={"tile": tuple(patch)})

        def prepare(allocate: Allocate) -> NDArray[np.float32]:
            channels = separate(load())
            expected = self.description.input
            scales = [input_scale(one, expected.normalisation, expected.central_planes) for one in channels]
            return prepare_channels(channels, expected.grid, scales, shape, allocate)

        return Steps(networks, shape, prepare, settings, workspace, partial(find_doubts, self.description.input))

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
        results = steps.results(stack.shape[-len(stack.spatial_axes) :], progress)
        settled = steps.settled
        device = settled.device.split(":")[0]
        facts: dict[str, Any] = {"precision": settled.precision, "device": device, "tile": list(steps.tiling.tile)}
        facts["doubts"] = list(steps.doubts)
        targets = self._targets(stack, steps)
        make = partial(finished, self.description, self.name, stack, results, steps.workspace, targets)
        return make(normalised=normalised, flatten=flatten), facts

    def _targets(self, stack: Stack, steps: Steps) -> Sequence[TargetDescription]:
        """How the outputs become intensities for this stack."""
        targets, task = self.description.targets, self.description.task
        if not task.scaled_by_input:
            return targets
        expected = self.description.input

        def find() -> dict[str, float]:
            scale = input_scale(separate(stack)[0], expected.normalisation, expected.central_planes)
            return {"center": scale.center, "width": scale.width}

        scale = steps.workspace.noted("scale", find)
        return [task.in_units_of(target, (scale["center"], scale["width"])) for target in targets]

    def further(self, result: Stack, allocate: Allocate = in_memory) -> dict[str, Stack]:
        """Make what else is written beside a result, by what is added to the input's name: labels of structures.

        Channels of a spread are left out.

        Parameters
        ----------
        result : Stack
            As `predict` gives it.
        allocate : callable
            Makes arrays; see `spotlight.images.slabs.Allocate`.
        """
        count = len(self.description.targets)
        if len(result.channels) > count:
            result = result.channel(result.channels[0]) if count == 1 else result[:count]
        return self.description.task.further(result, allocate)

    def accept(
        self,
        image: Stack | NDArray[Any],
        chosen: Selection = ALL,
        any_voxel_size: bool = False,
    ) -> Stack:
        """Turn the input into the model's channels, with its axes and a voxel size that fits, or say why not.

        Parameters
        ----------
        image : Stack or ndarray
            The input, with further channels and timepoints or not.
        chosen : Selection
            Its channels, timepoint and plane, and what an array does not state.
        any_voxel_size : bool
            Accept a voxel size unlike that of the training stacks.

        Returns
        -------
        Stack
            Of the model's spatial axes; of several channels with the axis C before them.

        Raises
        ------
        SpotlightError
            If the input is not what the model was trained for.
        """
        return accept(self.description.input, self.name, image, chosen, any_voxel_size)
