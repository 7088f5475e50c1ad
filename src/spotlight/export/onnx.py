"""`export_onnx`: write a model as one ONNX file, which is first checked with ONNX Runtime."""

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spotlight.errors import SpotlightError
from spotlight.files import atomic_file
from spotlight.images.normalise import mean_and_std, normalise
from spotlight.images.scaling import UINT16, scaling_in_words
from spotlight.installation import missing_package
from spotlight.model import ModelDescription
from spotlight.networks import StainNetwork
from spotlight.prediction import Model
from spotlight.prediction.onnx_files import EMBEDDED
from spotlight.tasks import StainTask, TargetDescription
from spotlight.version import __version__

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
OPSET = 18
TOLERANCE = 1e-4
"""Greatest difference between ONNX Runtime and torch, in the network's units: standard deviations of the target."""
MOST_BYTES = 2 * 10**9
"""Size limit of an ONNX file, which is a Protocol Buffer."""
SMALLEST = (16, 32, 48)
"""Voxels (z, y, x) of the smaller test image, before rounding up to the divisor."""


def export_onnx(model: Model, path: str | Path, *, bare: bool = False) -> Path:
    """Write a model as an ONNX file with any batch size and any spatial sizes that are multiples of the divisor.

    The file's input is ``image`` (batch, channels, [z,] y, x) float32 on the network's grid; its output is ``stain``
    (batch, stains, [z,] y, x). It does what `Model.predict` does on that grid: it normalises every channel of every
    image by its own mean and standard deviation, or by the fixed scale of the model, applies the network in float32,
    flattens the background of every stain if the model does, and maps each stain to the intensities of its own targets.
    A constant image gives NaN, except on a fixed scale. The file does not resample to the grid, and does not exclude
    zeros that pad an image from the statistics. The file's metadata state all this; see docs/export.md.

    Before the file gets its name, ONNX Runtime stains images of two sizes other than the traced one. The results are
    compared with normalisation by NumPy and the network in torch.

    Parameters
    ----------
    model : Model
        See `spotlight.load_model`. A file is for one modality: if the model needs the modality, give
        ``model.for_modality("phase")``.
    path : path
        The file to write.
    bare : bool
        Write only the network, with input and output in normalised units. This is for tools that cut a stack into
        tiles, because mean and standard deviation of a tile differ from those of its stack.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SpotlightError
        If the packages of the extra ``export`` are missing, the modality is not chosen, the network is too large for an
        ONNX file, or the check fails.

    Examples
    --------
    >>> import spotlight
    >>> from spotlight.export import export_onnx
    >>> path = export_onnx(spotlight.load_model("demo-nuclei"), "nuclei.onnx")  # doctest: +SKIP
    >>> import onnxruntime  # doctest: +SKIP
    >>> stain = onnxruntime.InferenceSession(path).run(["stain"], {"image": image})  # doctest: +SKIP
    """
    graph = Graph(model, normalise=not bare, flatten=not bare, intensities=not bare)
    with atomic_file(path) as temporary:
        write_graph(graph, temporary)
    return Path(path)


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


def write_graph(graph: Graph, path: Path) -> None:
    """Write a graph as ONNX with its metadata, and check the file.

    Raises
    ------
    SpotlightError
        In the same cases as `export_onnx`.
    """
    require_packages("export", *PACKAGES)
    network = graph.network.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    graph.eval()
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    if size > MOST_BYTES:
        raise SpotlightError(
            f"model {graph.model.name} has {size / 1e9:.1f} GB of weights, but an ONNX file holds at most 2 GB. Train "
            "a network with fewer channels (network.mult_chan) or levels (network.depth)."
        )
    smaller, larger, traced = check_sizes(network)
    names = [f"{axis}_blocks" for axis in "zyx"[-network.dims :]]
    fixed = [] if network.window is None else [0]
    free = {2 + i: network.divisor * torch.export.Dim(name, min=1) for i, name in enumerate(names) if i not in fixed}
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph,
            (torch.zeros(2, network.in_channels, *traced),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1), **free},),
            input_names=["image"],
            output_names=["stain"],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(graph.metadata())
    program.save(str(path), external_data=False)
    check_file(graph, path, [(1, network.in_channels, *smaller), (2, network.in_channels, *larger)])


def check_sizes(network: StainNetwork) -> list[tuple[int, ...]]:
    """Return the two spatial sizes at which a file is checked, and a larger one with which it is traced."""
    first = [math.ceil(n / network.divisor) * network.divisor for n in SMALLEST[-network.dims :]]
    sizes = [[n + network.divisor * more for n in first] for more in range(3)]
    window = [] if network.window is None else [network.window]
    return [(*window, *size[len(window) :]) for size in sizes]


def check_file(graph: Graph, path: Path, shapes: list[tuple[int, ...]]) -> float:
    """Compare an ONNX file with Spotlight's own computation, on random images.

    Returns
    -------
    float
        Greatest difference in standard deviations of the target, or in the unit of the fixed scale. If the network's
        value is within `TOLERANCE` of the foreground threshold, both the flattened and the original value are right.

    Raises
    ------
    SpotlightError
        If the difference is not below `TOLERANCE`.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    greatest = 0.0
    for number, shape in enumerate(shapes):
        image = np.random.default_rng(number).standard_normal(shape, np.float32)
        if graph.normalise and graph.fixed_scale:
            image = np.clip(10_000 * image + UINT16[0], 0, 65535).round().astype(np.float32)
        elif graph.normalise:
            for nth, one in enumerate(image, start=1):
                one[:] = 50 * one + 1000 * nth
        (found,) = session.run(None, {"image": image})
        difference = float(np.max(_differences(graph, image, found) / graph.unit))
        if not difference < TOLERANCE:
            raise SpotlightError(
                f"the ONNX file of model {graph.model.name} is wrong: for an image of {shape} voxels ONNX Runtime "
                f"differs from torch by {difference:.2g} {graph.unit_name}, but the difference must be below "
                f"{TOLERANCE:g}. Use other versions of torch, onnx and onnxruntime (constraints.txt lists versions "
                "that work)."
            )
        greatest = max(greatest, difference)
    return greatest


def reference(graph: Graph, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the network's output in normalised units, with the functions that `Model.predict` uses."""
    if graph.normalise:
        flat = image.reshape(-1, *image.shape[2:])
        parts = [normalise(one, *(UINT16 if graph.fixed_scale else mean_and_std(one))) for one in flat]
        image = np.stack(parts).reshape(image.shape)
    with torch.inference_mode():
        return graph.network(torch.from_numpy(image)).numpy()  # type: ignore[no-any-return]


def _differences(graph: Graph, image: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the distance of every voxel from the right value."""
    values = reference(graph, image)
    kept: NDArray[np.float32] = np.abs(found - scaled(graph, values))
    if not graph.flatten:
        return kept
    threshold = graph.threshold.numpy()
    flat = np.abs(found - scaled(graph, np.broadcast_to(graph.background.numpy(), values.shape)))
    near = np.abs(values - threshold) < TOLERANCE
    wrong: NDArray[np.float32] = np.where(near, np.minimum(kept, flat), np.where(values >= threshold, kept, flat))
    return wrong


def scaled(graph: Graph, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert stains (batch, stains, ...) to the units of a graph's output."""
    if not graph.intensities:
        return values
    stains = [np.asarray(target.to_intensity(values[:, n])) for n, target in enumerate(graph.targets)]
    return np.stack(stains, axis=1)


def require_packages(extra: str, *packages: str) -> None:
    """Raise a `SpotlightError` that names the extra if a package is missing."""
    try:
        for package in packages:
            import_module(package)
    except ModuleNotFoundError as error:
        raise missing_package("exporting", error, extra) from error


def _mean(values: Tensor) -> Tensor:
    """Return the mean of every image, computed axis by axis: a float32 sum over a whole stack would lose digits."""
    for axis in range(values.ndim - 1, 1, -1):
        values = values.mean(axis, keepdim=True)
    return values


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the messages of torch's exporter about optional packages and its own future versions."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        log.setLevel(level)
