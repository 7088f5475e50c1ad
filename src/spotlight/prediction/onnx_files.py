"""ONNX files and packages of the BioImage Model Zoo as models: `spotlight predict PACKAGE.zip images`."""

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from spotlight.errors import SpotlightError
from spotlight.files import require_file
from spotlight.images.units import micrometres
from spotlight.installation import missing_package
from spotlight.model import ModelDescription
from spotlight.networks import NETWORKS, NetworkSettings, StainNetwork
from spotlight.plain_yaml import load_yaml, parse_yaml
from spotlight.prediction.stain import Model
from spotlight.quoting import safe_name

ENDINGS = (".onnx", ".zip")
EMBEDDED = "model_yaml"
"""Entry of a file's metadata in which Spotlight's exporter describes the model."""
DIVISORS = (1, 2, 4, 8, 16, 32, 64)
FNET_WIDTH = 32
NO_STEPS = {"ensure_dtype"}
MOST_RDF_BYTES = 2**20
REACH = "reach"
"""Entry of a description: voxels on which a voxel of the output depends, to either side; see `StainNetwork.reach`."""


@NETWORKS.register
class OnnxSettings(NetworkSettings):
    """A network in an ONNX file, which can be used and not trained."""

    architecture: Literal["onnx"] = "onnx"
    sha256: str = ""

    def build(self, dims: int, stains: int = 1, modalities: int = 0, in_channels: int = 1) -> StainNetwork:
        """Say that it cannot be built."""
        raise ValueError("a network of an ONNX file can be used but not trained; choose another network")

    def describe(self) -> str:
        """See `NetworkSettings.describe`."""
        return f"ONNX file with the SHA-256 {self.sha256[:12]}"

    @property
    def memory_width(self) -> int:
        """See `OnnxNetwork.memory_width`."""
        return FNET_WIDTH


class OnnxNetwork(StainNetwork):
    """What ONNX Runtime makes of an ONNX file with one input (batch, channels, [z,] y, x) and such an output.

    Parameters
    ----------
    content : bytes
        The file.
    name : str
        What errors call it.
    reach : int, optional
        See `StainNetwork.reach`; left out: what the file's metadata state.

    Raises
    ------
    SpotlightError
        If ONNX Runtime is missing or cannot load the file, or it maps images otherwise.
    """

    def __init__(self, content: bytes, name: str, reach: int | None = None) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise missing_package("ONNX files", error, "export") from error
        try:
            self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has many errors of its own
            raise SpotlightError(f"{name}: cannot be loaded as an ONNX file ({error}). Get another copy.") from error
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        shapes = [list(one.shape) for one in (*inputs, *outputs)]
        sizes = [shape[1] for shape in shapes if len(shape) in (4, 5)]
        alike = len(inputs) == len(outputs) == 1 and len(sizes) == 2 and len(shapes[0]) == len(shapes[1])
        if not alike or not all(isinstance(size, int) for size in sizes) or inputs[0].type != "tensor(float)":
            raise SpotlightError(
                f"{name}: must map one float32 image (batch, channels, [z,] y, x), with a fixed number of channels, to "
                f"one alike. It has the inputs and outputs {shapes}. Use it with the program that it was made for."
            )
        super().__init__(len(shapes[0]) - 2, FNET_WIDTH, sizes[1], 0, "none", sizes[0])
        self.content, self.name = content, name
        self.input = inputs[0].name
        self.metadata: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        depth = shapes[0][2]
        self._window = depth if self.dims == 3 and isinstance(depth, int) else None
        self._reach = self._stated(REACH) if reach is None else reach
        self._divisor = self._stated("divisor") or self._measured_divisor(name)

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnnxNetwork":
        """Return itself: it has nothing that a copy could change."""
        return self

    def __reduce__(self) -> tuple[type["OnnxNetwork"], tuple[bytes, str, int | None]]:
        """Go to another process as the file that it is: ONNX Runtime's session cannot."""
        return OnnxNetwork, (self.content, self.name, self._reach)

    def _stated(self, entry: str) -> int | None:
        """Read a whole number from the metadata."""
        text = self.metadata.get(entry, "")
        return int(text) if text.isdecimal() else None

    def _measured_divisor(self, name: str) -> int:
        for divisor in DIVISORS:
            size = [2 * divisor] * self.dims if self._window is None else [self._window, 2 * divisor, 2 * divisor]
            try:
                found = self.compute(torch.zeros(1, self.in_channels, *size), None)
            except Exception:
                continue
            if list(found.shape[2:]) == size:
                return divisor
        raise SpotlightError(
            f"{name}: keeps the size of no image of up to {2 * DIVISORS[-1]} pixels. It cannot be used."
        )

    @property
    def window(self) -> int | None:
        """The planes that it takes, if their number is fixed."""
        return self._window

    @property
    def memory_width(self) -> int:
        """What the file states, or that of F-net."""
        return self._stated("memory_width") or FNET_WIDTH

    @property
    def whole(self) -> bool:
        """Whether it may use all of the stack: it does not state how far it sees."""
        return self._reach is None

    @property
    def divisor(self) -> int:
        """What the file states, or the least power of 2 that works."""
        return self._divisor

    @property
    def reach(self) -> int | None:
        """What is stated."""
        return self._reach

    def encoder_parts(self) -> list[nn.Module]:
        """Nothing in it is trained."""
        return []

    def all_but_head_parts(self) -> list[nn.Module]:
        """Nothing in it is trained."""
        return []

    def compute(self, x: Tensor, modality: Tensor | None) -> Tensor:
        """Run the file."""
        (found,) = self.session.run(None, {self.input: x.float().cpu().contiguous().numpy()})
        return torch.from_numpy(found).to(x.device)


def load_onnx(path: str | Path) -> Model:
    """Load an ONNX file, or a package of the BioImage Model Zoo with ONNX weights, as a model.

    What it takes and gives must be known: from the metadata that `spotlight export` writes; from a package's
    ``rdf.yaml``; or from a file ``NAME.yaml`` beside ``NAME.onnx`` with the entries ``input``, ``target`` and, for
    several stains, ``further_targets``, as in ``model.yaml``. Whole stacks go through the network, unless its reach is
    stated, too: by the metadata, by the halo of a package along every axis, or by an entry ``reach`` of ``NAME.yaml``.

    Raises
    ------
    SpotlightError
        If something is not known, or a package needs steps that Spotlight does not do.
    """
    path = require_file(path, "Give an ONNX file or a package.")
    name = str(path)
    if path.suffix.lower() == ".zip":
        content, values = _read_package(path)
    else:
        content, values = path.read_bytes(), {}
    network = OnnxNetwork(content, name)
    settings = OnnxSettings(sha256=hashlib.sha256(content).hexdigest())
    beside = path.with_suffix(".yaml")
    if EMBEDDED in network.metadata:
        known = parse_yaml(network.metadata[EMBEDDED], name)
        stated: dict[str, Any] = known if isinstance(known, dict) else {}
    elif values:
        stated = _described(values, name)
    elif beside.exists():
        loaded = load_yaml(beside)
        stated = loaded if isinstance(loaded, dict) else {}
    else:
        raise SpotlightError(
            f"{path}: does not state what it takes and gives. Write it down in {beside.name} beside it, as model.yaml "
            "of a model folder has it: input (axes, grid, normalisation: 'none' if the file does that itself) and "
            "target (channel, normalised_range, intensity_range)."
        )
    parts = {key: stated[key] for key in ("input", "target", "further_targets", "task", "training") if key in stated}
    reach = stated.get(REACH)
    if reach is not None:
        if type(reach) is not int or reach < 0:
            raise SpotlightError(f"{path}: its reach must be a number of voxels, 0 or more. Received: {reach!r}.")
        network = OnnxNetwork(content, name, reach)
    described = ModelDescription.parse(parts | {"network": settings.model_dump()}, name)
    facts = len(described.input.axes), len(described.targets), len(described.input.channels)
    if facts != (network.dims, network.stains, network.in_channels):
        raise SpotlightError(
            f"{path}: is described with {facts[0]} axes, {facts[1]} stains and {facts[2]} input channels, but has "
            f"{network.dims}, {network.stains} and {network.in_channels}. Correct the description."
        )
    return Model(described, network, safe_name(path.stem))


def _read_package(path: Path) -> tuple[bytes, dict[str, Any]]:
    """Weights and description of a package."""
    try:
        with zipfile.ZipFile(path) as package:
            names = [name for name in ("rdf.yaml", "bioimageio.yaml") if name in package.namelist()]
            if not names or package.getinfo(names[0]).file_size > MOST_RDF_BYTES:
                raise SpotlightError(f"{path}: is no package of the BioImage Model Zoo: it has no rdf.yaml.")
            values = parse_yaml(package.read(names[0]).decode("utf-8", errors="replace"), f"{path}/{names[0]}")
            weights = values.get("weights") if isinstance(values, dict) else None
            onnx = weights.get("onnx") if isinstance(weights, dict) else None
            source = onnx.get("source") if isinstance(onnx, dict) else None
            if not isinstance(source, str) or source not in package.namelist():
                kinds = ", ".join(map(str, weights)) if isinstance(weights, dict) else "none"
                raise SpotlightError(
                    f"{path}: has no ONNX weights, which Spotlight needs; it has: {kinds}. Convert them with "
                    "bioimageio.core (bioimageio add-weights)."
                )
            return package.read(source), values
    except (zipfile.BadZipFile, KeyError, RuntimeError, OSError) as error:
        raise SpotlightError(f"{path}: cannot be read as a package ({error}). Get another copy.") from error


def _described(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Say what a package takes and gives, from its ``rdf.yaml`` of format 0.5."""
    try:
        (taken,), (given,) = values["inputs"], values["outputs"]
        space, ends = _space(taken), _space(given)
        lights, stains = _channels(taken), _channels(given)
        sizes = [(float(axis.get("scale", 1.0)), micrometres(str(axis.get("unit", "")))) for axis in space]
        before = [step for step in taken.get("preprocessing") or [] if step["id"] not in NO_STEPS]
        after = [step for step in given.get("postprocessing") or [] if step["id"] not in NO_STEPS]
        halos = [int(axis.get("halo", 0)) for axis in ends]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SpotlightError(
            f"{name}: its rdf.yaml is not one of format 0.5 with one input and one output ({type(error).__name__}: "
            f"{error}). Update it with bioimageio.core (bioimageio update-format)."
        ) from error
    unfit = [step["id"] for step in before if not _normalises(step, [axis["id"] for axis in space], len(lights))]
    unfit += [step["id"] for step in after if step["id"] != "scale_linear"]
    if unfit or len(before) > 1 or len(after) > 1:
        raise SpotlightError(
            f"{name}: needs the steps {', '.join(unfit) or 'several of one kind'}, but Spotlight does "
            "zero_mean_unit_variance of each channel of the whole image before, and scale_linear after the network. "
            "Run it with bioimageio.core."
        )
    ranges = _ranges(after[0].get("kwargs") or {}, len(stains), name) if after else [(0.0, 1.0)] * len(stains)
    expected = {
        "axes": "".join(axis["id"] for axis in space).upper(),
        "grid": "native",
        "voxel_size": [(size * um, size * um) for size, um in sizes if um] if all(um for _, um in sizes) else None,
        "normalisation": "mean/std" if before else "none",
        "further_channels": [{"channel": one} for one in lights[1:]],
    } | ({"channel": lights[0]} if len(lights) > 1 else {})  # of a single one the name decides nothing
    first, *further = (
        {"channel": one, "normalised_range": (0.0, 1.0), "intensity_range": limits}
        for one, limits in zip(stains, ranges, strict=True)
    )
    # A package does not say which intensities its targets had.
    described = {"input": expected, "target": first, "further_targets": further, "training": {"imported": name}}
    return described | ({REACH: max(halos)} if all(halos) else {})


def _space(tensor: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Axes of space, if they follow those of the batch and of the channels, as Spotlight has them."""
    batch, channel, *space = tensor["axes"]
    kinds = [batch["type"], channel["type"], *{axis["type"] for axis in space}]
    if kinds != ["batch", "channel", "space"]:
        raise ValueError("the axes are not batch, channel and those of space")
    return list(space)


def _channels(tensor: Mapping[str, Any]) -> list[str]:
    names = [str(one) for one in tensor["axes"][1]["channel_names"]]
    if not names:
        raise ValueError("a tensor has no channels")
    return names


def _normalises(step: Mapping[str, Any], space: Sequence[str], channels: int) -> bool:
    """Whether a step normalises each channel of the whole image by its mean and standard deviation."""
    axes = (step.get("kwargs") or {}).get("axes")
    together = {"channel", *space} if axes is None else set(axes)
    return (
        step["id"] == "zero_mean_unit_variance"
        and together >= set(space)
        and (channels == 1 or "channel" not in together)
    )


def _ranges(kwargs: Mapping[str, Any], stains: int, name: str) -> list[tuple[float, float]]:
    """What 0 and 1 of each output become by the step scale_linear."""
    try:
        both = [np.broadcast_to(np.asarray(kwargs.get(k, d), float), stains) for k, d in (("gain", 1), ("offset", 0))]
    except (TypeError, ValueError) as error:
        raise SpotlightError(
            f"{name}: its step scale_linear has other numbers than one for all outputs or one for each ({error}). Run "
            "it with bioimageio.core."
        ) from error
    return [(float(offset), float(offset + gain)) for gain, offset in zip(*both, strict=True)]
