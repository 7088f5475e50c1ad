"""`Selection`: which part of a file is meant, and what the user states of it; `FurtherInput`: a file beside it."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

Chosen = TypeVar("Chosen", bound="Selection")

Channels = str | int | tuple[str | int, ...] | None
"""Which channel is meant, or several in order; see `spotlight.images.joining.take`."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which part of a file is meant, and what the user states of it; None where nothing is stated.

    Attributes
    ----------
    channel : str, int or tuple of these, optional
        Name or zero-based index of a channel, or several; see `spotlight.images.joining.take`.
    scene : str or int, optional
        Which image of the file. A text is its name or, if none has it, its zero-based index; ``"#2"`` is the index 2
        whatever the names are.
    time : int, optional
        Zero-based timepoint.
    axes : str, optional
        The axes as stored, for example ``"ZYX"``; replaces what the file states.
    voxel_size : tuple of float, optional
        Edge lengths in µm per spatial axis; replaces what the file states.
    plane : int, optional
        Zero-based plane along Z.
    modality : "brightfield", "phase" or "dic", optional
        The kind of transmitted light.

    Examples
    --------
    >>> from spotlight.images import Selection
    >>> chosen = Selection(channel="DAPI", voxel_size=(0.29, 0.1, 0.1))
    >>> chosen.scene is None
    True
    """

    channel: Channels = None
    scene: str | int | None = None
    time: int | None = None
    axes: str | None = None
    voxel_size: tuple[float, ...] | None = None
    plane: int | None = None
    modality: str | None = None

    def only(self, *names: str) -> "Selection":
        """Keep these facts alone."""
        return Selection(**{name: getattr(self, name) for name in names})

    def over(self, other: Chosen) -> Chosen:
        """Return `other` with what is stated here in place of what it states."""
        stated = {field.name: getattr(self, field.name) for field in fields(Selection)}
        return replace(other, **{name: value for name, value in stated.items() if value is not None})


@dataclass(frozen=True)
class FurtherInput:
    """A file that holds a further channel of an input, which has those of its first file.

    Attributes
    ----------
    name : str
        What the channel is called, whatever its name in the file.
    path : Path
        The file.
    channel : str or None
        Name or index of the channel in the file; see `spotlight.images.joining.take`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from spotlight.pairs import FurtherInput, Pair
    >>> phase = FurtherInput("phase", Path("a1_phase.tif"))
    >>> pair = Pair("a1", Path("a1_bf.tif"), Path("a1_dna.tif"), further_inputs=(phase,))
    >>> pair.in_channels
    2
    """

    name: str
    path: Path
    channel: str | None = None


ALL = Selection()
"""Nothing is selected or stated: the one image of a file, as the file describes it."""
