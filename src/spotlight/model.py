"""The model folder: ``model.yaml``, which describes the network and its use, and ``weights.safetensors``."""

import inspect
import platform
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, PositiveInt, StrictInt

from spotlight.errors import SpotlightError
from spotlight.files import require_file, require_path, write_text
from spotlight.images.normalise import Grid
from spotlight.images.scaling import Scaling
from spotlight.networks import NetworkField, NetworkSettings, StainNetwork
from spotlight.pairs.pair import Pair
from spotlight.pairs.unlabelled import content_digest
from spotlight.plain_yaml import load_yaml
from spotlight.settings import Settings
from spotlight.tasks import StainTask, TargetDescription, Task, TaskField
from spotlight.version import __version__
from spotlight.weights import load_weights, save_weights

FORMAT = 2
"""The newest format of model.yaml: with several input channels. All others are written as format 1."""
DESCRIPTION = "model.yaml"
WEIGHTS = "weights.safetensors"
SHIPPED = Path(__file__).parent / "shipped"
"""Models that come with Spotlight, each of which goes by its name where no folder of that name is."""


class ChannelDescription(Settings):
    """One channel of the inputs that the network was trained on.

    Examples
    --------
    >>> from spotlight.model import read_description
    >>> (channel,) = read_description("demo-nuclei").input.channels
    >>> low, high = channel.contrast  # of the training stacks: what is far beyond is doubted
    >>> low < high
    True
    """

    channel: str = Field("", description="Name of the channel in the training files; empty if they had none.")
    mean: tuple[float, float] | None = Field(
        None, description="Least and greatest mean of the training stacks, in their own units; None if unknown."
    )
    contrast: tuple[float, float] | None = Field(
        None, description="Least and greatest contrast of the training stacks: standard deviation over mean."
    )
    octaves: tuple[tuple[float, float], ...] | None = Field(
        None,
        description="Least and greatest share of the variance in details of 1, 2, 4, 8 and 16 pixels of the network's "
        "grid; None if unknown.",
    )
    skewness: tuple[float, float] | None = Field(None, description="Least and greatest skewness of the intensities.")
    saturated: float | None = Field(None, description="Greatest share of pixels at the same, brightest value.")


class InputDescription(ChannelDescription):
    """The inputs that the network was trained on, with their first channel.

    Examples
    --------
    >>> from spotlight.model import read_description
    >>> expected = read_description("demo-nuclei").input
    >>> expected.axes, expected.grid, expected.normalisation
    ('ZYX', 0.29, 'mean/std')
    """

    axes: Literal["ZYX", "YX"]
    grid: Grid = Field(description="Edge of the cubic voxels in µm that the network works on, or 'native'.")
    voxel_size: tuple[tuple[float, float], ...] | None = Field(
        None, description="Least and greatest voxel size of the training files per axis in µm; None if unknown."
    )
    voxel_size_tolerance: float = Field(0.1, description="Accepted relative deviation from that voxel size.")
    normalisation: Scaling | Literal["none"] = Field(
        "mean/std",
        description="Statistics of each channel of the whole stack at native resolution; 'uint16': 0 to 65535 becomes "
        "-1 to 1; 'log': v becomes ln((v + 1) / 1000); 'none': the network takes the values as they are.",
    )
    central_planes: PositiveInt | None = Field(
        None, description="Number of central planes used for the statistics; None: the whole stack."
    )
    planes: Literal["together", "one"] = Field(
        "together", description="'one': the network stains a single plane, which the user chooses."
    )
    modalities: tuple[str, ...] = Field(
        (), description="Modalities of the training files, if they were needed; the network numbers them in this order."
    )
    further_channels: tuple[ChannelDescription, ...] = Field(
        (), description="For a network with several input channels: the channels after the first, in order."
    )

    @property
    def channels(self) -> tuple[ChannelDescription, ...]:
        """All channels of the input, in order."""
        return (self, *self.further_channels)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all channels, in order."""
        return tuple(one.channel for one in self.channels)


class ModelDescription(Settings):
    """Everything in ``model.yaml``.

    Examples
    --------
    >>> from spotlight.model import read_description
    >>> description = read_description("demo-nuclei")
    >>> description.dims, description.network.architecture, [target.channel for target in description.targets]
    (3, 'fnet', ['DNA'])
    """

    format: StrictInt = Field(
        1, ge=1, description="Format of this file; a higher number means that older versions cannot read it."
    )
    spotlight: str = __version__
    created: str = ""
    network: NetworkField
    input: InputDescription
    target: TargetDescription
    further_targets: tuple[TargetDescription, ...] = Field(
        (), description="For a network with several stains: the stains after the first."
    )
    task: TaskField = Field(StainTask(), description="What the network learnt.")
    training: dict[str, Any] = Field(
        default_factory=dict, description="Record of the training run: settings, data and results."
    )
    weights_sha256: str = Field(
        "", description="SHA-256 of weights.safetensors; empty in old folders, which can still be loaded."
    )
    versions: dict[str, str] = Field(
        default_factory=lambda: {"torch": torch.__version__, "python": platform.python_version()}
    )

    @property
    def targets(self) -> tuple[TargetDescription, ...]:
        """All outputs of the network, in order."""
        return (self.target, *self.further_targets)

    @property
    def dims(self) -> int:
        """Number of spatial dimensions."""
        return len(self.input.axes)


def make_network(
    settings: NetworkSettings,
    dims: int,
    stains: int = 1,
    modalities: int = 0,
    in_channels: int = 1,
    task: Task = StainTask(),  # noqa: B008 - frozen
) -> StainNetwork:
    """Build a network from its settings, with the last layers that its task needs.

    Parameters
    ----------
    settings : NetworkSettings
        Architecture and sizes.
    dims, stains, modalities, in_channels
        See `NetworkSettings.build`.
    task : Task
        Its `adapt` changes the end of the network.

    Returns
    -------
    StainNetwork
        With weights as they were drawn.

    Raises
    ------
    SpotlightError
        If the settings do not fit the data.

    Examples
    --------
    >>> from spotlight.model import make_network
    >>> from spotlight.networks import FNetSettings
    >>> network = make_network(FNetSettings(depth=2, mult_chan=4), dims=3, stains=2)
    >>> network.stains, network.divisor
    (2, 4)
    """
    try:
        if in_channels == 1:  # which networks of other packages were built for
            return task.adapt(settings.build(dims, stains, modalities))
        if "in_channels" not in inspect.signature(settings.build).parameters:
            raise ValueError(
                f"the network {settings.architecture} takes one input channel. Received: {in_channels}. Name one "
                "channel, or choose a network whose settings build it for several, such as 'fnet'."
            )
        return task.adapt(settings.build(dims, stains, modalities, in_channels))
    except ValueError as error:
        raise SpotlightError(str(error)) from error


def save_model(folder: str | Path, description: ModelDescription, network: torch.nn.Module) -> Path:
    """Write a model folder; ``model.yaml`` is written last, so a folder that has it is complete.

    Parameters
    ----------
    folder : path
        Where to write ``model.yaml`` and ``weights.safetensors``; other files in it stay.
    description : ModelDescription
        The SHA-256 of the weights is filled in.
    network : Module
        The network that the description describes.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    SpotlightError
        As `save_weights`.

    Examples
    --------
    >>> from spotlight.model import read_model, save_model
    >>> description, network = read_model("demo-nuclei")
    >>> folder = save_model("copy", description, network)
    >>> sorted(path.name for path in folder.iterdir())
    ['model.yaml', 'weights.safetensors']
    """
    folder = Path(folder)
    sha256 = save_weights(folder / WEIGHTS, network)
    write_text(folder / DESCRIPTION, description.model_copy(update={"weights_sha256": sha256}).to_yaml())
    return folder


def find_folder(given: str | Path) -> Path:
    """Give the folder of a model: what is given, or else the model of this name that comes with Spotlight.

    Parameters
    ----------
    given : path
        A folder, or the name of a shipped model. Where both are there, it is the folder.

    Returns
    -------
    Path
        It need not exist.

    Examples
    --------
    >>> from spotlight.model import find_folder
    >>> find_folder("my-model").as_posix()  # a path; the name of a shipped model is looked up
    'my-model'
    >>> find_folder("demo-nuclei").parent.name
    'shipped'
    """
    given = Path(given)
    shipped = SHIPPED / given
    return shipped if not given.exists() and len(given.parts) == 1 and shipped.is_dir() else given


def read_description(folder: str | Path) -> ModelDescription:
    """Read ``model.yaml``.

    Parameters
    ----------
    folder : path
        A model folder, or the name of a shipped model.

    Returns
    -------
    ModelDescription
        Of any format up to `FORMAT`.

    Raises
    ------
    SpotlightError
        If the folder is not a model, was written by a newer version, or its description is damaged.

    Examples
    --------
    >>> from spotlight.model import read_description
    >>> read_description("demo-nuclei").input.grid  # µm
    0.29
    """
    remedy = "Give a model folder, or a name that 'spotlight models' lists."
    path = require_path(find_folder(folder), remedy) / DESCRIPTION
    if not path.exists():
        unfinished = (Path(folder) / "training").is_dir()
        hint = (
            "its training has not finished; run the same train command again" if unfinished else "give a model folder"
        )
        raise SpotlightError(f"{folder}: has no {DESCRIPTION}; {hint}.")
    values = load_yaml(path)
    found = values.get("format") if isinstance(values, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise SpotlightError(
            f"{path}: has format {found} (written by spotlight {values.get('spotlight', 'unknown')}); this version "
            f"({__version__}) reads up to format {FORMAT}. Upgrade with: pip install --upgrade spotlight-stain"
        )
    return ModelDescription.parse(values, str(path))


def read_model(folder: str | Path) -> tuple[ModelDescription, StainNetwork]:
    """Read a model folder: its description and the network with its weights, in evaluation mode.

    Parameters
    ----------
    folder : path
        A model folder, or the name of a shipped model.

    Returns
    -------
    (ModelDescription, StainNetwork)
        The network is on the CPU.

    Raises
    ------
    SpotlightError
        If a part of the folder is missing, damaged or from a newer version.

    Examples
    --------
    >>> import torch
    >>> from spotlight.model import read_model
    >>> description, network = read_model("demo-nuclei")
    >>> with torch.no_grad():
    ...     tuple(network(torch.zeros(1, 1, 8, 16, 16)).shape)
    (1, 1, 8, 16, 16)
    """
    description = read_description(folder)
    if description.task.backbone:
        raise SpotlightError(
            f"{folder}: is a backbone, which has no head of use. Train one: spotlight train MANIFEST --task segment "
            f"--from {folder} --to MODEL."
        )
    modalities = len(description.input.modalities) if description.network.conditioning != "none" else 0
    sizes = len(description.targets), modalities, len(description.input.channels)
    network = make_network(description.network, description.dims, *sizes, description.task)
    load_model_weights(folder, description, network)
    return description, network.eval()


def was_seen(description: ModelDescription, pair: Pair) -> bool:
    """Whether an input was among those on which a model, or the backbone from which it starts, was pretrained.

    Parameters
    ----------
    description : ModelDescription
        Of the model.
    pair : Pair
        Whose input is meant; it is known by its content, wherever the file lies.

    Returns
    -------
    bool
        False where the model records nothing of the kind.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.model import read_description, was_seen
    >>> from spotlight.pairs import Pair
    >>> field = np.zeros((8, 16, 16), np.float32)
    >>> pair = Pair.of_arrays("a", field, field, voxel_size=(0.5, 0.2, 0.2))
    >>> was_seen(read_description("demo-nuclei"), pair)
    False
    """
    seen = description.training.get("seen", ())
    return bool(seen) and content_digest(pair) in seen


def load_model_weights(folder: str | Path, description: ModelDescription, network: torch.nn.Module) -> None:
    """Load the weights of a model folder into a network of its architecture.

    Parameters
    ----------
    folder : path
        A model folder, or the name of a shipped model.
    description : ModelDescription
        What `read_description` gives for it.
    network : Module
        The network that gets the weights.

    Raises
    ------
    SpotlightError
        As `load_weights`.

    Examples
    --------
    >>> from spotlight.model import load_model_weights, make_network, read_description
    >>> description = read_description("demo-nuclei")
    >>> network = make_network(description.network, description.dims, len(description.targets))
    >>> load_model_weights("demo-nuclei", description, network)
    """
    path = require_file(find_folder(folder) / WEIGHTS, "Copy the whole model folder again.")
    load_weights(path, network, description.weights_sha256)
