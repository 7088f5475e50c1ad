"""`Graph`: what an ONNX file of a model computes, and what it says of itself."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spotlight.errors import SpotlightError
from spotlight.images.scaling import UINT16, scaling_in_words
from spotlight.model import ModelDescription
from spotlight.prediction import Model
from spotlight.prediction.onnx_files import EMBEDDED
from spotlight.tasks import StainTask, TargetDescription
from spotlight.version import __version__


class Graph(nn.Module):
    """The computation of an ONNX file: the network and, if requested, the steps before and after it.

    Parameters
    ----------
    model : Model
        Network and description.
    normalise : bool
        First normalise every image by its mean and standard deviation, or by the fixed scale of the model.
    flatten : bool
        Flatten the background of every stain that the model's description flattens.
    intensities : bool
        Finally map every stain to the intensity range of its training targets.

    Raises
    ------
    SpotlightError
        If the model is an ensemble, needs a modality, or must be flattened but records no threshold.
    """

    threshold: Tensor
    background: Tensor

    def __init__(self, model: Model, *, normalise: bool, flatten: bool, intensities: bool) -> None:
        super().__init__()
        self.model = model
        task = model.description.task
        if (intensities or flatten) and not isinstance(task, StainTask):
            raise SpotlightError(
                f"model {model.name} learnt the task {task.kind!r}, whose results files cannot compute yet. Write only "
                "the network with --bare (bare=True)."
            )
        if model.needs_modality:
            known = tuple(model.separate) or model.description.input.modalities
            raise SpotlightError(
                f"model {model.name} needs the modality ({', '.join(known)}), but a file is for one modality. Choose "
                f"it with --modality, or give model.for_modality({known[0]!r})."
            )
        if len(model.networks) > 1:
            raise SpotlightError(
                f"{model.name} is an ensemble, but a file holds one network. Export the members one by one."
            )
        self.network = model.networks[0]
        self.normalise = normalise
        if normalise and not (self.own_scale or self.fixed_scale):
            raise SpotlightError(
                f"model {model.name} normalises an input by {self.scale_in_words}, which our ONNX files cannot compute."
                " Write only the network with --bare (bare=True), and normalise the input yourself."
            )
        if normalise and self.network.window is not None:
            raise SpotlightError(
                f"model {model.name} stains windows of {self.network.window} planes, but a stack is normalised as a "
                "whole. Write only the network with --bare (bare=True), and slide the window yourself."
            )
        self.targets = model.description.targets
        self.flatten = flatten and any(target.flatten for target in self.targets)
        self.intensities = intensities
        flat = [target for target in self.targets if target.flatten]
        if self.flatten and any(target.threshold is None or target.background is None for target in flat):
            raise SpotlightError(
                f"model {model.name} records no foreground threshold, so its stains cannot be flattened. Use "
                "--no-flatten."
            )
        # A stain that is not flattened gets a threshold of -inf, so no value is below it.
        never = (-math.inf, math.nan)
        limits = [(t.threshold, t.background) if self.flatten and t.flatten else never for t in self.targets]
        columns = torch.tensor(limits, dtype=torch.float32).reshape(-1, 2, *[1] * self.network.dims)
        self.register_buffer("threshold", columns[:, 0])
        self.register_buffer("background", columns[:, 1])

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, channels, [z,] y, x) to (batch, stains, [z,] y, x)."""
        if self.normalise and self.fixed_scale:
            image = (image - UINT16[0]) / UINT16[1]
        elif self.normalise:
            # Subtracted twice: in float32, the mean of a bright image has an error that is large beside its spread.
            image = image - _mean(image)
            image = image - _mean(image)
            image = image / _mean(image * image).sqrt()
        values: Tensor = self.network(image)
        if self.flatten:
            values = torch.where(values >= self.threshold, values, self.background)
        if not self.intensities:
            return values
        return torch.stack([target.to_intensity(values[:, n]) for n, target in enumerate(self.targets)], dim=1)

    @property
    def own_scale(self) -> bool:
        """Whether the input is normalised by the mean and standard deviation of the whole image."""
        expected = self.model.description.input
        return expected.normalisation == "mean/std" and expected.central_planes is None

    @property
    def scale_in_words(self) -> str:
        """The statistics that normalise the input, in words."""
        expected = self.model.description.input
        return scaling_in_words(expected.normalisation, expected.central_planes)

    @property
    def fixed_scale(self) -> bool:
        """Whether the input is on the fixed scale of 16-bit images, and not normalised by its own statistics."""
        return self.model.description.input.normalisation == "uint16"

    @property
    def unit(self) -> NDArray[np.float64]:
        """The network's unit, one standard deviation of the target, in output units; (stains, [1,] 1, 1)."""
        widths = [t.to_intensity(1.0) - t.to_intensity(0.0) if self.intensities else 1.0 for t in self.targets]
        return np.reshape(widths, (-1, *[1] * self.network.dims))

    @property
    def unit_name(self) -> str:
        """Name of the network's unit, in the plural."""
        fixed = all(target.center == "uint16" for target in self.targets)
        return "halves of the 16-bit range" if fixed else "standard deviations of the target"

    def metadata(self) -> dict[str, str]:
        """Describe input and output of the file in words, for its ``metadata_props``."""
        expected = self.model.description.input
        axes = ", ".join(("batch", "channel", *expected.axes.lower()))
        cubic = " ".join([f"{expected.grid:g}"] * len(expected.axes)) if expected.grid != "native" else trained_on(self)
        if self.fixed_scale:
            scale = ": 0 to 65535 become -1 to 1 inside" if self.normalise else " / 32767.5 - 1: from -1 to 1"
            takes = f"values of a 16-bit image{scale}"
        elif self.normalise:
            takes = "the raw image: the file normalises it by the mean and standard deviation of the whole image"
        else:
            takes = f"the image normalised by {self.scale_in_words}"
        channels = "; a channel per name, in the order of input_channel" if len(expected.names) > 1 else ""
        background = "; plain background below the foreground threshold" if self.flatten else ""
        gives = "intensities of the training targets" if self.intensities else self.unit_name
        names = [target.channel for target in self.targets]
        several = "; a channel per stain, in the order of target_channel" if len(names) > 1 else ""
        whole = "all of a stack together" if len(expected.axes) == 3 else "a single image"
        return {
            "spotlight": __version__,
            EMBEDDED: self.described().to_yaml(),
            "model": self.model.name,
            "input_channel": ", ".join(expected.names),
            "modality": ", ".join(expected.modalities),
            "planes": "any one plane of a stack, alone" if expected.planes == "one" else whole,
            "target_channel": ", ".join(name or "target" for name in names) if several else names[0],
            "axes": axes,
            "voxel_size_um": cubic,
            "divisor": str(self.network.divisor),
            "window": str(self.network.window or ""),
            # A file that normalises its input itself needs all of it.
            "reach": "" if self.normalise or self.network.reach is None else str(self.network.reach),
            "memory_width": str(self.network.memory_width),
            "input": f"{takes}{channels}. Resample to voxel_size_um before; every spatial size must be a multiple of "
            f"divisor{', but there are as many planes as window says' if self.network.window else ''}.",
            "output": f"{gives}{background}{several}",
            "tiles": self._tiles(),
        }

    def described(self) -> ModelDescription:
        """Describe the file as a model, so that Spotlight can take it back: what it does itself is not done twice."""
        said = self.model.description
        expected = said.input.model_copy(update={"normalisation": "none"} if self.normalise else {})
        done: dict[str, Any] = {"flatten": False} if self.flatten else {}

        def units(target: TargetDescription) -> dict[str, Any]:
            if not self.intensities:
                return {}
            levels = {"threshold": target.threshold, "background": target.background}
            mapped = {name: None if level is None else target.to_intensity(level) for name, level in levels.items()}
            return mapped | {"normalised_range": target.intensity_range}

        first, *further = (target.model_copy(update=done | units(target)) for target in said.targets)
        tile = {} if self.normalise or self.patch is None else {"patch": list(self.patch)}
        changed = {"input": expected, "target": first, "further_targets": tuple(further), "training": tile}
        return said.model_copy(update=changed)

    @property
    def patch(self) -> tuple[int, ...] | None:
        """Size of the training patches, on which the stain depends where every value depends on its whole tile."""
        patch = self.model.description.training.get("patch")
        return tuple(patch) if patch and self.network.reach is None else None

    def _tiles(self) -> str:
        if self.normalise and not self.fixed_scale:
            return "Give whole stacks: the statistics of a tile differ from those of its stack."
        if self.network.window is not None:
            return (
                "Because of response normalisation, every value depends on all of Y and X. Slide the window over the "
                "planes of a stack, and take the mean of all windows that hold a plane."
            )
        if self.network.reach is None:
            own = ""
            if self.patch is not None:
                own = f" Spotlight uses tiles of {' x '.join(map(str, self.patch))} voxels, as in training."
            return f"Because of instance normalisation, every value depends on its whole tile.{own}"
        return (
            f"Values at least {self.network.reach} voxels from the cut edges of a tile are exact, if tiles start at "
            "multiples of divisor."
        )


def trained_on(graph: Graph) -> str:
    """Voxel size in µm of the training stacks, per axis, or "unknown"."""
    sizes = graph.model.description.input.voxel_size
    return " ".join(f"{a:g}" if a == b else f"{a:g}-{b:g}" for a, b in sizes) if sizes else "unknown"


def _mean(values: Tensor) -> Tensor:
    """Return the mean of every image, computed axis by axis: a float32 sum over a whole stack would lose digits."""
    for axis in range(values.ndim - 1, 1, -1):
        values = values.mean(axis, keepdim=True)
    return values
