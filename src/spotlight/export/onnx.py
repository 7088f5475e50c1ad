"""`export_onnx`: write a model as one ONNX file, which is first checked with ONNX Runtime."""

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.export.graph import Graph
from spotlight.files import atomic_file
from spotlight.images.normalise import mean_and_std, normalise
from spotlight.images.scaling import UINT16
from spotlight.installation import missing_package
from spotlight.networks import StainNetwork
from spotlight.prediction import Model

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
