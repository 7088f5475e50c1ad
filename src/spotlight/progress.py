"""What functions that take long tell of their progress."""

from typing import Protocol


class Progress(Protocol):
    """Called now and then by a function that takes long, from the thread that called it."""

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
