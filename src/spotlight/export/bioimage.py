"""`export_bioimage`: write a model as a package of the BioImage Model Zoo, which is validated and test-run first."""

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic
from numpy.typing import NDArray
from packaging.version import Version
from pydantic import Field, field_validator
from scipy import ndimage

from spotlight.errors import SpotlightError
from spotlight.export.card import CITATIONS, model_card
from spotlight.export.graph import Graph
from spotlight.export.onnx import OPSET, PACKAGES, reference, require_packages, write_graph
from spotlight.files import atomic_file
from spotlight.images.normalise import mean_and_std, normalise
from spotlight.prediction import Model
from spotlight.prediction.tiling import exact_halo
from spotlight.settings import Settings
from spotlight.version import __version__

if TYPE_CHECKING:
    from bioimageio.spec.model import v0_5

TEST_SIZES = (32, 64, 80)
"""Least voxels (z, y, x) of the test tensors."""
CITED = re.compile(r"\s*(.*\S)\s+(?:(?:https://doi\.org/|doi:)?(10\.\d{4,}\S*/\S+)|(https://\S+))\s*", re.DOTALL)
"""A citation: text, then a DOI or an address."""
INPUT, OUTPUT = "transmitted_light", "stain"


class Publication(Settings):
    """Authors, licence, title and citations of a package; a model does not contain them.

    Examples
    --------
    >>> from spotlight.export import Publication
    >>> me = Publication(authors=("Jane Doe",), licence="CC-BY-4.0", cite=("Doe 2026 10.1234/abc",))
    >>> print(me.to_yaml().strip())
    authors:
    - Jane Doe
    licence: CC-BY-4.0
    name: null
    cite:
    - Doe 2026 10.1234/abc
    """

    authors: tuple[str, ...] = Field(min_length=1, description="Names of the people who made the model.")
    licence: str = Field(description="SPDX identifier of the licence of the weights, for example CC-BY-4.0.")
    name: str | None = Field(None, description="Title of the package. Default: the name of the model folder.")
    cite: tuple[str, ...] = Field(
        (), description="Further publications: a text that ends with a DOI or an https address."
    )

    @field_validator("cite")
    @classmethod
    def _ends_with_a_link(cls, cite: tuple[str, ...]) -> tuple[str, ...]:
        for entry in cite:
            if CITED.fullmatch(entry) is None:
                raise ValueError(
                    f"{entry!r} does not end with a DOI or an https address, as 'Doe 2026 10.1234/abc' does"
                )
        return cite


def export_bioimage(model: Model, path: str | Path, publication: Publication, *, halo: bool = False) -> Path:
    """Write a model as a package for the BioImage Model Zoo (``rdf.yaml`` of ``bioimageio.spec`` 0.5, zipped).

    The weights are an ONNX file of the network, with input and output in normalised units; it also flattens the
    background if the model does. Normalisation and the map to intensities are steps of the package, so a tool that cuts
    a stack into tiles can normalise by the statistics of the whole stack. ``bioimageio.spec`` validates the package,
    and ``bioimageio.core`` runs it on its test tensors and compares the result with that of torch.

    Parameters
    ----------
    model : Model
        See `spotlight.load_model`.
    path : path
        The zip file to write.
    publication : Publication
        Authors and licence.
    halo : bool
        State the overlap along y and x at which tiles have no seams: `StainNetwork.reach`, rounded up to the divisor.
        Tools then pad a stack by the same amount; ``bioimageio.core`` does so before it normalises a whole stack, which
        changes the stain slightly. Along z, a tile must contain the whole stack.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SpotlightError
        If the packages of the extra ``export`` are missing, the model has several stains, a fixed input scale or no
        chosen modality, the specification refuses an entry of the publication, or the package fails its own test.

    Examples
    --------
    >>> import spotlight
    >>> from spotlight.export import Publication, export_bioimage
    >>> me = Publication(authors=("Jane Doe",), licence="CC-BY-4.0")
    >>> export_bioimage(spotlight.load_model("model"), "model.bioimage.zip", me)  # doctest: +SKIP
    """
    graph = Graph(model, normalise=False, flatten=True, intensities=False)
    _require_writable(graph)
    require_bioimageio()
    import bioimageio.core
    import bioimageio.spec

    with TemporaryDirectory() as name, _silent():
        folder = Path(name)
        write_graph(graph, folder / "network.onnx")
        greatest = _write_test_tensors(graph, folder, halo)
        readme = f"{model_card(model.description, model.name)}\n{_usage(graph, halo)}"
        (folder / "README.md").write_text(readme, encoding="utf-8")
        with bioimageio.spec.ValidationContext(root=folder, log_warnings=False, progressbar=False):
            described = _described(graph, publication, halo, greatest)
            with atomic_file(path) as temporary:
                # The packer and the test need a name that ends with .zip.
                package = bioimageio.spec.save_bioimageio_package(described, output_path=folder / "package.zip")
                _require_passed(bioimageio.core.test_model(package, determinism="seed_only"), path)
                temporary.write_bytes(package.read_bytes())
    return Path(path)


def require_bioimageio() -> None:
    """Raise a `SpotlightError` if packages of the Model Zoo are missing or have incompatible versions."""
    require_packages("bioimage", *PACKAGES, "bioimageio.spec", "bioimageio.core")
    spec = version("bioimageio.spec")
    if Version(pydantic.VERSION) >= Version("2.14") and Version(spec) < Version("0.5.14.3"):
        raise SpotlightError(
            f"bioimageio.spec {spec} cannot write a package with pydantic {pydantic.VERSION}. Install an older "
            "pydantic (pip install 'pydantic<2.14'), or bioimageio.spec 0.5.14.3 or newer with a bioimageio.core that "
            "accepts it."
        )


def _require_writable(graph: Graph) -> None:
    """Raise a `SpotlightError` for models that our packages cannot describe: several stains, or another scaling."""
    found = [f"{len(graph.targets)} stains"] if len(graph.targets) > 1 else []
    found += [] if graph.own_scale else [f"an input normalised by {graph.scale_in_words}"]
    if found:
        raise SpotlightError(
            f"model {graph.model.name} has {' and '.join(found)}, but a package for the BioImage Model Zoo holds one "
            "stain of an input normalised by its mean and standard deviation. Write an ONNX file instead "
            "(--format onnx), which has no such limits."
        )


def _least(graph: Graph, halo: bool) -> list[int]:
    """Return the smallest size of every axis: one block, plus the halo on both sides along y and x."""
    divisor = graph.network.divisor
    beyond = 2 * exact_halo(graph.network) if halo else 0
    return [divisor + (beyond if axis != "z" else 0) for axis in "zyx"[-graph.network.dims :]]


def _write_test_tensors(graph: Graph, folder: Path, halo: bool) -> float:
    """Write a smooth random image and its stain, computed by torch, into the folder; return the stain's maximum."""
    divisor = graph.network.divisor
    wanted = zip(TEST_SIZES[-graph.network.dims :], _least(graph, halo), strict=True)
    shape = tuple(max(math.ceil(size / divisor) * divisor, least) for size, least in wanted)
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), 1.5)
    channels = [np.round(1000 + 100 * noise / noise.std()).astype(np.float32)]
    channels += [np.roll(channels[0], number, axis=-1) for number in range(1, graph.network.in_channels)]
    np.save(folder / "input.npy", np.stack(channels)[None])
    target = graph.model.description.target
    normalised = np.stack([normalise(channel, *mean_and_std(channel)) for channel in channels])
    stain: NDArray[Any] = reference(graph, normalised[None])
    if graph.flatten:
        stain = target.flattened(stain)
    stain = np.asarray(target.to_intensity(stain), np.float32)
    np.save(folder / "output.npy", stain)
    return float(stain.max())


def _described(graph: Graph, publication: Publication, halo: bool, greatest: float) -> "v0_5.ModelDescr":
    """Build the description of the package."""
    from bioimageio.spec.common import HttpUrl
    from bioimageio.spec.model import v0_5

    model = graph.model
    expected, target = model.description.input, model.description.target
    stain, light = target.channel or "fluorescence", " and ".join(filter(None, expected.names)) or "transmitted light"
    try:
        return v0_5.ModelDescr(
            name=publication.name or model.name,
            description=f"Virtual staining: {stain} predicted from {light} ({expected.axes} stacks).",
            authors=[v0_5.Author(name=author) for author in publication.authors],
            license=publication.licence,
            cite=[
                *(v0_5.CiteEntry(text=text, url=HttpUrl(link)) for text, link in CITATIONS),
                *map(_cited, publication.cite),
            ],
            documentation=v0_5.FileDescr(source=Path("README.md")),
            tags=["virtual-staining", "image-restoration", "unet", expected.axes.lower(), "spotlight"],
            inputs=[_input(graph, halo)],
            outputs=[_output(graph, halo)],
            weights=v0_5.WeightsDescr(
                onnx=v0_5.OnnxWeightsDescr(source=Path("network.onnx"), opset_version=OPSET),
            ),
            config=v0_5.Config(
                bioimageio=v0_5.BioimageioConfig(reproducibility_tolerance=[_tolerance(graph, greatest)])
            ),
        )
    except pydantic.ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SpotlightError(
            f"bioimageio.spec refuses the package of model {model.name}: {found}. Correct the name, authors, licence "
            "(SPDX identifier) or citations."
        ) from error


def _tolerance(graph: Graph, greatest: float) -> "v0_5.ReproducibilityTolerance":
    """Return a thousandth of the target's standard deviation, but at most 0.005 of the greatest test value."""
    from bioimageio.spec.model import v0_5

    scale = Graph(graph.model, normalise=False, flatten=False, intensities=True).unit.item()
    return v0_5.ReproducibilityTolerance(absolute_tolerance=max(0.0, min(1e-3 * scale, 0.005 * greatest)))


def _space(graph: Graph) -> list[dict[str, Any]]:
    """Return name, unit and voxel size of every spatial axis."""
    expected = graph.model.description.input
    axes = expected.axes.lower()
    if expected.grid != "native":
        sizes: list[float] | None = [expected.grid] * len(axes)
    else:
        sizes = [(low + high) / 2 for low, high in expected.voxel_size] if expected.voxel_size else None
    if sizes is None:
        return [{"id": axis} for axis in axes]
    return [{"id": axis, "unit": "micrometer", "scale": size} for axis, size in zip(axes, sizes, strict=True)]


def _input(graph: Graph, halo: bool) -> "v0_5.InputTensorDescr":
    from bioimageio.spec.model import v0_5

    names = graph.model.description.input.names
    light = " and ".join(filter(None, names)) or "Transmitted light"
    called = [_identifier(name, f"{INPUT}_{number}" if len(names) > 1 else INPUT) for number, name in enumerate(names)]
    step = graph.network.divisor
    space = [
        v0_5.SpaceInputAxis(**axis, size=v0_5.ParameterizedSize(min=least, step=step))
        for axis, least in zip(_space(graph), _least(graph, halo), strict=True)
    ]
    normalised = v0_5.ZeroMeanUnitVarianceKwargs(
        axes=tuple(v0_5.AxisId(axis["id"]) for axis in _space(graph)), eps=1e-12
    )
    return v0_5.InputTensorDescr(
        id=v0_5.TensorId(INPUT),
        description=f"{light}, whole stack, on the voxels of its axes",
        axes=[v0_5.BatchAxis(), v0_5.ChannelAxis(channel_names=called), *space],
        data=v0_5.IntervalOrRatioDataDescr(type="float32"),
        test_tensor=v0_5.FileDescr(source=Path("input.npy")),
        preprocessing=[v0_5.ZeroMeanUnitVarianceDescr(kwargs=normalised)],
    )


def _output(graph: Graph, halo: bool) -> "v0_5.OutputTensorDescr":
    from bioimageio.spec.model import v0_5

    target = graph.model.description.target
    space: list[Any] = []
    for axis in _space(graph):
        size = v0_5.SizeReference(tensor_id=v0_5.TensorId(INPUT), axis_id=v0_5.AxisId(axis["id"]))
        if halo and axis["id"] != "z":
            space.append(v0_5.SpaceOutputAxisWithHalo(**axis, size=size, halo=exact_halo(graph.network)))
        else:
            space.append(v0_5.SpaceOutputAxis(**axis, size=size))
    offset = float(target.to_intensity(0.0))
    gain = float(target.to_intensity(1.0)) - offset
    steps = []
    if (gain, offset) != (1, 0):  # the specification refuses a scaling without effect, which imported models have
        steps.append(v0_5.ScaleLinearDescr(kwargs=v0_5.ScaleLinearKwargs(gain=gain, offset=offset)))
    return v0_5.OutputTensorDescr(
        id=v0_5.TensorId(OUTPUT),
        description=f"Virtual {target.channel or 'fluorescence'}, in intensities of the training targets",
        axes=[v0_5.BatchAxis(), v0_5.ChannelAxis(channel_names=[_identifier(target.channel, OUTPUT)]), *space],
        data=v0_5.IntervalOrRatioDataDescr(type="float32"),
        test_tensor=v0_5.FileDescr(source=Path("output.npy")),
        postprocessing=steps,
    )


def _identifier(name: str, otherwise: str) -> Any:
    """Return a channel's name in the form that the specification allows: letters, digits and underscores."""
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
    return plain if plain.isidentifier() else otherwise


def _cited(entry: str) -> "v0_5.CiteEntry":
    from bioimageio.spec.common import HttpUrl
    from bioimageio.spec.model import v0_5

    found = CITED.fullmatch(entry)
    assert found is not None
    text, doi, url = found.groups()
    return v0_5.CiteEntry(text=text, doi=v0_5.Doi(doi)) if doi else v0_5.CiteEntry(text=text, url=HttpUrl(url))


def _usage(graph: Graph, halo: bool) -> str:
    """Write what users of the package must know, in Markdown."""
    expected = graph.model.description.input
    grid = "the voxels of the training stacks" if expected.grid == "native" else f"cubic voxels of {expected.grid:g} µm"
    if halo:
        tiles = (
            f"The package states a halo of {exact_halo(graph.network)} voxels along y and x. Give all of z in one "
            "tile. A tool that pads a whole stack by the halo before it normalises gives a slightly different stain."
        )
    elif graph.network.reach is None:
        tiles = "Give whole stacks: because of instance normalisation, every value depends on its whole tile."
    else:
        tiles = (
            "Give whole stacks. The package states no halo, because tools pad by the halo, which changes mean and "
            f"standard deviation. If you use tiles, they must overlap by {exact_halo(graph.network)} voxels on each "
            "side to have no seams, and must be normalised by the statistics of the whole stack."
        )
    flat = (
        "- The network's file replaces values below the foreground threshold by the background. This makes a step; "
        "resampling the stain back to other voxels causes ringing there.\n"
        if graph.flatten
        else ""
    )
    return (
        "## In this package\n\n"
        f"- Resample a stack to {grid} first, and resample the stain back; the package does not do this. Every size "
        f"must be a multiple of {graph.network.divisor}. Spotlight normalises before it resamples, so the stain equals "
        "Spotlight's only if the stack already has these voxels; otherwise it is similar.\n"
        f"- {'Each channel of the input' if expected.further_channels else 'The input'} is normalised by its own mean "
        "and standard deviation, and the output is mapped to intensities. Crop zeros that pad an image: Spotlight "
        "excludes them from the statistics, the package does not.\n"
        f"- {tiles}\n{flat}"
        "- The test tensors are random; they are not an example of a stain.\n"
        f"- Written by Spotlight {__version__}.\n"
    )


def _require_passed(summary: Any, path: str | Path) -> None:
    if summary.status != "passed":
        found = "; ".join(f"{e.msg}" for detail in summary.details for e in detail.errors)
        raise SpotlightError(
            f"{path}: was not written, because bioimageio.core could not run it ({summary.status}: {found}). Use other "
            "versions of bioimageio.core, bioimageio.spec and onnxruntime (constraints.txt lists versions that work)."
        )


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the packages of the Model Zoo from logging; their summary contains all faults."""
    from loguru import logger

    logger.disable("bioimageio")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # these packages leave files open
            yield
    finally:
        logger.enable("bioimageio")
