"""Charts of an evaluation's tables, each with a caption and a text for those who do not see it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from spotlight.evaluation.means import COUNT
from spotlight.metrics.cards import Card
from spotlight.metrics.profiles import BIASES
from spotlight.metrics.registry import describe
from spotlight.report.contents import REFERENCES, Contents
from spotlight.report.pictures import method_colors
from spotlight.report.tables import metric_columns

LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
"""Line styles of the models: colour is not the only thing that tells them apart."""
SEVENTH = 1 / 7
"""The correlation below which a frequency does not count as resolved, as the paper has it."""
KINDS = {"fsc": "FSC, one image", "frc": "FRC, one image", "fsc_of_two": "FSC of stain and target"}
KINDS |= {"frc_of_two": "FRC of stain and target"}
HALVES = {"xy": "XY", "z": "Z"}


@dataclass(frozen=True)
class Chart:
    """A drawn chart.

    Attributes
    ----------
    name : str
        Of its files.
    caption : str
        What it shows.
    alt : str
        The same with its main figures, for a reader who does not see it.
    figure : Figure
        Of matplotlib.
    """

    name: str
    caption: str
    alt: str
    figure: Figure

    @property
    def inches(self) -> float:
        """Width that its letters are drawn for."""
        return float(self.figure.get_figwidth())


@dataclass(frozen=True)
class Styles:
    """Colour and line of every method, the same in all charts."""

    methods: list[str]

    def of(self, method: str) -> dict[str, Any]:
        """Arguments of matplotlib's functions that draw lines."""
        models = [name for name in self.methods if name not in REFERENCES]
        line = ":" if method in REFERENCES else LINES[models.index(method) % len(LINES)]
        return {"color": method_colors(self.methods)[method], "linestyle": line, "label": literal(method)}

    def rows(self, table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
        """Rows of every method that has some."""
        for method in self.methods:
            rows = table[table["method"] == method]
            if not rows.empty:
                yield method, rows


def literal(name: str) -> str:
    """A name in which matplotlib sees no formula, and which a legend does not leave out."""
    text = name.replace("$", r"\$")
    return f"\N{ZERO WIDTH SPACE}{text}" if text.startswith("_") else text


def draw_charts(contents: Contents) -> list[Chart]:
    """Draw a chart of every table that is there."""
    styles = Styles(contents.methods)
    tables = contents.tables
    drawn = []
    if "average_precision" in tables:
        drawn.append(precision_curves(tables["average_precision"], styles))
    if "histograms" in tables:
        threshold = float(np.mean([entry["threshold"] for entry in contents.stacks]))
        drawn.append(intensity_histograms(tables["histograms"], styles, threshold))
    if "nuclei" in tables:
        drawn += nuclei_errors(tables["nuclei"], styles)
    if "sweep" in tables and sweep_metrics(tables["sweep"]):
        drawn.append(threshold_sweep(tables["sweep"], styles))
    if "resolution" in tables:
        drawn.append(resolution_curves(tables["resolution"], styles))
    return drawn


def panels(count: int, columns: int = 3, height: float = 2.9, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """Make a figure of so many panels in rows."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    width = 5.2 if columns == 1 else 3.4 * columns
    figure = Figure(figsize=(width, 3.4 if count == 1 else height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=sharey).flat)
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    for panel in axes[count:]:
        panel.set_axis_off()
    return figure, axes[:count]


def one_legend(figure: Figure, axes: list[Axes]) -> None:
    """A legend under a figure of several panels, or in its only one."""
    entries: dict[str, Any] = {}
    for panel in axes:
        handles, labels = panel.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    if len(axes) == 1:
        axes[0].legend(entries.values(), entries, frameon=False)
    elif entries:
        figure.legend(entries.values(), entries, frameon=False, loc="outside lower center", ncols=4)


def precision_curves(table: pd.DataFrame, styles: Styles) -> Chart:
    """Average precision over the intersection over union: mean over stacks, and the band of their extremes."""
    pipelines = list(dict.fromkeys(table["pipeline"])) if "pipeline" in table else [""]
    figure, axes = panels(len(pipelines), columns=2, sharey=True)
    said, missing = [], False
    for panel, pipeline in zip(axes, pipelines, strict=True):
        for method, rows in styles.rows(table[table["pipeline"] == pipeline] if pipeline else table):
            grouped = rows.groupby("iou")["average_precision"]
            mean = grouped.mean()
            missing |= bool(rows["average_precision"].isna().any())
            panel.plot(mean.index, mean, linewidth=2, **styles.of(method))
            low, high = (grouped.agg(limit).astype(float) for limit in ("min", "max"))
            panel.fill_between(mean.index, low, high, color=styles.of(method)["color"], alpha=0.15, linewidth=0)
            said.append(f"{method}{f' with {pipeline}' if pipeline else ''} {mean.iloc[0]:.2f} to {mean.iloc[-1]:.2f}")
        panel.set(xlabel="intersection over union", ylim=(0, 1), title=literal(pipeline))
    axes[0].set_ylabel("average precision")
    one_legend(figure, axes)
    ends = f"from IoU {table['iou'].min():g} to {table['iou'].max():g}"
    return Chart(
        "average_precision",
        "Average precision of instances (band: least and greatest stack)"
        + ("; where a stack has no nuclei, true or found, it has no value" if missing else ""),
        f"Lines of average precision {ends}: {', '.join(said)}.",
        figure,
    )


def nuclei_errors(nuclei: pd.DataFrame, styles: Styles) -> list[Chart]:
    """Boxes of the relative errors of matched nuclei, by feature and method."""
    features = [name for name in BIASES if f"{name}_error" in nuclei]
    methods = [method for method, _ in styles.rows(nuclei)]
    if not features:
        return []
    figure, axes = panels(len(features), height=0.9 + 0.32 * len(methods))
    said = []
    for panel, feature in zip(axes, features, strict=True):
        errors = {method: rows[f"{feature}_error"].dropna() for method, rows in styles.rows(nuclei)}
        boxes = panel.boxplot(
            [errors[method] for method in methods],
            orientation="horizontal",
            showfliers=False,
            widths=0.6,
            patch_artist=True,
            tick_labels=[literal(method) for method in methods],
            medianprops={"color": "black", "linewidth": 1.6},
        )
        for box, method in zip(boxes["boxes"], methods, strict=True):
            box.set(facecolor=styles.of(method)["color"], alpha=0.6)
        panel.axvline(0, color="black", linestyle="--", linewidth=1)
        panel.invert_yaxis()
        panel.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        panel.set_title(feature, fontsize=10)
        said.append(f"{feature}: " + ", ".join(f"{m} {e.median():+.0%}" for m, e in errors.items() if len(e)))
    for panel in axes[1:]:
        if panel.get_subplotspec().colspan.start:  # type: ignore[union-attr]
            panel.set_yticklabels([])
    chart = Chart(
        "nuclei_errors",
        "Errors of matched nuclei (box: middle half; line: median; whiskers: one and a half boxes)",
        f"Boxes of relative errors of matched nuclei. Medians: {'; '.join(said)}.",
        figure,
    )
    return [chart]


def sweep_metrics(sweep: pd.DataFrame) -> list[str]:
    """Columns of a sweep that hold scores."""
    counts = {f"{name}{COUNT}" for name in sweep.columns}
    return [name for name in metric_columns(sweep) if name not in {"position", "threshold", "rows"} | counts]


def threshold_sweep(sweep: pd.DataFrame, styles: Styles) -> Chart:
    """Small multiples of every metric over the intensity below which stains are cut, with the best place marked."""
    names = sweep_metrics(sweep)
    figure, axes = panels(len(names))
    said, gaps = [], False
    for panel, name in zip(axes, names, strict=True):
        metric = describe(name)
        for method, rows in styles.rows(sweep):
            ordered = rows.sort_values("position").set_index("position")
            curve = ordered[name]
            if f"{name}{COUNT}" in ordered:  # a mean over fewer stacks is no point of this line
                curve = curve.where(ordered[f"{name}{COUNT}"] == ordered["rows"])
            gaps |= bool(curve.isna().any())
            panel.plot(curve.index, curve, linewidth=1.6, **styles.of(method))
            best = best_place(curve, metric)
            if best is not None:
                panel.plot(best, curve[best], "o", color=styles.of(method)["color"], markersize=6)
                said.append(f"{metric.full_title}, {method}: best at {best:.2f}")
        panel.set_title(metric.full_title, fontsize=10)
        if metric.unit == "%":
            panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        elif metric.unit:
            panel.set_ylabel(metric.unit)
        panel.set_xlabel("threshold: 0 background, 1 foreground", fontsize=8)
    one_legend(figure, axes)
    return Chart(
        "threshold_sweep",
        "Scores of stains cut at a threshold between the target's background and foreground (dot: best"
        + ("; gap: a stack has no value)" if gaps else ")"),
        f"Lines of scores over the threshold. {'; '.join(said)}.",
        figure,
    )


def best_place(curve: "pd.Series[float]", metric: Card) -> float | None:
    """Where a curve is best, if its metric has a best."""
    curve = curve.dropna()
    if curve.empty or not metric.best:
        return None
    order = curve.abs() if metric.best == "zero" else curve
    return float(order.idxmax() if metric.best == "high" else order.idxmin())  # type: ignore[arg-type]


def resolution_curves(table: pd.DataFrame, styles: Styles) -> Chart:
    """Correlation over the spatial frequency, mean over stacks, by kind and direction."""
    sorts = list(dict.fromkeys(zip(table["kind"], table["direction"], strict=True)))
    figure, axes = panels(len(sorts), columns=2)
    said = []
    for panel, (kind, direction) in zip(axes, sorts, strict=True):
        part = table[(table["kind"] == kind) & (table["direction"] == direction)]
        fewer: list[str] = []
        for method, rows in styles.rows(part):
            mean = mean_curve(rows)
            have, of = len(_stacks(rows)), len(_stacks(table[table["method"] == method]))
            panel.plot(mean.index, mean, linewidth=1.6, **styles.of(method))
            fewer += [f"{method} {have} of {of}"] if have < of else []
            below = mean.index[mean < SEVENTH]
            fall = f"falls below 1/7 at {below[0]:.2f} per µm" if len(below) else "stays above 1/7"
            said.append(f"{KINDS.get(kind, kind)} {direction}, {method} {fall}")
        panel.axhline(SEVENTH, color="black", linestyle="--", linewidth=1)
        panel.annotate("1/7", (1, SEVENTH), xycoords=("axes fraction", "data"), fontsize=8, ha="right", va="bottom")
        panel.set(ylim=(min(0, part["correlation"].min()), 1.02), ylabel="correlation", xlabel="cycles per µm")
        title = f"{KINDS.get(kind, literal(kind))}, {HALVES.get(direction, literal(direction))}"
        panel.set_title(f"{title}\n({literal(', '.join(fewer))})" if fewer else title, fontsize=10)
    one_legend(figure, axes)
    return Chart(
        "resolution",
        "Correlation over spatial frequency, mean over stacks (dashed: 1/7)",
        f"Lines of correlation over spatial frequency. {'; '.join(said)}.",
        figure,
    )


def _stacks(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[[key for key in ("stack", "seed") if key in rows]].drop_duplicates()


def mean_curve(rows: pd.DataFrame) -> "pd.Series[float]":
    """Mean over stacks and seeds; frequencies that a stack does not have lie on the line between its own."""
    keys = [key for key in ("stack", "seed") if key in rows]
    wide = rows.pivot_table("correlation", "frequency", keys, dropna=False)
    return wide.interpolate(method="index", limit_area="inside").mean(axis=1)


def intensity_histograms(histograms: pd.DataFrame, styles: Styles, threshold: float) -> Chart:
    """Share of voxels per intensity, on a logarithmic scale, and the target's foreground threshold."""
    figure, axes = panels(1)
    said = []
    for method, rows in styles.rows(histograms):
        edges = [*rows["from"], rows["to"].iloc[-1]]
        axes[0].stairs(rows["share"], edges, linewidth=1.6, **styles.of(method))
        bright = rows.loc[rows["from"] >= threshold, "share"].sum()
        said.append(f"{method} {bright:.0%}")
    axes[0].axvline(threshold, color="black", linestyle="--", linewidth=1, label="foreground threshold")
    axes[0].set(xlabel="intensity", ylabel="share of voxels", yscale="log")
    one_legend(figure, axes)
    return Chart(
        "histograms",
        "Intensities of target and stains, an even sample of voxels",
        f"Histograms of intensities. Share of voxels above the threshold {threshold:.4g}: {', '.join(said)}.",
        figure,
    )
