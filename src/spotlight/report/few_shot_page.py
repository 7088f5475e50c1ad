"""`write_few_shot_page`: whether a pretrained start helped, with the learning curve over labelled stacks."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from spotlight.evaluation.means import counted_means
from spotlight.images.pictures import data_uri
from spotlight.metrics import describe
from spotlight.report.curves import LINES, literal
from spotlight.report.figure import rendered
from spotlight.report.pictures import method_colors
from spotlight.report.writing import write_page

FEW_SHOT_PAGE = "few_shot.html"
PRIMARY = "mask_dice"


def write_few_shot_page(folder: str | Path, title: str = "Does pretraining help here?") -> Path:
    """Write ``few_shot.html`` from the tables of `spotlight.comparison.few_shot`.

    Parameters
    ----------
    folder : path
        With ``scores.csv`` and ``few_shot.csv``.
    title : str
        Heading of the page.

    Returns
    -------
    Path
        The page, one file that needs no other.

    Examples
    --------
    >>> import spotlight
    >>> from spotlight.report import write_few_shot_page
    >>> found = spotlight.few_shot("vessels.csv", "few-shot", {"pretrained": "backbone"})  # doctest: +SKIP
    >>> page = write_few_shot_page("few-shot")  # doctest: +SKIP
    """
    folder = Path(folder)
    scores = pd.read_csv(folder / "scores.csv", dtype={"stack": str, "method": str})
    table = pd.read_csv(folder / "few_shot.csv", dtype={"method": str, "baseline": str})
    means = counted_means(scores.drop(columns=["stack", "seed"]), ["shots", "method"])
    names = [name for name in scores.columns if name not in ("shots", "method", "seed", "stack")]
    names = [name for name in names if scores[name].notna().any()]
    chart = data_uri(rendered(_curve(scores), "svg"), "image/svg+xml")
    return write_page(
        folder / FEW_SHOT_PAGE,
        "few_shot.html.j2",
        title=title,
        rows=[
            {
                "who": (int(row["shots"]), row["method"], row["baseline"]),
                "difference": f"{row['mean_difference']:+.3f}",
                "interval": "–" if np.isnan(row["low"]) else f"{row['low']:+.3f} to {row['high']:+.3f}",
                "answer": row["answer"],
                "verdict": row["verdict"],
            }
            for row in table.to_dict("records")
        ],
        heads=[describe(name).title for name in names],
        means=[
            [int(row["shots"]), row["method"], *("–" if pd.isna(row[n]) else describe(n).show(row[n]) for n in names)]
            for row in means.to_dict("records")
        ],
        chart=chart,
        alt="; ".join(
            f"{row['shots']} labelled, {row['method']}: {row[PRIMARY]:.3f}" for row in means.to_dict("records")
        ),
        draws=int(scores["seed"].nunique()),
        stacks=int(scores["stack"].nunique()),
    )


def _curve(scores: pd.DataFrame) -> Figure:
    """Mean Dice over labelled stacks, with the single draws as dots."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    methods = list(dict.fromkeys(scores["method"]))
    for number, method in enumerate(methods):
        own = scores[scores["method"] == method]
        draws = own.groupby(["shots", "seed"])[PRIMARY].mean().reset_index()
        mean = draws.groupby("shots")[PRIMARY].mean()
        color = method_colors(methods)[method]
        axes.plot(draws["shots"], draws[PRIMARY], ".", color=color, alpha=0.4, markersize=4)
        line = LINES[number % len(LINES)]
        axes.plot(mean.index, mean, marker="o", markersize=4, color=color, linestyle=line, label=literal(method))
    axes.set_xticks(sorted(scores["shots"].unique()))
    axes.set_xlabel("labelled stacks")
    axes.set_ylabel(describe(PRIMARY).title)
    axes.legend(frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
