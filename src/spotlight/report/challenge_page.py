"""`write_challenge_page`: one self-contained HTML page with the table of the Light My Cells challenge."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spotlight.evaluation.light_my_cells import (
    BEYOND,
    BINS,
    EVERY,
    PLANES,
    RECORD,
    TABLE,
    UNKNOWN,
    LightMyCells,
    Picture,
)
from spotlight.images.pictures import data_uri, gray_slice
from spotlight.metrics.cards import Card
from spotlight.metrics.challenge import CHALLENGE, PERCENTILES
from spotlight.report.curves import LINES, literal, one_legend, panels
from spotlight.report.figure import rendered
from spotlight.report.pictures import COLORS
from spotlight.report.tables import NOTHING
from spotlight.report.writing import aligned, write_page

CHALLENGE_PAGE = "light-my-cells.html"

BETTER = {"low": "less is better", "high": "more is better"}


def write_challenge_page(result: LightMyCells, title: str = "Light My Cells") -> Path:
    """Write ``light-my-cells.html`` beside the tables: scores by organelle and by distance from the best focus.

    Parameters
    ----------
    result : LightMyCells
        From `spotlight.evaluation.evaluate_light_my_cells`.
    title : str
        Heading of the page.
    """
    table, planes = result.table, result.planes
    targets = list(dict.fromkeys(table["target"]))
    methods = list(dict.fromkeys(table["method"]))
    flat = planes[planes["flat"]]
    return write_page(
        result.folder / CHALLENGE_PAGE,
        "challenge.html.j2",
        title=title,
        methods=methods,
        heads=[(card.title, _meaning(card)) for card in CHALLENGE.values()],
        rows=[_row(row) for row in _grouped(table[table["focus_bin"] == EVERY])],
        bins=[_row(row) for row in _grouped(table[table["focus_bin"] != EVERY])],
        known=bool((planes["focus_bin"] != UNKNOWN).any()),
        beyond=int((planes["focus_bin"] == BEYOND).sum()),
        compared=len(planes),
        chart=_chart(table),
        missing=[f"{method}: {', '.join(targets)}" for method, targets in result.missing.items()],
        flat=[f"{row['plane']} ({row['target']}, {row['method']})" for row in flat.to_dict("records")],
        settings=result.settings,
        percentiles=PERCENTILES,
        pictures=_pictures(result.pictures, targets, methods),
        files=(PLANES, TABLE, RECORD),
    )


def table_text(result: LightMyCells) -> str:
    """The table over all planes as plain text, for a terminal."""
    rows = [_row(row) for row in _grouped(result.table[result.table["focus_bin"] == EVERY])]
    lines = [["", "method", *(card.title for card in CHALLENGE.values()), "fields", "planes"]]
    for row in rows:
        texts = [f"{mean} ± {spread}" if spread else mean for mean, spread in row["cells"]]
        lines.append([row["letter"] or row["target"], row["method"], *texts, str(row["fields"]), str(row["planes"])])
    return "\n".join([*aligned(lines), "mean ± standard deviation over fields, whose planes are averaged first"])


def _meaning(card: Card) -> str:
    """What a score is, and what to know of it."""
    return ". ".join(text for text in (f"{card.help}; {BETTER[card.best]}", card.caution) if text)


def _grouped(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """Rows by target, then by bin, with the methods side by side."""
    targets = list(dict.fromkeys(table["target"]))
    rows = table.to_dict("records")
    return sorted(rows, key=lambda row: (targets.index(row["target"]), (EVERY, *BINS).index(row["focus_bin"])))


def _row(row: dict[Any, Any]) -> dict[str, Any]:
    cells = []
    for name, card in CHALLENGE.items():
        mean, spread = row[name], row[f"{name}_sd"]
        shown = NOTHING if np.isnan(mean) else card.show(mean)
        few = 0 < row[f"{name}_n"] < row["fields"]
        part = f" ({row[f'{name}_n']} of {row['fields']})" if few else ""
        cells.append((shown + part, "" if np.isnan(spread) else card.show(spread)))
    return {name: row[name] for name in ("target", "letter", "method", "focus_bin", "fields", "planes")} | {
        "cells": cells
    }


def _chart(table: pd.DataFrame) -> dict[str, str] | None:
    """Every score over the distance from the best focus; none where fewer than two distances are known."""
    near = table[~table["focus_bin"].isin([EVERY, UNKNOWN, BEYOND])].astype({"focus_bin": int})
    if near["focus_bin"].nunique() < 2:
        return None
    figure, axes = panels(len(CHALLENGE))
    targets, methods = (list(dict.fromkeys(near[name])) for name in ("target", "method"))
    for target, method in itertools.product(targets, methods):
        rows = near[(near["target"] == target) & (near["method"] == method)]
        color = COLORS[targets.index(target) % len(COLORS)]
        label = literal(target if len(methods) == 1 else f"{target}, {method}")
        line = LINES[methods.index(method) % len(LINES)]
        for panel, name in zip(axes, CHALLENGE, strict=True):
            if rows[name].notna().any():
                bars = rows[f"{name}_sd"].fillna(0)
                (drawn, _, _) = panel.errorbar(rows["focus_bin"], rows[name], bars, color=color, capsize=2, label=label)
                drawn.set(linestyle=line, marker="o", markersize=4)
    for panel, name in zip(axes, CHALLENGE, strict=True):
        panel.set(
            xlabel="planes from the best focus", ylabel=CHALLENGE[name].title, xticks=sorted(set(near["focus_bin"]))
        )
    one_legend(figure, axes)
    said = [
        f"{row['target']} of {row['method']} at {row['focus_bin']}: PCC {row['pcc']:.3f}"
        for row in near.to_dict("records")
    ]
    return {"image": data_uri(rendered(figure, "svg"), "image/svg+xml"), "alt": "; ".join(said)}


def _pictures(pictures: dict[tuple[str, str], Picture], targets: list[str], methods: list[str]) -> list[dict[str, Any]]:
    """Input, target and stains of one plane per target, each between its own percentiles as it was compared."""
    shown = []
    for target in targets:
        of_target = {method: pictures[target, method] for method in methods if (target, method) in pictures}
        first = next(iter(of_target.values()))
        images = {"input": first["input"], "target": first["target"]}
        images |= {method: images["stain"] for method, images in of_target.items()}
        views = [{"name": name, "image": gray_slice(i, *np.percentile(i, PERCENTILES))} for name, i in images.items()]
        shown.append({"target": target, "views": views})
    return shown
