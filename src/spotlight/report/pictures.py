"""Pictures for the page: slices as data URIs, label outlines, and curves as SVG."""

import base64
import io
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from skimage.segmentation import find_boundaries

# Okabe and Ito's palette, which colour-blind readers can tell apart; grey is the real fluorescence.
TARGET = "target"
"""Name of the real fluorescence among the methods."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442")
TARGET_COLOR = "#555555"
TRUTH_COLOR = "#E69F00"
WIDEST = 480
"""Pixels across a picture of a plane: more would make the page heavy, and is not seen on it."""


def method_colors(methods: list[str]) -> dict[str, str]:
    """One colour per method; the target is grey."""
    others = [name for name in methods if name != TARGET]
    return {TARGET: TARGET_COLOR} | {name: COLORS[i % len(COLORS)] for i, name in enumerate(others)}


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of a picture as a URI that a page can hold."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def picture_size(shape: tuple[int, ...], height_scale: float = 1.0) -> tuple[int, int]:
    """Width and height of a plane's picture: one pixel a voxel, but at most `WIDEST` wide."""
    width = min(shape[1], WIDEST)
    return width, max(1, round(shape[0] * height_scale * width / shape[1]))


def gray_slice(plane: NDArray[Any], low: float, high: float, height_scale: float = 1.0) -> str:
    """One plane as a JPEG, black at `low` and white at `high`, stretched vertically by `height_scale`."""
    scaled = np.clip((plane.astype(np.float32) - low) / max(high - low, 1e-12), 0, 1)
    image = Image.fromarray((255 * scaled).astype(np.uint8))
    size = picture_size(plane.shape, height_scale)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return data_uri(buffer.getvalue(), "image/jpeg")


def outline_slice(labels: NDArray[Any], color: str, height_scale: float = 1.0) -> str:
    """Outlines of the labels in a plane as a PNG that is transparent elsewhere."""
    width, height = picture_size(labels.shape, height_scale)
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


def _literal(name: str) -> str:
    """A name in which matplotlib sees no formula."""
    return name.replace("$", r"\$")


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    # Fixed identifiers and no date: the same evaluation gives the same page, which names no other.
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": "spotlight", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata=metadata, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _figure() -> tuple[Figure, Any]:
    figure = Figure(figsize=(5.2, 3.4))
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def precision_curves(curves: pd.DataFrame, colors: dict[str, str]) -> str:
    """Average precision over the intersection over union: mean over stacks, and the band of their extremes."""
    figure, axes = _figure()
    for name, color in colors.items():
        rows = curves[curves["method"] == name]
        if rows.empty:
            continue
        grouped = rows.groupby("iou")["average_precision"]
        mean = grouped.mean()
        axes.plot(mean.index, mean, color=color, label=_literal(name), linewidth=2)
        axes.fill_between(mean.index, grouped.min(), grouped.max(), color=color, alpha=0.15, linewidth=0)
    axes.set(xlabel="intersection over union", ylabel="average precision", ylim=(0, 1))
    axes.legend(frameon=False)
    return _svg(figure)


def intensity_histograms(histograms: pd.DataFrame, colors: dict[str, str], threshold: float) -> str:
    """Share of voxels per intensity, on a logarithmic scale, and the target's foreground threshold."""
    figure, axes = _figure()
    for name, color in colors.items():
        rows = histograms[histograms["method"] == name]
        if not rows.empty:
            edges = [*rows["from"], rows["to"].iloc[-1]]
            axes.stairs(rows["share"], edges, color=color, label=_literal(name), linewidth=1.6)
    axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label="foreground threshold")
    axes.set(xlabel="intensity", ylabel="share of voxels", yscale="log")
    axes.legend(frameon=False, loc="upper right")
    return _svg(figure)
