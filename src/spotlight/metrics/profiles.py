"""Agreement of what is measured: matched nuclei feature by feature, and the profile of a whole stack."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.metrics.cards import SHAPE, Card

Ranges = Mapping[str, tuple[float, float]]
"""Low and high of every feature that is compared."""

FEWEST_FOR_CORRELATION = 3

BIASES = {
    "volume": "median relative volume error of matched nuclei",
    "area": "median relative area error of matched nuclei",
    "elongation": "median error of height over width of matched nuclei",
    "height": "median relative error of the axial size of matched nuclei",
    "width": "median relative error of the lateral size of matched nuclei",
    "sphericity": "median relative sphericity error of matched nuclei",
}
"""Features whose median error over matched nuclei is a score: what training on the foreground is for."""

NO_PROFILE = "the truth or the stain has no nuclei, or no feature has a range"
CARDS = {
    f"{name}_error": Card(
        *(f"{name} error", what, "zero", SHAPE, "%", "no nuclei match", "{:+.1%}"),
        claim=name in ("volume", "area", "elongation"),
        key=name in ("volume", "area", "elongation"),
    )
    for name, what in BIASES.items()
} | {
    "profile_error": Card(
        "profile error",
        "mean absolute difference of median profiles from the truth, in units of each feature's range",
        *("low", SHAPE, "", NO_PROFILE),
        claim=True,
    ),
    "profile_distance": Card(
        *("profile distance", "cosine distance of median profiles from the truth", "low", SHAPE, "", NO_PROFILE),
    ),
    "profile_distance_to_target": Card(
        "profile distance to target",
        "cosine distance of median profiles from those of the segmented target, as in the paper",
        *("low", SHAPE, "", NO_PROFILE),
        claim=True,
    ),
}


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
        relative error ``<feature>_error``, (found - true) / abs(true); NaN where the true value is 0.

    Raises
    ------
    SpotlightError
        If a table lacks a feature.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from spotlight.metrics import compare_nuclei
    >>> true = pd.DataFrame({"label": [1, 2], "volume": [100.0, 400.0]})
    >>> found = pd.DataFrame({"label": [1, 2], "volume": [300.0, 110.0]})
    >>> compare_nuclei(true, found, np.array([[1, 2], [2, 1]]), ["volume"])
       true_label  label  volume_true  volume  volume_error
    0           1      2        100.0   110.0          0.10
    1           2      1        400.0   300.0         -0.25
    """
    _require_columns(true, features)
    _require_columns(found, features)
    rows = pd.DataFrame(matches, columns=["true_label", "label"])
    left = true.set_index("label").loc[rows["true_label"], list(features)].reset_index(drop=True)
    right = found.set_index("label").loc[rows["label"], list(features)].reset_index(drop=True)
    errors = ((right - left) / left.abs().where(left != 0)).add_suffix("_error")
    return pd.concat([rows, left.add_suffix("_true"), right, errors], axis=1)


def score_features(matched: pd.DataFrame, ranges: Ranges) -> pd.DataFrame:
    """Error and correlation of every feature over matched nuclei.

    Parameters
    ----------
    matched : DataFrame
        From `compare_nuclei`, of one stack or of several put together.
    ranges : mapping
        Features to score, and what counts as a large difference of each; see `feature_ranges`.

    Returns
    -------
    DataFrame
        One row per feature:

        - ``feature``, and ``nuclei``: matched pairs in which it has a value on both sides;
        - ``true_median``, ``median``: true and found;
        - ``bias``: median of the relative errors, which tells too large from too small;
        - ``relative_error``: median of their sizes. Both mean little for features that change sign or pass through 0,
          such as curvature, shape index and Euler number; the next one does not divide by the value;
        - ``scaled_error``: mean of abs(found - true) in units of the feature's range;
        - ``correlation``: Pearson's r; NaN for fewer than 3 pairs or where one side does not vary.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from spotlight.metrics import compare_nuclei, score_features
    >>> true = pd.DataFrame({"label": [1, 2, 3], "volume": [100.0, 200.0, 400.0]})
    >>> found = true.assign(volume=1.25 * true["volume"])
    >>> matched = compare_nuclei(true, found, np.array([[1, 1], [2, 2], [3, 3]]), ["volume"])
    >>> scores = score_features(matched, {"volume": (100.0, 400.0)}).round(3)
    >>> scores[["nuclei", "bias", "correlation"]].to_dict("records")  # all too large by a quarter
    [{'nuclei': 3, 'bias': 0.25, 'correlation': 1.0}]
    """
    _require_columns(matched, [column for name in ranges for column in (f"{name}_true", name, f"{name}_error")])
    rows = []
    for name, limits in ranges.items():
        pairs = matched[[f"{name}_true", name, f"{name}_error"]].to_numpy(float)
        pairs = pairs[np.isfinite(pairs[:, :2]).all(axis=1)]
        true, found, errors = pairs.T
        relative = errors[np.isfinite(errors)]
        width = _width(limits)
        rows.append(
            {
                "feature": name,
                "nuclei": len(pairs),
                "true_median": _median(true),
                "median": _median(found),
                "bias": _median(relative),
                "relative_error": _median(np.abs(relative)),
                "scaled_error": float(np.abs(found - true).mean() / width) if len(pairs) and width > 0 else np.nan,
                "correlation": _pearson(true, found),
            }
        )
    columns = ["feature", "nuclei", "true_median", "median", "bias", "relative_error", "scaled_error", "correlation"]
    return pd.DataFrame(rows, columns=columns)


def feature_ranges(
    nuclei: pd.DataFrame, features: Iterable[str], low: float = 0.01, high: float = 0.99
) -> dict[str, tuple[float, float]]:
    """Low and high of features over a population, the scale on which profiles are compared.

    Take them from the training set, or from the reference nuclei of all stacks, and use the same for all methods.

    Parameters
    ----------
    nuclei : DataFrame
        One row per nucleus.
    features : iterable of str
        Columns.
    low, high : float
        Quantiles; the outermost nuclei are often two in one, or debris.

    Returns
    -------
    dict of str to (float, float)
        Without the features that have no value or do not vary from one quantile to the other: they have no scale, and
        any deviation would outweigh all others. An Euler number is often one.

    Raises
    ------
    SpotlightError
        If a column is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> from spotlight.metrics import feature_ranges
    >>> nuclei = pd.DataFrame({"volume": [100.0, 300.0]})
    >>> [float(limit) for limit in feature_ranges(nuclei, ["volume"], low=0, high=1)["volume"]]
    [100.0, 300.0]
    """
    features = list(features)
    _require_columns(nuclei, features)
    limits = nuclei[features].quantile([low, high]).to_numpy(float)
    return {name: (float(a), float(b)) for name, (a, b) in zip(features, limits.T, strict=True) if a < b}


def profile_error(true: pd.DataFrame, found: pd.DataFrame, ranges: Ranges) -> float:
    """Mean absolute difference of the median profiles of two populations, each feature in units of its given range.

    Unlike the cosine distance it sees a profile that is larger in all features alike.

    Parameters
    ----------
    true, found, ranges
        See `profile_distance`.

    Returns
    -------
    float
        At least 0; NaN if no feature counts or a population has no value of one.

    Examples
    --------
    >>> import pandas as pd
    >>> from spotlight.metrics import profile_error
    >>> true, found = pd.DataFrame({"volume": [100.0, 300.0]}), pd.DataFrame({"volume": [150.0, 350.0]})
    >>> float(profile_error(true, found, {"volume": (100.0, 300.0)}))
    0.25
    """
    a, b = _profile(true, ranges), _profile(found, ranges)
    return float(np.abs(b - a).mean()) if a.size else float("nan")


def profile_distance(true: pd.DataFrame, found: pd.DataFrame, ranges: Ranges) -> float:
    """Cosine distance between the median profiles of two populations of nuclei.

    Each feature is first scaled by its given range, (value - low) / (high - low), so that no feature outweighs the
    others; then the median over nuclei is one profile per stack, and the distance is 1 - cos of the two. This is
    `cosine_median` of the cubic library, which scales only if ranges are given.

    It depends on where the ranges begin: a profile near the low ends of all ranges is near the origin, and has hardly a
    direction. `profile_error` does not.

    Parameters
    ----------
    true, found : DataFrame
        One row per nucleus.
    ranges : mapping
        Low and high of every feature to use, the same for all methods that are compared; see `feature_ranges`.
        Features whose high is not above their low have no scale and do not count.

    Returns
    -------
    float
        0 to 2, and 1 if one profile is zero; NaN if a population is empty, has no value of some feature, or no feature
        counts.

    Raises
    ------
    SpotlightError
        If a table lacks a feature.

    Examples
    --------
    >>> import pandas as pd
    >>> from spotlight.metrics import profile_distance
    >>> true = pd.DataFrame({"volume": [200.0, 300.0], "surface": [200.0, 300.0]})
    >>> ranges = {"volume": (0.0, 500.0), "surface": (0.0, 500.0)}
    >>> round(profile_distance(true, true * 1.5, ranges), 3)  # larger in all features alike: the same direction
    0.0
    >>> round(profile_distance(true, true * [1.5, 1.0], ranges), 3)
    0.019
    """
    a, b = _profile(true, ranges), _profile(found, ranges)
    if not a.size or np.isnan(a).any() or np.isnan(b).any():
        return float("nan")
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(1 - a @ b / norms) if norms > 0 else 1.0


def _profile(nuclei: pd.DataFrame, ranges: Ranges) -> NDArray[np.float64]:
    """Median of every scaled feature over the nuclei that have it; NaN where none has."""
    used = {name: limits for name, limits in ranges.items() if _width(limits) > 0}
    _require_columns(nuclei, used)
    return np.array([(_median(nuclei[name].dropna()) - low) / (high - low) for name, (low, high) in used.items()])


def _width(limits: tuple[float, float]) -> float:
    return limits[1] - limits[0]


def _median(values: Any) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if len(a) < FEWEST_FOR_CORRELATION or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _require_columns(table: pd.DataFrame, names: Iterable[str]) -> None:
    missing = [name for name in names if name not in table]
    if missing:
        raise SpotlightError(
            f"the table of nuclei has no column {', '.join(missing)}. Measure both sides with the same set of features."
        )
