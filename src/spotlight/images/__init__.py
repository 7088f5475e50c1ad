"""Stacks: images with axes, voxel size in µm and channel names; reading, writing and resampling them."""

from dataclasses import replace
from pathlib import Path

from spotlight.errors import SpotlightError
from spotlight.files import require_path
from spotlight.images.resample import resample, resampled_shape
from spotlight.images.stack import Stack, format_region, parse_region
from spotlight.images.tiff import read_tiff, write_tiff

__all__ = ["Stack", "format_region", "parse_region", "read", "resample", "resampled_shape", "stem", "write_tiff"]

SUFFIXES = (".tif", ".tiff")


def stem(path: str | Path) -> str:
    """File name without what marks the format: ``plate_0.5uM_1.ome.tif`` gives ``plate_0.5uM_1``."""
    name = Path(path).name
    for suffix in (*(f".ome{s}" for s in SUFFIXES), *SUFFIXES):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def read(
    path: str | Path,
    *,
    channel: str | int | None = None,
    axes: str | None = None,
    axes_if_unstated: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
) -> Stack:
    """Read an image file.

    Parameters
    ----------
    path : str or Path
        A TIFF file (OME-TIFF, ImageJ hyperstack, plain).
    channel : str or int, optional
        Take only this channel, by name or zero-based index.
    axes : str, optional
        The axes as stored, for example ``"ZYX"``; overrides what the file states.
    axes_if_unstated : str, optional
        The same, for files that state nothing.
    voxel_size : tuple of float, optional
        Edge lengths in µm per spatial axis; overrides what the file states.

    Returns
    -------
    Stack
        With axes in the order TCZYX.

    Raises
    ------
    SpotlightError
        If the file is missing, damaged, or lacks what was asked for.
    """
    path = require_path(path, f"Relative paths start at {Path.cwd()}.")
    if path.suffix.lower() not in SUFFIXES:
        raise SpotlightError(f"{path}: is not a file that can be read here. Give a TIFF file ({', '.join(SUFFIXES)}).")
    stack = read_tiff(path, axes, axes_if_unstated)
    if voxel_size is not None:
        stack = replace(stack, voxel_size=tuple(voxel_size))
    return stack if channel is None else stack.channel(channel)
