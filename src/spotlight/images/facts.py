"""What a file states of its images, before any value is read."""

from collections.abc import Callable
from dataclasses import dataclass, field

from spotlight.errors import SpotlightError
from spotlight.images.colour import channel_names
from spotlight.images.lazy import Source
from spotlight.images.planes import planes_hint

AXES = "TCZYX"
STORED_AXES = AXES + "S"
"""Axes of files: samples of a pixel, such as red, green and blue, become channels."""


@dataclass(frozen=True)
class Facts:
    """What a file states of one of its images.

    Attributes
    ----------
    array : Source
        Where the values are.
    axes : str
        As stored, one letter per axis; S are the samples of a pixel, such as red, green and blue. Other letters
        mean that the file does not state what the axis is.
    channels : tuple of str
        Names; empty if there are none.
    voxel_size : dict
        Edge lengths in µm by axis, as far as they are stated.
    unit : str
        The unit in which the file states them.
    unread : str
        Stated lengths that could not be read, as written in the file.
    labels : bool
        Whether the file states that the values are instance labels.
    names : tuple of str
        Names of the axes in the file, if they are more than letters.
    samples : tuple of str
        Names of the samples of a pixel; empty if they have none.
    doubt : str
        Why what the file states cannot be right; it is the error unless the user states the axes.
    flat : Source or None
        If there is a doubt: all pages of the file in their order, for users who state the axes.
    frame_interval : float or None
        Seconds from one timepoint to the next; None if it is not stated.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Facts, Stack, scenes
    >>> path = Stack(np.zeros((2, 8, 16, 16), np.uint16), "CZYX", (0.5, 0.1, 0.1), ("BF", "DNA")).save("a.ome.tif")
    >>> facts: Facts = scenes(path)[0].load()  # no pixel is read
    >>> facts.axes, facts.channels, facts.voxel_size
    ('CZYX', ('BF', 'DNA'), {'Z': 0.5, 'Y': 0.1, 'X': 0.1})
    """

    array: Source
    axes: str
    channels: tuple[str, ...] = ()
    voxel_size: dict[str, float] = field(default_factory=dict)
    unit: str = ""
    unread: str = ""
    labels: bool = False
    names: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    doubt: str = ""
    flat: Source | None = None
    frame_interval: float | None = None

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.array.shape):
            raise SpotlightError(
                f"a reader must give one letter for each axis. Received: axes {self.axes!r} of an array of shape "
                f"{tuple(self.array.shape)}. Correct the `axes` of its Facts."
            )
        if small := [key for key in self.voxel_size if key not in AXES and key.upper() in AXES]:
            raise SpotlightError(
                f"a reader must give voxel sizes by capital letters of axes, such as Z, Y and X. Received: "
                f"{', '.join(map(repr, small))}. Correct the `voxel_size` of its Facts."
            )

    @property
    def found(self) -> str:
        """Names of the axes in the file, for messages; ``?`` if it does not name them."""
        return ", ".join(map(self.called, self.axes)) if any(self.names) else "".join(map(self.called, self.axes))

    def called(self, axis: str) -> str:
        """Name of one axis in the file."""
        name = self.names[self.axes.index(axis)] if self.names else ""
        return axis if axis in AXES else name or (axis if axis.isalpha() else "?")

    @property
    def has_axes(self) -> bool:
        """Whether the file states what its axes are."""
        return set(self.axes) <= set(STORED_AXES)

    @property
    def hint(self) -> str:
        """What timepoints or channels may be instead; see `planes_hint`."""
        return planes_hint(self.axes, self.array.shape, self.channels, self.voxel_size) if self.has_axes else ""

    @property
    def all_channels(self) -> tuple[str, ...]:
        """Names of the channels that a stack of this image has."""
        sizes = dict(zip(self.axes, self.array.shape, strict=True))
        return channel_names(sizes.get("C", 1), self.channels, self.samples) if "S" in sizes else self.channels


@dataclass(frozen=True)
class Scene:
    """One of the images of a file: a scene, position, field or series.

    Attributes
    ----------
    name : str
        The name in the file; for a plate, well and field.
    load : callable
        Gives its `Facts`, without pixel values.
    starts_here : bool
        Whether its first plane lies in this file; each image of a set of files starts in one of them.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack, scenes
    >>> path = Stack(np.zeros((8, 16, 16), np.uint16), "ZYX", (0.5, 0.1, 0.1)).save("a.ome.tif")
    >>> (scene,) = scenes(path)
    >>> scene.load().array.shape
    (8, 16, 16)
    """

    name: str
    load: Callable[[], Facts]
    starts_here: bool = True
