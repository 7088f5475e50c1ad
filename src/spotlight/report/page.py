"""`write_report`: one self-contained HTML page from an evaluation's folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.files import write_text
from spotlight.images import Stack, read
from spotlight.report.figure import write_figure
from spotlight.report.pictures import (
    TARGET,
    TRUTH_COLOR,
    display_range,
    gray_slice,
    intensity_histograms,
    method_colors,
    outline_slice,
    precision_curves,
)
from spotlight.settings import load_yaml
from spotlight.version import __version__

PAGE = "report.html"
MOST_PLANES = 48
"""Planes of a stack that the slider steps through; deeper stacks show every second or third."""

METRICS = {
    "mean_ap": ("mean AP", "average precision, mean over IoU 0.5 to 0.95", "{:.3f}", "high"),
    "ap50": ("AP at 0.5", "average precision at IoU 0.5", "{:.3f}", "high"),
    "volume_error": ("volume error", "median relative volume error of matched nuclei", "{:+.1%}", "zero"),
    "area_error": ("area error", "median relative area error of matched nuclei", "{:+.1%}", "zero"),
    "elongation_error": ("elongation error", "median error of height over width of matched nuclei", "{:+.1%}", "zero"),
    "profile_error": (
        "profile error",
        "mean absolute difference of median profiles from the truth, in units of each feature's range",
        "{:.3f}",
        "low",
    ),
    "profile_distance": ("profile distance", "cosine distance of median profiles from the truth", "{:.3f}", "low"),
    "profile_distance_to_target": (
        "profile distance to target",
        "cosine distance of median profiles from those of the segmented target, as in the paper",
        "{:.3f}",
        "low",
    ),
    "psnr_foreground": ("PSNR, foreground", "dB, on the target's foreground", "{:.2f}", "high"),
    "pearson_foreground": ("Pearson, foreground", "correlation on the target's foreground", "{:.3f}", "high"),
    "psnr": ("PSNR, whole", "dB, whole stack", "{:.2f}", "high"),
    "pearson": ("Pearson, whole", "correlation, whole stack", "{:.3f}", "high"),
    "found_nuclei": ("nuclei found", "per stack", "{:.1f}", ""),
    "true_nuclei": ("true nuclei", "per stack, after the same clean-up", "{:.1f}", ""),
}
"""Columns of the score table: title, explanation, format, and which value is best."""


def write_report(folder: str | Path, title: str = "Virtual staining report", remarks: Sequence[str] = ()) -> Path:
    """Write ``report.html``, and ``figure.png`` of the first stack, into an evaluation's folder.

    The page holds pictures with a z slider, scores, curves and settings, and needs no other file and no network.

    Parameters
    ----------
    folder : path
        Written by `spotlight.evaluate`.
    title : str
        Heading of the page.
    remarks : sequence of str
        Paragraphs under the heading.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    SpotlightError
        If the folder does not hold an evaluation.
    """
    folder = Path(folder)
    record = load_yaml(folder / "evaluation.yaml")
    entries = record.get("stacks") if isinstance(record, dict) else None
    if not entries:
        raise SpotlightError(f"{folder / 'evaluation.yaml'}: names no stacks. Run the evaluation again.")
    tables = {name: _table(folder / f"{name}.csv") for name in ("scores", "average_precision", "histograms")}
    scores = tables["scores"]
    methods = list(dict.fromkeys(scores["method"]))
    colors = method_colors(methods)
    pictured = [
        entry["name"] for entry in entries if (folder / "images" / TARGET / f"{entry['name']}.ome.tif").exists()
    ]
    stacks = [_pictures(folder, name, methods, colors) for name in pictured]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("spotlight", "report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("page.html.j2").render(
        title=title,
        remarks=remarks,
        version=__version__,
        table=score_table(scores),
        per_stack=_per_stack(scores),
        stacks=stacks,
        pictures=json.dumps({stack["name"]: stack["slices"] for stack in stacks}).replace("</", "<\\/"),
        curves=precision_curves(tables["average_precision"], colors),
        histograms=intensity_histograms(
            tables["histograms"], colors, float(np.mean([entry["threshold"] for entry in entries]))
        ),
        truth=sorted({entry["truth"] for entry in entries}),
        seen=[entry["name"] for entry in entries if entry["seen_in_training"]],
        settings=json.dumps({key: record[key] for key in ("settings", "models")}, indent=1, ensure_ascii=False),
        colors=colors,
    )
    write_text(folder / PAGE, page)
    if pictured:
        write_figure(folder, pictured[0], methods, scores)
    return folder / PAGE


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise SpotlightError(f"{path}: cannot be read ({error}). Run the evaluation again.") from error


def score_table(scores: pd.DataFrame) -> dict[str, Any]:
    """Mean ± standard deviation over stacks: one row per metric that was computed, one column per method."""
    names = [name for name in METRICS if name in scores and scores[name].notna().any()]
    methods = list(dict.fromkeys(scores["method"]))
    mean = scores.groupby("method")[names].mean()
    spread = scores.groupby("method")[names].std()
    best = {name: _best([m for m in methods if m != TARGET], mean[name], METRICS[name][3]) for name in names}
    rows = []
    for name in names:
        cells = [
            {
                "value": _format(METRICS[name][2], mean.loc[method, name]),
                "spread": _format(METRICS[name][2].replace("+", ""), spread.loc[method, name]),
                "best": best[name] == method,
            }
            for method in methods
        ]
        rows.append({"title": METRICS[name][0], "help": METRICS[name][1], "cells": cells})
    return {"methods": methods, "rows": rows, "stacks": scores["stack"].nunique()}


def _best(methods: list[str], mean: "pd.Series[float]", wanted: str) -> str | None:
    values = mean[methods].dropna()
    if len(values) < 2 or not wanted:
        return None
    order = values.abs() if wanted == "zero" else values
    return str(order.idxmax() if wanted == "high" else order.idxmin())


def _format(form: str, value: float) -> str:
    return form.format(value) if np.isfinite(value) else ""


def _per_stack(scores: pd.DataFrame) -> dict[str, Any]:
    names = [name for name in METRICS if name in scores and scores[name].notna().any()]
    rows = [
        [row["stack"], row["method"], *(_format(METRICS[name][2], row[name]) for name in names)]
        for row in scores.to_dict("records")
    ]
    return {"heads": ["stack", "method", *(METRICS[name][0] for name in names)], "rows": rows}


def _pictures(folder: Path, name: str, methods: list[str], colors: dict[str, str]) -> dict[str, Any]:
    """Slices of input, target, stains and label outlines of one stack."""
    views = [View("input", read(folder / "images" / "input" / f"{name}.ome.tif"), None, "")]
    views.append(
        View(TARGET, read(folder / "images" / TARGET / f"{name}.ome.tif"), _labels(folder, "truth", name), TRUTH_COLOR)
    )
    for method in methods:
        if method != TARGET:
            stain = read(folder / "stains" / method / f"{name}.ome.tif")
            views.append(View(method, stain, _labels(folder, method, name), colors[method]))
    target = views[1].stack
    depth = target.shape[0] if target.axes == "ZYX" else 1
    planes = sorted({round(z) for z in np.linspace(0, depth - 1, min(depth, MOST_PLANES))})
    brightest = int(np.argmax(target.data.reshape(depth, -1).mean(1)))
    window = display_range(target.data)
    drawn = [_draw(view, planes, display_range(view.stack.data) if view.name == "input" else window) for view in views]
    return {
        "name": name,
        "depth": depth,
        "planes": planes,
        "middle": int(np.argmin([abs(z - brightest) for z in planes])),
        "aspect": f"{target.shape[-1]} / {target.shape[-2]}",
        "views": [{key: d[key] for key in ("name", "color", "cut", "cut_outline")} for d in drawn],
        "slices": {
            "planes": planes,
            "depth": depth,
            "views": {d["name"]: {"image": d["image"], "outline": d["outline"]} for d in drawn},
        },
    }


@dataclass(frozen=True)
class View:
    """One column of pictures: a stack, the labels outlined on it, and their colour."""

    name: str
    stack: Stack
    labels: NDArray[Any] | None
    color: str


def _labels(folder: Path, of: str, name: str) -> NDArray[Any]:
    return read(folder / "labels" / of / f"{name}.ome.tif").data


def _draw(view: View, planes: list[int], window: tuple[float, float]) -> dict[str, Any]:
    """The planes of a view, and its vertical cut through the middle row, with outlines."""
    volume = view.stack.axes == "ZYX"
    data = view.stack.data if volume else view.stack.data[None]
    labels = None if view.labels is None else view.labels.reshape(data.shape)
    row = data.shape[1] // 2
    size = view.stack.voxel_size
    tall = size[0] / size[-1] if volume and size is not None else 1.0
    return {
        "name": view.name,
        "color": view.color,
        "image": [gray_slice(data[z], *window) for z in planes],
        "outline": [] if labels is None else [outline_slice(labels[z], view.color) for z in planes],
        "cut": gray_slice(data[:, row], *window, tall) if volume else "",
        "cut_outline": outline_slice(labels[:, row], view.color, tall) if volume and labels is not None else "",
    }
