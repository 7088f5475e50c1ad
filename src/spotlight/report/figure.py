"""`write_figure`: one picture of an evaluation, for a slide or a README."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import find_boundaries

from spotlight.files import whole_file
from spotlight.images import read
from spotlight.report.pictures import TARGET, TRUTH_COLOR, WIDEST, display_range, method_colors


def write_figure(folder: Path, name: str, methods: list[str], scores: pd.DataFrame) -> Path:
    """Draw input, target and stains of one stack with the outlines of their nuclei, in the plane and in depth.

    Of a larger stack the part with most nuclei is shown.

    Parameters
    ----------
    folder : Path
        Written by `spotlight.evaluate`; the picture goes there as ``figure.png``.
    name : str
        One of the stacks whose images the evaluation kept.
    methods : list of str
        Whose stains to show.
    scores : DataFrame
        From the evaluation; mean AP and elongation error stand over the stains.
    """
    colors = method_colors(methods) | {TARGET: TRUTH_COLOR}
    image, target = (read(folder / "images" / kind / f"{name}.ome.tif") for kind in ("input", TARGET))
    stains = {m: read(folder / "stains" / m / f"{name}.ome.tif") for m in methods if m != TARGET}
    views = {"input": image, TARGET: target, **stains}
    volume = target.axes == "ZYX"
    plane = int(np.argmax(target.data.mean((1, 2)))) if volume else 0
    window = _fullest_window(read(folder / "labels" / "truth" / f"{name}.ome.tif").data)
    height, width = (s.stop - s.start for s in window)
    row = (window[0].start + window[0].stop) // 2
    size = target.voxel_size or (1.0,) * len(target.axes)
    ratios = [height * size[-2] / (width * size[-1])]
    if volume:
        ratios.append(target.shape[0] * size[0] / (width * size[-1]))
    canvas = Figure(figsize=(3.1 * len(views), 3.1 * sum(ratios) + 0.5), layout="constrained")
    panels = canvas.subplots(len(ratios), len(views), squeeze=False, height_ratios=ratios)
    shades = display_range(target.data)
    means = scores.groupby("method").mean(numeric_only=True)
    for column, (view, stack) in enumerate(views.items()):
        low, high = display_range(stack.data) if view == "input" else shades
        labels = None
        if view != "input":
            labels = read(folder / "labels" / ("truth" if view == TARGET else view) / f"{name}.ome.tif").data
        cuts: list[tuple[int | slice, ...]] = [(plane, *window), (slice(None), row, window[1])] if volume else [window]
        for panel, cut in zip(panels[:, column], cuts, strict=True):
            panel.imshow(stack.data[cut], cmap="gray", vmin=low, vmax=high, aspect="auto", interpolation="nearest")
            if labels is not None:
                panel.imshow(_outlines(labels[cut], colors[view]), aspect="auto", interpolation="nearest")
            panel.axis("off")
        panels[0, column].set_title(_title(view, means), fontsize=11)
    with whole_file(folder / "figure.png") as temporary:
        canvas.savefig(temporary, format="png", dpi=100)
    return folder / "figure.png"


def _fullest_window(labels: NDArray[np.integer]) -> tuple[slice, slice]:
    """The window of at most `WIDEST` pixels along Y and X that holds most of the labelled pixels."""
    flat = (labels.reshape(-1, *labels.shape[-2:]) > 0).any(0)
    size = tuple(min(n, WIDEST) for n in flat.shape)
    # The filter gives the window that begins at a pixel.
    held = ndimage.uniform_filter(flat.astype(np.float32), size, mode="constant", origin=[-(n // 2) for n in size])
    place = np.unravel_index(int(np.argmax(held)), held.shape)
    start = [min(int(p), n - s) for p, n, s in zip(place, flat.shape, size, strict=True)]
    return slice(start[0], start[0] + size[0]), slice(start[1], start[1] + size[1])


def _title(view: str, means: pd.DataFrame) -> str:
    if view == "input":
        return "input"
    if view == TARGET:
        return "target: fluorescence\noutlines: truth"
    text = f"{view.replace('$', '')}\nmean AP {float(means['mean_ap'][view]):.2f}"
    elongation = float(means["elongation_error"][view]) if "elongation_error" in means else np.nan
    return f"{text}, elongation {elongation:+.0%}" if np.isfinite(elongation) else text


def _outlines(labels: NDArray[np.integer], color: str) -> NDArray[np.float64]:
    """Outlines in a colour on a transparent ground, (Y, X, 4)."""
    rgba = np.zeros((*labels.shape, 4))
    rgba[find_boundaries(labels, mode="inner")] = [*(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)), 1]
    return rgba
