"""The scores and ranks of the SELMA3D challenges: structures of cleared tissue in light-sheet patches."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.metrics.masks import check_masks, mask_dice, panoptic_dice
from spotlight.metrics.topology import betti_errors, cl_dice

Edition = Literal["selma3d-2024", "selma3d-2026"]

SCORES: dict[str, Callable[[NDArray[np.bool_], NDArray[np.bool_]], float]] = {
    "dice": mask_dice,
    "cldice": lambda truth, mask: cl_dice(truth, mask, whole=False),
    "panoptic_quality": panoptic_dice,
    "betti_0_error": lambda truth, mask: float(betti_errors(truth, mask)[0]),
    "betti_1_error": lambda truth, mask: float(betti_errors(truth, mask)[1]),
}
LOW = ("betti_0_error", "betti_1_error")
"""Scores of which the lowest value is best; of the others it is the highest."""


@dataclass(frozen=True)
class Group:
    """Structures that are scored alike and ranked together.

    Attributes
    ----------
    structures : tuple of str
        What the names of their patches begin with.
    scores : tuple of str
        Those of `SCORES` that count.
    """

    structures: tuple[str, ...]
    scores: tuple[str, ...]


_ISOLATED, _CONTIGUOUS = ("dice", "panoptic_quality"), ("dice", "cldice")

SELMA3D: dict[Edition, dict[str, Group]] = {
    "selma3d-2024": {
        "cfos": Group(("cfos",), ("dice", "betti_0_error")),
        "microglia": Group(("microglia",), ("dice", "betti_0_error", "betti_1_error", "cldice")),
    },
    "selma3d-2026": {
        "isolated, dense": Group(("cfos_neuron", "cell_nuclei", "microglia"), _ISOLATED),
        "isolated, sparse": Group(("AD_plaques", "protein"), _ISOLATED),
        "contiguous, dense": Group(("blood_vessel", "lymphatic_vessel"), _CONTIGUOUS),
        "contiguous, sparse": Group(("peripheral_nerve", "axonalmarker", "gutnerve"), _CONTIGUOUS),
    },
}
"""Groups of structures by edition."""


def selma3d_group(name: str, edition: Edition = "selma3d-2026") -> str:
    """Return the group of a patch.

    Parameters
    ----------
    name : str
        Of its file, such as ``cell_nuclei_2301.mha``.
    edition : str
        ``selma3d-2024`` or ``selma3d-2026``.

    Returns
    -------
    str
        Such as ``isolated, dense``.

    Raises
    ------
    SpotlightError
        If there is no such edition, or the name begins with none of its structures.

    Examples
    --------
    >>> from spotlight.metrics import selma3d_group
    >>> selma3d_group("cell_nuclei_2301.mha")
    'isolated, dense'
    """
    if edition not in SELMA3D:
        raise SpotlightError(f"the editions of SELMA3D are {', '.join(SELMA3D)}. Received: {edition!r}.")
    for title, group in SELMA3D[edition].items():
        if name.startswith(group.structures):
            return title
    known = [structure for group in SELMA3D[edition].values() for structure in group.structures]
    raise SpotlightError(
        f"{name!r}: the name of a patch of {edition} begins with its structure, one of {', '.join(known)}. Rename it."
    )


def selma3d_scores(
    truth: NDArray[Any], mask: NDArray[Any], name: str, edition: Edition = "selma3d-2026"
) -> dict[str, float]:
    """Score a patch as the challenge does.

    Parameters
    ----------
    truth, mask : (Z, Y, X) ndarray
        The true mask and the found one; every value above 0 belongs to the structure, as in the challenge.
    name : str
        Name of the patch, which begins with its structure.
    edition : str
        ``selma3d-2024`` or ``selma3d-2026``.

    Returns
    -------
    dict of str to float
        Dice, and by structure clDice, the panoptic quality or errors of Betti numbers. The challenges' clDice of an
        empty mask is NaN (2026) or, without any overlap, 1 (2024); here it is 0, and 1 if both masks are empty.

    Raises
    ------
    SpotlightError
        As `selma3d_group`; or the shapes differ.

    Notes
    -----
    The organisers' code: YingChen7/SELMA3D_challenge-evaluation and YingChen7/SELMA3D2026_evaluation on GitHub.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import selma3d_scores
    >>> mask = np.zeros((8, 16, 16), bool)
    >>> mask[2:5, 4:9, 4:9] = True
    >>> selma3d_scores(mask, mask, "cfos_neuron_12")
    {'dice': 1.0, 'panoptic_quality': 1.0}
    >>> selma3d_scores(mask, np.zeros_like(mask), "cfos_12", "selma3d-2024")
    {'dice': 0.0, 'betti_0_error': 1.0}
    """
    group = SELMA3D[edition][selma3d_group(name, edition)]
    pair = check_masks(truth > 0, mask > 0)
    return {score: SCORES[score](*pair) for score in group.scores}


def selma3d_means(scores: pd.DataFrame, edition: Edition = "selma3d-2026") -> pd.DataFrame:
    """Average the scores of patches over each group.

    Parameters
    ----------
    scores : DataFrame
        One row per patch: ``name``, and the columns that `selma3d_scores` gives.
    edition : str
        ``selma3d-2024`` or ``selma3d-2026``.

    Returns
    -------
    DataFrame
        One row per group that has patches; NaN where a score is none of the group's. Patches without a value (NaN) are
        left out. In 2026 the rows ``isolated`` and ``contiguous`` follow: means over all patches of that type, which
        are the numbers on the leaderboard.

    Raises
    ------
    SpotlightError
        As `selma3d_group`.

    Examples
    --------
    >>> import pandas as pd
    >>> from spotlight.metrics import selma3d_means
    >>> scores = pd.DataFrame({"name": ["protein_1", "protein_2", "gutnerve_7"], "dice": [0.4, 0.6, 0.9]})
    >>> selma3d_means(scores)["dice"].to_dict()
    {'isolated, sparse': 0.5, 'contiguous, sparse': 0.9, 'isolated': 0.5, 'contiguous': 0.9}
    """
    groups = scores["name"].map(lambda name: selma3d_group(name, edition))
    values = scores.drop(columns="name")
    means = values.groupby(groups).mean().reindex([title for title in SELMA3D[edition] if (groups == title).any()])
    types = groups.str.partition(",")[0]
    if (types != groups).any():
        means = pd.concat([means, values.groupby(types).mean().sort_index(ascending=False)])
    return means.rename_axis("group")


def selma3d_ranks(methods: Mapping[str, pd.DataFrame], edition: Edition = "selma3d-2026") -> pd.DataFrame:
    """Rank methods as the challenge does.

    The means over a group's patches are ranked for each score, and the ranks averaged over the scores of a group, then
    over the groups of a type (isolated, contiguous), then over types. Equal means share the better rank; the challenge
    does not say what it does with them.

    Parameters
    ----------
    methods : mapping of str to DataFrame
        The scores of each method, as `selma3d_means` takes them.
    edition : str
        ``selma3d-2024`` or ``selma3d-2026``.

    Returns
    -------
    DataFrame
        One row per method, best first: its mean rank in each group, and ``rank``, the mean of all. A method that has no
        value where others do comes last there.

    Raises
    ------
    SpotlightError
        As `selma3d_group`; or no method is given.

    Examples
    --------
    >>> import pandas as pd
    >>> from spotlight.metrics import selma3d_ranks
    >>> ours = pd.DataFrame({"name": ["protein_1"], "dice": [0.9], "panoptic_quality": [0.7]})
    >>> theirs = pd.DataFrame({"name": ["protein_1"], "dice": [0.8], "panoptic_quality": [0.8]})
    >>> selma3d_ranks({"ours": ours, "theirs": theirs, "nobody": ours.assign(dice=0.0)})["rank"].to_dict()
    {'ours': 1.5, 'theirs': 1.5, 'nobody': 2.5}
    """
    if not methods:
        raise SpotlightError("ranks need the scores of at least one method. Received: none.")
    means = {name: selma3d_means(table, edition) for name, table in methods.items()}
    ranks = {}
    for title, group in SELMA3D[edition].items():
        there = [table for table in means.values() if title in table.index]
        if there:
            values = pd.DataFrame({name: table.reindex([title]).loc[title] for name, table in means.items()}).T
            of_scores = [
                values[score].rank(method="min", ascending=score in LOW, na_option="bottom") for score in group.scores
            ]
            ranks[title] = pd.concat(of_scores, axis=1).mean(axis=1)
    table = pd.DataFrame(ranks)
    table["rank"] = table.T.groupby(table.columns.str.partition(",").get_level_values(0)).mean().mean()
    return table.sort_values("rank").rename_axis("method")
