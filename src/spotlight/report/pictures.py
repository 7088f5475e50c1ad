"""Single pictures for a page: slices and label outlines as data URIs, and the colours of methods."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.segmentation import find_boundaries

from spotlight.images.pictures import data_uri, picture_size
from spotlight.report.contents import REPEAT, TARGET

# Okabe and Ito's palette, which colour-blind readers can tell apart; greys are real fluorescence.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442")
REFERENCE_COLORS = {TARGET: "#555555", REPEAT: "#999999"}
TRUTH_COLOR = "#E69F00"


def method_colors(methods: list[str]) -> dict[str, str]:
    """One colour per method; real fluorescence is grey."""
    models = [name for name in methods if name not in REFERENCE_COLORS]
    return REFERENCE_COLORS | {name: COLORS[i % len(COLORS)] for i, name in enumerate(models)}


def outline_slice(labels: NDArray[Any], color: str) -> str:
    """Outlines of the labels in a plane as a PNG that is transparent elsewhere."""
    width, height = picture_size(labels.shape)
    if (width, height) != labels.shape[::-1]:
        rows, columns = (
            ((np.arange(new) + 0.5) * old / new).astype(int)
            for new, old in zip((height, width), labels.shape, strict=True)
        )
        labels = labels[np.ix_(rows, columns)]
    edge = find_boundaries(labels, mode="inner").astype(np.uint8)
    image = Image.fromarray(edge, "P")
    image.putpalette([0, 0, 0, *(int(color[i : i + 2], 16) for i in (1, 3, 5))])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=0, bits=1, optimize=True)
    return data_uri(buffer.getvalue(), "image/png")


def display_range(image: NDArray[Any]) -> tuple[float, float]:
    """Intensities to show as black and white: the 1st and 99.8th percentile."""
    low, high = np.percentile(image, [1, 99.8])
    return float(low), float(high)
