"""`write_check_page`: one self-contained HTML page of what `spotlight.check` found."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spotlight.images.pictures import gray_slice
from spotlight.pairs.checking import Check
from spotlight.report.pictures import TRUTH_COLOR, outline_slice
from spotlight.report.writing import write_page

CHECK_PAGE = "check.html"

COLUMNS = {
    "split": "split",
    "group": "group",
    "shape": "size",
    "voxel_size": "voxels in µm",
    "foreground_fraction": "foreground",
    "annotated_fraction": "annotated",
    "contrast": "contrast (deviations)",
    "shift_y_px": "shift Y (px)",
    "shift_x_px": "shift X (px)",
    "shift_uncertainty_px": "uncertainty (px)",
    "focus_offset_um": "focus offset (µm)",
    "input_mean": "mean of input",
    "target_mean": "mean of target",
    "target_saturated": "saturated",
}
"""Figures that the page shows; the table on disk has them all."""


def write_check_page(result: Check, folder: str | Path, title: str = "Check of pairs") -> Path:
    """Write ``check.html`` into a folder: findings, a row of figures and pictures per pair.

    Parameters
    ----------
    result : Check
        From `spotlight.check`.
    folder : path
        Where to write.
    title : str
        Heading of the page.

    Returns
    -------
    Path
        The page, one file that needs no other.

    Examples
    --------
    >>> import numpy as np
    >>> import spotlight
    >>> from spotlight.report import write_check_page
    >>> rng = np.random.default_rng(0)
    >>> light, dna = (spotlight.Stack(rng.random((8, 48, 48), np.float32), "ZYX", (0.5, 0.2, 0.2)) for _ in range(2))
    >>> write_check_page(spotlight.check([(light, dna)]), "check", title="Two stacks of noise").as_posix()
    'check/check.html'
    """
    table = result.pairs
    columns = {name: head for name, head in COLUMNS.items() if name in table and _says_something(table[name])}
    worst: dict[str, str] = {}
    for finding in result.findings.to_dict("records"):
        worst.setdefault(finding["pair"], finding["severity"])
    rows = [
        {
            "pair": row["pair"],
            "severity": worst.get(row["pair"], "fine"),
            "cells": [_cell(name, row[name]) for name in columns],
            "pictures": _pictures(result.pictures.get(row["pair"], {})),
        }
        for row in table.to_dict("records")
    ]
    groups = group_findings(result.findings)
    counts = result.findings["severity"].value_counts()
    return write_page(
        Path(folder) / CHECK_PAGE,
        "check.html.j2",
        title=title,
        groups=groups,
        counts={kind: int(counts.get(kind, 0)) for kind in ("error", "warning", "note")},
        heads=list(columns.values()),
        rows=rows,
        pictured=sum(bool(row["pictures"]) for row in rows),
    )


def group_findings(findings: pd.DataFrame) -> list[dict[str, Any]]:
    """Findings of one kind as one: what they say, or the first of them if they differ, and their pairs.

    Parameters
    ----------
    findings : DataFrame
        Of a `Check`, the worst first.

    Returns
    -------
    list of dict
        ``severity``, ``subject``, ``found``, ``remedy``, ``pairs`` and ``each``, which has the text of each pair where
        the texts differ.
    """
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in findings.to_dict("records"):
        one = {str(name): value for name, value in row.items()}
        groups.setdefault((one["severity"], one["subject"], one["remedy"]), []).append(one)
    return [
        {
            **dict(zip(("severity", "subject", "remedy"), key, strict=True)),
            "found": members[0]["found"],
            "pairs": [one["pair"] for one in members],
            "each": [one["found"] for one in members] if len({one["found"] for one in members}) > 1 else [],
        }
        for key, members in groups.items()
    ]


def _says_something(column: "pd.Series[Any]") -> bool:
    return bool((column.notna() & (column != "")).any())


def _cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if not np.isfinite(value):
        return ""
    if name in ("foreground_fraction", "annotated_fraction", "target_saturated"):
        return f"{100 * value:.3g} %"
    return f"{value:+.1f}" if name.startswith(("shift_y", "shift_x", "focus")) else f"{value:.4g}"


def _pictures(arrays: dict[str, Any]) -> list[dict[str, str]]:
    if not arrays:
        return []
    outline = outline_slice(arrays["mask"], TRUTH_COLOR)
    return [
        {"name": name, "image": gray_slice(arrays[name], 0, 255), "outline": outline} for name in ("input", "target")
    ]
