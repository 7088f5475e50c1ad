"""The registry of all metrics, and what the columns of a score table are by their names."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import Any

from spotlight.errors import SpotlightError
from spotlight.metrics import instances, masks, microssim, pixels, profiles, resolution, topology
from spotlight.metrics.cards import EVERYTHING, FOREGROUND, GROUPS, INSTANCES, MASKS, Card, Direction, card_of
from spotlight.registry import Names

PLACES = {"_foreground": "foreground", "_nuclei": "true nuclei"}
"""Suffixes of the columns of scores on a part of the stack, and what that part is."""


class Metrics(Names[Card]):
    """Cards by the name of the metric, which is the name of its column."""

    def __init__(self) -> None:
        super().__init__("metric", "spotlight.metrics")
        self._given: set[str] = set()

    def give(self, function: Callable[..., Any]) -> str:
        """Add a function under its own name, which is returned; it replaces one that was given before.

        Raises
        ------
        SpotlightError
            If the name belongs to a metric of Spotlight or of a package.
        """
        card, name = card_of(function), function.__name__
        if name in self._given:
            del self._known[name]
        elif name in self.names():
            self.add(name, card)  # says that the name is taken
        self._given.add(name)
        self.add(name, card)
        return name

    @property
    def computed(self) -> dict[str, Card]:
        """Those with a function of their own that packages bring.

        Functions that were given in Python count only where they are given again.
        """
        cards = {name: self.find(name) for name in self.names() if name not in self._given}
        return {name: card for name, card in cards.items() if card.function is not None}

    def _load(self, point: EntryPoint) -> Card:
        return card_of(super()._load(point))


METRICS = Metrics()
"""All metrics on the whole stack and of the first segmentation; `describe` knows their relatives."""

for cards in (
    *(instances.CARDS, profiles.CARDS, pixels.CARDS, microssim.CARDS, resolution.CARDS),
    *(masks.CARDS, topology.CARDS),
):
    for own, known in cards.items():
        METRICS.add(own, known)


def describe(column: str) -> Card:
    """Return the card of a column of the score table; an unknown column appears under its own name.

    Parameters
    ----------
    column : str
        Name of a metric, or of one on the foreground (``psnr_foreground``) or of another segmentation.

    Returns
    -------
    Card
        Its title, unit, best value and format.

    Examples
    --------
    >>> from spotlight.metrics import describe
    >>> describe("mean_ap").best, describe("my_own_score").title
    ('high', 'my_own_score')
    """
    name, suffix = _split(column)
    if not name:
        return Card(column, form="{:.4g}")
    card = METRICS.find(name)
    if not suffix:
        return replace(card, where="whole") if card.group == EVERYTHING else card
    if suffix not in PLACES:  # another segmentation, or one of several structures
        return replace(card, where=suffix[1:].capitalize())
    empty = "" if suffix != "_foreground" else "the foreground is empty"
    return replace(
        card,
        group=FOREGROUND if card.group == EVERYTHING else card.group,
        where=PLACES[suffix],
        undefined=", or ".join(text for text in (card.undefined, empty) if text),
    )


def in_order(columns: Iterable[str]) -> list[str]:
    """Sort columns by their group, then as `METRICS` has them; unknown ones come last, as they stand."""
    names = METRICS.names()

    def place(column: str) -> tuple[int, int, int]:
        name, suffix = _split(column)
        if not name:
            return len(GROUPS), 0, 0
        group = describe(column).group
        suffixes = ["", *PLACES]
        number = suffixes.index(suffix) if suffix in suffixes else len(suffixes)
        return GROUPS.index(group) if group in GROUPS else len(GROUPS) - 1, number, names.index(name)

    return sorted(columns, key=place)


def claims() -> dict[str, Direction]:
    """Scores that methods are compared by unless others are named, and which value is best: those of the cards."""
    chosen = []
    for name in METRICS.names():
        card = METRICS.find(name)
        if card.claim:
            chosen += [name, f"{name}_foreground"] if card.group == EVERYTHING else [name]
    return {name: best_of(name) for name in in_order(chosen)}


def best_of(column: str) -> Direction:
    """Return which value of a column is best.

    Raises
    ------
    SpotlightError
        If there is no such metric, or no value of it is better than another.
    """
    name, _ = _split(column)
    best = describe(column).best
    if not name or not best:
        why = f"no value of {column!r} is better than another" if name else f"there is no metric {column!r}"
        raise SpotlightError(f"{why}. State which value is best: {column}: high, low or zero.")
    return best


def _split(column: str) -> tuple[str, str]:
    """Name of the metric of a column, and what follows it; two empty texts if there is none."""
    names = METRICS.names()
    if column in names:
        return column, ""
    for suffix in PLACES:
        if column.endswith(suffix) and column.removesuffix(suffix) in names:
            return column.removesuffix(suffix), suffix
    for name in names:
        if column.startswith(f"{name}_") and METRICS.find(name).group in (INSTANCES, MASKS):
            return name, column.removeprefix(name)
    return "", ""
