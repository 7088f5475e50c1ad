"""Stacks of Micro-Manager, written by the format's description: header, index, summary, and pages of 162 bytes."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DATA = np.random.default_rng(0).integers(1, 4000, (2, 3, 8, 10)).astype(np.uint16)  # CZYX
SUMMARY = {
    **{"MicroManagerVersion": "2.0.3", "Channels": 2, "Slices": 3, "Frames": 1, "Positions": 1, "TimeFirst": False},
    **{"SlicesFirst": True, "ChNames": ["BF", "DAPI"], "PixelSize_um": 0.2, "z-step_um": -0.5},
}
PLANES = {(c, z, 0, 0): DATA[c, z] for z in range(3) for c in range(2)}
Rows = list[tuple[int, int, int, int, int]]


def write_stack(
    path: Path,
    planes: Mapping[tuple[int, int, int, int], NDArray[np.uint16]] = PLANES,
    index: Callable[[Rows], Rows] = lambda rows: rows,
    gap: int = 0,
    **summary: Any,
) -> Path:
    """Write planes by channel, slice, frame and position; `gap` bytes lie between a page's header and its values."""
    text = json.dumps(SUMMARY | summary).encode()
    text += b" " * (len(text) % 2)
    shown = json.dumps({}).encode()
    start = 40 + len(text)
    content = bytearray(start)
    rows: Rows = []
    height, width = next(iter(planes.values())).shape
    for number, (place, plane) in enumerate(planes.items(), start=1):
        page = len(content)
        tags = {254: 0, 256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: page + 162 + gap, 277: 1, 278: height}
        tags |= {279: plane.nbytes, 282: 1, 283: 1}
        after = 0 if number == len(planes) else page + 162 + gap + plane.nbytes
        header = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        header += struct.pack("<HHII", 51123, 2, len(text), 40)
        content += struct.pack("<H", 13) + header + struct.pack("<I", after) + bytes(gap) + plane.tobytes()
        rows.append((*place, page))
    shown_at, rows = len(content), index(rows)
    content += struct.pack("<II", 347834724, len(shown)) + shown
    index_at = len(content)
    content += struct.pack("<II", 3453623, len(rows)) + b"".join(struct.pack("<5I", *row) for row in rows)
    content[:40] = b"II*\0" + struct.pack(
        "<9I", start, 54773648, index_at, 483765892, shown_at, 0, 0, 2355492, len(text)
    )
    content[40:start] = text
    path.write_bytes(content)
    return path
