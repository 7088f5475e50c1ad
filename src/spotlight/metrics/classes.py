"""Agreement of classes: the table of confusions, and what follows from it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spotlight.errors import SpotlightError


def confusion_matrix(truth: Sequence[str], found: Sequence[str], names: Sequence[str]) -> NDArray[np.int64]:
    """Count how often each true class was found to be each class.

    Parameters
    ----------
    truth, found : sequence of str
        True and found classes of the same stacks.
    names : sequence of str
        All classes, in the order of rows (true) and columns (found).

    Returns
    -------
    (classes, classes) int64 ndarray
        Numbers of stacks, true classes in rows.

    Raises
    ------
    SpotlightError
        If the lengths differ, or a class is not among the names.

    Examples
    --------
    >>> from spotlight.metrics import confusion_matrix
    >>> confusion_matrix(["a", "a", "b"], ["a", "b", "b"], ["a", "b"])
    array([[1, 1],
           [0, 1]])
    """
    if len(truth) != len(found) or not set(truth) | set(found) <= set(names):
        raise SpotlightError(
            f"truth and found must be classes of as many stacks, of {', '.join(names)}. Received: {len(truth)} and "
            f"{len(found)}, of {', '.join(sorted(set(truth) | set(found)))}."
        )
    place = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, ([place[name] for name in truth], [place[name] for name in found]), 1)
    return counts


def balanced_accuracy(confusion: NDArray[np.int64]) -> float:
    """Mean over the classes of the share of their stacks that was found right; each class counts the same.

    Parameters
    ----------
    confusion : (classes, classes) ndarray
        From `confusion_matrix`. Classes without a stack are left out; NaN if there is none.

    Returns
    -------
    float
        0 to 1, or NaN.

    References
    ----------
    K. H. Brodersen et al., Proc. ICPR, 3121 (2010).

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import balanced_accuracy
    >>> balanced_accuracy(np.array([[90, 10], [1, 1]]))
    0.7
    """
    of_class = confusion.sum(1)
    there = of_class > 0
    return float(np.mean(confusion.diagonal()[there] / of_class[there])) if there.any() else float("nan")


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Mean over the classes of F1 = 2 right / (true + found).

    Parameters
    ----------
    confusion : (classes, classes) ndarray
        From `confusion_matrix`. Classes that neither are nor were found are left out; NaN if there is none.

    Returns
    -------
    float
        0 to 1, or NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import macro_f1
    >>> round(macro_f1(np.array([[1, 1], [0, 1]])), 3)  # both classes: 2 / 3
    0.667
    """
    sums = confusion.sum(0) + confusion.sum(1)
    there = sums > 0
    return float(np.mean(2 * confusion.diagonal()[there] / sums[there])) if there.any() else float("nan")
