"""Metrics that other packages and users bring: which are computed, and their values for one stain."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from spotlight.errors import SpotlightError
from spotlight.evaluation.settings import EvaluationSettings
from spotlight.metrics.cards import Card
from spotlight.metrics.registry import METRICS

Cards = Mapping[str, Card]


def find_metrics(settings: EvaluationSettings, functions: Iterable[Callable[..., Any]]) -> dict[str, Card]:
    """Choose the metrics that are computed besides Spotlight's own.

    Parameters
    ----------
    settings : EvaluationSettings
        Names of metrics of installed packages; all of them where it names none.
    functions : iterable of callable
        Further metrics that were given in Python.

    Raises
    ------
    SpotlightError
        If a metric is unknown, is always computed, cannot be loaded, or has a name that is taken.
    """
    given = [METRICS.give(function) for function in functions]
    if settings.metrics is None:
        return METRICS.computed | {name: METRICS.find(name) for name in given}
    cards = {name: METRICS.find(name) for name in (*settings.metrics, *given)}
    for name, card in cards.items():
        if card.function is None:
            raise SpotlightError(f"metrics in the settings are those of other packages; {name!r} is always computed.")
    return cards


def sources(metrics: Cards) -> dict[str, str]:
    """Fingerprint of the source of every metric, by name."""
    return {name: card.source for name, card in metrics.items()}


def score_further(metrics: Cards, given: Mapping[str, Any], stain: str) -> dict[str, float]:
    """Compute metrics for one stain.

    Parameters
    ----------
    metrics : mapping of str to Card
        With functions.
    given : mapping
        Values by the names of `spotlight.metrics.cards.ARGUMENTS`. A metric that needs what is missing is left out: the
        target itself has no scores that compare it with the target.
    stain : str
        What to call the stain in an error.

    Returns
    -------
    dict of str to float
        By column; a metric with an optional mask has two, NAME and NAME_foreground.

    Raises
    ------
    SpotlightError
        If a metric fails, or gives something else than a number.
    """
    scores = {}
    for name, card in metrics.items():
        if any(part not in given and not optional for part, optional in card.arguments.items()):
            continue
        asked = {part: given[part] for part in card.arguments if part in given}
        columns = {name: asked}
        if card.arguments.get("mask"):
            columns = {name: asked | {"mask": None}, f"{name}_foreground": asked}
        for column, values in columns.items():
            scores[column] = _number(name, card, values, stain)
    return scores


def _number(name: str, card: Card, values: Mapping[str, Any], stain: str) -> float:
    assert card.function is not None
    try:
        return float(card.function(**values))
    except Exception as error:  # whatever the function of another package does
        raise SpotlightError(
            f"{stain}: the metric {name!r} failed ({type(error).__name__}: {error}). Correct it, or leave it out: name "
            "the metrics to compute as metrics in the evaluation settings."
        ) from error
