"""What functions that take long tell of their progress."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

__all__ = ["Progress"]

T = TypeVar("T")


class Progress(Protocol):
    """Called now and then by a function that takes long, from the thread that called it.

    Examples
    --------
    >>> import spotlight
    >>> def tell(work, done, total, figures):
    ...     print(f"{work}: {done} of {total}")
    >>> folder = spotlight.train("pairs.csv", "model", progress=tell)  # doctest: +SKIP
    """

    def __call__(self, work: str, done: int, total: int, figures: dict[str, float], /) -> None:
        """Take note of how far a piece of work is.

        Parameters
        ----------
        work : str
            What is being done.
        done, total : int
            Steps that are done, and all of them.
        figures : dict
            Current figures by their names, such as a loss; empty if there are none.
        """


def named(progress: Progress | None, name: str) -> Progress | None:
    """Put a name before every piece of work, such as that of a model of several."""
    if progress is None:
        return None
    return lambda work, done, total, figures: progress(f"{name}: {work}", done, total, figures)


def tracked(items: Iterable[T], work: str, total: int, progress: Progress | None) -> Iterator[T]:
    """Yield items, and tell of a piece of work before the first of them and after each.

    Parameters
    ----------
    items : iterable
        What is worked on, one after another.
    work : str
        What is being done.
    total : int
        Number of the items.
    progress : callable or None
        Whom to tell.
    """
    if progress is None or not total:
        yield from items
        return
    progress(work, 0, total, {})
    for done, item in enumerate(items, start=1):
        yield item
        progress(work, done, total, {})


def duration_in_words(seconds: float) -> str:
    """Write a length of time as a person says it.

    >>> duration_in_words(400)
    '7 min'
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
