"""Tables of the page: scores by method and by stack, comparisons, nuclei, as plain values for the template."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from spotlight.evaluation.means import part_of, with_part
from spotlight.metrics.cards import GROUPS, Card
from spotlight.metrics.profiles import BIASES
from spotlight.metrics.registry import describe, in_order
from spotlight.report.columns import KEYS, feature_title
from spotlight.report.contents import REFERENCES

NOTHING = "\N{EN DASH}"
"""Stands where there is no value."""
MOST_ROWS = 400
"""Of longer tables the page shows the beginning and names the file: it is to stay light."""
SIGNIFICANT = 0.05
"""Differences whose p after Holm's correction is below are listed as real."""


def metric_columns(table: pd.DataFrame) -> list[str]:
    """Columns of numbers other than those that say whose they are, with at least one value, in the page's order."""
    numbers = table.select_dtypes("number").columns
    return in_order([c for c in numbers if c not in KEYS and table[c].notna().any()])


def score_table(scores: pd.DataFrame) -> dict[str, Any]:
    """Mean ± standard deviation over stacks and seeds: one row per metric with values, one column per method."""
    methods = list(dict.fromkeys(scores["method"]))
    seeds = scores["seed"].nunique() if "seed" in scores else 1
    of = "stacks and seeds" if seeds > 1 else "stacks"
    rows: list[dict[str, Any]] = []
    for name in metric_columns(scores):
        metric = describe(name)
        values = {method: scores.loc[scores["method"] == method, name].astype(float) for method in methods}
        # A mean over fewer stacks is of other, perhaps easier, ones.
        means = {m: float(values[m].mean()) for m in methods if m not in REFERENCES and values[m].notna().all()}
        best = _best(means, metric.best)
        cells = [_cell(metric, values[method], of) | {"best": method in best} for method in methods]
        rows.append({"name": name, "metric": metric, "cells": cells})
    groups = _groups(row["metric"] for row in rows)
    return {
        "methods": methods,
        "rows": rows,
        "groups": [(g, found) for g in groups if (found := [row for row in rows if row["metric"].group == g])],
        "key": [row for row in rows if row["metric"].key],
        "missing": any(cell["note"] for row in rows for cell in row["cells"]),
        "seeds": seeds,
        "over": _count(scores["stack"].nunique(), "stack") + (f" and {_count(seeds, 'seed')}" if seeds > 1 else ""),
    }


def _groups(cards: Iterable[Card]) -> list[str]:
    """Headings of cards: Spotlight's in their order, and before the last one those of other packages."""
    more = [group for group in dict.fromkeys(card.group for card in cards) if group not in GROUPS]
    return [*GROUPS[:-1], *more, GROUPS[-1]]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _best(means: dict[str, float], wanted: str) -> list[str]:
    if len(means) < 2 or not wanted:
        return []
    rank = {m: abs(value) if wanted == "zero" else value for m, value in means.items()}
    best = max(rank.values()) if wanted == "high" else min(rank.values())
    return [method for method, value in rank.items() if value == best]


def _cell(metric: Card, values: "pd.Series[float]", of: str) -> dict[str, str]:
    """A mean and its spread, and a remark on values that are missing."""
    there = values.dropna()
    if there.empty:
        return {"value": NOTHING, "spread": "", "part": "", "note": f"no value for any of {len(values)} {of}"}
    spread = float(there.std()) if len(there) > 1 and np.isfinite(there).all() else np.nan
    missing = len(values) - len(there)
    return {
        "value": _show(metric, float(there.mean())),
        "spread": "" if np.isnan(spread) else metric.show(spread, signed=False),
        "part": part_of(values),
        "note": f"no value for {missing} of {len(values)} {of}" if missing else "",
    }


def _show(metric: Card, value: float, signed: bool | None = None) -> str:
    if np.isnan(value):
        return NOTHING
    return metric.show(value, signed) if np.isfinite(value) else "∞" if value > 0 else "-∞"


def stack_tables(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Scores of every stack, method and seed: one table per group of metrics."""
    names = {name: describe(name) for name in metric_columns(scores)}
    keys = [key for key in KEYS if key in scores]
    tables = []
    for group in _groups(names.values()):
        columns = [name for name, metric in names.items() if metric.group == group]
        if columns:
            shown = scores[[*keys, *columns]].head(MOST_ROWS).to_dict("records")
            rows = [[*map(_plain, _pick(r, keys)), *(_show(names[c], r[c]) for c in columns)] for r in shown]
            heads = [*keys, *(names[c].title_with_unit for c in columns)]
            tables.append(
                {
                    "title": f"Every stack: {group.lower()}",
                    "heads": heads,
                    "rows": rows,
                    "of": len(scores),
                    "texts": len(keys),
                }
            )
    return tables


def _pick(row: dict[Any, Any], keys: Iterable[str]) -> list[Any]:
    return [row[key] for key in keys]


def _plain(value: Any) -> str:
    """A name as it is, a number without needless zeros."""
    if isinstance(value, str):
        return value
    return NOTHING if pd.isna(value) else f"{value:.3g}" if isinstance(value, float) else str(value)


def comparison_table(comparison: pd.DataFrame) -> dict[str, Any]:
    """Paired differences between methods, real ones first."""
    columns = {"metric": "metric", "method": "method", "baseline": "against", "n": "stacks"}
    columns |= {"mean_difference": "mean difference", "low": "from", "high": "to", "p": "p", "p_holm": "p (Holm)"}
    columns |= {"effect": "effect", "wins": "wins"}
    heads = {name: title for name, title in columns.items() if name in comparison}
    rows = []
    for row in _by_reality(comparison).to_dict("records"):
        metric = describe(row["metric"])
        units = {name: _show(metric, row[name], True) for name in ("mean_difference", "low", "high") if name in row}
        names = {"metric": metric.title_with_unit}
        rows.append([(names | units).get(name) or _plain(row[name]) for name in heads])
    return {"title": "Comparisons", "heads": list(heads.values()), "rows": rows, "of": len(rows), "texts": 3}


def verdicts(comparison: pd.DataFrame) -> dict[str, list[str]]:
    """Sentences of the comparison: those on real differences, and the others."""
    if "verdict" not in comparison:
        return {"real": [], "none": []}
    rows = _by_reality(comparison)
    real = _is_real(rows)
    return {"real": list(rows.loc[real, "verdict"]), "none": list(rows.loc[~real, "verdict"])}


def _is_real(comparison: pd.DataFrame) -> "pd.Series[bool]":
    if "p_holm" not in comparison:
        return pd.Series(False, comparison.index)
    return comparison["p_holm"] < SIGNIFICANT


def _by_reality(comparison: pd.DataFrame) -> pd.DataFrame:
    """Real differences first; within both, metrics in the page's order."""
    place = {name: number for number, name in enumerate(in_order(list(dict.fromkeys(comparison["metric"]))))}
    order = pd.DataFrame({"real": ~_is_real(comparison), "place": comparison["metric"].map(place)})
    return comparison.loc[order.sort_values(["real", "place"], kind="stable").index]


def features_table(features: pd.DataFrame) -> dict[str, Any]:
    """Error and correlation of every feature over the matched nuclei of all stacks, methods side by side."""
    forms = {"nuclei": "{:.0f}", "true_median": "{:.3g}", "median": "{:.3g}", "bias": "{:+.1%}"}
    forms |= {"relative_error": "{:.1%}", "scaled_error": "{:.3f}", "correlation": "{:.3f}"}
    forms = {name: form for name, form in forms.items() if name in features}
    seeds = features["seed"].nunique() if "seed" in features else 1
    groups = {(str(m), str(f)): rows for (m, f), rows in features.groupby(["method", "feature"], sort=False)}
    place = {name: number for number, name in enumerate(dict.fromkeys(features["feature"]))}
    rows = []
    for method, feature in sorted(groups, key=lambda key: place[key[1]]):
        values = groups[method, feature]
        numbers = [
            with_part(form.format(values[name].mean()), values[name]) if values[name].notna().any() else NOTHING
            for name, form in forms.items()
        ]
        rows.append([feature_title(feature), method, *numbers])
    return {
        "title": f"Every feature{', mean over seeds' if seeds > 1 else ''}",
        "heads": ["feature", "method", *(name.replace("_", " ") for name in forms)],
        "rows": rows[:MOST_ROWS],
        "of": len(rows),
        "texts": 2,
    }


def nuclei_table(nuclei: pd.DataFrame, places: dict[tuple[str, int], list[int]]) -> dict[str, Any]:
    """Matched nuclei of the pictured stacks: what they should measure, and the relative errors.

    Parameters
    ----------
    nuclei : DataFrame
        One row per matched nucleus.
    places : dict
        Where in its pictures a true nucleus lies, by stack and label; others are left out.
    """
    features = [name for name in BIASES if f"{name}_error" in nuclei]
    keys = ("stack", "method", "true_label", "label")
    heads = ["stack", "method", "true nucleus", "found nucleus"]
    heads += [title for name in features for title in (f"true {name}", f"{name} error")]
    rows, at = [], []
    for row in nuclei.to_dict("records"):
        place = places.get((row["stack"], int(row["true_label"])))
        if place is not None:
            cells = [f"{row['stack']}", row["method"], *(str(int(row[key])) for key in keys[2:])]
            for name in features:
                cells += [_plain(float(row[f"{name}_true"])), f"{row[f'{name}_error']:+.1%}"]
            rows.append(cells)
            at.append(place)
    return {
        "title": "Matched nuclei of the pictured stacks",
        "heads": heads,
        "rows": rows[:MOST_ROWS],
        "at": at[:MOST_ROWS],
        "of": len(rows),
        "texts": 2,
    }
