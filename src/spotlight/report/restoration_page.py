"""`write_restoration_page`: one self-contained HTML page of an evaluation of restored images."""

from pathlib import Path
from typing import Any

import pandas as pd

from spotlight.evaluation.restoration import MEANS, RECORD, SCORES, SHOWN, RestorationEvaluation
from spotlight.images.pictures import gray_slice
from spotlight.report.pictures import display_range
from spotlight.report.writing import aligned, write_page

RESTORATION_PAGE = "restoration.html"


def write_restoration_page(result: RestorationEvaluation, title: str = "Evaluation of restored images") -> Path:
    """Write ``restoration.html`` beside the tables: means, scores of every stack, and middle planes side by side.

    Parameters
    ----------
    result : RestorationEvaluation
        From `spotlight.evaluation.evaluate_restoration`.
    title : str
        Heading of the page.

    Returns
    -------
    Path
        The page, one file that needs no other.

    Examples
    --------
    >>> from spotlight.evaluation import evaluate_restoration
    >>> from spotlight.report import write_restoration_page
    >>> page = write_restoration_page(evaluate_restoration("noisy.csv", "model", "evaluation"))  # doctest: +SKIP
    """
    names = [name for name in SHOWN if result.scores[name].notna().any()]
    ranges = {stack: display_range(plane) for (stack, name), plane in result.pictures.items() if name == "target"}
    return write_page(
        result.folder / RESTORATION_PAGE,
        "restoration.html.j2",
        title=title,
        degraded=result.degraded.in_words() if result.degraded else "",
        heads=[SHOWN[name] for name in names],
        means=[[row["method"], row["setting"], *_cells(row, names)] for row in result.means.to_dict("records")],
        rows=[[row["method"], row["stack"], *_cells(row, names)] for row in result.scores.to_dict("records")],
        pictures=[
            {"name": f"{stack}, {name}", "image": gray_slice(plane, *ranges[stack])}
            for (stack, name), plane in result.pictures.items()
        ],
        files=(SCORES, MEANS, RECORD),
    )


def restoration_text(result: RestorationEvaluation) -> str:
    """Return the table of means as plain text, for a terminal."""
    names = [name for name in SHOWN if result.means[name].notna().any()]
    lines = [["method", *(SHOWN[name][0] for name in names), "setting"]]
    lines += [[row["method"], *_cells(row, names), row["setting"]] for row in result.means.to_dict("records")]
    return "\n".join(aligned(lines))


def _cells(row: dict[Any, Any], names: list[str]) -> list[str]:
    def form(name: str) -> str:
        if pd.isna(row[name]):
            return "–"
        return f"{row[name]:+.2f}" if name.startswith("gain") else f"{row[name]:.{3 if name == 'ssim' else 2}f}"

    return [form(name) for name in names]
