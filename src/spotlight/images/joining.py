"""Channels of an image, one or several: taken by name, index or plane, and joined side by side."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.images.focus import Projection, best_focus
from spotlight.images.lazy import LazyArray
from spotlight.images.same_field import require_match
from spotlight.images.selection import Channels, Selection
from spotlight.images.slabs import Array
from spotlight.images.stack import Stack

SEPARATOR = ";"
"""What stands between the names of channels in a text."""
PLANE = re.compile(r"(?:(?P<channel>.+?)\s+)?z=(?P<plane>[0-9]+|max|mean|focus(?P<offset>[+-][0-9]+)?)")


def parse_channels(given: str | int | Sequence[str | int] | None) -> Channels:
    """Read which channels are meant: one, or a tuple of several in order.

    Parameters
    ----------
    given : str, int, sequence of these, or None
        A name, an index, or several of them; in a text they are separated by semicolons.

    Raises
    ------
    SpotlightError
        If a name is empty, or one is given twice.

    Examples
    --------
    >>> parse_channels("Brightfield; Phase")
    ('Brightfield', 'Phase')
    >>> parse_channels(["Brightfield"])
    'Brightfield'
    """
    if given is None or isinstance(given, int):
        return given
    names = given.split(SEPARATOR) if isinstance(given, str) else [part for one in given for part in _listed(one)]
    found = tuple(name.strip() if isinstance(name, str) else name for name in names)
    if "" in found or len(set(found)) < len(found):
        raise SpotlightError(
            f"channels are names or indices, each given once, separated by {SEPARATOR!r}. Received: {given!r}."
        )
    return found[0] if len(found) == 1 else found or None


def _listed(given: str | int) -> Sequence[str | int]:
    return given.split(SEPARATOR) if isinstance(given, str) else [given]


def take(stack: Stack, which: Channels) -> Stack:
    """Take one channel, whose result has no C axis, or several side by side.

    Parameters
    ----------
    stack : Stack
        Without T.
    which : str, int, tuple of these, or None
        A channel as for `Stack.channel`, or one of its planes: ``"Brightfield z=3"`` is plane 3, zero-based, of the
        channel Brightfield, and ``"z=3"`` that of the only channel. ``z=focus`` is the plane in focus (see
        `best_focus`), ``z=focus+2`` the second above it, ``z=max`` and ``z=mean`` are projections along Z. Of a tuple,
        the result has the axis C in the order of the tuple.

    Raises
    ------
    SpotlightError
        If there is no such channel or plane, or the parts have different axes.
    """
    if isinstance(which, tuple):
        focus: dict[str | None, int] = {}
        return join([_take(stack, one, focus) for one in which])
    return _take(stack, which, {})


def _take(stack: Stack, which: str | int | None, focus: dict[str | None, int]) -> Stack:
    """Take a channel or a plane of it; `focus` keeps which plane is in focus, by channel."""
    found = PLANE.fullmatch(which) if isinstance(which, str) and which not in stack.channels else None
    if found is None:
        return stack.channel(which)
    chosen, named = stack.channel(found["channel"]), found["plane"]
    planes = chosen.shape[0] if chosen.axes == "ZYX" else 0
    if planes and named in ("max", "mean"):
        projected = LazyArray.of(Projection(chosen.values, mean=named == "mean"))
        size = chosen.voxel_size and chosen.voxel_size[1:]
        return replace(chosen, array=projected, axes="YX", voxel_size=size, channels=(str(which),))
    if planes and named.startswith("focus"):
        if found["channel"] not in focus:
            focus[found["channel"]] = best_focus(chosen.values)
        plane = focus[found["channel"]] + int(found["offset"] or 0)
        there = f"plane {focus[found['channel']]} is in focus, and there are 0 to {planes - 1}."
    else:
        plane = int(named) if named.isdecimal() else 0
        there = f"there are 0 to {planes - 1}." if planes else f"its axes are {chosen.axes}, without Z."
    if not 0 <= plane < planes:
        raise SpotlightError(f"{stack.source}: has no plane {which!r}; {there}")
    return replace(chosen[plane], channels=(str(which),))


def is_plane(name: str) -> bool:
    """Whether the name of a channel is that of a plane, such as ``"Brightfield z=3"``."""
    return PLANE.fullmatch(name) is not None


def join(stacks: Sequence[Stack]) -> Stack:
    """Join images of one field side by side: the result has the axis C, and reads what it is asked for.

    Values of different types become float32, or float64 where they need it.

    Parameters
    ----------
    stacks : sequence of Stack
        Axes ZYX or YX, each with one channel.

    Raises
    ------
    SpotlightError
        If they differ in axes, shape or voxel size, or two have the same name.
    """
    first = stacks[0]
    for other in stacks[1:]:
        require_match(first, other)
    names = tuple((*stack.channels, "")[0] for stack in stacks)
    known = [name for name in names if name]
    if len(set(known)) < len(known):
        raise SpotlightError(
            f"{first.source}: the channels of an input need different names, since they are found by them. "
            f"Received: {', '.join(map(repr, names))}. Rename a column input:NAME, or a channel."
        )
    array = LazyArray.of(SideBySide([stack.values for stack in stacks]))
    return replace(first, array=array, axes=f"C{first.axes}", channels=names if known else (), colors=())


def all_channels(stack: Stack) -> Selection:
    """Select all channels of a stack in their order; nothing if there is one."""
    return Selection(channel=tuple(range(stack.shape[0])) if "C" in stack.axes else None)


def separate(stack: Stack) -> list[Stack]:
    """Give every channel of a stack by itself; of several, messages name the channel."""
    if "C" not in stack.axes:
        return [stack]
    channels = [stack[number] for number in range(stack.shape[0])]
    names = stack.channels or tuple(map(str, range(len(channels))))
    return [replace(one, source=f"{one.source} (channel {name})") for one, name in zip(channels, names, strict=True)]


class SideBySide:
    """Arrays of one shape along a new first axis; each stays where it is until a region is read.

    Parameters
    ----------
    arrays : sequence of arrays
        In memory or in files.
    """

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = tuple(arrays)
        kinds = {array.dtype for array in self.arrays}
        self.dtype: np.dtype[Any] = kinds.pop() if len(kinds) == 1 else np.result_type(np.float32, *kinds)
        self.shape = (len(self.arrays), *self.arrays[0].shape)

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        first, *rest = index
        numbers = range(len(self.arrays))[first] if isinstance(first, slice) else [first]
        parts = [np.asarray(self.arrays[n][tuple(rest)]).astype(self.dtype, copy=False) for n in numbers]
        return np.stack(parts) if isinstance(first, slice) else parts[0]
