"""How well nuclei are followed through time: links from frame to frame, and divisions, against the truth."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from spotlight.metrics.instances import find_overlaps, match

Nucleus = tuple[int, int]
"""Frame and number of a nucleus."""
Links = set[tuple[Nucleus, Nucleus]]
"""From a nucleus to itself, or to its daughter, in the next frame that has it."""


def track_scores(
    found: Sequence[NDArray[np.integer]],
    found_parents: Mapping[int, int],
    true: Sequence[NDArray[np.integer]],
    true_parents: Mapping[int, int],
    least_iou: float = 0.5,
) -> dict[str, float]:
    """Compare tracks with the true ones.

    A nucleus is the true one with which it has an IoU of at least `least_iou`. A link is correct if both its ends are
    true nuclei between which there is a link in the truth. A division is correct if the links to both daughters are.

    Parameters
    ----------
    found, true : sequence of ndarray
        Labels of each frame, ZYX or YX; one number for one nucleus through time, 0 for background.
    found_parents, true_parents : mapping
        By the number of a nucleus, that of the one it is a daughter of; those without may be left out or have 0.
    least_iou : float
        See `spotlight.metrics.instances.match`.

    Returns
    -------
    dict of float
        ``link_precision`` (share of links that are correct), ``link_recall`` (share of the true links that are found),
        ``link_f1``; ``division_precision`` and ``division_recall``; NaN where there are none.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import track_scores
    >>> still = np.array([[0, 1, 1, 0, 2, 2]])
    >>> swapped = np.array([[0, 2, 2, 0, 1, 1]])
    >>> track_scores([still, swapped], {}, [still, still], {})["link_f1"]
    0.0
    """
    partner: dict[Nucleus, Nucleus] = {}
    for frame, (labels, truth) in enumerate(zip(found, true, strict=True)):
        overlaps = find_overlaps(truth, labels)
        for pair in match(overlaps, least_iou):
            number = int(overlaps.predicted_labels[overlaps.predicted[pair]])
            partner[frame, number] = (frame, int(overlaps.true_labels[overlaps.true[pair]]))
    links, divided = _links(found, found_parents)
    true_links, true_divided = _links(true, true_parents)
    mapped = {(partner[a], partner[b]) for a, b in links if a in partner and b in partner}
    correct = len(mapped & true_links)
    whole = {
        partner[mother]
        for mother, daughters in divided.items()
        if mother in partner and {partner.get(one) for one in daughters} == true_divided.get(partner[mother], {None})
    }
    return {
        "link_precision": _share(correct, len(links)),
        "link_recall": _share(correct, len(true_links)),
        "link_f1": _share(2 * correct, len(links) + len(true_links)),
        "division_precision": _share(len(whole), len(divided)),
        "division_recall": _share(len(whole), len(true_divided)),
    }


def _links(
    frames: Sequence[NDArray[np.integer]], parents: Mapping[int, int]
) -> tuple[Links, dict[Nucleus, set[Nucleus]]]:
    """Links of every nucleus, and the daughters of those that divide."""
    when: dict[int, list[int]] = {}
    for frame, labels in enumerate(frames):
        for number in np.unique(labels).tolist():
            if number:
                when.setdefault(number, []).append(frame)
    links = {((a, n), (b, n)) for n, times in when.items() for a, b in itertools.pairwise(times)}
    divided: dict[Nucleus, set[Nucleus]] = {}
    for daughter, mother in parents.items():
        if mother and mother in when and daughter in when:
            divided.setdefault((when[mother][-1], mother), set()).add((when[daughter][0], daughter))
    divided = {mother: daughters for mother, daughters in divided.items() if len(daughters) > 1}
    return links | {(mother, one) for mother, daughters in divided.items() for one in daughters}, divided


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
