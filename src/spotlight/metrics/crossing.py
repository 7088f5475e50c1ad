"""Where a correlation over frequencies falls to a threshold."""

import math

import numpy as np
from numpy.typing import NDArray

from spotlight.metrics.shells import Sums, ratio

FEWEST_SHELLS = 3
"""Shells without which there is no curve."""

NARROW = 0.5
"""Width of the shells in which a crossing is found, in steps of frequency of the axis."""

REACH = 8
"""Of such shells, over which a window is taken to blur."""

ROUNDS = 100
"""Of the Richardson-Lucy iteration."""


def find_crossing(
    frequency: NDArray[np.float64], correlation: NDArray[np.float64], threshold: float
) -> tuple[float, str]:
    """Find where a curve first falls to the threshold, between two shells on a straight line.

    Returns
    -------
    (float, str)
        The frequency; or NaN, and why there is none.
    """
    if len(correlation) == 0:
        return math.nan, "the image is constant or too small to hold a shell"
    if len(correlation) < FEWEST_SHELLS:
        return math.nan, f"the image holds {len(correlation)} shells only, and a curve needs {FEWEST_SHELLS}"
    below = np.flatnonzero(correlation <= threshold)
    if len(below) == 0:
        return math.nan, (
            f"the correlation stays above {threshold:.3g} up to {frequency[-1]:.3g} cycles/µm, the finest that the "
            "voxels hold, as it does where there is no noise"
        )
    if below[0] == 0:
        return math.nan, f"the correlation is below {threshold:.3g} from the coarsest detail on"
    return _between(frequency, correlation, int(below[0]), threshold), ""


def find_sharp_crossing(wide: Sums, narrow: Sums, blur: NDArray[np.float64], threshold: float) -> tuple[float, str]:
    """Find the same, as finely as the frequencies lie.

    A wide shell agrees as soon as its lower edge does, where most of the power is, and the window spreads what agrees
    over its neighbours: both make the crossing of wide shells too fine, by about a shell. So wide shells, in which
    chance averages out, only say between which two of them the crossing lies. Where in between is read from narrow
    shells, in which cross power and power are first freed of the window's blur.

    Parameters
    ----------
    wide, narrow : Sums
        Of the same frequencies.
    blur : (2 n + 1,) ndarray
        Share of the power that a shell of `narrow` gives to its neighbours, by `window_blur`.
    threshold : float
        Correlation.

    Returns
    -------
    (float, str)
        The frequency; or NaN, and why there is none.
    """
    known = np.isfinite(wide.correlation)
    frequency, correlation = wide.centres[known], wide.correlation[known]
    crossing, reason = find_crossing(frequency, correlation, threshold)
    if reason:
        return crossing, reason
    after = int(np.flatnonzero(correlation <= threshold)[0])
    held = narrow.number > 0
    sharp = sharpened(narrow, blur)
    # A wide shell that agrees may do so with its lower edge only.
    inside = held & (narrow.centres > frequency[after - 1] - wide.width / 2) & (narrow.centres < frequency[after])
    # Between the two it has to fall, whatever narrow shells say.
    x = np.concatenate(([frequency[after - 1] - wide.width / 2], narrow.centres[inside], [frequency[after]]))
    y = np.concatenate(([correlation[after - 1]], sharp[inside], [correlation[after]]))
    crossing = _between(x, y, int(np.flatnonzero(y <= threshold)[0]), threshold)
    coarsest = narrow.width / NARROW  # one period in the field
    if crossing < coarsest:
        return math.nan, f"the correlation is below {threshold:.3g} from details of the field's own width on"
    return crossing, ""


def _between(frequency: NDArray[np.float64], correlation: NDArray[np.float64], after: int, threshold: float) -> float:
    share = (correlation[after - 1] - threshold) / (correlation[after - 1] - correlation[after])
    return float(frequency[after - 1] + share * (frequency[after] - frequency[after - 1]))


def window_blur(window: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of the power that a window moves by so many narrow shells, `REACH` to either side.

    Parameters
    ----------
    window : (n,) ndarray
        Along an axis.
    """
    parts = 16
    # Sampled between the shells; the content of one lies anywhere in it, and goes to anywhere in another.
    power = np.square(np.abs(np.fft.fft(window, int(parts / NARROW) * len(window))))
    far = (REACH + 1) * parts
    near = np.take(power, np.arange(-far, far + 1), mode="wrap")
    tent = 1 - np.abs(np.arange(-parts, parts + 1)) / parts
    shares = np.convolve(near, tent, "valid")[::parts]
    return np.asarray(shares / shares.sum(), np.float64)


def sharpened(sums: Sums, blur: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation of narrow shells without the blur of the window; NaN where a shell holds nothing.

    Cross power and power per frequency are deconvolved over the shells, as positive numbers, by the iteration of
    Richardson (1972) and Lucy (1974).
    """
    held = np.flatnonzero(sums.number > 0)
    if not len(held):
        return np.full(len(sums.number), np.nan)
    places = np.arange(len(sums.number))
    powers = np.sqrt(sums.first * sums.second)
    cross, power = (np.interp(places, held, part[held] / sums.number[held]) for part in (sums.cross, powers))
    # Noise alone can make cross power negative.
    found = ratio(_deconvolved(np.maximum(cross, 0), blur), _deconvolved(power, blur))
    return np.where(sums.number > 0, found, np.nan)


def _deconvolved(values: NDArray[np.float64], blur: NDArray[np.float64]) -> NDArray[np.float64]:
    def blurred(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.convolve(np.pad(x, len(blur) // 2, mode="edge"), blur, "valid")

    found = values
    for _ in range(ROUNDS):
        made = blurred(found)
        found = found * blurred(np.divide(values, made, out=np.ones(len(values)), where=made > 0))
    return found
