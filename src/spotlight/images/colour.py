"""Colour cameras: the samples of a pixel are channels, and the mean of red, green and blue can be taken as one more."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spotlight.images.lazy import LazyArray, Source

RGB = ("red", "green", "blue")
LUMINANCE = "luminance"
"""What the mean of red, green and blue is called where a channel is named."""


def sample_names(count: int) -> tuple[str, ...]:
    """Names of the samples of a colour image: red, green, blue and perhaps alpha; none for another number of them."""
    return (*RGB, "alpha")[:count] if count in (3, 4) else ()


def channel_names(count: int, channels: Sequence[str], samples: Sequence[str]) -> tuple[str, ...]:
    """Names of so many channels, each of which has samples; those of the samples alone where there is one channel."""
    if not samples or count == 1:
        return tuple(samples)
    names = channels if len(channels) == count else [str(number) for number in range(count)]
    return tuple(f"{name} {sample}" for name in names for sample in samples)


def colours_of(name: str, channels: Sequence[str]) -> slice | None:
    """Where the red, green and blue are whose luminance has this name; None if they are not there side by side."""
    if not name.endswith(LUMINANCE) or name in channels:
        return None
    wanted = sorted(f"{name.removesuffix(LUMINANCE)}{colour}" for colour in RGB)
    starts = [n for n in range(len(channels) - 2) if sorted(channels[n : n + 3]) == wanted]
    return slice(starts[0], starts[0] + 3) if len(starts) == 1 else None


def luminances(channels: Sequence[str]) -> list[str]:
    """Names of the luminances that can be asked for."""
    names = [f"{name.removesuffix(RGB[0])}{LUMINANCE}" for name in channels if name.endswith(RGB[0])]
    return [name for name in names if colours_of(name, channels) is not None]


class Joined:
    """Channels and samples along one axis, the first; the samples of a channel follow each other.

    Parameters
    ----------
    source : Source
        With both axes.
    channel, sample : int
        Which axes they are. The others keep their order.
    """

    def __init__(self, source: Source, channel: int, sample: int) -> None:
        others = [axis for axis in range(len(source.shape)) if axis not in (channel, sample)]
        self.view = LazyArray.of(source).transpose((channel, sample, *others))
        self.samples = self.view.shape[1]
        self.shape = (self.view.shape[0] * self.samples, *self.view.shape[2:])
        self.dtype = self.view.dtype

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        first, *rest = index
        numbers = range(self.shape[0])[first] if isinstance(first, slice) else [first]
        parts = [np.asarray(self.view[(*divmod(number, self.samples), *rest)]) for number in numbers]
        return np.stack(parts) if isinstance(first, slice) else parts[0]


class Mean:
    """The mean along one axis, computed where it is read; float32.

    Parameters
    ----------
    array : ndarray or LazyArray
        The values.
    axis : int
        The axis over which the mean is taken.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, array: NDArray[Any] | LazyArray, axis: int) -> None:
        self.array, self.axis = array, axis
        self.shape = (*array.shape[:axis], *array.shape[axis + 1 :])

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[np.float32]:
        place = sum(isinstance(part, slice) for part in index[: self.axis])
        values = np.asarray(self.array[(*index[: self.axis], slice(None), *index[self.axis :])])
        return np.asarray(values.mean(axis=place, dtype=np.float64), np.float32)
