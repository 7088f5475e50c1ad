"""Means that say of how many values they are: a value that is missing never makes the number smaller unseen."""

from collections.abc import Sequence

import pandas as pd

COUNT = "_n"
"""What is added to the name of a column for the number of values that its mean is of."""


def part_of(values: "pd.Series[float]") -> str:
    """``2 of 3`` where some values are missing; empty where all are there, or none is."""
    there = int(values.notna().sum())
    return f"{there} of {len(values)}" if 0 < there < len(values) else ""


def with_part(text: str, values: "pd.Series[float]") -> str:
    """Write how many values a number is of after it, if some are missing."""
    part = part_of(values)
    return f"{text} ({part})" if part else text


def counted_means(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean of every other column by groups, and beside it, as ``NAME_n``, the number of values that it is of.

    Parameters
    ----------
    rows : DataFrame
        Columns of numbers besides those of `by`.
    by : sequence of str
        What tells groups apart; their order is kept.

    Returns
    -------
    DataFrame
        A row per group; ``rows`` is the number of its rows.
    """
    groups = rows.groupby(list(by), sort=False, dropna=False)
    names = [name for name in rows.columns if name not in by]
    means, numbers = groups[names].mean(), groups[names].count()
    columns = {
        column: part for name in names for column, part in ((name, means[name]), (f"{name}{COUNT}", numbers[name]))
    }
    return pd.DataFrame({"rows": groups.size(), **columns}).reset_index()
