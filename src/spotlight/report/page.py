"""`write_report`: one self-contained HTML page from an evaluation's folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import yaml

from spotlight.images.pictures import data_uri
from spotlight.progress import Progress, tracked
from spotlight.report.contents import Contents, first_of, read_contents
from spotlight.report.curves import draw_charts
from spotlight.report.figure import FIGURES, save_figures
from spotlight.report.pictures import method_colors
from spotlight.report.summary import headline, remarks_on
from spotlight.report.tables import (
    SIGNIFICANT,
    comparison_table,
    features_table,
    nuclei_table,
    score_table,
    stack_tables,
    verdicts,
)
from spotlight.report.volumes import pictured_stack
from spotlight.report.writing import write_page

PAGE = "report.html"
DIVERGING = "RdBu_r"
"""Colours of the error map, blue where the stain is darker than the target; they differ for colour-blind readers."""
ERROR_GAIN = 2
"""The error map's colours are full at this part of the display range, one half, for larger errors are rare."""


def write_report(
    folder: str | Path,
    title: str = "Virtual staining report",
    remarks: Sequence[str] = (),
    progress: Progress | None = None,
) -> Path:
    """Write ``report.html``, ``figure.png`` of the first stack, and ``figures/`` into an evaluation's folder.

    The page holds verdicts, pictures that can be cut in three directions, charts, tables and settings, and needs no
    other file and no network.

    Parameters
    ----------
    folder : path
        Written by `spotlight.evaluate`.
    title : str
        Heading of the page.
    remarks : sequence of str
        Paragraphs under the heading.
    progress : callable, optional
        Called with what is being done and how far it is.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    SpotlightError
        If the folder does not hold an evaluation.

    Examples
    --------
    >>> import spotlight
    >>> page = spotlight.write_report("evaluation", "Nuclei in phase contrast")  # doctest: +SKIP
    """
    contents = read_contents(folder)
    colors = method_colors(contents.methods)
    charts = draw_charts(contents)
    pictured = contents.pictured
    stacks = []
    for name in tracked((None, *pictured), "drawing the page", 1 + len(pictured), progress):
        if name is None:
            save_figures(contents, charts)
        else:
            stacks.append(pictured_stack(contents, name, colors, len(pictured)))
    drawn = [(c, data_uri((contents.folder / FIGURES / f"{c.name}.svg").read_bytes(), "image/svg+xml")) for c in charts]
    return write_page(
        contents.folder / PAGE,
        "page.html.j2",
        title=title,
        remarks=remarks,
        headline=headline(contents.scores),
        meaning=remarks_on(contents.scores),
        scores=score_table(contents.scores),
        verdicts=verdicts(contents.tables["comparison"]) if "comparison" in contents.tables else None,
        significant=SIGNIFICANT,
        stacks=stacks,
        charts=drawn,
        tables=_tables(contents, stacks),
        entries=contents.stacks,
        truth=sorted({entry["truth"] for entry in contents.stacks}),
        seen=[entry["name"] for entry in contents.stacks if entry["seen_in_training"]],
        settings=_settings(contents.record),
        colors=colors,
        diverging=_diverging(),
        gain=ERROR_GAIN,
    )


def _tables(contents: Contents, stacks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tables that can be sorted, with the files that hold them whole."""
    tables = []
    if "comparison" in contents.tables:
        tables.append(comparison_table(contents.tables["comparison"]) | {"file": "comparison.csv"})
    tables += [table | {"file": "scores.csv"} for table in stack_tables(contents.scores)]
    if "features" in contents.tables:
        tables.append(features_table(contents.tables["features"]) | {"file": "features.csv"})
    if "nuclei" in contents.tables and stacks:
        places = {(stack["name"], label): at for stack in stacks for label, at in stack["places"].items()}
        tables.append(nuclei_table(first_of(contents.tables["nuclei"]), places) | {"file": "nuclei.csv"})
    return [{"at": None} | table for table in tables if table["rows"]]


def _settings(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Everything in the record but the stacks, model by model, as YAML."""
    parts = {f"Model {name}": model for name, model in (record.get("models") or {}).items()}
    others = {key: value for key, value in record.items() if key not in ("models", "stacks")}
    titles = {"settings": "Evaluation"}
    parts = {titles.get(key, key.replace("_", " ").capitalize()): value for key, value in others.items()} | parts
    return [(title, yaml.safe_dump(part, sort_keys=False, allow_unicode=True)) for title, part in parts.items()]


def _diverging() -> dict[str, Any]:
    """The error map's colours as a table for an SVG filter, and as stops of a gradient for its legend."""
    colors = matplotlib.colormaps[DIVERGING]
    # The filter's input is one half plus half the error, in units of the display range.
    errors = ERROR_GAIN * (np.linspace(0, 1, 33) - 0.5)
    table = colors(np.clip(0.5 + errors, 0, 1))[:, :3].T
    stops = [matplotlib.colors.to_hex(colors(x)) for x in np.linspace(0, 1, 9)]
    values = {name: " ".join(f"{v:.3f}" for v in channel) for name, channel in zip("RGB", table, strict=True)}
    return {"table": values, "stops": stops}
