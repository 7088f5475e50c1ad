"""`evaluate`: stain, segment, measure and compare with the target and the truth, stack by stack."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from spotlight.csv_files import write_csv
from spotlight.errors import SpotlightError
from spotlight.evaluation.further_metrics import find_metrics, sources
from spotlight.evaluation.judge import StackScores
from spotlight.evaluation.means import counted_means
from spotlight.evaluation.methods import TARGET, Method, Source, accepted, data_first, find_methods, require_stains
from spotlight.evaluation.sets import (
    Population,
    Ranges,
    find_ranges,
    histograms,
    score_all_features,
    score_profiles,
    score_sets,
)
from spotlight.evaluation.settings import EvaluationSettings
from spotlight.evaluation.shared import judge_each, rows_of
from spotlight.evaluation.stacks import Truth, Work, judge_stack
from spotlight.files import write_text
from spotlight.images.joining import separate
from spotlight.locks import works_in
from spotlight.model import ModelDescription
from spotlight.pairs.fields import fields_by_plane
from spotlight.pairs.listing import read_pairs
from spotlight.pairs.pair import Listed, Pair
from spotlight.prediction.acceptance import tell_doubts
from spotlight.progress import Progress
from spotlight.version import __version__

log = logging.getLogger("spotlight")

TABLES = ("scores", "average_precision", "nuclei", "features", "histograms", "resolution", "sweep")
"""What an evaluation writes as CSV."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluation found, and where it wrote it.

    Attributes
    ----------
    folder : Path
        With the tables below as CSV, ``evaluation.yaml``, and stains and labels as OME-TIFF.
    scores : DataFrame
        One row per stack, method and seed.
    average_precision : DataFrame
        One row per stack, method, seed, pipeline and threshold of the intersection over union.
    nuclei : DataFrame
        One row per matched nucleus, with true and found measurements and relative errors.
    features : DataFrame
        Error and correlation of every feature over the matched nuclei of all stacks, per method and seed.
    histograms : DataFrame
        Share of voxels per intensity bin and method.
    resolution : DataFrame
        Correlation per stack, method, kind, direction and frequency.
    sweep : DataFrame
        Scores per method and threshold, means over stacks and seeds, each with the number of values that it is of
        (``NAME_n`` of ``rows``); empty unless thresholds were asked for.

    Examples
    --------
    >>> import spotlight
    >>> result = spotlight.evaluate("pairs.csv", {"fnet": "fnet", "ours": "model"}, "evaluation")  # doctest: +SKIP
    >>> result.scores.pivot_table(["mean_ap", "psnr"], "method")  # doctest: +SKIP
    >>> result.features.query("feature == 'volume'")[["method", "bias", "correlation"]]  # doctest: +SKIP
    """

    folder: Path
    scores: pd.DataFrame
    average_precision: pd.DataFrame
    nuclei: pd.DataFrame
    features: pd.DataFrame
    histograms: pd.DataFrame
    resolution: pd.DataFrame
    sweep: pd.DataFrame


@works_in("to")
def evaluate(
    pairs: Listed,
    models: Source | Mapping[str, Source | Mapping[int, Source]],
    to: str | Path,
    settings: EvaluationSettings | None = None,
    *,
    input_channel: str | Sequence[str] | None = None,
    target_channel: str | None = None,
    target: str | None = None,
    axes: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
    metrics: Sequence[Callable[..., Any]] = (),
    workers: int = 1,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate one or several methods on the same stacks.

    Each stack is stained by each model; stains and the target are segmented alike and compared with the labels of the
    manifest or, where there are none, with the segmentation of the target. What is in the folder already, from files,
    models and settings that have not changed, is not done again: an interrupted call goes on, and one more method
    costs that method alone.

    Parameters
    ----------
    pairs : path or sequence
        A manifest, a folder of stacks with both channels, or pairs: each a `Pair`, or a tuple of input and target
        (NumPy arrays, stacks or paths).
    models : path, Model, or mapping
        Model folders, or folders of stains that other tools have made, one image file named after every stack, in
        the intensities of the targets. A name may have a mapping of seeds to such.
    to : path
        Folder for tables, stains and labels.
    settings : EvaluationSettings
        What is measured, and how.
    input_channel : str or sequence of str, optional
        Channel of the input, name or index, or several in order; for a folder.
    target_channel : str, optional
        Channel of the target, for a folder.
    target : str, optional
        Which target to compare with, for a manifest of several.
    axes, voxel_size : optional
        Of arrays, and of files that do not state them or state them wrongly; see `spotlight.pairs.read_pairs`.
    metrics : sequence of callable
        Further metrics: functions that return a number, with a card (`spotlight.metrics.metric`) or without. Those of
        installed packages need not be given.
    workers : int
        Processes, each with a stack at a time. With more than one, a script must guard its main part by
        ``if __name__ == "__main__":``, and functions of `metrics` must stand in a module.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Returns
    -------
    Evaluation
        The tables that were written into `to`.

    Raises
    ------
    SpotlightError
        If there is nothing to evaluate or a file does not fit.

    Examples
    --------
    >>> import spotlight
    >>> result = spotlight.evaluate("manifest.csv", {"fnet": "fnet", "ours": "model"}, "evaluation")  # doctest: +SKIP
    >>> result.scores.groupby("method")["mean_ap"].mean()  # doctest: +SKIP
    """
    settings = settings or EvaluationSettings()
    pairs, models, to = *data_first(pairs, models, "evaluate"), Path(to)
    require_stains(models)
    listed = read_pairs(pairs, input_channel, target_channel, target, axes=axes, voxel_size=voxel_size)
    chosen = rows_of(listed, settings.split)
    methods = tuple(find_methods(models, chosen))
    if stainers := [method.model for method in methods if method.model is not None]:
        image, _ = chosen[0].read_both()
        for model in stainers:  # what is no input for one is refused before the first target is segmented
            accepted(model, chosen[0], image, settings.any_voxel_size)
    work = Work(methods, settings, _data_range(methods, chosen, settings), find_metrics(settings, metrics), to)
    judged: dict[str, tuple[Truth, dict[str, StackScores]]] = {}
    with closing(judge_each(judge_stack, chosen, work, workers, progress, 1 + len(methods))) as results:
        for pair, result in zip(chosen, results, strict=True):
            judged[pair.name] = result
    for method in methods:
        doubted = {name: found[method.key].doubts for name, (_, found) in judged.items()}
        tell_doubts(method.key, doubted)
    for pair in chosen[: settings.pictured]:
        for kind, stack in zip(("input", TARGET), pair.read_both(), strict=True):
            separate(stack)[0].save(to / "images" / kind / f"{pair.name}.ome.tif")  # what the page shows
    populations = [Population(truth.nuclei, truth.target_nuclei) for truth, _ in judged.values()]
    ranges, ranges_of_target, ranged = find_ranges(listed, populations, settings, to)
    sets = score_sets(chosen, methods, settings, to)
    rows: list[dict[str, Any]] = []
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in ("curve", "matched", "resolution", "sweep")}
    for name, (truth, scored) in judged.items():
        for method_key, found in scored.items():
            who = {"stack": name} | _who(method_key, methods)
            profiles = score_profiles(truth.nuclei, truth.target_nuclei, found.measured, ranges, ranges_of_target)
            if method_key == TARGET:
                del profiles["profile_distance_to_target"]
            of_set = sets.get(method_key)
            rows.append(who | found.scores | profiles | (of_set.scores[name] if of_set else {}))
            for kind, parts in tables.items():
                part = getattr(found, kind)
                if kind == "sweep" and of_set and not part.empty:
                    part = part.merge(of_set.sweep.query("stack == @name").drop(columns="stack"), on="position")
                parts.append(part.copy().assign(**who))  # a copy is in one piece, which many columns need
    labelled = {name for name, (truth, _) in judged.items() if truth.labelled}
    if 0 < len(labelled) < len(judged):
        # Means of the fluorescence say by these rows that they are of fewer stacks than those of the methods.
        rows += [{"stack": name, "method": TARGET, "seed": 0} for name in judged if name not in labelled]
        log.warning(
            "%d of %d stacks have no labels, so what is taken for true there is the segmentation of their "
            "fluorescence. Means of nuclei mix the two: give labels for all stacks, or judge either kind alone.",
            len(judged) - len(labelled),
            len(judged),
        )
    curves, nuclei, resolution, swept = (pd.concat(parts, ignore_index=True) for parts in tables.values())
    evaluation = Evaluation(
        folder=to,
        scores=pd.DataFrame(rows),
        average_precision=curves,
        nuclei=nuclei,
        features=score_all_features(nuclei, ranges),
        histograms=histograms(_samples(judged, methods)),
        resolution=resolution,
        sweep=_mean_sweep(swept),
    )
    for name in TABLES:
        write_csv(getattr(evaluation, name), to / f"{name}.csv", "%.6g")
    alone = any(description.input.planes == "one" for m in methods for description in m.descriptions)
    fields = fields_by_plane(listed) if alone else {}
    record = {
        "versions": {"spotlight": __version__},
        "models": {m.key: m.record for m in methods},
        **({"metrics": sources(work.metrics)} if work.metrics else {}),
        "settings": settings.model_dump(mode="json"),
        "data_range": work.data_range,
        "feature_ranges": {"from": ranged, "truth": _plain(ranges), TARGET: _plain(ranges_of_target)},
        "stacks": [_record(pair, *judged[pair.name], methods, fields) for pair in chosen],
    }
    write_text(to / "evaluation.yaml", yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
    return evaluation


def _data_range(methods: Sequence[Method], pairs: Sequence[Pair], settings: EvaluationSettings) -> float | None:
    """The range that PSNR and SSIM refer to: one for all methods, since two would not compare; None if none has it."""
    judged = {pair.target_name: pair for pair in pairs}
    foreign = [m.name for m in methods if not all(map(m.calibrated, judged.values()))]
    for name in dict.fromkeys(foreign):
        log.warning(
            "The stains of %s are in units of its own, not in intensities: it has no PSNR, NRMSE and SSIM. A model "
            "folder gets intensities when it is trained further on pairs (spotlight train --from).",
            name,
        )
    if settings.data_range is not None:
        low, high = settings.data_range
        return high - low
    if all(method.name in foreign for method in methods):
        return None
    ranges = {}
    for method in methods:
        known = method.name not in foreign and not any("imported" in one.training for one in method.descriptions)
        found = [t.intensity_range for pair in judged.values() for t in method.targets_of(pair)] if known else []
        if found:  # of models for one modality each: all that they were trained on
            ranges[method.name] = min(low for low, _ in found), max(high for _, high in found)
    if not ranges:
        raise SpotlightError(
            "packages and stains of other tools do not say which intensities PSNR refers to. State the least and the "
            "greatest value of the training targets as data_range in the settings."
        )
    first, (low, high) = next(iter(ranges.items()))
    if len(set(ranges.values())) > 1:
        log.warning("The models were trained on different intensities; PSNR and SSIM refer to those of %s.", first)
    return high - low


def _who(method_key: str, methods: Sequence[Method]) -> dict[str, Any]:
    method = next((m for m in methods if m.key == method_key), None)
    return {"method": method_key, "seed": 0} if method is None else {"method": method.name, "seed": method.seed}


def _samples(
    judged: Mapping[str, tuple[Truth, dict[str, StackScores]]], methods: Sequence[Method]
) -> dict[str, list["np.ndarray[Any, Any]"]]:
    samples: dict[str, list[np.ndarray[Any, Any]]] = {TARGET: []}
    for truth, scored in judged.values():
        samples[TARGET].append(truth.sample)
        for method_key, scores in scored.items():
            if method_key != TARGET:
                samples.setdefault(_who(method_key, methods)["method"], []).append(scores.sample)
    return samples


def _plain(ranges: Ranges) -> dict[str, list[float]]:
    return {name: list(limits) for name, limits in ranges.items()}


def _mean_sweep(swept: pd.DataFrame) -> pd.DataFrame:
    if swept.empty:
        return pd.DataFrame(columns=["method", "position", "threshold"])
    return counted_means(swept.drop(columns=["stack", "seed"]), ["method", "position"])


def _record(
    pair: Pair,
    truth: Truth,
    scored: Mapping[str, StackScores],
    methods: Sequence[Method],
    fields: Mapping[str, Pair],
) -> dict[str, Any]:
    digests = {pair.digest(), replace(pair, voxel_size=None).digest()}  # a size stated later shows nothing else
    if pair.name in fields:  # models that see one plane at a time have learnt from all planes of a field
        digests.add(fields[pair.name].digest())
    models = {m.key: m.descriptions for m in methods}
    seen = [name for name, found in models.items() if any(digests & _training_digests(one) for one in found)]
    segmented = {TARGET: truth.segmentation_doubts} | {
        m: found.segmentation_doubts for m, found in scored.items() if m != TARGET
    }
    doubts = [f"{m}: {doubt}" for m, doubted in segmented.items() for doubt in doubted]
    for doubt in doubts:
        log.warning("%s: %s", pair.name, doubt)
    for name in seen:
        log.warning("%s was used to train model %s: its scores are not those of unseen data.", pair.name, name)
    return {
        "name": pair.name,
        "input": str(pair.input),
        "target": str(pair.target),
        "seen_in_training": seen,
        "truth": "labels of the manifest" if truth.labelled else "segmentation of the target",
        "threshold": truth.threshold,
        "foreground_fraction": truth.fraction,
        "remarks": [f"{m}: {name}: {why}" for m, found in scored.items() for name, why in found.remarks.items()],
        "doubts": [f"{m}: has {doubt}" for m, found in scored.items() for doubt in found.doubts],
        "segmentation_doubts": doubts,
    }


def _training_digests(description: ModelDescription) -> set[str]:
    data = description.training.get("data", {})
    return {stack["digest"] for part in ("train", "validation") for stack in data.get(part, [])}


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation and number of values over stacks: one row per method, three columns per metric.

    Parameters
    ----------
    scores : DataFrame
        As `spotlight.evaluate` gives it: a row per stack, method and seed.

    Returns
    -------
    DataFrame
        Two levels of columns: the metric, and ``mean``, ``std`` and ``count``.

    Examples
    --------
    >>> import pandas as pd
    >>> from spotlight.evaluation import summarise
    >>> scores = pd.DataFrame({"stack": ["a", "b"], "seed": 0, "method": "ours", "pearson": [0.8, 0.9]})
    >>> round(float(summarise(scores).loc["ours", ("pearson", "mean")]), 2)
    0.85
    """
    numbers = scores.drop(columns=["stack", "seed"]).groupby("method", sort=False)
    return numbers.agg(["mean", "std", "count"])
