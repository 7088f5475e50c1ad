"""`evaluate_classes`: classes that models find against true ones, over specimens that were not trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.csv_files import write_csv
from spotlight.errors import SpotlightError
from spotlight.evaluation.methods import Source
from spotlight.evaluation.shared import is_seen, judge_each, open_models, rows_of, tell_seen, write_record
from spotlight.evaluation.store import load, save
from spotlight.fingerprint import fingerprint
from spotlight.images.joining import all_channels
from spotlight.locks import works_in
from spotlight.metrics import balanced_accuracy, confusion_matrix, macro_f1
from spotlight.pairs.listing import read_pairs
from spotlight.pairs.pair import Listed, Pair
from spotlight.prediction import Model
from spotlight.prediction.classes import PROBABILITY, classify_stack, require_classes
from spotlight.progress import Progress

STACKS = "class_stacks.csv"
SCORES = "class_scores.csv"
RECORD = "class_evaluation.yaml"
LAYOUT = 1
JUDGED = "judged"
RESAMPLES = 2000
FEWEST_SPECIMENS = 5
"""Specimens from which on an interval is given: fewer have too few resamples."""


@dataclass(frozen=True, eq=False)
class ClassEvaluation:
    """What an evaluation of classes found.

    Attributes
    ----------
    folder : Path
        With two tables as CSV and a record.
    stacks : DataFrame
        One row per method and stack: true and found class, specimen, and the probability of every class.
    scores : DataFrame
        One row per method: balanced accuracy and macro F1, each with the interval over specimens (``_low``, ``_high``;
        ``nan`` of fewer than `FEWEST_SPECIMENS`), and the numbers of stacks and specimens.
    confusion : dict
        By method: (classes, classes) counts, true in rows.
    names : tuple of str
        The classes.

    Examples
    --------
    >>> from spotlight.evaluation import evaluate_classes
    >>> result = evaluate_classes("phases.csv", "model", "evaluation")  # doctest: +SKIP
    >>> wrong = result.stacks[result.stacks["found"] != result.stacks["class"]]  # doctest: +SKIP
    >>> result.confusion["model"]  # doctest: +SKIP
    array([[18,  2],
           [ 3, 17]])
    """

    folder: Path
    stacks: pd.DataFrame
    scores: pd.DataFrame
    confusion: Mapping[str, NDArray[np.int64]]
    names: tuple[str, ...]


@dataclass(frozen=True)
class ClassWork:
    """What is done with every stack: the models, by name, and the folder for what they find."""

    models: Mapping[str, Model]
    folder: Path


@dataclass(frozen=True)
class FoundClass:
    """What one model found in one stack: the probability of every class, and in which ways the input is unlike."""

    shares: dict[str, float]
    doubts: list[str]


@works_in("to")
def evaluate_classes(
    pairs: Listed,
    models: Source | Mapping[str, Source],
    to: str | Path,
    *,
    split: str = "test",
    workers: int = 1,
    progress: Progress | None = None,
) -> ClassEvaluation:
    """Compare the classes that models of the task "classify" find with true ones.

    What is in the folder already, from files and models that have not changed, is not done again: an interrupted call
    goes on.

    Parameters
    ----------
    pairs : path or sequence of Pair
        A manifest with the columns ``input`` and ``class``, and ``specimen`` for intervals, or pairs.
    models : path, Model, or mapping of str to such
        Model folders.
    to : path
        Folder for tables.
    split : str
        Rows to evaluate; those without a split are, too.
    workers : int
        Processes. More than one need a script to guard its main part, as `multiprocessing` documents.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Returns
    -------
    ClassEvaluation
        The tables that were written into `to`, and the confusion of each method.

    Raises
    ------
    SpotlightError
        If a model was trained for something else or does not know a class, or there is nothing to evaluate, or a
        process dies.

    Examples
    --------
    >>> from spotlight.evaluation import evaluate_classes
    >>> result = evaluate_classes("phases.csv", "model", "evaluation")  # doctest: +SKIP
    >>> result.scores["balanced_accuracy"]  # doctest: +SKIP
    """
    to, loaded = Path(to), open_models(models)
    for model in loaded.values():
        require_classes(model)
    chosen = rows_of(read_pairs(pairs, column="class"), split)
    names = tuple(target.channel for target in next(iter(loaded.values())).description.targets)
    for name, model in loaded.items():
        known = {target.channel for target in model.description.targets}
        if unknown := sorted({*names, *(pair.target_name for pair in chosen)} - known):
            raise SpotlightError(
                f"model {name} does not know the class {', '.join(unknown)}; it knows {', '.join(sorted(known))}. "
                "Leave these rows or this model out, or correct the names."
            )
    rows: list[dict[str, Any]] = []
    doubts: dict[str, dict[str, Sequence[str]]] = {name: {} for name in loaded}
    work = ClassWork(loaded, to)
    for pair, judged in zip(chosen, judge_each(judge_classes, chosen, work, workers, progress), strict=True):
        for name, one in judged.items():
            doubts[name][pair.name] = one.doubts
            best = max(one.shares, key=lambda kind: one.shares[kind])
            who = {"method": name, "stack": pair.name, "specimen": pair.group or pair.name}
            shares = {f"{PROBABILITY}{kind}": one.shares[kind] for kind in names}
            rows.append(who | {"class": pair.target_name, "found": best} | shares)
    for name, model in loaded.items():
        tell_seen(name, [pair.name for pair in chosen if is_seen(pair, model)])
    stacks = pd.DataFrame(rows)
    scores = pd.DataFrame(
        [{"method": name} | score_classes(stacks[stacks["method"] == name], names) for name in loaded]
    )
    confusion = {
        name: confusion_matrix(list(own["class"]), list(own["found"]), names)
        for name, own in stacks.groupby("method", sort=False)
    }
    write_csv(stacks, to / STACKS, "%.6g")
    write_csv(scores, to / SCORES, "%.6g")
    counts = {str(name): table.tolist() for name, table in confusion.items()}
    listed = [{"name": pair.name, "input": str(pair.input), "class": pair.target_name} for pair in chosen]
    write_record(to / RECORD, split, loaded, listed, doubts, confusion=counts, classes=list(names))
    return ClassEvaluation(to, stacks, scores, {str(name): found for name, found in confusion.items()}, names)


def judge_classes(pair: Pair, work: ClassWork) -> dict[str, FoundClass]:
    """Classify a stack by all models, or load what they found in an earlier call."""
    facts, judged = (LAYOUT, pair.digest(), pair.fingerprints()), {}
    for name, model in work.models.items():
        key, place = fingerprint(*facts, model.digest), work.folder / JUDGED / name / pair.name
        found = load(FoundClass, key, place)
        if found is None:
            image = pair.read_input()
            shares, doubts = classify_stack(model, model.accept(image, all_channels(image)))
            found = FoundClass(shares, list(doubts))
            save(found, key, place)
        judged[name] = found
    return judged


def score_classes(rows: pd.DataFrame, names: Sequence[str], seed: int = 0) -> dict[str, float]:
    """Score found classes, with intervals over specimens.

    Specimens are drawn with replacement, all stacks of each together, 2,000 times; the interval is from the 2.5th to
    the 97.5th percentile (Efron 1979). Draws without any stack of a class leave that class out.

    Parameters
    ----------
    rows : DataFrame
        With the columns ``class``, ``found`` and ``specimen``.
    names : sequence of str
        All classes.
    seed : int
        Of the draws.

    Returns
    -------
    dict of str to float
        ``balanced_accuracy`` and ``macro_f1``, each from 0 to 1 with ``_low`` and ``_high``, which are NaN for fewer
        than `FEWEST_SPECIMENS` specimens; ``stacks`` and ``specimens``.

    Examples
    --------
    >>> import pandas as pd
    >>> from spotlight.evaluation import score_classes
    >>> rows = pd.DataFrame(
    ...     {"class": ["G1", "G1", "M", "M"], "found": ["G1", "M", "M", "M"], "specimen": ["a", "b", "a", "b"]}
    ... )
    >>> scores = score_classes(rows, ["G1", "M"])
    >>> scores["balanced_accuracy"], scores["specimens"]  # the mean of 1/2 and 1
    (0.75, 2)
    >>> scores["balanced_accuracy_low"]  # too few specimens for an interval
    nan
    """
    of_specimen = [
        confusion_matrix(list(own["class"]), list(own["found"]), names) for _, own in rows.groupby("specimen")
    ]
    counts = np.stack(of_specimen)
    whole = counts.sum(0)
    scores = {"balanced_accuracy": balanced_accuracy(whole), "macro_f1": macro_f1(whole)}
    bounds = dict.fromkeys(
        ("balanced_accuracy_low", "balanced_accuracy_high", "macro_f1_low", "macro_f1_high"), float("nan")
    )
    if len(counts) >= FEWEST_SPECIMENS:
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), RESAMPLES)
        resampled = np.tensordot(drawn, counts, 1)
        for name, score in (("balanced_accuracy", balanced_accuracy), ("macro_f1", macro_f1)):
            low, high = np.percentile([score(one) for one in resampled], [2.5, 97.5])
            bounds |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return scores | bounds | {"stacks": len(rows), "specimens": len(counts)}
