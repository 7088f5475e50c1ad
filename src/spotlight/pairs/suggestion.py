"""Patterns that would pair the files of a folder, for the message that asks for them."""

from collections.abc import Sequence
from difflib import SequenceMatcher

MOST_TRIED = 40
"""Files whose names are compared with that of the first."""


def patterns_for(names: Sequence[str]) -> tuple[str, str] | None:
    """Find two patterns with one ``*`` each that pair most of the names: ``*`` stands for what two names share.

    Parameters
    ----------
    names : sequence of str
        Paths of files from their folder.

    Returns
    -------
    (str, str) or None
        Patterns as ``spotlight init --input --target`` takes them; None if none pair half of the files.

    Examples
    --------
    >>> patterns_for(["w1/f1.tif", "w1/f2.tif", "w2/f1-x.tif", "w2/f2-x.tif"])
    ('w1*.tif', 'w2*-x.tif')
    """
    best: tuple[int, str, str] | None = None
    for number, first in enumerate(names[:2]):
        for second in names[number + 1 : number + 1 + MOST_TRIED]:
            shared = SequenceMatcher(None, first, second, autojunk=False)
            for block in sorted(shared.get_matching_blocks(), key=lambda found: -found.size):
                one, two = (_around(text, at, block.size) for text, at in ((first, block.a), (second, block.b)))
                if block.size == 0 or one == two:
                    continue
                paired = len(_fits(names, one) & _fits(names, two))
                if best is None or paired > best[0]:
                    best = (paired, "*".join(one), "*".join(two))
    return (best[1], best[2]) if best is not None and 4 * best[0] >= len(names) and best[0] else None


def _around(text: str, at: int, size: int) -> tuple[str, str]:
    return text[:at], text[at + size :]


def _fits(names: Sequence[str], ends: tuple[str, str]) -> set[str]:
    """What stands for the ``*`` in names that fit."""
    before, after = ends
    least = len(before) + len(after)
    fitting = [name for name in names if name.startswith(before) and name.endswith(after) and len(name) > least]
    return {name[len(before) : len(name) - len(after)] for name in fitting}
