"""`evaluate_classes`: classes that models find against true ones, over specimens that were not trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from spotlight.csv_files import write_csv
from spotlight.errors import SpotlightError
from spotlight.evaluation.methods import Source
from spotlight.files import write_text
from spotlight.images.joining import all_channels
from spotlight.locks import works_in
from spotlight.metrics import balanced_accuracy, confusion_matrix, macro_f1
from spotlight.pairs.listing import read_pairs
from spotlight.pairs.pair import Listed
from spotlight.prediction import Model, load_model
from spotlight.prediction.acceptance import tell_doubts
from spotlight.prediction.classes import PROBABILITY, classify_stack, require_classes
from spotlight.progress import Progress
from spotlight.quoting import safe_name
from spotlight.version import __version__

STACKS = "class_stacks.csv"
SCORES = "class_scores.csv"
RECORD = "class_evaluation.yaml"
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
    """

    folder: Path
    stacks: pd.DataFrame
    scores: pd.DataFrame
    confusion: Mapping[str, NDArray[np.int64]]
    names: tuple[str, ...]


@works_in("to")
def evaluate_classes(
    pairs: Listed,
    models: Source | Mapping[str, Source],
    to: str | Path,
    *,
    split: str = "test",
    progress: Progress | None = None,
) -> ClassEvaluation:
    """Compare the classes that models of the task "classify" find with true ones.

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
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Raises
    ------
    SpotlightError
        If a model was trained for something else or does not know a class, or there is nothing to evaluate.
    """
    to = Path(to)
    sources = models if isinstance(models, Mapping) else {_name_of(models): models}
    loaded = {name: one if isinstance(one, Model) else load_model(one) for name, one in sources.items()}
    for model in loaded.values():
        require_classes(model)
    chosen = [pair for pair in read_pairs(pairs, column="class") if pair.split in (split, "")]
    if not chosen:
        raise SpotlightError(f"no row has the split {split!r}. Add rows with it, or choose another with split=.")
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
    for done, pair in enumerate(chosen):
        image = pair.read_input()
        for name, model in loaded.items():
            shares, doubts[name][pair.name] = classify_stack(model, model.accept(image, all_channels(image)))
            best = max(shares, key=lambda one: shares[one])
            who = {"method": name, "stack": pair.name, "specimen": pair.group or pair.name}
            rows.append(
                who | {"class": pair.target_name, "found": best} | {f"{PROBABILITY}{one}": shares[one] for one in names}
            )
        if progress is not None:
            progress("evaluating", done + 1, len(chosen), {})
    for name, found in doubts.items():
        tell_doubts(name, found)
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
    record = {
        "versions": {"spotlight": __version__},
        "split": split,
        "models": {name: model.description.model_dump(mode="json") for name, model in loaded.items()},
        "confusion": {name: counts.tolist() for name, counts in confusion.items()},
        "classes": list(names),
        "doubts": {name: {stack: list(said) for stack, said in found.items()} for name, found in doubts.items()},
    }
    write_text(to / RECORD, yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
    return ClassEvaluation(to, stacks, scores, {str(name): found for name, found in confusion.items()}, names)


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


def _name_of(source: Source) -> str:
    return source.name if isinstance(source, Model) else safe_name(Path(source).resolve().name)
