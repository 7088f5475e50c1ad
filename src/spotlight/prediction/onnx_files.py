"""ONNX files and packages of the BioImage Model Zoo as models: `spotlight predict PACKAGE.zip images`."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spotlight.errors import SpotlightError
from spotlight.files import require_file
from spotlight.images.normalise import Grid
from spotlight.installation import missing_package
from spotlight.model import InputDescription, ModelDescription
from spotlight.networks import NETWORKS, NetworkSettings, StainNetwork
from spotlight.plain_yaml import load_yaml, parse_yaml
from spotlight.prediction.stain import Model
from spotlight.quoting import safe_name
from spotlight.tasks import TargetDescription

ENDINGS = (".onnx", ".zip")
EMBEDDED = "model_yaml"
"""Entry of a file's metadata in which Spotlight's exporter describes the model."""
DIVISORS = (1, 2, 4, 8, 16, 32, 64)
NO_STEPS = {"ensure_dtype"}
MOST_RDF_BYTES = 2**20


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
        """That of F-net, since the file does not tell."""
        return 32


class OnnxNetwork(StainNetwork):
    """What ONNX Runtime makes of an ONNX file with one input (batch, channels, [z,] y, x) and such an output.

    Parameters
    ----------
    content : bytes
        The file.
    name : str
        What errors call it.

    Raises
    ------
    SpotlightError
        If ONNX Runtime is missing or cannot load the file, or it maps images otherwise.
    """

    def __init__(self, content: bytes, name: str) -> None:
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
        super().__init__(len(shapes[0]) - 2, 32, sizes[1], 0, "none", sizes[0])
        self.input = inputs[0].name
        self.metadata: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        depth = shapes[0][2]
        self._window = depth if self.dims == 3 and isinstance(depth, int) else None
        stated = self.metadata.get("divisor", "")
        self._divisor = int(stated) if stated.isdecimal() and int(stated) else self._measured_divisor(name)

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnnxNetwork":
        """Return itself: it has nothing that a copy could change."""
        return self

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
    def whole(self) -> bool:
        """It may use all of the stack, so that it is given whole."""
        return True

    @property
    def divisor(self) -> int:
        """What the file states, or the least power of 2 that works."""
        return self._divisor

    @property
    def reach(self) -> None:
        """Unknown."""
        return

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
    several stains, ``further_targets``, as in ``model.yaml``. Whole stacks go through the network.

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
        stated = _described(values, network, name)
    elif beside.exists():
        loaded = load_yaml(beside)
        stated = loaded if isinstance(loaded, dict) else {}
    else:
        raise SpotlightError(
            f"{path}: does not state what it takes and gives. Write it down in {beside.name} beside it, as model.yaml "
            "of a model folder has it: input (axes, grid, normalisation: 'none' if the file does that itself) and "
            "target (channel, normalised_range, intensity_range)."
        )
    parts = {key: stated[key] for key in ("input", "target", "further_targets") if key in stated}
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


def _described(values: Mapping[str, Any], network: OnnxNetwork, name: str) -> dict[str, Any]:
    """Say what a package takes and gives, from its ``rdf.yaml`` of format 0.5."""
    try:
        (taken,), (given,) = values["inputs"], values["outputs"]
        space = [axis for axis in taken["axes"] if axis["type"] == "space"]
        axes: Any = "".join(axis["id"] for axis in space).upper()
        sizes = tuple(float(axis.get("scale", 1.0)) for axis in space)
        units = {axis.get("unit") for axis in space}
        channels = [str(one) for axis in given["axes"] if axis["type"] == "channel" for one in axis["channel_names"]]
        before = [step for step in taken.get("preprocessing") or [] if step["id"] not in NO_STEPS]
        after = [step for step in given.get("postprocessing") or [] if step["id"] not in NO_STEPS]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SpotlightError(
            f"{name}: its rdf.yaml is not one of format 0.5 with one input and one output ({type(error).__name__}: "
            f"{error}). Update it with bioimageio.core (bioimageio update-format)."
        ) from error
    unknown = [step["id"] for step in before if step["id"] != "zero_mean_unit_variance"]
    unknown += [step["id"] for step in after if step["id"] != "scale_linear"]
    if unknown or len(before) > 1 or len(after) > 1:
        raise SpotlightError(
            f"{name}: needs the steps {', '.join(unknown) or 'several of one kind'}, but Spotlight does "
            "zero_mean_unit_variance before and scale_linear after the network. Run it with bioimageio.core."
        )
    gain, offset = 1.0, 0.0
    if after:
        gain, offset = (float(after[0]["kwargs"].get(key, usual)) for key, usual in (("gain", 1), ("offset", 0)))
    known = units == {"micrometer"}
    grid: Grid = "native"
    expected = InputDescription(
        axes=axes,
        grid=grid,
        voxel_size=tuple((size, size) for size in sizes) if known else None,
        normalisation="mean/std" if before else "none",
    )
    described = [
        TargetDescription(channel=one, normalised_range=(0.0, 1.0), intensity_range=(offset, offset + gain))
        for one in channels
    ]
    further = [target.model_dump() for target in described[1:]]
    return {"input": expected.model_dump(), "target": described[0].model_dump(), "further_targets": further}
