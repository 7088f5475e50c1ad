"""OME-TIFF, ImageJ and plain TIFF files: reading with every fact the file states, writing whole files."""

import logging
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.files import whole_file
from spotlight.images.stack import AXES, Stack

UNITS_UM = {
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "\\u00B5m": 1.0,
    "nm": 1e-3, "pm": 1e-6, "Å": 1e-4, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25400.0, "in": 25400.0,
}  # fmt: skip


def read_tiff(path: Path, axes: str | None = None, axes_if_unstated: str | None = None) -> Stack:
    """Read a TIFF file into memory.

    Parameters
    ----------
    path : Path
        An OME-TIFF, ImageJ hyperstack, plain TIFF or BigTIFF with one image.
    axes : str, optional
        The axes as stored, for example ``"ZYX"``; overrides what the file states.
    axes_if_unstated : str, optional
        The same, for files that state nothing.

    Returns
    -------
    Stack
        Axes in the order TCZYX; axes T of length 1 are dropped.

    Raises
    ------
    SpotlightError
        If the file is not a TIFF, is truncated, holds several images, or does not state its axes.
    """
    try:
        with _tifffile_problems() as problems, tifffile.TiffFile(path) as tif:
            if not tif.series:
                raise SpotlightError(f"{path}: the TIFF file holds no image.")
            if len(tif.series) > 1:
                sizes = "; ".join(f"{s.axes} {s.shape}" for s in tif.series[:5])
                raise SpotlightError(
                    f"{path}: holds {len(tif.series)} images ({sizes}), but one was expected. Save each as a file."
                )
            series = tif.series[0]
            _require_whole(path, tif, series)
            data = series.asarray()
            stored = series.axes
            channels, voxel_size = _metadata(path, tif)
    except SpotlightError:
        raise
    except Exception as error:  # a parser of damaged bytes fails in more ways than can be listed
        raise SpotlightError(
            f"{path}: cannot be read as TIFF ({type(error).__name__}: {error}). The file is damaged or of another "
            "kind; copy it again from its source."
        ) from error
    if problems:
        raise SpotlightError(f"{path}: the TIFF file is damaged ({problems[0]}). Copy it again from its source.")
    if axes is None and not set(stored) <= set(AXES):
        axes = axes_if_unstated
    return _in_order(path, data, stored, axes, channels, voxel_size)


@contextmanager
def _tifffile_problems() -> Iterator[list[str]]:
    """Collect what tifffile logs as errors while it carries on."""
    problems: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            problems.append(record.getMessage())

    handler = Collect(logging.ERROR)
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield problems
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def _require_whole(path: Path, tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    """Tifffile fills missing segments with zeros; a truncated file is an error here."""
    size = tif.filehandle.size
    for number, page in enumerate(series.pages):
        if page is None:
            raise SpotlightError(f"{path}: plane {number} of {len(series.pages)} is missing. Copy the file again.")
        if page.parent is not tif:
            continue
        ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
        if ends and max(ends) > size:
            raise SpotlightError(
                f"{path}: is truncated: plane {number} of {len(series.pages)} ends at byte {max(ends)}, the file at "
                f"{size}. Copy it again from its source."
            )


def _in_order(
    path: Path,
    data: Any,
    stored: str,
    stated: str | None,
    channels: tuple[str, ...],
    voxel_size: dict[str, float],
) -> Stack:
    """Bring the array into the order TCZYX and drop T and, where it has no name, C of length 1."""
    axes = (stated or stored).upper()
    if len(axes) != data.ndim:
        raise SpotlightError(f"{path}: axes {axes!r} have {len(axes)} letters, but the file's array is {data.shape}.")
    if data.dtype.kind not in "buif":
        raise SpotlightError(f"{path}: holds {data.dtype} values; images are of whole or real numbers.")
    if data.dtype == bool:
        data = data.astype(np.uint8)
    if not set(axes) <= set(AXES) or len(set(axes)) != len(axes) or not {"Y", "X"} <= set(axes):
        raise SpotlightError(
            f"{path}: the file does not state its axes (found {stored!r} for shape {data.shape}). State them with "
            f"axes= or an axes column, one letter of {AXES} per dimension, for example 'ZYX'."
        )
    data = data.transpose([axes.index(a) for a in AXES if a in axes])
    axes = "".join(a for a in AXES if a in axes)
    if axes.startswith("T"):
        if data.shape[0] != 1:
            raise SpotlightError(f"{path}: has {data.shape[0]} timepoints; one was expected. Save each as a file.")
        data, axes = data[0], axes[1:]
    if axes.startswith("C") and data.shape[0] == 1:
        data, axes = data[0], axes[1:]
    if "C" in axes and len(channels) != data.shape[0]:
        channels = ()
    spatial = axes.replace("C", "")
    known = tuple(voxel_size[a] for a in spatial) if all(a in voxel_size for a in spatial) else None
    return Stack(data, axes, known, channels, source=str(path))


def _metadata(path: Path, tif: tifffile.TiffFile) -> tuple[tuple[str, ...], dict[str, float]]:
    """Channel names and voxel edge lengths in µm, as far as the file states them."""
    if tif.is_ome and tif.ome_metadata:
        return _ome_metadata(path, tif.ome_metadata)
    if tif.is_imagej and tif.imagej_metadata:
        return (), _imagej_voxel_size(tif)
    return (), {}


def _ome_metadata(path: Path, xml: str) -> tuple[tuple[str, ...], dict[str, float]]:
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise SpotlightError(f"{path}: its OME-XML is broken ({error}). Write the file anew.") from error
    pixels = root.find(".//{*}Pixels")
    if pixels is None:
        return (), {}
    voxel_size = {}
    for axis in "ZYX":
        value = pixels.get(f"PhysicalSize{axis}")
        unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
        if value is not None and unit in UNITS_UM:
            try:
                voxel_size[axis] = float(value) * UNITS_UM[unit]
            except ValueError as error:
                raise SpotlightError(f"{path}: PhysicalSize{axis} is not a number: {value!r}.") from error
    names = [channel.get("Name") for channel in pixels.findall("{*}Channel")]
    return tuple(name for name in names if name) if all(names) else (), voxel_size


def _imagej_voxel_size(tif: tifffile.TiffFile) -> dict[str, float]:
    metadata = tif.imagej_metadata or {}
    scale = UNITS_UM.get(str(metadata.get("unit", "")))
    if scale is None:
        return {}
    voxel_size = {}
    if "spacing" in metadata:
        voxel_size["Z"] = float(metadata["spacing"]) * scale
    for axis in "YX":
        tag = tif.pages.first.tags.get(f"{axis}Resolution")
        if tag is not None and tag.value[0]:
            voxel_size[axis] = tag.value[1] / tag.value[0] * scale
    return voxel_size


def _storable(data: NDArray[Any], path: Path) -> NDArray[Any]:
    """The array in a type that TIFF readers know, with the same values."""
    kind, size = data.dtype.kind, data.dtype.itemsize
    if kind == "b":
        return data.astype(np.uint8)
    if kind == "f" and size in (2, 4):
        return data.astype(np.float32, copy=False)
    if kind in "iu" and size <= 4:
        return data
    if kind in "iu":
        narrow = np.int32 if kind == "i" else np.uint32
        if data.size == 0 or (np.iinfo(narrow).min <= data.min() and data.max() <= np.iinfo(narrow).max):
            return data.astype(narrow)
    raise SpotlightError(
        f"{path}: {data.dtype} values cannot be stored as OME-TIFF without loss. Convert them to float32 or an integer "
        "type of at most 32 bit."
    )


def _plain(text: str) -> str:
    """Text without the control characters that XML cannot hold."""
    return "".join(c for c in text if c.isprintable())


def write_tiff(stack: Stack, path: str | Path) -> Path:
    """Write a stack as a tiled, losslessly compressed OME-TIFF with axes, voxel size, channel names and origin.

    BigTIFF is used where the image needs it. The file appears under its name only when it is whole.

    Raises
    ------
    SpotlightError
        If the file cannot be written.
    """
    path = Path(path)
    metadata: dict[str, Any] = {"axes": stack.axes}
    if stack.voxel_size is not None:
        for axis, length in zip(stack.spatial_axes, stack.voxel_size, strict=True):
            metadata[f"PhysicalSize{axis}"] = length
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    if stack.channels:
        metadata["Channel"] = {"Name": [_plain(name) for name in stack.channels]}
    if stack.origin:
        metadata["Description"] = _plain(stack.origin)
    data = _storable(stack.data, path)
    with whole_file(path) as temporary:
        tifffile.imwrite(
            temporary,
            data,
            ome=True,
            photometric="minisblack",
            bigtiff=data.nbytes > 2**31,
            tile=(256, 256) if min(data.shape[-2:]) > 256 else None,
            compression="zlib",
            predictor=True,
            metadata=metadata,
        )
    return path
