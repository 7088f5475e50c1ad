"""`write_class_page`: one self-contained HTML page of an evaluation of classes."""

from pathlib import Path
from typing import Any

import pandas as pd

from spotlight.evaluation.classes import FEWEST_SPECIMENS, RECORD, SCORES, STACKS, ClassEvaluation
from spotlight.prediction.classes import PROBABILITY
from spotlight.report.writing import aligned, write_page

CLASS_PAGE = "classes.html"
MOST_WRONG = 40
"""Stacks found wrong that the page names, those of which the model was surest first."""


def write_class_page(result: ClassEvaluation, title: str = "Evaluation of classes") -> Path:
    """Write ``classes.html`` beside the tables: scores, confusions, and the stacks that were found wrong.

    Parameters
    ----------
    result : ClassEvaluation
        From `spotlight.evaluation.evaluate_classes`.
    title : str
        Heading of the page.

    Returns
    -------
    Path
        The page, one file that needs no other.

    Examples
    --------
    >>> from spotlight.evaluation import evaluate_classes
    >>> from spotlight.report import write_class_page
    >>> result = evaluate_classes("phases.csv", "model", "evaluation")  # doctest: +SKIP
    >>> page = write_class_page(result, "Phases of the cell cycle")  # doctest: +SKIP
    """
    wrong = result.stacks[result.stacks["class"] != result.stacks["found"]].copy()
    wrong["sure"] = [row[f"{PROBABILITY}{row['found']}"] for row in wrong.to_dict("records")]
    wrong = wrong.sort_values("sure", ascending=False)
    return write_page(
        result.folder / CLASS_PAGE,
        "classes.html.j2",
        title=title,
        names=result.names,
        chance=f"{1 / len(result.names):.3f}",
        fewest=FEWEST_SPECIMENS,
        scores=[_row(row) for row in result.scores.to_dict("records")],
        confusion={
            method: [[name, *counts] for name, counts in zip(result.names, table.tolist(), strict=True)]
            for method, table in result.confusion.items()
        },
        wrong=wrong.head(MOST_WRONG).to_dict("records"),
        count=len(wrong),
        files=(SCORES, STACKS, RECORD),
    )


def class_text(result: ClassEvaluation) -> str:
    """Return scores as plain text, for a terminal."""
    heads = ["method", "balanced accuracy", "macro F1", "stacks", "specimens"]
    return "\n".join(aligned([heads, *(_row(row) for row in result.scores.to_dict("records"))]))


def _row(row: dict[Any, Any]) -> list[str]:
    def form(name: str) -> str:
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        interval = "" if pd.isna(low) else f" ({low:.3f} to {high:.3f})"
        return f"{row[name]:.3f}{interval}"

    return [
        str(row["method"]),
        form("balanced_accuracy"),
        form("macro_f1"),
        str(row["stacks"]),
        str(row["specimens"]),
    ]
