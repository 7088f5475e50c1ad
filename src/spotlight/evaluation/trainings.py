"""How sure a difference between two methods is when each was trained several times: trainings and stacks both differ.

A score of training s and stack f is taken as ``mean + a[s] + b[f] + e[s, f]``: a training is better or worse on all
stacks alike, a stack is easier for one method than for the other, and the rest. Trainings of one method and stacks are
both samples; another sample of either would give another difference. So its variance is the sum of two parts: that of
the means of the trainings, for each method that has several, and that of the differences in single stacks, which are
paired. The rest ``e`` is in both parts; it counts twice, which makes the interval a little wider.

The interval is that of t with the degrees of freedom of Welch and Satterthwaite (Satterthwaite 1946, Biometrics
Bulletin 2:110). It was measured on simulated comparisons without a true difference: 20,000 of each kind, with spreads
of 0.01 to 0.02 between trainings, 0.03 between the differences of stacks, and a rest of 0.01 to 0.02; 4,000 of each for
the alternative, a percentile bootstrap that resamples trainings and stacks. How often a nominal 95 % held the truth:

=========  ======  ===================  ==================
trainings  stacks  this interval        bootstrap of both
=========  ======  ===================  ==================
5 and 5    12      95.1 to 96.0 %       90.7 to 93.6 %
3 and 3    12      95.0 to 96.3 %       86.4 to 92.6 %
5 and 5    4       94.5 to 95.9 %       86.4 to 91.0 %
3 and 3    4       95.9 to 97.1 %       85.5 to 89.8 %
=========  ======  ===================  ==================

So the bootstrap is too narrow, and is not used: five trainings have only 126 different resamples, and these spread too
little. The interval errs where the trainings of one method spread four times as much as those of the other (0.05 and
0.012, 12 stacks): it holds the truth in 94.4 to 94.6 % for five trainings each and 93.2 to 93.5 % for three, the
bootstrap in 88 and 80 to 82 %. It is too wide where nothing but the rest differs: 99 %. A difference is claimed where
there is none in 4.0 to 4.9 % of comparisons of five trainings and 12 stacks with the spreads of the table, in up to
5.6 % where trainings spread so unequally, and never with fewer than six stacks or with three trainings each.

Beside it, trainings are dealt anew to the two methods in all ways: a test that needs no distribution, and that can show
nothing with three trainings each, whose least p is 0.1. It says nothing of stacks: alone, it calls a difference of
these very stacks true, so that a claim needs both.
"""

from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[np.float64]

MOST_DEALS = 20_000
"""Up to so many ways to deal trainings to two methods, all are tried; beyond, so many at random."""


def difference_interval(
    method: FloatArray, baseline: FloatArray, alpha: float = 0.05
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Interval of the mean difference over further trainings and stacks, and the two-sided p of no difference.

    ::

        V = var(d) / F + Σ var(a) / S      d: differences in F stacks,  a: means of the S trainings of each method
        interval = mean(d) ± t √V          of  V² / Σ (part² / its degrees of freedom)  degrees of freedom

    Parameters
    ----------
    method, baseline : (..., trainings, stacks) ndarray
        Scores in the same stacks, at least two; NaN where there is none. At least one of the two methods has several
        trainings. One training is taken as it is, as if another would be the same. Axes before these are of many
        comparisons at once.
    alpha : float
        One less the level.

    Returns
    -------
    (low, high, p), each (...)
    """
    apart = np.nanmean(method, -2) - np.nanmean(baseline, -2)
    stacks = apart.shape[-1]
    parts = [(apart.var(-1, ddof=1) / stacks, stacks - 1)]
    several = [scores for scores in (method, baseline) if scores.shape[-2] > 1]
    parts += [(training_effects(s).var(-1, ddof=1) / s.shape[-2], s.shape[-2] - 1) for s in several]
    mean, variance = apart.mean(-1), sum(part for part, _ in parts)
    error = np.sqrt(variance)
    same = error <= 1e-12 * np.maximum(1, np.abs(mean))
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(same, 1, variance**2 / sum(part**2 / degrees for part, degrees in parts))
        p = np.where(same, mean == 0, 2 * stats.t.sf(np.abs(mean) / error, freedom))
    half = np.where(same, 0, stats.t.ppf(1 - alpha / 2, freedom) * error)
    return mean - half, mean + half, p


def training_effects(scores: FloatArray) -> FloatArray:
    """How much better each training is than the mean of all, (..., trainings), over the stacks where it has a score."""
    effects = np.nanmean(scores - np.nanmean(scores, -2, keepdims=True), axis=-1)
    return np.asarray(effects - effects.mean(-1, keepdims=True))


def dealing_test(method: FloatArray, baseline: FloatArray, seed: int = 0) -> FloatArray:
    """Two-sided p of the mean difference, if trainings could as well have been of the other method.

    Parameters
    ----------
    method, baseline : (..., trainings, stacks) ndarray
        As for `difference_interval`, with several trainings each.
    seed : int
        Of the deals, where there are too many to try all.

    Returns
    -------
    (...) ndarray
    """
    means = [np.nanmean(scores, (-2, -1))[..., None] + training_effects(scores) for scores in (method, baseline)]
    both, first = np.concatenate(means, -1), means[0].shape[-1]
    size = both.shape[-1]
    if comb(size, first) <= MOST_DEALS:
        chosen = np.array(list(combinations(range(size), first)))
    else:
        rng = np.random.default_rng(seed)
        drawn = rng.permuted(np.tile(np.arange(size), (MOST_DEALS, 1)), axis=1)[:, :first]
        chosen = np.concatenate([np.arange(first)[None], drawn])
    deals = np.zeros((len(chosen), size))
    np.put_along_axis(deals, chosen, 1, axis=1)
    own = both @ deals.T
    apart = np.abs(own / first - (both.sum(-1, keepdims=True) - own) / (size - first))
    return np.asarray(np.mean(apart >= apart[..., :1] * (1 - 1e-9) - 1e-15, axis=-1))


def least_deal(method: int, baseline: int) -> float:
    """Least p of `dealing_test` for so many trainings: 0.1 for three of each, 0.029 for four, 0.008 for five."""
    return (2 if method == baseline else 1) / comb(method + baseline, method)
