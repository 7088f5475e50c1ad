"""Which method is better, and how sure that is: paired comparisons over stacks, in numbers and in words.

A stack is the unit: nuclei and voxels of one stack have its focus, its colony and its staining in common, and counting
them as independent makes any difference significant. Trainings differ, too: where a method was trained several times,
interval and test are those of `spotlight.evaluation.trainings`, which speak of further stacks and further trainings.
A difference is claimed only if the trainings alone show it as well, which takes four of each method, better five.

Where each method has one training, interval and test speak of further stacks for these very models. The interval is
then an expanded percentile bootstrap of the mean difference (Hesterberg 2015, American Statistician 69:371): plain
percentile and BCa intervals of few values are too narrow, since the values spread less around their own mean than
around the true one. Of 3000 simulated samples of 8 differences, a nominal 95 % held the true mean in 94 % (expanded),
89 % (percentile) and 88 % (BCa) for normal differences, and in 90, 84 and 85 % for exponential ones.

The test flips the signs of the differences, all combinations where there are few: exact, and about the same mean as the
interval, with ties and zeros that need no rule. Holm's correction covers all rows of a table.
"""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from spotlight.errors import SpotlightError
from spotlight.evaluation.methods import REPEAT, TARGET
from spotlight.evaluation.trainings import dealing_test, difference_interval, least_deal
from spotlight.metrics.cards import Direction

ENOUGH = 5
"""Trainings of each method from which a verdict speaks of the method and not of these trainings."""

RESAMPLES = 9999
"""Of bootstrap and test; up to 13 stacks the test takes all sign flips instead, of which there are fewer."""


def compare_methods(
    scores: pd.DataFrame,
    baseline: str,
    metrics: Mapping[str, Direction],
    methods: Sequence[str] | None = None,
    *,
    alpha: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare methods with a baseline, paired by stack.

    Parameters
    ----------
    scores : DataFrame
        A row per ``stack``, ``method`` and, where there are several trainings, ``seed``, and a column per metric.
    baseline : str
        The method to compare with.
    metrics : mapping of str to {"high", "low", "zero"}
        Columns to compare, and which value is best. Every one is a claim, for which all others pay in Holm's
        correction: name those that matter before looking.
    methods : sequence of str, optional
        The methods to compare; all others if left out.
    alpha : float
        Level of the test, and 1 - alpha that of the interval.
    seed : int
        Of bootstrap and test.

    Returns
    -------
    DataFrame
        A row per metric and method:

        - ``metric``, ``direction``, ``method``, ``baseline``;
        - ``stacks`` in which both have a finite value; in ``left_out`` the names of the others, and in ``no_value`` the
          rows whose value is NaN or infinite, which do not count;
        - ``method_mean``, ``baseline_mean``, ``mean_difference`` (method - baseline) and its interval ``low``,
          ``high``; where zero is best, of absolute values;
        - ``p`` and, corrected for all rows with a p, ``p_holm``; NaN like the interval for fewer stacks than
          `fewest_stacks`. ``p_trainings`` is that of `dealing_test`, NaN where a method has one training;
          ``p_holm`` is never below it;
        - ``cohens_d``: mean difference over the standard deviation of the differences; ``rank_biserial``: share of the
          ranks of absolute differences that are positive less the share that are negative (Kerby 2014, Comprehensive
          Psychology 3:1), 1 if all are. Both have the sign of method - baseline, whatever is best, and are NaN where
          the differences have no spread or are all 0;
        - ``wins`` and ``losses``: stacks in which the method is better and worse;
        - ``trainings`` and ``baseline_trainings``, 0 for real images (``target`` and ``repeat``), and
          ``training_wins``: in how many of the method's it is better on average over the stacks;
        - ``claims``: rows with a p; ``alpha``; and the row in a sentence, see `verdict`.

    Raises
    ------
    SpotlightError
        If a column or method is missing, a direction is unknown, or a stack has two rows of one method and seed.
    """
    _check(scores, metrics, alpha)
    known = list(dict.fromkeys(scores["method"]))
    methods = [name for name in known if name != baseline] if methods is None else list(methods)
    for name in (baseline, *methods):
        if name not in known:
            raise SpotlightError(f"there are no scores of method {name!r}. Known: {', '.join(map(repr, known))}.")
    if baseline in methods:
        raise SpotlightError(f"{baseline!r} cannot be compared with itself. Leave it out of the methods.")
    rows = []
    for metric, direction in metrics.items():
        reference = _values(scores, baseline, metric, direction)
        for method in methods:
            values = _values(scores, method, metric, direction)
            names = {"metric": metric, "direction": direction, "method": method, "baseline": baseline, "alpha": alpha}
            names["no_value"] = ", ".join(_without_value(values, method) + _without_value(reference, baseline))
            compared = _compare(values, reference, direction, alpha, seed)
            trainings = {"trainings": _count(values, method), "baseline_trainings": _count(reference, baseline)}
            rows.append(names | compared | trainings)
    p = holm(np.array([row["p"] for row in rows], float))
    claims = int(np.isfinite(p).sum())
    for row, corrected in zip(rows, p, strict=True):
        row |= {
            "p_holm": float(np.nanmax([corrected, row["p_trainings"]])) if np.isfinite(corrected) else np.nan,
            "claims": claims,
        }
        row["verdict"] = verdict(row)
    return pd.DataFrame(rows)


def _check(scores: pd.DataFrame, metrics: Mapping[str, Direction], alpha: float) -> None:
    missing = [name for name in ("stack", "method", *metrics) if name not in scores]
    if missing:
        raise SpotlightError(
            f"the scores have no column {', '.join(missing)}. Known: {', '.join(map(str, scores.columns))}."
        )
    for metric, direction in metrics.items():
        if direction not in get_args(Direction):
            raise SpotlightError(
                f"the best value of {metric} is one of {', '.join(get_args(Direction))}. Received: {direction!r}."
            )
        if not pd.api.types.is_numeric_dtype(scores[metric]):
            raise SpotlightError(f"the scores of {metric} must be numbers. Received: {scores[metric].dtype}.")
    if not 0 < alpha < 1:
        raise SpotlightError(f"the level of the test must be between 0 and 1. Received: {alpha}.")
    if scores[["stack", "method"]].isna().any(axis=None):
        raise SpotlightError("the scores have rows without a stack or method. Name them, or leave them out.")
    key = [name for name in ("stack", "method", "seed") if name in scores]
    twice = scores[scores.duplicated(key)]
    if not twice.empty:
        row = ", ".join(f"{name} {twice.iloc[0][name]}" for name in key)
        raise SpotlightError(
            f"the scores have more than one row of {row}. Several trainings of a method need a column seed."
        )


def _values(scores: pd.DataFrame, method: str, metric: str, direction: Direction) -> pd.DataFrame:
    """Stack, seed and value of one method; the value absolute where zero is best, and NaN where it is not finite."""
    rows = scores[scores["method"] == method]
    value = rows[metric].astype(float).abs() if direction == "zero" else rows[metric].astype(float)
    seed = rows.get("seed", 0)
    return pd.DataFrame({"stack": rows["stack"], "seed": seed, "value": value.where(np.isfinite(value))})


def _compare(
    method: pd.DataFrame, baseline: pd.DataFrame, direction: Direction, alpha: float, seed: int
) -> dict[str, Any]:
    means = pd.DataFrame({"method": method.groupby("stack")["value"].mean()}).join(
        baseline.groupby("stack")["value"].mean().rename("baseline"), how="outer"
    )
    paired = means.dropna()
    a, b = paired["method"].to_numpy(), paired["baseline"].to_numpy()
    # Means over seeds that are equal but for rounding are equal.
    differences = np.where(np.isclose(a, b, rtol=1e-12, atol=0), 0.0, a - b)
    sign = 1 if direction == "high" else -1
    joined = method.merge(paired["baseline"], left_on="stack", right_index=True)
    by_training = (joined["value"] - joined["baseline"]).groupby(joined["seed"], dropna=False).mean()
    spread = float(differences.std(ddof=1)) if len(paired) > 1 else 0.0
    enough = len(paired) >= fewest_stacks(alpha)
    low, high, p, p_trainings = np.nan, np.nan, np.nan, np.nan
    first, second = (_by_training(values, paired.index) for values in (method, baseline))
    if enough and max(len(first), len(second)) > 1 and np.any(differences):
        low, high, p = map(float, difference_interval(first, second, alpha))
    elif enough:
        low, high = bootstrap_interval(differences, alpha, seed)
        p = sign_flip_test(differences, seed)
    if enough and min(len(first), len(second)) > 1:
        p_trainings = float(dealing_test(first, second, seed))
    return {
        "stacks": len(paired),
        "left_out": ", ".join(map(str, means.index.difference(paired.index))),
        "method_mean": _mean(a),
        "baseline_mean": _mean(b),
        "mean_difference": _mean(differences),
        "low": low,
        "high": high,
        "p": p,
        "p_trainings": p_trainings,
        "cohens_d": _mean(differences) / spread if spread > 0 else np.nan,
        "rank_biserial": rank_biserial(differences),
        "wins": int((sign * differences > 0).sum()),
        "losses": int((sign * differences < 0).sum()),
        "training_wins": int((sign * by_training > 0).sum()),
    }


def _count(values: pd.DataFrame, name: str) -> int:
    """Trainings behind these values; nothing was trained for real images."""
    return 0 if name in (TARGET, REPEAT) else int(values["seed"].nunique(dropna=False))


def _by_training(values: pd.DataFrame, stacks: "pd.Index[Any]") -> NDArray[np.float64]:
    """(trainings, stacks) array of the values in these stacks; a training without any is left out."""
    table = values.fillna({"seed": -1}).pivot(index="seed", columns="stack", values="value").reindex(columns=stacks)
    return table.dropna(how="all").to_numpy(float)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _without_value(values: pd.DataFrame, method: str) -> list[str]:
    """Rows that have no finite value, for people."""
    several = values["seed"].nunique(dropna=False) > 1
    empty = values[values["value"].isna()]
    return [
        f"{stack} ({method}, seed {seed})" if several else f"{stack} ({method})"
        for stack, seed in zip(empty["stack"], empty["seed"], strict=True)
    ]


def fewest_stacks(alpha: float = 0.05) -> int:
    """Return the number of stacks from which a sign test can come below `alpha` at all: 2 / 2^n; 6 for 0.05."""
    return max(2, int(np.ceil(np.log2(2 / alpha))))


def bootstrap_interval(differences: NDArray[np.float64], alpha: float = 0.05, seed: int = 0) -> tuple[float, float]:
    """Interval of the mean of paired differences: the expanded percentile bootstrap.

    Parameters
    ----------
    differences : (n,) ndarray
        At least two.
    alpha : float
        One less the level.
    seed : int
        Of the resampling.
    """
    count = len(differences)
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    tail = stats.norm.cdf(-np.sqrt(count / (count - 1)) * stats.t.ppf(1 - alpha / 2, count - 1))
    found = stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=1 - 2 * float(tail),
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def sign_flip_test(differences: NDArray[np.float64], seed: int = 0) -> float:
    """Two-sided p of the mean of paired differences, if each could as well have the other sign.

    Parameters
    ----------
    differences : (n,) ndarray
        At least two.
    seed : int
        Of the flips, where there are more than are tried.
    """
    if not np.any(differences):
        return 1.0
    found = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=RESAMPLES,
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return float(min(1.0, found.pvalue))


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's correction of p values for their number; NaN is no claim and stays (Holm 1979, Scand. J. Stat. 6:65)."""
    corrected = np.full(len(p), np.nan)
    order = np.flatnonzero(np.isfinite(p))[np.argsort(p[np.isfinite(p)], kind="stable")]
    stepped = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(stepped)) if len(order) else stepped
    return corrected


def rank_biserial(differences: NDArray[np.float64]) -> float:
    """Matched-pairs rank-biserial correlation; NaN where all differences are 0."""
    moved = differences[differences != 0]
    if not len(moved):
        return float("nan")
    ranks = stats.rankdata(np.abs(moved))
    return float((ranks * np.sign(moved)).sum() / ranks.sum())


def verdict(row: Mapping[str, Any]) -> str:
    """Say a row of `compare_methods` in a sentence or two.

    A difference is claimed only if ``p_holm`` is at most ``alpha``.

    Parameters
    ----------
    row : mapping
        A row as a dict or a Series. To call things by other names, replace ``metric``, ``method`` and ``baseline``.
    """
    method, baseline, metric, stacks = row["method"], row["baseline"], row["metric"], int(row["stacks"])
    notes = "".join(
        f" {text}: {names}." for text, names in (("Left out", row["left_out"]), ("No value", row["no_value"])) if names
    )
    if stacks == 0:
        return f"{method} and {baseline} have no stack in common with a value of {metric}.{notes}"
    if not row["wins"] and not row["losses"]:
        return f"{metric} of {method} and {baseline} is the same in all {stacks} stacks.{notes}"
    difference, level = float(row["mean_difference"]), 1 - float(row["alpha"])
    counts = f"better in {int(row['wins'])} of {stacks} stacks"
    if int(row["trainings"]) > 1:
        counts += f" and in {int(row['training_wins'])} of {int(row['trainings'])} trainings"
    if not np.isfinite(row["p"]):
        return (
            f"Too few stacks ({stacks}) for a test of {metric}: {method} - {baseline} is {difference:+.2g} on average, "
            f"{counts}.{notes}"
        )
    if row["p_holm"] > row["alpha"]:
        few = _too_few(row)
        return (
            f"No difference of {metric} could be shown between {method} and {baseline}: {difference:+.2g} on average "
            f"({level:.0%} interval {row['low']:.2g} to {row['high']:.2g}), {counts}, p = {row['p']:.2g}, with Holm's "
            f"correction {row['p_holm']:.2g}." + (f" {few} cannot show one." if few else "") + notes
        )
    lower, higher = (row["low"], row["high"]) if difference > 0 else (-row["high"], -row["low"])
    way = ("farther from zero", "nearer to zero") if row["direction"] == "zero" else ("higher", "lower")
    better = (difference > 0) == (row["direction"] == "high")
    return (
        f"{metric} of {method} is {'better' if better else 'worse'} than that of {baseline}: {way[difference < 0]} by "
        f"{abs(difference):.2g} ({level:.0%} interval {lower:.2g} to {higher:.2g}), {counts}, p = {row['p_holm']:.2g} "
        f"with Holm's correction.{_trained(row)}{notes}"
    )


def _too_few(row: Mapping[str, Any]) -> str:
    """What there is too little of for any difference to be shown; empty if there is enough."""
    stacks, trainings = int(row["stacks"]), [int(row["trainings"]), int(row["baseline_trainings"])]
    if min(trainings) > 1:
        return _these(trainings).capitalize() if least_deal(*trainings) > row["alpha"] else ""
    beyond = max(trainings) == 1 and 2 / 2**stacks * row["claims"] > row["alpha"]
    return f"{stacks} stacks among {row['claims']} claims" if beyond else ""


def _trained(row: Mapping[str, Any]) -> str:
    """How many trainings a claim rests on, where they are few."""
    trainings = [count for name in ("trainings", "baseline_trainings") if (count := int(row[name]))]
    return "" if min(trainings, default=ENOUGH) >= ENOUGH else f" Shown for {_these(trainings)}: others may differ."


def _these(trainings: Sequence[int]) -> str:
    if trainings == [1]:
        return "this training"
    if trainings == [1, 1]:
        return "these two trainings"
    each = " of each" if len(trainings) > 1 else ""
    same = f"these {trainings[0]} trainings{each}"
    return same if len(set(trainings)) == 1 else "these {} and {} trainings".format(*trainings)
