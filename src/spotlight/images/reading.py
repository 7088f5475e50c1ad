"""`read` and `scenes`: one door for all file formats."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spotlight.errors import SpotlightError
from spotlight.files import require_path
from spotlight.images.lazy import LazyArray, Source
from spotlight.images.stack import AXES, Stack

UNITS_UM = {
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "\\u00B5m": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "pm": 1e-6, "picometer": 1e-6, "Å": 1e-4, "angstrom": 1e-4,
    "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4, "m": 1e6, "meter": 1e6, "inch": 25400.0, "in": 25400.0,
}  # fmt: skip
"""Micrometres per unit of length, by the names that files use."""


@dataclass(frozen=True)
class Facts:
    """What a file says of one of its images.

    Attributes
    ----------
    array : Source
        Where the values are.
    axes : str
        As stored, one letter per axis; letters beyond TCZYX mean that the file does not say.
    channels : tuple of str
        Names, empty if there are none.
    voxel_size : dict
        Edge lengths in µm by axis, as far as they are stated.
    unit : str
        In which they are stated.
    labels : bool
        Whether the values are said to be numbers of instances.
    """

    array: Source
    axes: str
    channels: tuple[str, ...] = ()
    voxel_size: dict[str, float] = field(default_factory=dict)
    unit: str = ""
    labels: bool = False


@dataclass(frozen=True)
class Scene:
    """One of the images of a file: a scene, position, field or series.

    Attributes
    ----------
    name : str
        As the file calls it; the well and field of a plate.
    load : callable
        Gives its `Facts`, without pixel values.
    """

    name: str
    load: Callable[[], Facts]


@dataclass(frozen=True)
class Format:
    """A file format: how it is called, which files it has, and which module reads it."""

    name: str
    suffixes: tuple[str, ...]
    module: str
    extra: str = ""


FORMATS = (
    Format("TIFF", (".tif", ".tiff", ".btf", ".tf8"), "spotlight.images.tiff"),
    Format("OME-Zarr", (".zarr",), "spotlight.images.omezarr"),
    Format("NumPy", (".npy",), "spotlight.images.npy"),
    Format("CZI", (".czi",), "spotlight.images.czi", "czi"),
    Format("ND2", (".nd2",), "spotlight.images.nd2", "nd2"),
)
SUFFIXES = tuple(suffix for form in FORMATS for suffix in form.suffixes)
ZARR_MARKS = ("zarr.json", ".zgroup", ".zattrs", ".zarray")


def is_image(path: Path) -> bool:
    """Whether a path looks like an image file or an OME-Zarr folder; hidden files do not."""
    if path.name.startswith("."):
        return False
    return path.suffix.lower() in SUFFIXES or any((path / mark).exists() for mark in ZARR_MARKS)


def stem(path: str | Path) -> str:
    """File name without what marks the format: ``plate_0.5uM_1.ome.tif`` gives ``plate_0.5uM_1``."""
    name = Path(path).name
    for suffix in SUFFIXES:
        for ending in (f".ome{suffix}", suffix):
            if name.lower().endswith(ending):
                return name[: -len(ending)]
    return name


def scenes(path: str | Path) -> list[Scene]:
    """List the images of a file.

    Raises
    ------
    SpotlightError
        If the file is missing, damaged, of a kind that cannot be read, or needs a package that is not installed.
    """
    path = require_path(path, f"Relative paths start at {Path.cwd()}.")
    form = _format_of(path)
    try:
        module = importlib.import_module(form.module)
    except ImportError as error:
        raise SpotlightError(
            f"{path}: reading {form.name} files needs {error.name}: pip install 'spotlight-stain[{form.extra}]'"
        ) from error
    found: list[Scene] = module.scenes(path)
    if not found:
        raise SpotlightError(f"{path}: the {form.name} file holds no image.")
    return found


def _format_of(path: Path) -> Format:
    by_suffix = {suffix: form for form in FORMATS for suffix in form.suffixes}
    form = by_suffix.get(path.suffix.lower())
    if form is None and path.is_dir() and any((path / mark).exists() for mark in ZARR_MARKS):
        form = by_suffix[".zarr"]
    if form is not None:
        return form
    if path.is_file() and importlib.util.find_spec("bioio") is not None:
        return Format("bioio", (), "spotlight.images.bioio", "bioio")
    raise SpotlightError(
        f"{path}: is not a file that can be read here ({', '.join(SUFFIXES)}). For other formats install bioio and its "
        "plugin for them: pip install 'spotlight-stain[bioio]'"
    )


def read(
    path: str | Path,
    *,
    channel: str | int | None = None,
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
    channel : str or int, optional
        Take only this channel, by name or zero-based index.
    scene : str or int, optional
        Which image of the file, by name or zero-based index; needed where there are several.
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
        With axes in the order TCZYX; T and C of length 1 are dropped.

    Raises
    ------
    SpotlightError
        If the file is missing, damaged, or lacks what was asked for.
    """
    path = Path(path)
    chosen = _choose(path, scenes(path), scene)
    facts = chosen.load()
    if axes is None and not set(facts.axes) <= set(AXES):
        axes = axes_if_unstated
    stack = _in_order(path, facts, axes)
    if voxel_size is not None:
        stack = replace(stack, voxel_size=tuple(voxel_size))
    if time is not None:
        stack = stack.timepoint(time)
    return stack if channel is None else stack.channel(channel)


@dataclass(frozen=True)
class Part:
    """One image of a file at one timepoint.

    Attributes
    ----------
    name : str
        The file's `stem`, with the scene's name and ``tN`` where there are several.
    scene, time : int or None
        What to give to `read`; None where there is just one.
    """

    name: str
    scene: int | None
    time: int | None


def parts(
    path: str | Path, scene: str | int | None = None, time: int | None = None, axes: str | None = None
) -> list[Part]:
    """List every image of a file at every timepoint, or those of one scene or time; for the errors see `read`."""
    path = Path(path)
    found = scenes(path)
    names = [item.name.replace("/", "-") for item in found]
    if len(set(names)) < len(names):
        names = [str(number) for number in range(len(names))]
    chosen = range(len(found)) if scene is None else [found.index(_choose(path, found, scene))]
    listed = []
    for number in chosen:
        name = f"{stem(path)}-{names[number]}" if len(found) > 1 else stem(path)
        stack = read(path, scene=number, axes=axes)
        which = number if len(found) > 1 else None
        if "T" in stack.axes:
            times = range(stack.shape[0]) if time is None else [time]
            listed += [Part(f"{name}-t{t}", which, t) for t in times]
        else:
            listed.append(Part(name, which, time))
    return listed


def _choose(path: Path, found: list[Scene], which: str | int | None) -> Scene:
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
    if str(which).isascii() and str(which).isdecimal() and int(which) < len(found):
        return found[int(which)]
    raise SpotlightError(f"{path}: has no image {which!r}, or not just one; images here: {listed}.")


def _in_order(path: Path, facts: Facts, stated: str | None) -> Stack:
    """Bring the axes into the order TCZYX, and drop T and C of length 1."""
    array: Any = facts.array
    axes = (stated or facts.axes).upper()
    shape, kind = tuple(array.shape), array.dtype
    if len(axes) != len(shape):
        raise SpotlightError(f"{path}: axes {axes!r} have {len(axes)} letters, but the file's array is {shape}.")
    if kind.kind not in "buif":
        raise SpotlightError(f"{path}: holds {kind} values; images are of whole or real numbers.")
    if 0 in shape:
        raise SpotlightError(f"{path}: the image is empty: {axes} {shape}.")
    if not set(axes) <= set(AXES) or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise SpotlightError(
            f"{path}: the file does not state its axes (found {facts.axes!r} for shape {shape}). State them with "
            f"axes= or an axes column, one letter of {AXES} per dimension, for example 'ZYX'."
        )
    view = LazyArray.of(array).transpose(tuple(axes.index(a) for a in AXES if a in axes))
    axes = "".join(a for a in AXES if a in axes)
    channels = facts.channels
    if "C" in axes and len(channels) != view.shape[axes.index("C")]:
        channels = ()
    for axis in "TC":
        if axis in axes and view.shape[axes.index(axis)] == 1:
            view = view[(slice(None),) * axes.index(axis) + (0,)]
            axes = axes.replace(axis, "")
    spatial = axes.replace("T", "").replace("C", "")
    stated_size = facts.voxel_size
    known = tuple(stated_size[a] for a in spatial) if all(a in stated_size for a in spatial) else None
    return Stack(view, axes, known, channels, source=str(path), unit=facts.unit if known else "", labels=facts.labels)
