"""The `Stack`: an image with its axes, voxel size and channel names."""

import logging
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from spotlight.errors import SpotlightError
from spotlight.images.colour import Mean, colours_of, luminances
from spotlight.images.facts import AXES
from spotlight.images.formats import Kind, format_to_write
from spotlight.images.lazy import LazyArray
from spotlight.images.pictures import THUMBNAILS, as_html, thumbnail
from spotlight.images.regions import format_region
from spotlight.images.slabs import LARGEST, as_numbers, is_slab, slabs
from spotlight.images.units import impossible_size, unusual_size
from spotlight.quoting import LONGEST_QUOTE, shortened, visible

log = logging.getLogger("spotlight")

STATE_IT = "State it in µm with voxel_size= (Python), --voxel-size (command line) or a voxel_size column (manifest)."


@dataclass(frozen=True, repr=False, eq=False)
class Stack:
    """An image with its axes, voxel size and channel names.

    A stack that was read from a file stays there until its `data` are asked for; `channel`, `timepoint` and `crop`
    before that mean that only this part is read, and so does ``stack[...]``, which takes slices and whole numbers as
    NumPy does. ``np.asarray(stack)`` gives the pixel values.

    Attributes
    ----------
    array : ndarray or LazyArray
        Pixel values or where they are, one dimension per letter of `axes`; whole or real numbers. Truth values become
        0 and 1 of type uint8.
    axes : str
        A part of ``TCZYX`` in that order, ending in ``YX``.
    voxel_size : tuple of float or None
        Edge lengths in µm, one per spatial axis (Z if there is one, Y, X); None if it is not stated.
    channels : tuple of str
        Channel names, one per channel; empty if unknown.
    source : str
        Where the stack comes from, for messages.
    origin : str
        How the image was made, for the file's description; for example, the model that stained it.
    unit : str
        The unit of lengths in the file; empty if it states none.
    unread : str
        The part of the stated voxel size that could not be read, for messages.
    colors : tuple of str
        Colours (RRGGBB) for viewers, one per channel; empty for no preference.
    hint : str
        What the timepoints or channels of the file may be instead; see `spotlight.images.planes.planes_hint`.
    labels : bool
        Whether the values are instance labels, which must not be averaged.
    frame_interval : float or None
        Seconds from one timepoint to the next; None if it is not stated.

    Examples
    --------
    >>> import numpy as np
    >>> import spotlight
    >>> stack = spotlight.Stack(np.zeros((2, 8, 64, 64), np.uint16), "CZYX", (0.29, 0.1, 0.1), ("BF", "DNA"))
    >>> stack.channel("DNA")[2:6].shape
    (4, 64, 64)
    """

    array: NDArray[Any] | LazyArray
    axes: str
    voxel_size: tuple[float, ...] | None = None
    channels: tuple[str, ...] = ()
    source: str = "array"
    origin: str = ""
    unit: str = ""
    unread: str = ""
    colors: tuple[str, ...] = ()
    labels: bool = False
    hint: str = ""
    frame_interval: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "array", as_numbers(self.array, self.source))
        if "".join(a for a in AXES if a in self.axes) != self.axes or not self.axes.endswith("YX"):
            raise SpotlightError(
                f"{self.source}: axes must be letters of {AXES} in that order and end in YX. Received: {self.axes!r}."
            )
        if self.array.ndim != len(self.axes):
            raise SpotlightError(
                f"{self.source}: axes {self.axes!r} name {len(self.axes)} dimensions, but the array has shape "
                f"{self.array.shape}. Give axes= with one letter per dimension."
            )
        if self.voxel_size is not None:
            lengths = [v for v in np.atleast_1d(self.voxel_size) if isinstance(v, (int, float, np.number))]
            good = len(lengths) == np.size(self.voxel_size) == len(self.spatial_axes)
            if not good or not all(np.isfinite(v) and v > 0 for v in lengths):
                raise SpotlightError(
                    f"{self.source}: the voxel size must be {len(self.spatial_axes)} positive lengths in µm for axes "
                    f"{self.spatial_axes}. Received: {self.voxel_size}."
                )
        if self.channels and "C" in self.axes and len(self.channels) != self.array.shape[self.axes.index("C")]:
            raise SpotlightError(
                f"{self.source}: {len(self.channels)} channel names {list(self.channels)} for "
                f"{self.array.shape[self.axes.index('C')]} channels."
            )

    __iter__ = None
    """A stack has no members: without this Python would take ``stack[0]``, ``stack[1]``, ... for them."""

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Give the pixel values, read from the file at the first time."""
        return np.array(self.data, dtype=dtype, copy=copy)

    def __getitem__(self, key: Any) -> "Stack":
        """Take a part: slices crop, and a whole number takes one place of an axis, which the result does not have.

        Parameters
        ----------
        key : int, slice, Ellipsis or tuple of these
            As for NumPy, in the order of `axes`. Slices have no step, and Y and X stay.

        Raises
        ------
        SpotlightError
            If the key is of another kind, or the part is empty or not there.
        """
        keys = self._per_axis(key)
        cut = self.values[keys]
        if 0 in cut.shape:
            raise SpotlightError(f"{self.source}: [{_shown(keys)}] of {self.axes} {self.shape} is empty.")
        kept = dict(zip(self.axes, keys, strict=True))
        channels = kept.get("C", slice(None))
        named = channels if isinstance(channels, slice) else slice(channels, channels + 1)
        sizes = zip(self.spatial_axes, self.voxel_size or (), strict=False)
        axes = "".join(axis for axis, part in kept.items() if isinstance(part, slice))
        return replace(
            self,
            array=cut,
            axes=axes,
            frame_interval=self.frame_interval if "T" in axes else None,
            voxel_size=self.voxel_size and tuple(size for axis, size in sizes if isinstance(kept[axis], slice)),
            channels=self.channels[named] if "C" in self.axes else self.channels,
            colors=self.colors[named] if "C" in self.axes else self.colors,
        )

    def _per_axis(self, key: Any) -> tuple[int | slice, ...]:
        """Give one whole number, zero or more, or slice per axis."""
        keys = key if isinstance(key, tuple) else (key,)
        if sum(part is Ellipsis for part in keys) == 1:
            at = next(n for n, part in enumerate(keys) if part is Ellipsis)
            keys = (*keys[:at], *[slice(None)] * (len(self.axes) - len(keys) + 1), *keys[at + 1 :])
        keys = (*keys, *[slice(None)] * (len(self.axes) - len(keys)))
        found: list[int | slice] = []
        for axis, part, size in zip(self.axes, keys, self.shape, strict=False):
            if isinstance(part, slice) and part.step in (None, 1):
                found.append(part)
            elif isinstance(part, (int, np.integer)) and not isinstance(part, bool) and axis not in "YX":
                if not -size <= part < size:
                    raise SpotlightError(f"{self.source}: has no {axis} index {part}; there are 0 to {size - 1}.")
                found.append(int(part) % size)
        if len(found) != len(keys) or len(keys) != len(self.axes):
            raise SpotlightError(
                f"{self.source}: a part of a stack of {self.axes} {self.shape} is taken by slices without a step and, "
                f"for axes other than Y and X, whole numbers. Received: [{_shown(keys)}]. For other parts index its "
                "array: numpy.asarray(stack)[...]; for another voxel size use spotlight.images.resample."
            )
        return tuple(found)

    def _facts(self) -> dict[str, str]:
        size = f"{' '.join(f'{v:.4g}' for v in self.voxel_size)} µm" if self.voxel_size else "not stated"
        facts = {f"voxel size ({', '.join(self.spatial_axes)})": size, "channels": ", ".join(self.channels)}
        if "T" in self.axes and self.frame_interval:
            facts["frame interval"] = f"{self.frame_interval:.6g} s"
        facts |= {"source": self.source, "origin": self.origin}
        return {name: visible(shortened(text, LONGEST_QUOTE)) for name, text in facts.items() if text}

    @property
    def _title(self) -> str:
        where = "in memory" if isinstance(self.values, np.ndarray) else "in its file"
        kind = f"{self.dtype} labels" if self.labels else str(self.dtype)
        return (
            f"Stack {self.axes} {self.shape} of {kind}, {self.array.size * self.dtype.itemsize / 2**20:.4g} MiB {where}"
        )

    def __repr__(self) -> str:
        return "\n".join([f"<{self._title}>", *(f"  {name}: {text}" for name, text in self._facts().items())])

    def _repr_html_(self) -> str:
        """Show facts and thumbnails in a notebook; for each, one plane is read, or the centre of a large one."""
        count = self.shape[self.axes.index("C")] if "C" in self.axes else 1
        facts, shown = self._facts(), {}
        for number in range(min(count, THUMBNAILS)):
            try:
                name = self.channels[number] if number < len(self.channels) else f"channel {number}"
                shown[name] = thumbnail(self.values, self.axes, number)
            except SpotlightError as error:  # what is known of a damaged file is shown all the same
                facts["picture"] = str(error)
        return as_html(self._title, facts, shown)

    @cached_property
    def data(self) -> NDArray[Any]:
        """Pixel values, read from the file at the first time."""
        return np.asarray(self.array)

    @property
    def values(self) -> NDArray[Any] | LazyArray:
        """Pixel values where they are: in memory if they were made or read, else in the file."""
        loaded: NDArray[Any] | None = self.__dict__.get("data")
        return self.array if loaded is None else loaded

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixel values."""
        return self.array.dtype

    @property
    def spatial_axes(self) -> str:
        """``ZYX`` or ``YX``."""
        return self.axes.replace("T", "").replace("C", "")

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of every axis."""
        return self.array.shape

    def channel(self, which: str | int | None = None) -> "Stack":
        """Take one channel; the result has no C axis.

        Parameters
        ----------
        which : str, int or None
            Name or zero-based index; a text is a name or, if none has it, an index, and ``"#1"`` is always the index 1.
            ``"luminance"`` is the mean of the channels red, green and blue, in float32. None is allowed where there is
            just one channel.

        Raises
        ------
        SpotlightError
            If there is no such channel, or if several are there and none was named.
        """
        if "C" not in self.axes:
            if which is None or str(which) in ("0", "#0") or (self.channels and which in self.channels):
                return self
            raise SpotlightError(
                f"{self.source}: no channel {which!r}; the file has one channel"
                f"{f' named {self.channels[0]!r}' if self.channels else ' without a name'}. Leave the channel out."
            )
        axis = self.axes.index("C")
        count = self.array.shape[axis]
        known = ", ".join(f"{i}: {n}" for i, n in enumerate(self.channels)) or f"0 to {count - 1}, without names"
        known += "".join(f"; or {name}, their mean" for name in luminances(self.channels))
        colours = colours_of(which, self.channels) if isinstance(which, str) else None
        if colours is not None:
            mean = LazyArray.of(Mean(self.values[(slice(None),) * axis + (colours,)], axis))
            return replace(self, array=mean, axes=self.axes.replace("C", ""), channels=(str(which),), colors=())
        if which is None:
            if count > 1:
                raise SpotlightError(
                    f"{self.source}: has {count} channels ({known}); say which one to use, with --channel (for a "
                    "folder of pairs --input-channel or --target-channel), channel= (Python) or the column "
                    f"input_channel or target_channel (manifest).{self.hint}"
                )
            which = 0
        if isinstance(which, str) and self.channels.count(which) == 1:
            index = self.channels.index(which)
        elif isinstance(which, str) and not re.fullmatch(r"#?[0-9]+", which):
            many = self.channels.count(which)
            raise SpotlightError(
                f"{self.source}: has {f'{many} channels' if many else 'no channel'} {which!r}; channels here: "
                f"{known}. Name one by {'its number' if many else 'its name or number'}."
            )
        else:
            index = int(str(which).removeprefix("#"))
        if not 0 <= index < count:
            raise SpotlightError(f"{self.source}: no channel {which!r}; channels here: {known}.")
        return self[(slice(None),) * axis + (index,)]

    def has_channel(self, name: str) -> bool:
        """Whether `channel` accepts this name."""
        return name in self.channels or colours_of(name, self.channels) is not None

    def timepoint(self, which: int | None = None) -> "Stack":
        """Take one timepoint; the result has no T axis.

        Parameters
        ----------
        which : int or None
            Zero-based index. None is allowed where there is just one timepoint.

        Raises
        ------
        SpotlightError
            If there is no such timepoint, or if several are there and none was named.
        """
        count = self.array.shape[0] if "T" in self.axes else 1
        if which is None and count > 1:
            raise SpotlightError(
                f"{self.source}: has {count} timepoints; say which one to use, 0 to {count - 1}, with time= (Python), "
                f"--time (command line) or a time column (manifest).{self.hint}"
            )
        if not 0 <= (which or 0) < count:
            raise SpotlightError(f"{self.source}: has no timepoint {which}; there are 0 to {count - 1}.")
        return self[which or 0] if "T" in self.axes else self

    def plane(self, which: int) -> "Stack":
        """Take one plane, zero-based, of a stack of the axes ZYX or YX; the result has the axes YX."""
        if self.axes == "YX":
            return self
        return replace(self[which], source=f"{self.source} (plane {which})")

    def crop(self, region: tuple[slice, ...]) -> "Stack":
        """Cut out a region, one contiguous slice per spatial axis, as a view."""
        lead = self.array.ndim - len(self.spatial_axes)
        cut = self.values[(slice(None),) * lead + region]
        beyond = any((s.stop or 0) > n or (s.start or 0) > n for s, n in zip(region, self.shape[lead:], strict=True))
        if 0 in cut.shape or beyond:
            raise SpotlightError(
                f"{self.source}: region {format_region(region)} is empty or reaches beyond the stack's "
                f"{self.spatial_axes} {self.shape[lead:]}."
            )
        return replace(self, array=cut)

    def require_voxel_size(self) -> tuple[float, ...]:
        """Return the voxel size, or raise a `SpotlightError` that says how to state it."""
        size = self.known_voxel_size()
        if size is None:
            found = f" that can be read (found: {self.unread})" if self.unread else ""
            raise SpotlightError(
                f"{self.source}: the file states no voxel size for {self.spatial_axes}{found}. {STATE_IT}"
            )
        return size

    def known_voxel_size(self) -> tuple[float, ...] | None:
        """Return the voxel size, or None if it is not stated. A size that no microscope has is a `SpotlightError`."""
        fault = self.voxel_size and impossible_size(self.voxel_size)
        if fault:
            raise SpotlightError(f"{self.source}: {fault}. {STATE_IT}")
        return self.voxel_size

    def doubt_voxel_size(self) -> None:
        """Log a warning if the voxel size is unusual, and raise a `SpotlightError` if it is impossible."""
        size = self.known_voxel_size()
        doubt = size and unusual_size(size)
        if doubt:
            log.warning("%s: %s. Correct it if it is wrong. %s", self.source, doubt, STATE_IT)

    def require_finite(self) -> None:
        """Raise a `SpotlightError` if a value is NaN, infinite or beyond `LARGEST`; reads slab by slab."""
        if not np.issubdtype(self.dtype, np.floating):
            return
        largest = min(LARGEST, float(np.finfo(self.dtype).max))
        bad, first = 0, tuple[int, ...]()
        for slab in slabs(self.shape):
            wrong = ~(np.abs(self.values[slab.inner]) <= largest)
            if wrong.any():
                place = np.argwhere(wrong)[0]
                first = first or (int(place[0]) + slab.inner.start, *map(int, place[1:]))
                bad += int(np.count_nonzero(wrong))
        if bad:
            raise SpotlightError(
                f"{self.source}: {bad} values are NaN or infinite, or beyond ±{LARGEST:g}, the first at {self.axes} "
                f"index {first}. Replace them, or leave this stack out."
            )

    def load_if_small(self) -> None:
        """Read the values now if they are a slab or less, so that they are read once."""
        if is_slab(self.array):
            self.data  # noqa: B018

    def save(self, path: str | Path, kind: Kind | None = None) -> Path:
        """Write the stack as OME-TIFF or OME-Zarr 0.5, by the ending of the path.

        Axes, voxel size, channel names and origin go with it; an image that is larger than 1024 pixels gets a pyramid.
        The file appears under its name only when it is complete. A path that ends in ``image.ome.zarr/labels/name``
        adds labels to an OME-Zarr.

        Parameters
        ----------
        path : path
            Ending in ``.tif``, ``.tiff`` or ``.zarr``, or as a format of another package ends.
        kind : str, optional
            Convert values to this type: rounded, and clipped to its range. Left out: the stack's own type.

        Raises
        ------
        SpotlightError
            If the file cannot be written, or no format has its ending.
        """
        path = Path(path)
        return format_to_write(path).write(self, path, kind)


def _shown(keys: tuple[Any, ...]) -> str:
    """Keys of an index as they are written."""
    return ", ".join(format_region((key,)) if isinstance(key, slice) and key.step is None else str(key) for key in keys)
