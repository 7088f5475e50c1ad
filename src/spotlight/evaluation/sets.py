"""What takes all stacks together: the range of every feature, fits of intensity, histograms."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.evaluation.judge import profile_features
from spotlight.evaluation.methods import Method
from spotlight.evaluation.reference import make_reference
from spotlight.evaluation.settings import EvaluationSettings
from spotlight.evaluation.store import key_of, load, save
from spotlight.evaluation.sweep import sweep_micro_ms3im
from spotlight.images import read
from spotlight.metrics import (
    feature_ranges,
    fit_micro_ms3im,
    profile_distance,
    profile_error,
    score_features,
    score_micro_ms3im,
)
from spotlight.pairs.pair import Pair
from spotlight.quoting import counted

log = logging.getLogger("spotlight")

Ranges = Mapping[str, tuple[float, float]]


FOREGROUND = "foreground"
"""Folder of the masks among the labels."""


@dataclass(frozen=True, eq=False)
class Population:
    """Measurements of the true nuclei of stacks, and of those segmented from their targets."""

    nuclei: pd.DataFrame
    target_nuclei: pd.DataFrame


@dataclass(frozen=True, eq=False)
class SetScores:
    """What the fit to all stains of a method gives.

    Attributes
    ----------
    scores : dict
        By stack and metric.
    sweep : DataFrame
        The same over the thresholds of the sweep, by ``stack`` and ``position``.
    """

    scores: dict[str, dict[str, float]]
    sweep: pd.DataFrame


def find_ranges(
    pairs: Sequence[Pair], evaluated: Sequence[Population], settings: EvaluationSettings, to: Path
) -> tuple[Ranges, Ranges, str]:
    """1st to 99th percentile of every feature over the nuclei of training stacks: one scale for all methods.

    Where the manifest has no training rows, the evaluated stacks' own nuclei serve.

    Returns
    -------
    (dict, dict, str)
        Low and high of every feature of true nuclei and of nuclei segmented from targets, and what they are from.
    """
    training = [pair for pair in pairs if pair.split == "train"]
    step = max(1, -(-len(training) // settings.range_stacks))
    populations = [_training_nuclei(pair, settings, to) for pair in training[::step]]
    source = counted(len(populations), "training stack")
    if not populations:
        populations, source = list(evaluated), "the evaluated stacks, as there are no training rows"
        log.warning("Ranges of features are from %s.", source)
    true, found = (_ranges([getattr(p, kind) for p in populations], settings) for kind in ("nuclei", "target_nuclei"))
    return true, found, source


def _ranges(tables: Sequence[pd.DataFrame], settings: EvaluationSettings) -> Ranges:
    nuclei = pd.concat(tables)
    if nuclei.empty:
        return {}
    return feature_ranges(nuclei, profile_features(settings.profiles, 3 if "volume" in nuclei else 2))


def _training_nuclei(pair: Pair, settings: EvaluationSettings, to: Path) -> Population:
    key, folder = key_of(pair, settings), to / "judged" / "training" / pair.name
    known = load(Population, key, folder)
    if known is None:
        reference = make_reference(pair, pair.read_target(), settings)
        known = Population(reference.nuclei, reference.target_nuclei)
        save(known, key, folder)
    return known


def score_profiles(
    true: pd.DataFrame, of_target: pd.DataFrame, found: pd.DataFrame, ranges: Ranges, ranges_of_target: Ranges
) -> dict[str, float]:
    """Compare the profile of a stain with that of the truth and with that of the segmented target."""
    return {
        "profile_error": profile_error(true, found, ranges),
        "profile_distance": profile_distance(true, found, ranges),
        "profile_distance_to_target": profile_distance(of_target, found, ranges_of_target),
    }


def score_all_features(matched: pd.DataFrame, ranges: Ranges) -> pd.DataFrame:
    """Error and correlation of every feature, over the matched nuclei of all stacks, per method and seed."""
    tables = [
        score_features(rows, ranges).assign(method=rows["method"].iloc[0], seed=rows["seed"].iloc[0])
        for _, rows in matched.groupby(["method", "seed"], sort=False)
    ]
    return pd.concat(tables, ignore_index=True) if tables else score_features(matched, {}).assign(method=[], seed=[])


def score_sets(
    pairs: Sequence[Pair], methods: Sequence[Method], settings: EvaluationSettings, to: Path
) -> dict[str, SetScores]:
    """MicroMS3IM, which is fitted once for all stains of a method, by the method's key."""
    found: dict[str, SetScores] = {}
    for method in methods:
        key = key_of(pairs[0], settings, *(key_of(pair, settings, method.digest(pair)) for pair in pairs))
        place = to / "judged" / ".sets" / method.key
        known = load(SetScores, key, place)
        if known is None:
            known = _micro_ms3im(pairs, method.key, settings, to)
            save(known, key, place)
        found[method.key] = known
    return found


def _micro_ms3im(pairs: Sequence[Pair], method_key: str, settings: EvaluationSettings, to: Path) -> SetScores:
    def stored(kind: str, pair: Pair) -> NDArray[Any]:
        return read(to / kind / f"{pair.name}.ome.tif").data

    def targets() -> Iterator[NDArray[Any]]:
        return (pair.read_target().data for pair in pairs)

    def stains() -> Iterator[NDArray[Any]]:
        return (stored(f"stains/{method_key}", pair) for pair in pairs)

    fit = fit_micro_ms3im(targets(), stains())
    scores, swept = {}, []
    for pair, target, stain in zip(pairs, targets(), stains(), strict=True):
        mask = stored(f"labels/{FOREGROUND}", pair) > 0
        scores[pair.name] = score_micro_ms3im(fit, target, stain, mask)
        swept.append(sweep_micro_ms3im(fit, target, stain, mask, settings).assign(stack=pair.name))
    return SetScores(scores, pd.concat(swept, ignore_index=True))


def histograms(samples: Mapping[str, Sequence[NDArray[Any]]]) -> pd.DataFrame:
    """Share of voxels per intensity bin, pooled over stacks; one set of bins for all methods."""
    pooled = {name: np.concatenate(parts) for name, parts in samples.items()}
    limits = np.array([np.percentile(values, [0.1, 99.8]) for values in pooled.values()])
    edges = np.linspace(limits[:, 0].min(), limits[:, 1].max(), 101)
    tables = []
    for name, values in pooled.items():
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        rows = {"method": name, "from": edges[:-1], "to": edges[1:], "share": counts / values.size}
        tables.append(pd.DataFrame(rows))
    return pd.concat(tables, ignore_index=True)
