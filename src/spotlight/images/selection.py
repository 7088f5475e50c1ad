"""`Selection`: which part of a file is meant, and what the user states of it."""

from dataclasses import dataclass, fields, replace
from typing import TypeVar

Chosen = TypeVar("Chosen", bound="Selection")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which part of a file is meant, and what the user states of it; None where nothing is stated.

    Attributes
    ----------
    channel : str or int, optional
        Name or zero-based index of a channel; see `Stack.channel`.
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
    """

    channel: str | int | None = None
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


ALL = Selection()
"""Nothing is selected or stated: the one image of a file, as the file describes it."""
