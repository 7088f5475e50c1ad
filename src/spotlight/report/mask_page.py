"""`write_mask_page`: one self-contained HTML page of an evaluation of masks."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.evaluation.masks import MEANS, RECORD, SCORES, MaskEvaluation
from spotlight.images.pictures import gray_slice
from spotlight.metrics import describe
from spotlight.report.pictures import display_range, outline_slice
from spotlight.report.writing import aligned, write_page

MASK_PAGE = "masks.html"

SHOWN = ("mask_dice", "cl_dice", "betti_0_error", "betti_1_error", "panoptic_dice", "component_f1")
"""Scores that the page shows, as far as there are some."""

COLORS = {"found": "#009E73", "missed": "#CC79A7", "extra": "#F0E442"}
"""Of outlines: what was found, what was missed, and what was found though it is not there."""


def write_mask_page(result: MaskEvaluation, title: str = "Evaluation of masks") -> Path:
    """Write ``masks.html`` beside the tables: means, scores of every stack, and maximum projections with outlines.

    Parameters
    ----------
    result : MaskEvaluation
        From `spotlight.evaluation.evaluate_masks`.
    title : str
        Heading of the page.

    Returns
    -------
    Path
        The page, one file that needs no other.

    Examples
    --------
    >>> from spotlight.evaluation import evaluate_masks
    >>> from spotlight.report import write_mask_page
    >>> page = write_mask_page(evaluate_masks("vessels.csv", "model", "evaluation"), "Vessels")  # doctest: +SKIP
    """
    names = [name for name in SHOWN if result.scores[name].notna().any()]
    return write_page(
        result.folder / MASK_PAGE,
        "masks.html.j2",
        title=title,
        heads=[(describe(name).title, describe(name).help) for name in names],
        means=[_row(row, names, ("method", "structure"), row["rows"]) for row in result.means.to_dict("records")],
        rows=[_row(row, names, ("method", "structure", "stack")) for row in result.scores.to_dict("records")],
        seen=sorted(set(result.scores[result.scores["seen_in_training"]]["stack"])),
        pictures=[_picture(key, *arrays) for key, arrays in result.pictures.items()],
        colors=COLORS,
        files=(SCORES, MEANS, RECORD),
    )


def mask_text(result: MaskEvaluation) -> str:
    """Return the table of means as plain text, for a terminal."""
    names = [name for name in SHOWN if result.means[name].notna().any()]
    lines = [["method", "structure", *(describe(name).title for name in names), "stacks"]]
    for row in result.means.to_dict("records"):
        made = _row(row, names, ("method", "structure"), row["rows"])
        lines.append([*made["who"], *made["cells"], str(row["rows"])])
    return "\n".join(aligned(lines))


def _row(row: dict[Any, Any], names: list[str], who: tuple[str, ...], stacks: int = 0) -> dict[str, Any]:
    def cell(name: str) -> str:
        if pd.isna(row[name]):
            return "–"
        few = f" ({row[f'{name}_n']} of {stacks})" if stacks and row[f"{name}_n"] < stacks else ""
        return f"{describe(name).show(row[name])}{few}"

    return {"who": [row[name] for name in who], "cells": [cell(name) for name in names], "stacks": stacks}


def _picture(
    key: tuple[str, str, str], image: NDArray[np.float32], truth: NDArray[np.bool_], found: NDArray[np.bool_]
) -> dict[str, Any]:
    low, high = display_range(image)
    layers = [
        outline_slice(mask, COLORS[name])
        for name, mask in {"found": truth & found, "missed": truth & ~found, "extra": found & ~truth}.items()
        if mask.any()
    ]
    method, structure, stack = key
    return {"name": f"{stack}, {structure}, {method}", "image": gray_slice(image, low, high), "layers": layers}
