"""What is to become of files that are stained, and what became of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spotlight.errors import SpotlightError
from spotlight.images import Part
from spotlight.images.formats import Kind
from spotlight.images.selection import Channels
from spotlight.prediction.settings import PredictionSettings


@dataclass(frozen=True)
class StainOptions:
    """What is to become of every file.

    Attributes
    ----------
    channel : str, int or tuple of these, optional
        Which channel to stain, or which channels, for a model of several. Left out: the only one, or those named as in
        training.
    axes : str, optional
        Axes as stored, for example ``"ZYX"``, instead of what the files state.
    voxel_size : tuple of float, optional
        Edge lengths in µm per spatial axis, instead of what the files state.
    normalised : bool
        Write the network's own units (standard deviations of the target) instead of intensities.
    flatten : bool, optional
        Replace what lies below the foreground threshold by the background of the training targets; left out: as the
        model's training settings say.
    any_voxel_size : bool
        Accept a voxel size unlike that of the training stacks.
    plane : int, optional
        Which plane of a stack to stain, for a model that sees one plane at a time.
    modality : "brightfield", "phase" or "dic", optional
        Modality of all of them, for a model that needs it. Left out: what their channels' names say.
    form : "ome.tif" or "ome.zarr"
        File format of the stains.
    kind : "float32", "uint16" or "uint8"
        Type of their values; whole numbers are rounded and clipped, so they do not go with ``normalised``.
    settings : PredictionSettings
        Tiles, arithmetic and device.

    Examples
    --------
    >>> from spotlight.prediction import StainOptions
    >>> StainOptions(form="ome.zarr", kind="uint16").normalised
    False
    """

    channel: Channels = None
    axes: str | None = None
    voxel_size: tuple[float, ...] | None = None
    normalised: bool = False
    flatten: bool | None = None
    any_voxel_size: bool = False
    plane: int | None = None
    modality: str | None = None
    form: Literal["ome.tif", "ome.zarr"] = "ome.tif"
    kind: Kind = "float32"
    settings: PredictionSettings = PredictionSettings()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        if self.normalised and self.kind != "float32":
            raise SpotlightError(
                "normalised stains are standard deviations of the target, of which rounding leaves a handful of "
                f"values. Received: {self.kind}. Leave --dtype (kind=) or --normalised out."
            )

    def channel_of(self, part: Part) -> Channels:
        """The channels of an image that are meant: those given here, or else what its manifest states."""
        if self.channel is None and part.further:  # `read_part` has put them in order
            own = len(part.channel) if isinstance(part.channel, tuple) else 1
            return tuple(range(own + len(part.further)))
        return part.channel if self.channel is None else self.channel


@dataclass(frozen=True)
class Stained:
    """What became of one image.

    Attributes
    ----------
    part : Part
        The image.
    path : Path
        Its stain.
    state : "made", "kept" or "failed"
        Whether it was made now, was there already, or could not be made.
    reason : str
        Why it failed.
    doubts : tuple of str
        In which ways the input is unlike those that the model was trained on.

    Examples
    --------
    >>> import numpy as np
    >>> import spotlight
    >>> from spotlight.prediction import find_parts, stain_files
    >>> light = np.random.default_rng(0).random((8, 32, 32), np.float32)
    >>> path = spotlight.Stack(light, "ZYX", (0.29, 0.29, 0.29)).save("new.ome.tif")
    >>> (stained,) = stain_files(spotlight.load_model("demo-nuclei"), find_parts([path]), "stains")
    >>> stained.state, stained.path.as_posix(), len(stained.doubts) > 0  # noise is no brightfield
    ('made', 'stains/new-stain.ome.tif', True)
    """

    part: Part
    path: Path
    state: Literal["made", "kept", "failed"]
    reason: str = ""
    doubts: tuple[str, ...] = ()
