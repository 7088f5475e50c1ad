"""`evaluate`: stain, segment, measure and compare with the target and the truth, stack by stack."""

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from spotlight.csv_files import write_csv
from spotlight.errors import SpotlightError
from spotlight.evaluation.judge import Finding, judge, sample
from spotlight.evaluation.means import counted_means
from spotlight.evaluation.methods import REPEAT, TARGET, Method, Source, find_methods
from spotlight.evaluation.reference import make_reference
from spotlight.evaluation.sets import (
    FOREGROUND,
    Population,
    Ranges,
    find_ranges,
    histograms,
    score_all_features,
    score_profiles,
    score_sets,
)
from spotlight.evaluation.settings import EvaluationSettings
from spotlight.evaluation.store import key_of, load, save
from spotlight.files import write_text
from spotlight.images import Stack
from spotlight.locks import works_in
from spotlight.model import ModelDescription
from spotlight.pairs.fields import fields_by_plane
from spotlight.pairs.manifest import read_pairs
from spotlight.pairs.pair import Pair
from spotlight.prediction.acceptance import tell_doubts
from spotlight.processes import BrokenProcessPool, processes
from spotlight.version import __version__

log = logging.getLogger("spotlight")

TABLES = ("scores", "average_precision", "nuclei", "features", "histograms", "resolution", "sweep")
"""What an evaluation writes as CSV."""

Progress = Callable[[str, int, int, dict[str, float]], None]


@dataclass(frozen=True)
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
    """

    folder: Path
    scores: pd.DataFrame
    average_precision: pd.DataFrame
    nuclei: pd.DataFrame
    features: pd.DataFrame
    histograms: pd.DataFrame
    resolution: pd.DataFrame
    sweep: pd.DataFrame


@dataclass(frozen=True)
class Truth:
    """What is needed of a stack's reference once its stains are judged; see `Reference`."""

    nuclei: pd.DataFrame
    target_nuclei: pd.DataFrame
    threshold: float
    fraction: float
    labelled: bool
    segmentation_doubts: list[str]
    sample: "np.ndarray[Any, Any]"


@dataclass(frozen=True)
class Work:
    """What is done with every stack."""

    methods: tuple[Method, ...]
    settings: EvaluationSettings
    data_range: float
    folder: Path


@works_in("to")
def evaluate(
    models: Source | Mapping[str, Source | Mapping[int, Source]],
    pairs: str | Path | Sequence[Pair],
    to: str | Path,
    settings: EvaluationSettings | None = None,
    *,
    input_channel: str | None = None,
    target_channel: str | None = None,
    target: str | None = None,
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
    models : path, Model, or mapping
        Model folders, or folders of stains that other tools have made, one image file named after every stack, in
        the intensities of the targets. A name may have a mapping of seeds to such.
    pairs : path or sequence of Pair
        A manifest, a folder of stacks with both channels, or pairs.
    to : path
        Folder for tables, stains and labels.
    settings : EvaluationSettings
        What is measured, and how.
    input_channel, target_channel : str, optional
        Channel names or indices, for a folder.
    target : str, optional
        Which target to compare with, for a manifest of several.
    workers : int
        Processes, each with a stack at a time. More than one need a script to guard its main part, as
        `multiprocessing` documents.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Raises
    ------
    SpotlightError
        If there is nothing to evaluate or a file does not fit.
    """
    settings = settings or EvaluationSettings()
    to = Path(to)
    listed = read_pairs(pairs, input_channel, target_channel, target)
    chosen = [pair for pair in listed if pair.split in (settings.split, "")]
    if not chosen:
        raise SpotlightError(f"no pair has the split {settings.split!r}. Found: {sorted({p.split for p in listed})}.")
    methods = tuple(find_methods(models, [pair.name for pair in chosen]))
    work = Work(methods, settings, _data_range(methods, chosen, settings), to)
    judged: dict[str, tuple[Truth, dict[str, Finding]]] = {}
    with closing(_judge_all(chosen, work, workers)) as results:
        for number, (pair, result) in enumerate(zip(chosen, results, strict=True), start=1):
            judged[pair.name] = result
            if progress is not None:
                progress("evaluating", number, len(chosen), {})
    for method in methods:
        doubted = {name: findings[method.folder].doubts for name, (_, findings) in judged.items()}
        tell_doubts(method.folder, doubted)
    for pair in chosen[: settings.pictured]:
        for kind, stack in zip(("input", TARGET), pair.read_both(), strict=True):
            stack.save(to / "images" / kind / f"{pair.name}.ome.tif")
    populations = [Population(truth.nuclei, truth.target_nuclei) for truth, _ in judged.values()]
    ranges, ranges_of_target, ranged = find_ranges(listed, populations, settings, to)
    sets = score_sets(chosen, methods, settings, to)
    rows: list[dict[str, Any]] = []
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in ("curve", "matched", "resolution", "sweep")}
    for name, (truth, findings) in judged.items():
        for folder, found in findings.items():
            who = {"stack": name} | _who(folder, methods)
            profiles = score_profiles(truth.nuclei, truth.target_nuclei, found.measured, ranges, ranges_of_target)
            if folder == TARGET:
                del profiles["profile_distance_to_target"]
            of_set = sets.get(folder)
            rows.append(who | found.scores | profiles | (of_set.scores[name] if of_set else {}))
            for kind, parts in tables.items():
                part = getattr(found, kind)
                if kind == "sweep" and of_set and not part.empty:
                    part = part.merge(of_set.sweep.query("stack == @name").drop(columns="stack"), on="position")
                parts.append(part.assign(**who))
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
        "models": {m.folder: m.record for m in methods},
        "settings": settings.model_dump(mode="json"),
        "data_range": work.data_range,
        "feature_ranges": {"from": ranged, "truth": _plain(ranges), TARGET: _plain(ranges_of_target)},
        "stacks": [_record(pair, *judged[pair.name], methods, fields) for pair in chosen],
    }
    write_text(to / "evaluation.yaml", yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
    return evaluation


def _data_range(methods: Sequence[Method], pairs: Sequence[Pair], settings: EvaluationSettings) -> float:
    """The range that PSNR and SSIM refer to: one for all methods, since two would not compare."""
    if settings.data_range is not None:
        low, high = settings.data_range
        return high - low
    judged = {pair.target_name: pair for pair in pairs}
    ranges = {}
    for method in methods:
        found = [target.intensity_range for pair in judged.values() for target in method.targets_of(pair)]
        if found:  # of models for one modality each: all that they were trained on
            ranges[method.name] = min(low for low, _ in found), max(high for _, high in found)
    if not ranges:
        raise SpotlightError(
            "stains of other tools do not say which intensities PSNR refers to. State the least and the greatest value "
            "of the training targets as data_range in the settings."
        )
    first, (low, high) = next(iter(ranges.items()))
    if len(set(ranges.values())) > 1:
        log.warning("The models were trained on different intensities; PSNR and SSIM refer to those of %s.", first)
    return high - low


def _judge_all(pairs: list[Pair], work: Work, workers: int) -> Generator[tuple[Truth, dict[str, Finding]]]:
    count = min(workers, len(pairs))
    if count <= 1:
        for pair in pairs:
            yield judge_stack(pair, work)
        return
    threads = max(1, torch.get_num_threads() // count)
    try:
        with processes(count, _begin, (work, threads)) as run:
            yield from run(_judge_in_process, pairs)
    except BrokenProcessPool as error:
        raise SpotlightError(
            "an evaluating process died, for lack of memory or of a guard around the script's main part. Use fewer "
            "workers; what is done is kept."
        ) from error


_work: Work | None = None
"""Of a process of its own, so that models travel there once."""


def _begin(work: Work, threads: int) -> None:
    global _work
    _work = work
    torch.set_num_threads(threads)


def _judge_in_process(pair: Pair) -> tuple[Truth, dict[str, Finding]]:
    assert _work is not None
    return judge_stack(pair, _work)


def judge_stack(pair: Pair, work: Work) -> tuple[Truth, dict[str, Finding]]:
    """Judge all methods on one stack, or take up what an earlier call has found; stains and labels are written."""
    settings, to = work.settings, work.folder
    key = key_of(pair, settings)
    keys = {m.folder: key_of(pair, settings, m.digest(pair), work.data_range) for m in work.methods}
    if pair.repeat is not None:
        keys[REPEAT] = key_of(pair, settings, work.data_range)
    truth = load(Truth, key, _place(to, "truth", pair))
    if truth is not None and truth.labelled:
        keys[TARGET] = key
    found = {folder: load(Finding, own, _place(to, folder, pair)) for folder, own in keys.items()}
    if truth is None or not all(found.values()):
        truth = _judge_anew(pair, work, key, keys, found)
    # The real fluorescence comes first, the methods in their order.
    order = [name for name in (TARGET, REPEAT, *(m.folder for m in work.methods)) if name in found]
    return truth, {name: finding for name in order if (finding := found[name]) is not None}


def _place(to: Path, folder: str, pair: Pair) -> Path:
    return to / "judged" / folder / pair.name


def _judge_anew(pair: Pair, work: Work, key: str, keys: dict[str, str], found: dict[str, Finding | None]) -> Truth:
    """Judge what is missing in `found`, and put it there."""
    settings, to = work.settings, work.folder
    image, target = pair.read_both()
    reference = make_reference(pair, target, settings)
    truth = Truth(
        reference.nuclei,
        reference.target_nuclei,
        reference.threshold,
        reference.fraction,
        reference.labelled,
        list(reference.doubts),
        sample(target),
    )
    _save_labels(reference.truth[""], to / "labels" / "truth" / f"{pair.name}.ome.tif")
    foreground = replace(target, array=reference.mask.astype(np.uint8), channels=("foreground",), labels=True)
    foreground.save(to / "labels" / FOREGROUND / f"{pair.name}.ome.tif")
    if reference.labelled:
        keys[TARGET] = key
    methods = {method.folder: method for method in work.methods}
    for folder, own in keys.items():
        if found.get(folder) is not None:
            continue
        stain: Stack | None = target
        doubts: tuple[str, ...] = ()
        if folder == REPEAT:
            stain = pair.read_repeat(target)
        elif folder != TARGET:
            stain, doubts = methods[folder].stain(pair, image, target, settings.prediction)
            stain.save(to / "stains" / folder / f"{pair.name}.ome.tif")
        assert stain is not None
        finding, labels = judge(stain, reference, settings, work.data_range, is_target=folder == TARGET)
        _save_labels(labels, to / "labels" / folder / f"{pair.name}.ome.tif")
        finding = replace(finding, doubts=doubts)
        save(finding, own, _place(to, folder, pair))
        found[folder] = finding
    if load(Truth, key, _place(to, "truth", pair)) is None:
        save(truth, key, _place(to, "truth", pair))
    return truth


def _save_labels(labels: Stack, path: Path) -> None:
    kind = np.uint16 if labels.data.max(initial=0) < 2**16 else np.uint32
    replace(labels, array=labels.data.astype(kind)).save(path)


def _who(folder: str, methods: Sequence[Method]) -> dict[str, Any]:
    method = next((m for m in methods if m.folder == folder), None)
    return {"method": folder, "seed": 0} if method is None else {"method": method.name, "seed": method.seed}


def _samples(
    judged: Mapping[str, tuple[Truth, dict[str, Finding]]], methods: Sequence[Method]
) -> dict[str, list["np.ndarray[Any, Any]"]]:
    samples: dict[str, list[np.ndarray[Any, Any]]] = {TARGET: []}
    for truth, findings in judged.values():
        samples[TARGET].append(truth.sample)
        for folder, finding in findings.items():
            if folder != TARGET:
                samples.setdefault(_who(folder, methods)["method"], []).append(finding.sample)
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
    findings: Mapping[str, Finding],
    methods: Sequence[Method],
    fields: Mapping[str, Pair],
) -> dict[str, Any]:
    digests = {pair.digest(), replace(pair, voxel_size=None).digest()}  # a size stated later shows nothing else
    if pair.name in fields:  # models that see one plane at a time have learnt from all planes of a field
        digests.add(fields[pair.name].digest())
    models = {m.folder: m.descriptions for m in methods}
    seen = [name for name, found in models.items() if any(digests & _training_digests(one) for one in found)]
    segmented = {TARGET: truth.segmentation_doubts} | {
        m: found.segmentation_doubts for m, found in findings.items() if m != TARGET
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
        "remarks": [f"{m}: {name}: {why}" for m, found in findings.items() for name, why in found.remarks.items()],
        "doubts": [f"{m}: has {doubt}" for m, found in findings.items() for doubt in found.doubts],
        "segmentation_doubts": doubts,
    }


def _training_digests(description: ModelDescription) -> set[str]:
    data = description.training.get("data", {})
    return {stack["digest"] for part in ("train", "validation") for stack in data.get(part, [])}


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation and number of values over stacks: one row per method, three columns per metric."""
    numbers = scores.drop(columns=["stack", "seed"]).groupby("method", sort=False)
    return numbers.agg(["mean", "std", "count"])
