"""`read` and `scenes`: one door for all file formats."""

import os
from pathlib import Path
from typing import Any

from spotlight.addresses import Address, located
from spotlight.errors import SpotlightError
from spotlight.files import require_file, require_path
from spotlight.images.arrays import ArrayAddress, as_stack
from spotlight.images.colour import Joined, channel_names
from spotlight.images.facts import AXES, STORED_AXES, Facts, Scene
from spotlight.images.formats import format_of, is_zarr
from spotlight.images.joining import take
from spotlight.images.lazy import LazyArray, tell
from spotlight.images.selection import Channels, Selection
from spotlight.images.slabs import as_numbers
from spotlight.images.stack import Stack


def scenes(path: str | Path) -> list[Scene]:
    """List the images of a file.

    Parameters
    ----------
    path : path
        The file, or a folder or address of OME-Zarr.

    Returns
    -------
    list of Scene
        At least one. Of each, `Scene.load` gives what the file states.

    Raises
    ------
    SpotlightError
        If the file is missing, damaged, of a format that cannot be read, or needs a package that is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack, scenes
    >>> path = Stack(np.zeros((8, 16, 16), np.uint16), "ZYX", (0.5, 0.1, 0.1)).save("field.ome.tif")
    >>> [(scene.name, scene.load().axes) for scene in scenes(path)]
    [('Image0', 'ZYX')]
    """
    path = located(path)
    if isinstance(path, ArrayAddress):
        return [path.scene()]
    if not (isinstance(path, Address) and path.is_readable):
        path = require_path(path, f"Relative paths start at {Path.cwd()}.")
    form = format_of(path)
    if not form.marks:
        require_file(path, f"Give an image file of the format {form.name}.")
    elif not isinstance(path, Address):
        for mark in form.marks:
            if os.path.lexists(path / mark):
                require_file(path / mark, "Copy the folder again from its source.")
    found = form.scenes(path)
    if not found:
        raise SpotlightError(f"{path}: the {form.name} file holds no image.")
    return found


def read(
    path: str | Path,
    *,
    channel: Channels = None,
    scene: str | int | None = None,
    time: int | None = None,
    axes: str | None = None,
    axes_if_unstated: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
) -> Stack:
    """Open an image file. Pixel values are read when the stack's `data` are asked for.

    Parameters
    ----------
    path : str or Path
        A TIFF (OME, ImageJ, plain), OME-Zarr (an image, a plate, or an image inside of one), CZI, ND2 or NumPy file.
        OME-Zarr may also be at an address: ``https://``, ``http://`` or ``s3://`` with ``.zarr`` in the name.
    channel : str, int or tuple of these, optional
        Take only this channel, by name or zero-based index; or several, in this order; or planes of channels, as
        ``"Brightfield z=3"``.
    scene : str or int, optional
        Which image of the file; needed where there are several. A text is its name or, if none has it, its zero-based
        index; ``"#2"`` is the index 2 whatever the names are.
    time : int, optional
        Take only this timepoint, by zero-based index.
    axes : str, optional
        The axes as stored, for example ``"ZYX"``; overrides what the file states.
    axes_if_unstated : str, optional
        The same, for files that state nothing.
    voxel_size : tuple of float, optional
        Edge lengths in µm per spatial axis; overrides what the file states.

    Returns
    -------
    Stack
        With axes in the order TCZYX; T, C and, unless `axes` names it, Z of length 1 are dropped.

    Raises
    ------
    SpotlightError
        If the file is missing, damaged, or lacks what was asked for.

    Examples
    --------
    >>> import numpy as np
    >>> import spotlight
    >>> path = spotlight.Stack(np.zeros((8, 64, 64), np.uint16), "ZYX", (0.29, 0.1, 0.1)).save("stack.ome.tif")
    >>> stack = spotlight.read("stack.ome.tif")
    >>> stack.axes, stack.shape, stack.voxel_size
    ('ZYX', (8, 64, 64), (0.29, 0.1, 0.1))
    """
    return read_selected(
        path,
        Selection(channel=channel, scene=scene, time=time, axes=axes, voxel_size=voxel_size),
        axes_if_unstated,
    )


def read_selected(path: str | Path, chosen: Selection, axes_if_unstated: str | None = None) -> Stack:
    """Open what is selected of an image file; see `read`. Without a plane, all planes are taken.

    Parameters
    ----------
    path : path
        The file.
    chosen : Selection
        Its modality does not matter here.
    axes_if_unstated : str, optional
        Axes as stored, for files that state nothing.

    Returns
    -------
    Stack
        Its values are read when they are asked for.

    Raises
    ------
    SpotlightError
        As `read`; or there is no such plane.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Selection, Stack, read_selected
    >>> path = Stack(np.zeros((2, 8, 16, 16), np.uint16), "CZYX", (0.5, 0.1, 0.1), ("BF", "DNA")).save("a.ome.tif")
    >>> dna = read_selected(path, Selection(channel="DNA", plane=3))
    >>> dna.axes, dna.channels
    ('YX', ('DNA',))
    """
    path = located(path)
    if isinstance(path, ArrayAddress):
        stack = as_stack(path.stack, chosen.axes, chosen.voxel_size)
    else:
        stack = _read_file(path, chosen, axes_if_unstated)
    if chosen.time is not None:
        stack = stack.timepoint(chosen.time)
    if chosen.channel is not None:
        stack = take(stack, chosen.channel)
    return stack if chosen.plane is None else stack.plane(chosen.plane)


def _read_file(path: Path, chosen: Selection, axes_if_unstated: str | None) -> Stack:
    """Open all channels, timepoints and planes of an image."""
    scene, axes = chosen.scene, chosen.axes
    in_plate = isinstance(path, Address) and isinstance(scene, str) and "/" in scene
    if isinstance(scene, str) and (in_plate or is_zarr(path / scene)):  # a field of a plate, without listing them all
        found = scenes(path / scene)[0]
    else:
        found = choose(path, scenes(path), scene)
    facts = found.load()
    if axes is None and not facts.doubt and not facts.has_axes:
        axes = axes_if_unstated
    return in_order(path, facts, axes, chosen.voxel_size)


def read_like(path: str | Path, like: Stack, axes: str | None = None, scene: str | None = None) -> Stack:
    """Open a file that belongs to a stack: labels, a mask or a stain.

    The axes are what the file states. Where it states none, or no planes though the stack has some, they are `axes` if
    that has as many letters as the file has dimensions. Where it states none and `axes` does not fit, they are the
    stack's.

    Parameters
    ----------
    path : path
        The file.
    like : Stack
        What it belongs to; axes ZYX or YX.
    axes : str, optional
        What is stated of the stack and the files that belong to it.
    scene : str, optional
        Which image of the file, where it holds several; it is not needed where there is one.

    Returns
    -------
    Stack
        With axes ZYX or YX; its voxel size is what the file states, None if it states none.

    Examples
    --------
    >>> import numpy as np
    >>> import tifffile
    >>> from spotlight.images import Stack, read_like
    >>> image = Stack(np.zeros((8, 16, 16), np.uint16), "ZYX", (0.5, 0.1, 0.1))
    >>> tifffile.imwrite("labels.tif", np.zeros((8, 16, 16), np.uint8))  # states neither axes nor voxel size
    >>> read_like("labels.tif", image).axes
    'ZYX'
    """
    path = located(path)
    if isinstance(path, ArrayAddress):
        return path.stack
    found = scenes(path)
    facts = (found[0] if len(found) == 1 else choose(path, found, scene)).load()
    dimensions = {len(array.shape) for array in (facts.array, facts.flat) if array is not None}
    fits = axes is not None and len(axes) in dimensions
    if not facts.has_axes and not facts.doubt:
        return in_order(path, facts, axes if fits else like.axes)
    wrong = facts.doubt or (facts.hint and "Z" in like.axes)
    return in_order(path, facts, axes if fits and wrong else None)


def choose(path: Path, found: list[Scene], which: str | int | None) -> Scene:
    """Give the image that was asked for, or the only one; see `read`."""
    names = [scene.name for scene in found]
    listed = ", ".join(f"{i}: {n!r}" for i, n in enumerate(names[:10])) + (", ..." if len(names) > 10 else "")
    if which is None:
        if len(found) > 1:
            raise SpotlightError(
                f"{path}: holds {len(found)} images ({listed}); say which one to use with scene= (Python), --scene "
                "(command line) or a scene column (manifest)."
            )
        return found[0]
    if isinstance(which, str) and names.count(which) == 1:
        return found[names.index(which)]
    index = str(which).removeprefix("#")
    if index.isascii() and index.isdecimal() and int(index) < len(found):
        return found[int(index)]
    many = names.count(str(which))
    raise SpotlightError(
        f"{path}: has {f'{many} images' if many else 'no image'} {which!r}; images here: {listed}. Name one by "
        f"{'its number' if many else 'its name or number'}."
    )


def in_order(path: Path, facts: Facts, stated_axes: str | None, stated_size: tuple[float, ...] | None = None) -> Stack:
    """Bring the axes into the order TCZYX, and drop T, C and, unless it was asked for, Z of length 1."""
    array: Any = facts.array
    if facts.doubt and stated_axes is None:
        raise SpotlightError(facts.doubt)
    if facts.flat is not None and stated_axes is not None and len(stated_axes) == len(facts.flat.shape):
        array = facts.flat
    elif facts.doubt:
        tell(facts.doubt)
    hint = "" if stated_axes else facts.hint
    axes = (stated_axes or facts.axes).upper()
    found = dict(zip(facts.axes, axes, strict=False))  # what the file does not name has the size of its place
    sizes = {found[a] if a not in AXES and a in found else a: v for a, v in facts.voxel_size.items()}
    shape = tuple(array.shape)
    if len(axes) != len(shape):
        plane = " A file of one plane has YX: leave the axes out, or state these." if len(shape) == 2 else ""
        raise SpotlightError(f"{path}: axes {axes!r} have {len(axes)} letters, but the file's array is {shape}.{plane}")
    as_numbers(array, str(path))
    if min(shape, default=1) < 1:
        raise SpotlightError(f"{path}: the image is empty: {axes} {shape}.")
    if not set(axes) <= set(STORED_AXES) or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        if stated_axes:
            raise SpotlightError(
                f"{path}: axes have one letter of {AXES} per dimension of {shape}, each once, Y and X among them. "
                f"Received: {stated_axes!r}."
            )
        raise SpotlightError(
            f"{path}: the file does not state its axes (found {facts.found!r} for shape {shape}). State them with "
            f"axes=, --axes or an axes column, one letter of {AXES} per dimension, for example 'ZYX'."
        )
    channels, samples = facts.channels, facts.samples
    if "C" in axes and "S" in facts.axes and axes.index("C") == facts.axes.index("S"):
        channels = samples  # stated to be what they become
    if "S" in axes and "C" in axes:
        channels = channel_names(shape[axes.index("C")], channels, samples)
        array = Joined(array, axes.index("C"), axes.index("S"))
        axes = "C" + axes.replace("C", "").replace("S", "")
    elif "S" in axes:
        channels, axes = samples, axes.replace("S", "C")
    view = LazyArray.of(array).transpose(tuple(axes.index(a) for a in AXES if a in axes))
    axes = "".join(a for a in AXES if a in axes)
    count = view.shape[axes.index("C")] if "C" in axes else 1
    if len(channels) != count:
        if channels and stated_axes is None:
            tell(f"{path}: states names for {len(channels)} channels, but has {count}; the names are left out.")
        channels = ()
    # OME files cannot tell a plane from a stack of one plane.
    for axis in "TC" if "Z" in (stated_axes or "").upper() else "TCZ":
        if axis in axes and view.shape[axes.index(axis)] == 1:
            view = view[(slice(None),) * axes.index(axis) + (0,)]
            axes = axes.replace(axis, "")
    spatial = axes.replace("T", "").replace("C", "")
    about: dict[str, Any] = {"channels": channels, "source": str(path), "labels": facts.labels, "hint": hint}
    if "T" in axes and found.get("T") == "T":
        about["frame_interval"] = facts.frame_interval
    if stated_size is not None:
        return Stack(view, axes, tuple(stated_size), **about)
    missing = [axis for axis in spatial if axis not in sizes]
    if not missing:
        known = tuple(sizes[axis] for axis in spatial)
        return Stack(view, axes, known, unit=facts.unit, **about)
    read = [f"{axis} {sizes[axis]:.4g} µm" for axis in spatial if axis in sizes]
    unread = ", ".join([*read, *([facts.unread] if facts.unread else [])])
    return Stack(view, axes, None, unread=unread, **about)
