"""`write_figures`: charts and a picture of an evaluation as files, for slides, papers and the README."""

import io
import warnings
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import find_boundaries

from spotlight.evaluation.means import with_part
from spotlight.files import atomic_file
from spotlight.images import read
from spotlight.images.pictures import WIDEST
from spotlight.report.contents import TARGET, TRUTH, Contents, read_contents
from spotlight.report.curves import Chart, draw_charts, literal
from spotlight.report.pictures import TRUTH_COLOR, display_range, method_colors

FIGURES = "figures"
PICTURE = "figure.png"


def write_figures(folder: str | Path) -> list[Path]:
    """Write every chart and the picture of the first stack as ``figures/<name>.svg`` and ``.png``.

    The picture is written as ``figure.png`` as well.

    Parameters
    ----------
    folder : path
        Written by `spotlight.evaluate`.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    SpotlightError
        If the folder does not hold an evaluation.

    Examples
    --------
    >>> from spotlight.report import write_figures
    >>> [path.name for path in write_figures("evaluation")]  # doctest: +SKIP
    """
    contents = read_contents(folder)
    return save_figures(contents, draw_charts(contents))


def save_figures(contents: Contents, charts: list[Chart]) -> list[Path]:
    """Do the work of `write_figures` with charts that are drawn already."""
    figures = {chart.name: chart.figure for chart in charts}
    if contents.pictured:
        figures["picture"] = draw_picture(contents, contents.pictured[0])
        _save(contents.folder / PICTURE, rendered(figures["picture"], "png"))
    paths = []
    for name, figure in figures.items():
        for kind in ("svg", "png"):
            paths.append(contents.folder / FIGURES / f"{name}.{kind}")
            _save(paths[-1], rendered(figure, kind))
    return paths


def rendered(figure: Figure, kind: Literal["svg", "png"]) -> bytes:
    """Bytes of a figure; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    dated = {"svg": ("Creator", "Date", "Format", "Type"), "png": ("Software",)}[kind]
    with matplotlib.rc_context({"svg.hashsalt": "spotlight", "svg.fonttype": "none"}), warnings.catch_warnings():
        # Names may be in any script: the reader's fonts draw them in an SVG, boxes stand for them in a PNG.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure.savefig(
            buffer, format=kind, dpi=100, bbox_inches="tight", transparent=kind == "svg", metadata=dict.fromkeys(dated)
        )
    return buffer.getvalue()


def _save(path: Path, content: bytes) -> None:
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def draw_picture(contents: Contents, name: str) -> Figure:
    """Draw input, target and stains of one stack with the outlines of their nuclei, in the plane and in depth.

    Of a larger stack the part with most nuclei is shown. Mean AP and elongation error stand over the stains.

    Parameters
    ----------
    contents : Contents
        The evaluation.
    name : str
        One of the stacks whose images it kept.
    """
    colors = method_colors(contents.methods) | {TARGET: TRUTH_COLOR}
    views = {kind: read(contents.image("images", kind, name)) for kind in ("input", TARGET)}
    paths = {m: contents.image("stains", m, name) for m in contents.methods if m != TARGET}
    views |= {method: read(path) for method, path in paths.items() if path.exists()}
    target = views[TARGET]
    volume = target.axes == "ZYX"
    plane = int(np.argmax(target.data.mean((1, 2)))) if volume else 0
    window = _fullest_window(read(contents.image("labels", TRUTH, name)).data)
    height, width = (s.stop - s.start for s in window)
    row = (window[0].start + window[0].stop) // 2
    size = target.voxel_size or (1.0,) * len(target.axes)
    ratios = [height * size[-2] / (width * size[-1])]
    if volume:
        ratios.append(target.shape[0] * size[0] / (width * size[-1]))
    canvas = Figure(figsize=(3.1 * len(views), 3.1 * sum(ratios) + 0.5), layout="constrained")
    panels = canvas.subplots(len(ratios), len(views), squeeze=False, height_ratios=ratios)
    shades = display_range(target.data)
    scores = dict(iter(contents.scores.groupby("method")))
    for column, (view, stack) in enumerate(views.items()):
        low, high = display_range(stack.data) if view == "input" else shades
        path = contents.image("labels", TRUTH if view == TARGET else view, name)
        labels = read(path).data if path.exists() else None
        cuts: list[tuple[int | slice, ...]] = [(plane, *window), (slice(None), row, window[1])] if volume else [window]
        for panel, cut in zip(panels[:, column], cuts, strict=True):
            panel.imshow(stack.data[cut], cmap="gray", vmin=low, vmax=high, aspect="auto", interpolation="none")
            if labels is not None:
                panel.imshow(_outlines(labels[cut], colors[view]), aspect="auto", interpolation="none")
            panel.axis("off")
        panels[0, column].set_title(_title(view, scores.get(view)), fontsize=11)
    return canvas


def _fullest_window(labels: NDArray[np.integer]) -> tuple[slice, slice]:
    """The window of at most `WIDEST` pixels along Y and X that holds most of the labelled pixels."""
    flat = (labels.reshape(-1, *labels.shape[-2:]) > 0).any(0)
    size = tuple(min(n, WIDEST) for n in flat.shape)
    # The filter gives the window that begins at a pixel.
    held = ndimage.uniform_filter(flat.astype(np.float32), size, mode="constant", origin=[-(n // 2) for n in size])
    place = np.unravel_index(int(np.argmax(held)), held.shape)
    start = [min(int(p), n - s) for p, n, s in zip(place, flat.shape, size, strict=True)]
    return slice(start[0], start[0] + size[0]), slice(start[1], start[1] + size[1])


def _title(view: str, scores: pd.DataFrame | None) -> str:
    if view == TARGET:
        return "target: fluorescence\noutlines: truth"
    said = []
    for column, form in (("mean_ap", "mean AP {:.2f}"), ("elongation_error", "elongation {:+.0%}")):
        if scores is not None and column in scores and np.isfinite(scores[column].mean()):
            said.append(with_part(form.format(scores[column].mean()), scores[column]))
    return "\n".join([literal(view), *([", ".join(said)] if said else [])])


def _outlines(labels: NDArray[np.integer], color: str) -> NDArray[np.float64]:
    """Outlines in a colour on a transparent ground, (Y, X, 4)."""
    rgba = np.zeros((*labels.shape, 4))
    rgba[find_boundaries(labels, mode="inner")] = [*(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)), 1]
    return rgba
