"""Cards of metrics: what each is called, in which unit it is, which value is best, and where it has none.

Every table, chart and comparison is made from them. A metric of another package is a function with a card:

.. code-block:: python

    @metric("median error", best="low", unit="counts", help="median absolute difference from the target")
    def median_error(stain, target, mask=None):
        error = abs(stain - target)
        return numpy.median(error if mask is None else error[mask])
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from spotlight.errors import SpotlightError
from spotlight.fingerprint import fingerprint

Direction = Literal["high", "low", "zero"]
"""Which value of a metric is best; for "zero" its absolute value is compared."""

GROUPS = (
    "Instances",
    "Size and shape of nuclei",
    "Pixels on the foreground",
    "Pixels on everything",
    "Resolution",
    "Masks",
    "Other",
)
"""Headings of the score table, in this order."""
INSTANCES, SHAPE, FOREGROUND, EVERYTHING, RESOLUTION, MASKS, OTHER = GROUPS

ARGUMENTS = ("stain", "target", "mask", "labels", "truth", "spacing", "data_range")
"""What the function of a metric may ask for, by the names of its parameters."""

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Card:
    """What is known of a metric.

    Attributes
    ----------
    title : str
        Its name under its heading.
    help : str
        What it is, in a few words.
    best : str
        ``high``, ``low`` or ``zero``; empty where no value is better than another.
    group : str
        Its heading: one of `GROUPS`, or a new one. A metric of `EVERYTHING` is also computed on the foreground.
    unit : str
        Such as ``dB``; ``%`` for shares and relative errors; empty if it has none.
    undefined : str
        Where it has no value (NaN); empty if it always has one.
    form : str
        Format of its values.
    claim : bool
        Whether `spotlight.compare` compares methods by it unless the claims are named.
    key : bool
        Whether it stands at the head of the page.
    caution : str
        What a reader must know before comparing values.
    where : str
        What tells it from another metric of the same title, such as ``foreground``.
    function : callable or None
        What computes it; None for metrics that are computed together with others.

    Examples
    --------
    >>> from spotlight.metrics import METRICS
    >>> card = METRICS.find("psnr")
    >>> card.title_with_unit, card.best, card.show(31.418)
    ('PSNR (dB)', 'high', '31.42')
    """

    title: str
    help: str = ""
    best: Literal[Direction, ""] = ""
    group: str = OTHER
    unit: str = ""
    undefined: str = ""
    form: str = "{:.3f}"
    claim: bool = False
    key: bool = False
    caution: str = ""
    where: str = ""
    function: Callable[..., Any] | None = None

    @property
    def full_title(self) -> str:
        """The name where no heading stands over it."""
        return f"{self.title}, {self.where}" if self.where else self.title

    @property
    def title_with_unit(self) -> str:
        """The name, with its unit unless every value shows that."""
        return f"{self.full_title} ({self.unit})" if self.unit and self.unit not in self.form else self.full_title

    @property
    def explanation(self) -> str:
        """What it is, with its unit unless every value shows that."""
        return ", ".join(text for text in (self.help, self.unit if self.unit not in self.form else "") if text)

    def show(self, value: float, signed: bool | None = None) -> str:
        """Write a value; `signed` says whether with its sign, by default as the format does."""
        form = self.form
        if signed is not None:
            form = form.replace("+", "").replace("{:", "{:+" if signed else "{:")
        return form.format(value)

    @property
    def arguments(self) -> dict[str, bool]:
        """Which of `ARGUMENTS` the function asks for, and whether it does without them."""
        if self.function is None:
            return {}
        asked = inspect.signature(self.function).parameters.values()
        return {p.name: p.default is not p.empty for p in asked if p.name in ARGUMENTS}

    @property
    def source(self) -> str:
        """Fingerprint of the function's source: stored scores of another source are computed again."""
        assert self.function is not None
        try:
            text = inspect.getsource(self.function)
        except (OSError, TypeError):  # typed at a prompt, or compiled
            text = f"{self.function.__module__}.{getattr(self.function, '__qualname__', '')}"
        return fingerprint(text)


def metric(
    title: str,
    *,
    help: str = "",
    best: Literal[Direction, ""] = "",
    group: str = OTHER,
    unit: str = "",
    undefined: str = "",
    form: str = "{:.3f}",
    claim: bool = False,
    caution: str = "",
) -> Callable[[Function], Function]:
    """Give a function its card; to be used as a decorator.

    The function returns one number and asks by the names of its parameters for what it needs:

    - ``stain``, ``target``: float or integer arrays, (Z, Y, X) or (Y, X), on one grid and one scale of intensity;
    - ``mask``: boolean array, the foreground of the target. With the default None the metric is computed twice, on
      everything (None) and, as ``NAME_foreground``, on the foreground;
    - ``labels``, ``truth``: instance labels found in the stain, and true ones, int32, 0 for background;
    - ``spacing``: voxel size in µm by axis, or None if it is unknown;
    - ``data_range``: the range of the training targets.

    Parameters
    ----------
    title, help, best, group, unit, undefined, form, claim, caution
        See `Card`.

    Returns
    -------
    callable
        The decorator: it gives the function back, with its card as the attribute ``card``.

    Raises
    ------
    SpotlightError
        If the function needs something else.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import metric
    >>> @metric("median error", best="low", unit="counts", help="median absolute difference from the target")
    ... def median_error(target, stain):
    ...     return float(np.median(np.abs(stain - target)))
    """

    def give(function: Function) -> Function:
        card = Card(title, help, best, group, unit, undefined, form, claim, False, caution, "", function)
        unknown = [
            p.name
            for p in inspect.signature(function).parameters.values()
            if p.name not in ARGUMENTS and p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        if unknown:
            raise SpotlightError(
                f"the metric {title!r} asks for {', '.join(unknown)}. A metric may ask for {', '.join(ARGUMENTS)}. "
                "Rename its parameters, or give the others defaults."
            )
        function.card = card  # type: ignore[attr-defined]
        return function

    return give


def card_of(function: Any) -> Card:
    """Return the card of a function; one without a card is called by its name.

    Raises
    ------
    SpotlightError
        If it is no function, or asks for what metrics are not given.
    """
    if not callable(function):
        raise SpotlightError(f"a metric must be a function that returns a number. Received: {function!r}.")
    if not hasattr(function, "card"):
        metric(function.__name__, form="{:.4g}")(function)
    card: Card = function.card
    return card
