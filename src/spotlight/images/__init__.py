"""Stacks: images with axes, voxel size in µm and channel names; reading, writing and resampling them."""

from dataclasses import replace
from pathlib import Path

from spotlight.errors import SpotlightError
from spotlight.images.resample import resample, resampled_shape
from spotlight.images.stack import Stack, format_region, parse_region
from spotlight.images.tiff import read_tiff, write_tiff

__all__ = ["Stack", "format_region", "parse_region", "read", "resample", "resampled_shape", "write_tiff"]

SUFFIXES = (".tif", ".tiff")


def read(
    path: str | Path,
    *,
    channel: str | int | None = None,
    axes: str | None = None,
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
        The axes as stored, for files that do not state them, for example ``"ZYX"``.
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
    path = Path(path)
    if not path.exists():
        raise SpotlightError(f"{path}: no such file. Check the path; it is relative to {Path.cwd()}.")
    if path.suffix.lower() not in SUFFIXES:
        raise SpotlightError(f"{path}: is not a file that can be read here. Give a TIFF file ({', '.join(SUFFIXES)}).")
    stack = read_tiff(path, axes)
    if voxel_size is not None:
        stack = replace(stack, voxel_size=tuple(voxel_size))
    return stack if channel is None else stack.channel(channel)
