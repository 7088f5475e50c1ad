"""NumPy arrays where stacks go. What an array does not state is asked for and never guessed."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spotlight.addresses import Address
from spotlight.errors import SpotlightError
from spotlight.images.facts import AXES, Facts, Scene
from spotlight.images.slabs import values_of
from spotlight.images.stack import Stack

PLAIN = {2: "YX", 3: "ZYX"}
"""Axes of an array of so many dimensions, unless they are stated."""


def as_stack(
    image: Stack | NDArray[Any],
    axes: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
    *,
    sized: bool = True,
    source: str = "array",
) -> Stack:
    """Make a stack of an array, or state axes and voxel size of a stack anew.

    Parameters
    ----------
    image : ndarray or Stack
        An array of two or three dimensions has the axes YX or ZYX unless `axes` are stated.
    axes : str, optional
        One letter of TCZYX per dimension, in the order of the array. The stack has them in the order TCZYX.
    voxel_size : tuple of float, optional
        Edge lengths in µm of Z (if there is one), Y and X. An array needs it; a stack keeps its own.
    sized : bool
        Whether an array must have a voxel size.
    source : str
        What messages call the array.

    Returns
    -------
    Stack
        The same values, not copied unless axes have to be reordered.

    Raises
    ------
    SpotlightError
        If the voxel size of an array, or the axes of one of more than three dimensions, are not stated or do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import as_stack
    >>> as_stack(np.zeros((8, 32, 32)), voxel_size=(0.5, 0.2, 0.2)).axes
    'ZYX'
    """
    if isinstance(image, Stack):
        return _stated(image, axes, voxel_size)
    if not isinstance(image, np.ndarray):
        raise SpotlightError(
            f"{source}: an image is a NumPy array or a spotlight.Stack. Received: {type(image).__name__}. Convert it "
            "with numpy.asarray."
        )
    named = (axes or PLAIN.get(image.ndim, "")).upper()
    fits = len(named) == len(set(named)) == image.ndim and {"Y", "X"} <= set(named) <= set(AXES)
    if not fits:
        received = f"Received: axes {axes!r}" if axes else "Its axes are not stated"
        raise SpotlightError(
            f"{source}: {received} for shape {image.shape}. State one letter of {AXES} per dimension with axes=, for "
            "example axes='CZYX'."
        )
    in_order = "".join(axis for axis in AXES if axis in named)
    if voxel_size is None and sized:
        raise SpotlightError(
            f"{source}: an array does not state its voxel size. Give voxel_size=, the edge lengths in µm of "
            f"{', '.join(in_order.strip('TC'))}. If they are unknown, give spotlight.Stack(array, {in_order!r})."
        )
    return Stack(image.transpose([named.index(axis) for axis in in_order]), in_order, voxel_size, source=source)


def _stated(stack: Stack, axes: str | None, voxel_size: tuple[float, ...] | None) -> Stack:
    """State axes and voxel size of a stack; both replace its own."""
    if axes is not None and axes != stack.axes:
        spatial = axes.replace("T", "").replace("C", "")
        size = stack.voxel_size if spatial == stack.spatial_axes else None
        return replace(stack, axes=axes, voxel_size=voxel_size or size, channels=(), hint="")
    return stack if voxel_size is None else replace(stack, voxel_size=voxel_size)


class ArrayAddress(Address):
    """A stack in memory that passes where the path of an image file does, as in a `Pair`.

    Its text is ``memory://`` and a fingerprint of axes, voxel size, channels and all values: the same data have the
    same address. Values must not change afterwards.
    """

    stack: Stack

    @classmethod
    def of(cls, stack: Stack) -> "ArrayAddress":
        """Give the address of a stack. One that is still in its file is read."""
        held = replace(stack, array=stack.data)
        return _placed(f"memory://array-{content_digest(held)[:32]}", held)

    @property
    def is_readable(self) -> bool:
        """Always."""
        return True

    def refusal(self) -> SpotlightError:
        """Return the error that says what to do where only files can be used."""
        return SpotlightError(
            f"{self.stack.source}: is in memory, but a file is needed here. Save it with spotlight.Stack.save and give "
            "its path."
        )

    def scene(self) -> Scene:
        """Give the stack as the only image of a file."""
        stack = self.stack
        size = dict(zip(stack.spatial_axes, stack.voxel_size or (), strict=False))
        interval = stack.frame_interval
        return Scene(
            self.name,
            lambda: Facts(stack.data, stack.axes, stack.channels, size, labels=stack.labels, frame_interval=interval),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _placed, (str(self), self.stack)

    def __deepcopy__(self, _: Any) -> "ArrayAddress":
        return self


def _placed(text: str, stack: Stack) -> ArrayAddress:
    address = ArrayAddress(text)
    address.stack = stack
    return address


def content_digest(stack: Stack) -> str:
    """SHA-256 of axes, voxel size, channels and values of a stack, which is read slab by slab."""
    size = stack.voxel_size and list(map(float, stack.voxel_size))
    facts = [stack.axes, size, stack.channels, stack.labels, stack.shape, stack.dtype.str]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for part in values_of(stack.values):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
