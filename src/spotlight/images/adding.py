"""Adding finished results to an OME-Zarr 0.5 image that is there: further channels, and labels.

An image changes by the exchange of one file, its metadata, when all that they name is there. Before that it is as it
was, after that as it will be, so a kill at any moment leaves a whole image.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from spotlight.errors import SpotlightError
from spotlight.files import explained_writing
from spotlight.images.blocks import converted, extent
from spotlight.images.formats import is_zarr
from spotlight.images.lazy import LazyArray
from spotlight.images.plates import OWN, beside, list_labels, put, read_attributes, unconsolidate, write_attributes
from spotlight.images.reading import read
from spotlight.images.resample import Resampled
from spotlight.images.slabs import slabs
from spotlight.images.stack import Stack
from spotlight.locks import working_on

PIECE_VOXELS = 2**23
"""About how many voxels are in memory at a time."""
REPLACED = "replaced"
"""The key of the arrays that are to be removed."""
WHITE = "FFFFFF"


def add_channels(stain: Stack, image: str | Path) -> bool:
    """Add the channels of a stack to an OME-Zarr 0.5 image with the same planes, rows and columns.

    Every level is written anew beside the old one, with all channels; the old one is removed at the end.

    Parameters
    ----------
    stain : Stack
        Axes ZYX or CZYX (or without Z), with names of its channels.
    image : path
        The image, or a field of a plate.

    Returns
    -------
    bool
        Whether they were added; False if they are there already, with these values.

    Raises
    ------
    SpotlightError
        If the image is none of OME-Zarr 0.5, the sizes or types do not fit, or it has a channel of such a name with
        other values.
    """
    image = Path(image)
    with working_on(beside(image)):
        _remove_replaced(image)
        _require_image(image)
        before = read(image)
        _require_fit(stain, before, image)
        there = [name for name in stain.channels if name in before.channels]
        if there:
            if len(there) < len(stain.channels) or not all(_equal(stain, before, name) for name in there):
                raise SpotlightError(
                    f"{image}: has a channel {there[0]!r} already, with other values. Nothing was added."
                )
            return False
        unconsolidate(image)
        workspace = _workspace(image)
        try:
            attributes, levels = _enlarged(stain, before, image, workspace)
            with explained_writing(image):
                for name in levels.values():
                    shutil.rmtree(image / name, ignore_errors=True)  # left by a call that was killed here
                    (workspace / name).replace(image / name)
            write_attributes(image, attributes)
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
        _remove_replaced(image)
    return True


def add_labels(labels: str | Path, image: str | Path, name: str) -> bool:
    """Copy labels into an OME-Zarr 0.5 image with the same planes, rows and columns, with all that they state.

    Parameters
    ----------
    labels : path
        An OME-Zarr 0.5 of labels.
    image : path
        The image, or a field of a plate.
    name : str
        They become ``image/labels/name``.

    Returns
    -------
    bool
        Whether they were added; False if they are there already, with these values.

    Raises
    ------
    SpotlightError
        If either is none of OME-Zarr 0.5, the sizes do not fit, or other labels of that name are there.
    """
    labels, image = Path(labels), Path(image)
    to = image / "labels" / name
    with working_on(beside(image)):
        _require_image(image)
        _require_image(labels)
        found = read(labels)
        _require_fit(found, read(image), image, kinds=False)
        is_there = is_zarr(to)
        if is_there and not _same(found, read(to)):
            raise SpotlightError(f"{to}: other labels are there already. Nothing was added.")
        unconsolidate(image)
        if not is_there:
            workspace = _workspace(to)
            try:
                with explained_writing(to):
                    shutil.copytree(labels, workspace / name, ignore=shutil.ignore_patterns("labels"))
                put(workspace / name, to)
            finally:
                shutil.rmtree(workspace, ignore_errors=True)
        list_labels(image, name)
    return not is_there


def _workspace(path: Path) -> Path:
    """An empty folder beside the OME-Zarr."""
    place = beside(path)
    folder = place.with_name(f".{place.name}.part")
    with explained_writing(path):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    return folder


def _require_image(image: Path) -> None:
    if len(read_attributes(image).get("ome", {}).get("multiscales", [])) != 1:
        raise SpotlightError(
            f"{image}: is not one image of OME-Zarr 0.5, to which alone something can be added. Keep the results in "
            "an OME-Zarr of their own."
        )


def _require_fit(stack: Stack, image: Stack, path: Path, kinds: bool = True) -> None:
    """Raise a `SpotlightError` if the stack does not belong to the image."""
    sizes = [
        {axis: n for axis, n in zip(s.axes, s.shape, strict=True) if axis != "C" and n > 1} for s in (stack, image)
    ]
    if sizes[0] != sizes[1]:
        raise SpotlightError(
            f"{path}: is {image.axes} {image.shape}, and {stack.source} is {stack.axes} {stack.shape}: they are not of "
            "one field. Check the paths."
        )
    if kinds and not stack.channels:
        raise SpotlightError(f"{stack.source}: its channels have no names, under which they could be added.")
    if kinds and not np.can_cast(stack.dtype, image.dtype):
        raise SpotlightError(
            f"{path}: is {image.dtype}, as all its channels must be, and {stack.source} is {stack.dtype}. Make the "
            f"stain with --dtype {image.dtype}."
        )


def _equal(stain: Stack, image: Stack, name: str) -> bool:
    return _same(stain.channel(name), image.channel(name))


def _same(one: Stack, other: Stack) -> bool:
    if one.shape != other.shape:
        return False
    return all(
        np.array_equal(np.asarray(one.values[slab.inner]), np.asarray(other.values[slab.inner]))
        for slab in slabs(one.shape)
    )


def _enlarged(stain: Stack, before: Stack, image: Path, to: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Write the arrays with the further channels; gives the attributes then, and new names of arrays by old ones."""
    attributes = read_attributes(image)
    ome = attributes["ome"]
    multiscale = ome["multiscales"][0]
    letters = "".join(axis["name"] for axis in multiscale["axes"])
    if sorted(letters, key="tczyx".find) != list(letters) or not set(letters) <= set("tczyx"):
        raise SpotlightError(f"{image}: has axes {letters}; a channel is added to those of tczyx in that order alone.")
    at = letters.index("c") if "c" in letters else int("t" in letters)
    if "c" not in letters:
        multiscale["axes"].insert(at, {"name": "c", "type": "channel"})
        for step in [
            s for part in (multiscale, *multiscale["datasets"]) for s in part.get("coordinateTransformations", [])
        ]:
            for key, value in (("scale", 1.0), ("translation", 0.0)):
                if key in step:
                    step[key].insert(at, value)
    fresh = [stain.channel(name) for name in stain.channels]
    old_count = before.shape[before.axes.index("C")] if "C" in before.axes else 1
    count = old_count + len(fresh)
    limits = [(np.inf, -np.inf)] * count
    levels: dict[str, str] = {}
    for dataset in multiscale["datasets"]:
        old = zarr.open_array(str(image / dataset["path"]), mode="r")
        shape, chunks = list(old.shape), list(old.chunks)
        if "c" not in letters:
            shape.insert(at, 1)
            chunks.insert(at, 1)
        shape[at], chunks[at] = count, 1
        name = f"{dataset['path'].split('.')[0]}.{count}"
        names = [axis["name"] for axis in multiscale["axes"]]
        new = zarr.create_array(
            str(to / name),
            shape=tuple(shape),
            chunks=tuple(chunks),
            dtype=old.dtype,
            zarr_format=3,
            dimension_names=names,
        )
        for number in range(count):
            if number < old_count:
                own: Any = (*[slice(None)] * at, number) if "c" in letters else ()
                source: Any = LazyArray.of(old)[own]
            else:
                source = _on_grid(fresh[number - old_count], (*shape[:at], *shape[at + 1 :]))
            for part in _regions(source.shape):
                block = converted(np.asarray(source[part]), old.dtype)[0]
                place: Any = (*part[:at], number, *part[at:])
                new[place] = block
                low, high = extent(block)
                limits[number] = min(low, limits[number][0]), max(high, limits[number][1])
        levels[dataset["path"]] = dataset["path"] = name
    own_omero = ome.get("omero") or {}
    known = own_omero.get("channels") or []
    channels = known if len(known) == old_count else [{"label": name} for name in _names(before, old_count)]
    channels = [*channels, *({"label": name, "color": color} for name, color in _colored(stain))]
    for channel, (low, high) in zip(channels, limits, strict=True):
        channel.setdefault("color", WHITE)
        channel.setdefault("window", {"min": low, "max": high, "start": low, "end": high})
    ome["omero"] = own_omero | {"channels": channels}
    attributes[OWN] = attributes.get(OWN, {}) | {REPLACED: list(levels)}
    return attributes, levels


def _names(image: Stack, count: int) -> tuple[str, ...]:
    """Names of the channels that are there; the format has room for none only where all have none."""
    return image.channels or tuple(f"channel {number}" for number in range(count))


def _colored(stain: Stack) -> list[tuple[str, str]]:
    return list(zip(stain.channels, stain.colors or (WHITE,) * len(stain.channels), strict=True))


def _on_grid(stain: Stack, shape: tuple[int, ...]) -> Any:
    """A channel of the stain on the grid of a level, with axes of one place for those that it does not have."""
    spatial = shape[-len(stain.shape) :]
    array: Any = stain.values if spatial == stain.shape else Resampled(stain.values, spatial)
    return _Widened(array, shape)


class _Widened:
    """An array with further axes of one place in front."""

    def __init__(self, source: Any, shape: tuple[int, ...]) -> None:
        self.source, self.shape, self.lead = source, shape, len(shape) - len(source.shape)

    def __getitem__(self, part: tuple[slice, ...]) -> Any:
        return np.asarray(self.source[part[self.lead :]])[(np.newaxis,) * self.lead]


def _regions(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Go through an array in pieces of few planes; the last two axes are whole."""
    depth = shape[-3] if len(shape) > 2 else 1
    step = max(1, PIECE_VOXELS // (shape[-1] * shape[-2]))
    for lead in np.ndindex(*shape[:-3]):
        for z in range(0, depth, step):
            third = (slice(z, min(z + step, depth)),) if len(shape) > 2 else ()
            yield (*(slice(n, n + 1) for n in lead), *third, slice(0, shape[-2]), slice(0, shape[-1]))


def _remove_replaced(image: Path) -> None:
    """Remove the arrays that a finished exchange has left behind."""
    attributes = read_attributes(image)
    own = attributes.get(OWN, {})
    names = own.pop(REPLACED, None) if isinstance(own, dict) else None
    if names is None:
        return
    for name in names:
        shutil.rmtree(image / name, ignore_errors=True)
    write_attributes(image, attributes if own else {key: part for key, part in attributes.items() if key != OWN})
