"""`write_figure`: one picture of an evaluation, for a slide or a README."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries

from spotlight.files import whole_file
from spotlight.images import read
from spotlight.report.pictures import TARGET, TRUTH_COLOR, display_range, method_colors


def write_figure(folder: Path, name: str, methods: list[str], scores: pd.DataFrame) -> Path:
    """Draw input, target and stains of one stack with the outlines of their nuclei, in the plane and in depth.

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
    plane, row = (int(np.argmax(target.data.mean((1, 2)))), target.shape[1] // 2) if volume else (0, 0)
    depth = target.shape[0] / target.shape[1] if volume else 0.0
    if volume and target.voxel_size is not None:
        depth *= target.voxel_size[0] / target.voxel_size[1]
    canvas = Figure(figsize=(3.1 * len(views), 3.1 * (1 + depth) + 0.5), layout="constrained")
    panels = canvas.subplots(
        2 if volume else 1, len(views), squeeze=False, height_ratios=[1, depth] if volume else None
    )
    window = display_range(target.data)
    means = scores.groupby("method").mean(numeric_only=True)
    for column, (view, stack) in enumerate(views.items()):
        low, high = display_range(stack.data) if view == "input" else window
        labels = None
        if view != "input":
            labels = read(folder / "labels" / ("truth" if view == TARGET else view) / f"{name}.ome.tif").data
        cuts: list[tuple[int | slice, ...]] = [(plane,), (slice(None), row)] if volume else [(slice(None),)]
        for panel, cut in zip(panels[:, column], cuts, strict=True):
            panel.imshow(stack.data[cut], cmap="gray", vmin=low, vmax=high, aspect="auto", interpolation="nearest")
            if labels is not None:
                panel.imshow(_outlines(labels[cut], colors[view]), aspect="auto", interpolation="nearest")
            panel.axis("off")
        panels[0, column].set_title(_title(view, means), fontsize=11)
    with whole_file(folder / "figure.png") as temporary:
        canvas.savefig(temporary, format="png", dpi=100)
    return folder / "figure.png"


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
