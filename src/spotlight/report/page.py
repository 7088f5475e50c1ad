"""`write_report`: one self-contained HTML page from an evaluation's folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.files import write_text
from spotlight.images import Stack, read
from spotlight.pairs.manifest import Pair, parse_voxel_size
from spotlight.report.figure import write_figure
from spotlight.report.pictures import (
    display_range,
    gray_slice,
    intensity_histograms,
    method_colors,
    outline_slice,
    precision_curves,
)
from spotlight.settings import load_yaml
from spotlight.version import __version__

TARGET = "target"
PAGE = "report.html"
PICTURED_STACKS = 2

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
    tables = {name: _table(folder / f"{name}.csv") for name in ("scores", "average_precision", "histograms")}
    scores = tables["scores"]
    methods = list(dict.fromkeys(scores["method"]))
    colors = method_colors(methods, TARGET)
    stacks = [_pictures(folder, entry, methods, colors) for entry in record["stacks"][:PICTURED_STACKS]]
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
            tables["histograms"], colors, float(np.mean([entry["threshold"] for entry in record["stacks"]]))
        ),
        truth=sorted({entry["truth"] for entry in record["stacks"]}),
        settings=json.dumps({key: record[key] for key in ("settings", "models")}, indent=1, ensure_ascii=False),
        colors=colors,
    )
    write_text(folder / PAGE, page)
    first = record["stacks"][0]
    write_figure(folder, first["name"], *_pair(first["pair"]).read_both(), methods, scores)
    return folder / PAGE


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise SpotlightError(f"{path}: cannot be read ({error}). Run the evaluation again.") from error


def score_table(scores: pd.DataFrame) -> dict[str, Any]:
    """Mean ± standard deviation over stacks: one row per method, one column per metric that was computed."""
    names = [name for name in METRICS if name in scores and scores[name].notna().any()]
    methods = list(dict.fromkeys(scores["method"]))
    mean = scores.groupby("method")[names].mean()
    spread = scores.groupby("method")[names].std()
    best = {name: _best([m for m in methods if m != TARGET], mean[name], METRICS[name][3]) for name in names}
    rows = []
    for method in methods:
        cells = [
            {
                "value": _format(METRICS[name][2], mean.loc[method, name]),
                "spread": _format(METRICS[name][2].replace("+", ""), spread.loc[method, name]),
                "best": best[name] == method,
            }
            for name in names
        ]
        rows.append({"method": method, "cells": cells})
    heads = [{"title": METRICS[name][0], "help": METRICS[name][1]} for name in names]
    return {"heads": heads, "rows": rows, "stacks": scores["stack"].nunique()}


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


def _pictures(folder: Path, entry: dict[str, Any], methods: list[str], colors: dict[str, str]) -> dict[str, Any]:
    """Slices of input, target, stains and label outlines of one stack."""
    pair = _pair(entry["pair"])
    image, target = pair.read_both()
    stains = {name: read(folder / "stains" / name / f"{entry['name']}.ome.tif") for name in methods if name != TARGET}
    views: list[tuple[str, Stack, str | None]] = [("input", image, None), (TARGET, target, "truth")]
    views += [(name, stain, name) for name, stain in stains.items()]
    low, high = display_range(target.data)
    slices = []
    for name, stack, labels_of in views:
        window = display_range(stack.data) if name == "input" else (low, high)
        color = "#E69F00" if labels_of == "truth" else colors[name] if labels_of else ""
        labels = None
        if labels_of is not None:
            labels = read(folder / "labels" / labels_of / f"{entry['name']}.ome.tif").data
        slices.append(_view(name, stack, labels, window, color))
    planes = target.shape[0] if target.axes == "ZYX" else 1
    return {
        "name": entry["name"],
        "planes": planes,
        "middle": _brightest_plane(target),
        "aspect": f"{target.shape[-1]} / {target.shape[-2]}",
        "views": [
            {"name": v["name"], "color": v["color"], "cut": v["cut"], "cut_outline": v["cut_outline"]} for v in slices
        ],
        "slices": {v["name"]: {"image": v["image"], "outline": v["outline"]} for v in slices},
    }


def _view(
    name: str, stack: Stack, labels: NDArray[Any] | None, window: tuple[float, float], color: str
) -> dict[str, Any]:
    """All planes of a view, and its vertical cut through the middle row, with outlines."""
    data = stack.data if stack.axes == "ZYX" else stack.data[None]
    outlines = None if labels is None else labels.reshape(data.shape)
    row = data.shape[1] // 2
    tall = 1.0 if stack.voxel_size is None else stack.voxel_size[0] / stack.voxel_size[-1]
    volume = stack.axes == "ZYX"
    return {
        "name": name,
        "color": color,
        "image": [gray_slice(plane, *window) for plane in data],
        "outline": [] if outlines is None else [outline_slice(plane, color) for plane in outlines],
        "cut": gray_slice(data[:, row], *window, tall) if volume else "",
        "cut_outline": outline_slice(outlines[:, row], color, tall) if volume and outlines is not None else "",
    }


def _brightest_plane(target: Stack) -> int:
    return int(np.argmax(target.data.mean(axis=(1, 2)))) if target.axes == "ZYX" else 0


def _pair(values: dict[str, str | None]) -> Pair:
    """The pair as `evaluate` recorded it."""
    fields: dict[str, Any] = dict(values)
    for name in ("input", "target", "labels", "foreground"):
        fields[name] = None if fields[name] is None else Path(fields[name])
    if fields["voxel_size"] is not None:
        fields["voxel_size"] = parse_voxel_size(fields["voxel_size"].strip("()"), "evaluation.yaml")
    return Pair(**fields)
