"""MicroMS3IM: multi-scale structural similarity after a fit of offsets and one scale over a whole set of images."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from spotlight.errors import SpotlightError
from spotlight.metrics.cards import EVERYTHING, Card
from spotlight.metrics.checks import check_pair, planes, subtract
from spotlight.metrics.structural import K1, K2, WINDOW, window_sum

BACKGROUND_PERCENTILE = 3
"""Percentile of all intensities that counts as background, after Ashesh et al. 2025."""

VALUES_PER_STACK = 250_000
"""Voxels of a stack, drawn at random, of which the percentile is taken; smaller stacks are taken whole."""

WINDOWS_PER_STACK = 200_000
"""Windows of a stack, on an even grid, over which the scale is fitted; smaller stacks are taken whole."""

WINDOWS = 4_000_000
"""Windows of all stacks; of more, an even part is taken."""

FACTORS = (1e-6, 1e6)
"""Where the scale is looked for."""

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, finest first, after Wang et al. 2003."""

SIGMA_PX, RADIUS_PX = 1.5, 5
"""Gaussian window of 11 pixels."""

CARDS = {
    "micro_ms3im": Card(
        *("MicroMS3IM", "structural similarity over several scales, fitted to micrographs", "high", EVERYTHING),
        undefined="a side of a plane is shorter than 176 pixels, or the fit finds no scale",
        claim=True,
    )
}

SMALLEST_PX = (2 * RADIUS_PX + 1) * 2 ** (len(WEIGHTS) - 1)
"""Edge of the smallest plane, 176 pixels: the window must fit into it at the coarsest scale."""


@dataclass(frozen=True)
class MicroMS3IM:
    """How a set of stains is brought to the intensities of its targets: fitted once for a set and a model.

    `dataclasses.asdict` and ``MicroMS3IM(**values)`` store and restore it.

    Attributes
    ----------
    target_offset, stain_offset : float
        Background, the 3rd percentile of all targets and of all stains.
    peak : float
        Highest intensity of the targets above their background, by which both are divided.
    factor : float
        By what the stains are multiplied then, so that the mean structural similarity is highest; NaN if there is no
        such number.
    reason : str
        Why there is none.

    Examples
    --------
    >>> from dataclasses import asdict
    >>> from spotlight.metrics import MicroMS3IM
    >>> fit = MicroMS3IM(target_offset=100.0, stain_offset=90.0, peak=900.0, factor=1.25)
    >>> MicroMS3IM(**asdict(fit)) == fit  # as from a file of an evaluation
    True
    """

    target_offset: float
    stain_offset: float
    peak: float
    factor: float
    reason: str = ""


def fit_micro_ms3im(
    targets: Iterable[NDArray[Any]],
    stains: Iterable[NDArray[Any]],
    *,
    stabilisers: Literal["last", "own"] = "last",
) -> MicroMS3IM:
    """Fit offsets and scale over all stacks of a set; one fit per stack would flatter every stack.

    Only one target and one stain are held at a time. Large stacks are represented by a random quarter of a million of
    their voxels for the percentiles and by 200,000 windows for the scale.

    Parameters
    ----------
    targets, stains : iterable of (Z, Y, X) or (Y, X) ndarray
        The stacks of the set, in one order.
    stabilisers : str
        The stabilisers of the similarity scale with the range of a plane of the target: ``own`` takes each plane's
        own, ``last`` that of the last plane for all, as the reference implementation does, so that the fit depends on
        the order of the stacks (by a few hundredths of the scale where planes differ).

    Returns
    -------
    MicroMS3IM
        The fit, for `score_micro_ms3im`.

    Raises
    ------
    SpotlightError
        If there is no stack, a stack has no stain or the two cannot be compared.

    Notes
    -----
    With x = (target - its offset) / peak and y = (stain - its offset) / peak, the scale α maximises the mean similarity
    of x and αy (see `spotlight.metrics.structural`) over windows of 7x7 pixels in every plane.

    References
    ----------
    A. Ashesh, J. Deschamps, F. Jug, MicroSSIM: Improved Structural Similarity for Comparing Microscopy Data,
    ECCV 2024 Workshops (2025).

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import fit_micro_ms3im
    >>> target = np.random.default_rng(0).normal(500, 50, (2, 64, 64))
    >>> fit = fit_micro_ms3im([target], [2 * target + 100])  # twice as bright, on another offset
    >>> round(fit.factor, 2)
    0.5
    """
    sample = _Sample()
    for target, stain in zip_longest(targets, stains):
        if target is None or stain is None:
            raise SpotlightError("there must be as many stains as targets to fit MicroMS3IM on, in one order.")
        check_pair(target, stain)
        sample.add(target, stain)
    if not sample.targets:
        raise SpotlightError("no stacks to fit MicroMS3IM on. Give at least one target and its stain.")
    target_offset = float(np.percentile(np.concatenate(sample.targets), BACKGROUND_PERCENTILE))
    stain_offset = float(np.percentile(np.concatenate(sample.stains), BACKGROUND_PERCENTILE))
    peak = sample.highest - target_offset
    if not peak > 0:
        return MicroMS3IM(target_offset, stain_offset, peak, math.nan, "no target rises above its background")
    if not sample.windows:
        return MicroMS3IM(target_offset, stain_offset, peak, math.nan, "no plane that varies has 7 pixels each way")
    windows = np.concatenate(sample.windows, axis=1)
    if stabilisers == "last":
        windows[-1] = windows[-1, -1]
    x, y, xx, yy, xy, span = windows[:, :: math.ceil(windows.shape[1] / WINDOWS)].astype(np.float64)
    factor = _best_factor(
        (x - target_offset) / peak, (y - stain_offset) / peak, xx / peak**2, yy / peak**2, xy / peak**2, span / peak
    )
    if factor is None:
        reason = f"no scale of the stains between {FACTORS[0]:g} and {FACTORS[1]:g} is better than all others"
        return MicroMS3IM(target_offset, stain_offset, peak, math.nan, reason)
    return MicroMS3IM(target_offset, stain_offset, peak, factor)


@dataclass(eq=False)
class _Sample:
    """What is kept of the stacks seen so far.

    Attributes
    ----------
    targets, stains : list of ndarray
        Intensities.
    windows : list of (6, n) ndarray
        Means of target and stain, their variances, their covariance, and the range of the target in the plane.
    highest : float
        Highest intensity of the targets.
    """

    targets: list[NDArray[Any]] = field(default_factory=list)
    stains: list[NDArray[Any]] = field(default_factory=list)
    windows: list[NDArray[np.float32]] = field(default_factory=list)
    highest: float = -math.inf

    def add(self, target: NDArray[Any], stain: NDArray[Any]) -> None:
        rng = np.random.default_rng(0)
        for values, image in ((self.targets, target), (self.stains, stain)):
            image = image.view(np.uint8) if image.dtype == np.bool_ else image  # percentiles are of numbers
            few = image.size <= VALUES_PER_STACK
            # A copy: a view would hold the whole stack.
            values.append(image.flatten() if few else image.flat[rng.integers(0, image.size, VALUES_PER_STACK)])
        self.highest = max(self.highest, float(target.max()))
        stride = max(1, math.ceil(math.sqrt(target.size / WINDOWS_PER_STACK)))
        if min(target.shape[-2:]) >= WINDOW:
            for x, y in zip(planes(target), planes(stain), strict=True):
                if x.min() < x.max():
                    self.windows.append(_windows(x, y, stride))


def _windows(x: NDArray[Any], y: NDArray[Any], stride: int) -> NDArray[np.float32]:
    # Around 0, single precision resolves variances that a camera's offset would drown.
    centers = [float(plane.mean(dtype=np.float64)) for plane in (x, y)]
    a, b = (subtract(plane, center) for plane, center in zip((x, y), centers, strict=True))
    means = [window_sum(image)[::stride, ::stride].ravel() / WINDOW**2 for image in (a, b, a * a, b * b, a * b)]
    sample = np.float32(WINDOW**2 / (WINDOW**2 - 1))
    u, v, uu, vv, uv = means
    span = np.full(u.shape, float(x.max()) - float(x.min()))
    moments = (u + centers[0], v + centers[1], *(sample * m for m in (uu - u * u, vv - v * v, uv - u * v)), span)
    return np.stack(moments, dtype=np.float32, casting="same_kind")


def _best_factor(*windows: NDArray[np.float64]) -> float | None:
    """Find α at which the mean similarity of x and αy is highest, outwards from 1."""
    x, y, xx, yy, xy, span = windows
    c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2

    def slope(factor: float) -> float:
        means = x * x + factor**2 * y * y + c1
        variances = xx + factor**2 * yy + c2
        luminance = (2 * factor * x * y + c1) / means
        structure = (2 * factor * xy + c2) / variances
        rise_of_luminance = 2 * (x * y - luminance * factor * y * y) / means
        rise_of_structure = 2 * (xy - structure * factor * yy) / variances
        return float(np.mean(rise_of_luminance * structure + luminance * rise_of_structure))

    here = slope(1.0)
    if here == 0:
        return 1.0
    step = 2.0 if here > 0 else 0.5
    near, far = 1.0, step
    while slope(far) * here > 0:
        if far in FACTORS:
            return None
        near, far = far, min(max(far * step, FACTORS[0]), FACTORS[1])
    return float(optimize.brentq(slope, near, far, xtol=1e-9))


def score_micro_ms3im(
    fit: MicroMS3IM, target: NDArray[Any], stain: NDArray[Any], mask: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Multi-scale structural similarity of every XY plane after the fit, and its mean over planes.

    Contrast and structure of five scales, each half as fine as the one before, are averaged over the plane, clipped at
    0, raised to their weights and multiplied; luminance enters at the coarsest scale. With a mask the same maps are
    averaged over the foreground as well, at coarser scales by the share of foreground in every pixel. The images
    themselves are not masked: zeros around the foreground would be edges that both images have in common.

    Parameters
    ----------
    fit : MicroMS3IM
        Of the whole set.
    target, stain : (Z, Y, X) or (Y, X) ndarray
        As they were fitted.
    mask : ndarray of bool, optional
        Foreground.

    Returns
    -------
    dict
        ``micro_ms3im`` and, with a mask, ``micro_ms3im_foreground``, 0 to 1. Planes of constant target, and planes
        without foreground at any of the scales for the latter, are left out. NaN where none remains, planes are
        smaller than 176 pixels, or the fit found no scale.

    Raises
    ------
    SpotlightError
        If the images cannot be compared.

    References
    ----------
    Z. Wang, E. P. Simoncelli, A. C. Bovik, Asilomar Conference (2003), and `fit_micro_ms3im`.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import fit_micro_ms3im, score_micro_ms3im
    >>> rng = np.random.default_rng(0)
    >>> target = rng.normal(500, 50, (1, 176, 176))
    >>> stain = 2 * target + rng.normal(100, 30, target.shape)
    >>> fit = fit_micro_ms3im([target], [stain])  # over all stacks of a set
    >>> {name: round(float(score), 2) for name, score in score_micro_ms3im(fit, target, stain).items()}
    {'micro_ms3im': 0.98}
    """
    check_pair(target, stain, mask)
    scores: list[tuple[float, float]] = []
    if min(target.shape[-2:]) >= SMALLEST_PX and math.isfinite(fit.factor):
        for z, (x, y) in enumerate(zip(planes(target), planes(stain), strict=True)):
            if x.min() < x.max():
                a = subtract(x, fit.target_offset) / np.float32(fit.peak)
                b = subtract(y, fit.stain_offset) * np.float32(fit.factor / fit.peak)
                scores.append(_multi_scale(a, b, None if mask is None else planes(mask)[z].astype(np.float32)))
    names = ("micro_ms3im",) if mask is None else ("micro_ms3im", "micro_ms3im_foreground")
    return {name: _mean([score[i] for score in scores]) for i, name in enumerate(names)}


def _mean(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _multi_scale(
    x: NDArray[np.float32], y: NDArray[np.float32], mask: NDArray[np.float32] | None
) -> tuple[float, float]:
    """Similarity of two planes, over all of them and weighted by the mask."""
    span = float(x.max() - x.min())
    c1, c2 = np.float32((K1 * span) ** 2), np.float32((K2 * span) ** 2)
    weights = [np.ones_like(x), *([] if mask is None else [mask])]
    scores = [1.0, 1.0 if mask is not None else math.nan]
    for scale, exponent in enumerate(WEIGHTS):
        last = scale == len(WEIGHTS) - 1
        similarity = _gaussian_similarity(x, y, c1, c2, luminance=last)
        inner = slice(None) if last else slice(RADIUS_PX, -RADIUS_PX)
        for i, weight in enumerate(weights):
            inside = weight[inner, inner]
            total = float(inside.sum(dtype=np.float64))
            mean = float(np.sum(similarity[inner, inner] * inside, dtype=np.float64)) / total if total else math.nan
            scores[i] *= max(mean, 0.0) ** exponent if total else math.nan
        x, y, *weights = (_halve(image) for image in (x, y, *weights))
    return scores[0], scores[1]


def _gaussian_similarity(
    x: NDArray[np.float32], y: NDArray[np.float32], c1: np.float32, c2: np.float32, *, luminance: bool
) -> NDArray[np.float32]:
    """Map of contrast and structure, with luminance if asked for."""
    u, v, squares, product = (
        ndimage.gaussian_filter(image, SIGMA_PX, radius=RADIUS_PX, mode="mirror")
        for image in (x, y, x * x + y * y, x * y)
    )
    variances = np.maximum(squares - u * u - v * v, 0)
    similarity: NDArray[np.float32] = (2 * (product - u * v) + c2) / (variances + c2)
    if luminance:
        similarity *= (2 * u * v + c1) / (u * u + v * v + c1)
    return similarity


def _halve(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of every 2x2 pixels; an odd row or column at the end is dropped."""
    y, x = (length // 2 * 2 for length in image.shape)
    image = image[:y, :x]
    total: NDArray[np.float32] = image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]
    return total * np.float32(0.25)
