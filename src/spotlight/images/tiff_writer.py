"""Writing OME-TIFF files."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.files import whole_file
from spotlight.images.stack import Stack


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
