"""What ImageJ makes of the values that it stores: signed numbers of 16 bits, and calibrated ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spotlight.images.lazy import Source
from spotlight.images.units import read_number
from spotlight.quoting import visible

STRAIGHT_LINE, NONE = 0, 20
"""Of ImageJ's codes of calibration functions (`ij.measure.Calibration`): c0 + c1 times the value, and the value."""


class Signed:
    """Values that ImageJ stores without sign, 32768 above what they are."""

    dtype = np.dtype(np.int16)

    def __init__(self, source: Source) -> None:
        self.source = source
        self.shape = source.shape

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[np.int16]:
        stored = np.asarray(self.source[index]).astype(np.uint16, copy=False)
        return (stored ^ np.uint16(1 << 15)).view(np.int16)


def calibrated(source: Source, metadata: Mapping[str, Any]) -> tuple[Source, str]:
    """Give the values that ImageJ shows if they are whole numbers of 16 bits with a sign, else those that are stored.

    Parameters
    ----------
    source : Source
        As stored.
    metadata : mapping
        ImageJ's, with ``cf``, the code of a function, and its coefficients ``c0``, ``c1`` and so on.

    Returns
    -------
    (Source, str)
        The values; and, where ImageJ shows others, a sentence that says so.
    """
    function = metadata.get("cf", STRAIGHT_LINE if "c0" in metadata else NONE)
    line = [read_number(metadata.get(name, missing)) for name, missing in (("c0", 0), ("c1", 1))]
    if function == NONE or (function == STRAIGHT_LINE and line == [0, 1]):
        return source, ""
    if function == STRAIGHT_LINE and line == [-32768, 1] and np.dtype(source.dtype).newbyteorder("=") == np.uint16:
        return Signed(source), ""
    first, second, unit = (visible(str(metadata.get(name, "?")))[:40] for name in ("c0", "c1", "vunit"))
    shown = f"{first} + {second} x value" if function == STRAIGHT_LINE else "a function of them"
    return source, (
        f"values are read as they are stored; ImageJ calibrates them to {shown} (unit: {unit}). If these are needed, "
        "apply the calibration in ImageJ and save the result in 32 bits."
    )
