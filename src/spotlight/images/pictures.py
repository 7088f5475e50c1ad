"""Pictures of planes as data URIs, for pages and notebooks, and what a notebook shows of a stack."""

import base64
import html
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spotlight.images.slabs import Array

WIDEST = 480
"""Pixels across a picture of a plane: more would make the page heavy, and is not seen on it."""
THUMBNAIL = 160
"""Pixels across a thumbnail."""
THUMBNAILS = 4
"""Channels of which a thumbnail is shown, the first ones."""
READ_PIXELS = 1024
"""Edge of the region that is read for a thumbnail; of larger planes it is the centre."""


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of a picture as a URI that a page can hold."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def picture_size(shape: tuple[int, ...], widest: int = WIDEST) -> tuple[int, int]:
    """Width and height of a plane's picture: one pixel a voxel, but at most `widest` wide."""
    width = min(shape[1], widest)
    return width, max(1, round(shape[0] * width / shape[1]))


def gray_slice(plane: NDArray[Any], low: float, high: float, widest: int = WIDEST) -> str:
    """One plane as a JPEG, black at `low` and white at `high`."""
    scaled = np.clip((plane.astype(np.float32) - low) / max(high - low, 1e-12), 0, 1)
    image = Image.fromarray((255 * scaled).astype(np.uint8))
    size = picture_size(plane.shape, widest)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return data_uri(buffer.getvalue(), "image/jpeg")


def thumbnail(array: Array, axes: str, channel: int = 0) -> str:
    """Return a picture of the middle plane of one channel, black at its 1st and white at its 99.8th percentile.

    At most 1024 x 1024 pixels are read, so that a notebook does not wait for a large file.

    Parameters
    ----------
    array : (..., Y, X) ndarray or LazyArray
        The values.
    axes : str
        Letters of ``TCZYX``, one per axis.
    channel : int
        Which channel; of timepoints the first is shown.
    """
    place = {"T": 0, "C": channel, "Z": array.shape[axes.index("Z")] // 2 if "Z" in axes else 0}
    starts = [max(0, (size - READ_PIXELS) // 2) for size in array.shape[-2:]]
    region = (slice(start, start + READ_PIXELS) for start in starts)
    plane = np.asarray(array[(*(place[axis] for axis in axes[:-2]), *region)])
    plane = np.nan_to_num(plane.astype(np.float32), posinf=0, neginf=0)
    low, high = np.percentile(plane, (1, 99.8))
    return gray_slice(plane, float(low), float(high), THUMBNAIL)


def as_html(title: str, facts: Mapping[str, str], pictures: Mapping[str, str]) -> str:
    """A small table of facts, and pictures (data URIs by their captions) beside it; texts are escaped."""
    rows = "".join(
        f'<tr><th style="text-align:left">{html.escape(name)}</th><td style="text-align:left">{html.escape(text)}</td>'
        "</tr>"
        for name, text in facts.items()
    )
    shown = "".join(
        f'<figure style="display:inline-block;margin:4px"><img src="{uri}" alt="{html.escape(caption)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for caption, uri in pictures.items()
    )
    return f"<div><strong>{html.escape(title)}</strong><table>{rows}</table>{shown}</div>"
