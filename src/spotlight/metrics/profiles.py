"""Agreement of what is measured: matched nuclei, and the profile of a whole stack."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def compare_nuclei(
    true: pd.DataFrame, found: pd.DataFrame, matches: NDArray[Any], features: Sequence[str]
) -> pd.DataFrame:
    """Put the measurements of matched nuclei side by side.

    Parameters
    ----------
    true, found : DataFrame
        From `spotlight.profiles.measure`, with a column ``label``.
    matches : (n, 2) array
        True and found label of every matched pair.
    features : sequence of str
        Columns to compare.

    Returns
    -------
    DataFrame
        One row per match: ``true_label``, ``label`` and for each feature ``<feature>_true``, ``<feature>`` and the
        relative error ``<feature>_error``, found over true minus 1.
    """
    rows = pd.DataFrame(matches, columns=["true_label", "label"])
    left = true.set_index("label").loc[rows["true_label"], list(features)].reset_index(drop=True)
    right = found.set_index("label").loc[rows["label"], list(features)].reset_index(drop=True)
    errors = (right / left - 1).add_suffix("_error")
    return pd.concat([rows, left.add_suffix("_true"), right, errors], axis=1)


def profile_error(true: pd.DataFrame, found: pd.DataFrame, ranges: Mapping[str, tuple[float, float]]) -> float:
    """Mean absolute difference of the median profiles of two populations, each feature in units of its given range.

    Unlike the cosine distance it sees a profile that is larger in all features alike.

    Parameters
    ----------
    true, found, ranges
        See `profile_distance`.
    """
    if true.empty or found.empty:
        return float("nan")
    differences = [abs(found[n].median() - true[n].median()) / _width(r) for n, r in ranges.items()]
    return float(np.mean(differences))


def _width(limits: tuple[float, float]) -> float:
    return max(limits[1] - limits[0], float(np.finfo(float).eps))


def profile_distance(true: pd.DataFrame, found: pd.DataFrame, ranges: Mapping[str, tuple[float, float]]) -> float:
    """Cosine distance between the median profiles of two populations of nuclei.

    Each feature is first scaled by its given range, (value - low) / (high - low), so that no feature outweighs the
    others; then the median over nuclei is one profile per stack, and the distance is 1 - cos of the two. This is
    `cosine_median` of the cubic library, which scales only if ranges are given.

    Parameters
    ----------
    true, found : DataFrame
        One row per nucleus.
    ranges : mapping
        Low and high of every feature to use, the same for all methods that are compared.

    Returns
    -------
    float
        0 to 2; NaN if a population is empty.
    """
    if true.empty or found.empty:
        return float("nan")
    low = np.array([r[0] for r in ranges.values()])
    width = np.array([_width(r) for r in ranges.values()])
    a = np.median((true[list(ranges)].to_numpy(float) - low) / width, axis=0)
    b = np.median((found[list(ranges)].to_numpy(float) - low) / width, axis=0)
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(1 - a @ b / norms) if norms > 0 else 1.0
