"""`evaluate_masks`: probabilities of structures against masks that were not trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.csv_files import write_csv
from spotlight.errors import SpotlightError
from spotlight.evaluation.mask_fields import MaskWork, judge_field
from spotlight.evaluation.means import counted_means
from spotlight.evaluation.methods import Source
from spotlight.evaluation.shared import judge_each, open_models, rows_of, tell_seen, write_record
from spotlight.locks import works_in
from spotlight.pairs.fields import group_fields
from spotlight.pairs.listing import read_pairs
from spotlight.pairs.pair import Listed
from spotlight.prediction import Model
from spotlight.progress import Progress
from spotlight.tasks import SegmentTask

SCORES = "mask_scores.csv"
MEANS = "mask_means.csv"
RECORD = "mask_evaluation.yaml"

Masks = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class MaskEvaluation:
    """What an evaluation of masks found.

    Attributes
    ----------
    folder : Path
        With the two tables as CSV, the probabilities as OME-TIFF, and a record.
    scores : DataFrame
        One row per method, structure and stack. ``nan`` where a score is not defined.
    means : DataFrame
        One row per method and structure: the mean over stacks, and ``NAME_n``, the number of stacks that it is of.
    pictures : dict
        By method, structure and stack: maximum projections along Z of the input, and the true and the found mask.

    Examples
    --------
    >>> from spotlight.evaluation import evaluate_masks
    >>> result = evaluate_masks("vessels.csv", "model", "evaluation")  # doctest: +SKIP
    >>> result.scores.sort_values("mask_dice").head(3)  # doctest: +SKIP
    """

    folder: Path
    scores: pd.DataFrame
    means: pd.DataFrame
    pictures: Mapping[tuple[str, str, str], Masks]


@works_in("to")
def evaluate_masks(
    pairs: Listed,
    models: Source | Mapping[str, Source],
    to: str | Path,
    *,
    split: str = "test",
    target: str | None = None,
    pictured: int = 4,
    workers: int = 1,
    progress: Progress | None = None,
) -> MaskEvaluation:
    """Compare what models of the task "segment" find with masks.

    Every score is computed on the grid of the input, where the mask is annotated. Found is what has at least the
    probability `SegmentTask.threshold` and the size `SegmentTask.least_voxels`. What is in the folder already, from
    files and models that have not changed, is not done again: an interrupted call goes on.

    Parameters
    ----------
    pairs : path or sequence of Pair
        A manifest with columns ``mask`` or ``mask:NAME``, or pairs.
    models : path, Model, or mapping of str to such
        Model folders.
    to : path
        Folder for tables and probabilities.
    split : str
        Rows to evaluate; those without a split are, too.
    target : str, optional
        The only structure to evaluate.
    pictured : int
        Stacks of which pictures are kept.
    workers : int
        Processes. More than one need a script to guard its main part, as `multiprocessing` documents.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Returns
    -------
    MaskEvaluation
        The tables that were written into `to`, and pictures.

    Raises
    ------
    SpotlightError
        If a model was not trained on masks, or lacks a structure, or there is nothing to evaluate, or a process dies.

    Examples
    --------
    >>> from spotlight.evaluation import evaluate_masks
    >>> result = evaluate_masks("vessels.csv", "model", "evaluation")  # doctest: +SKIP
    >>> result.means[["structure", "mask_dice"]]  # doctest: +SKIP
    """
    to, loaded = Path(to), open_models(models)
    tasks = [_task_of(model) for model in loaded.values()]
    chosen = rows_of(read_pairs(pairs, target=target, every_target=target is None, column=tasks[0].column), split)
    fields = [[chosen[number] for number in field] for field in group_fields(chosen)]
    rows: list[pd.DataFrame] = []
    pictures: dict[tuple[str, str, str], Masks] = {}
    doubts: dict[str, dict[str, Sequence[str]]] = {name: {} for name in loaded}
    judged_fields = judge_each(judge_field, fields, MaskWork(loaded, to), workers, progress)
    for done, (field, judged) in enumerate(zip(fields, judged_fields, strict=True)):
        for name, one in judged.items():
            doubts[name][field[0].name] = one.doubts
            rows.append(one.scores.assign(method=name, stack=field[0].name))
            for structure, flat in zip(one.scores["structure"] if done < pictured else (), one.pictures, strict=False):
                pictures[name, structure, field[0].name] = (flat[0], flat[1] > 0, flat[2] > 0)
    scores = pd.concat(rows, ignore_index=True)
    scores = scores[
        ["method", "structure", "stack", *scores.columns.difference(["method", "structure", "stack"], False)]
    ]
    for name in loaded:
        tell_seen(name, scores[scores["seen_in_training"] & (scores["method"] == name)]["stack"])
    means = counted_means(scores.drop(columns=["stack", "seen_in_training"]), ["method", "structure"])
    write_csv(scores, to / SCORES, "%.6g")
    write_csv(means, to / MEANS, "%.6g")
    stacks = [{"name": pair.name, "input": str(pair.input), "mask": str(pair.target)} for pair in chosen]
    write_record(to / RECORD, split, loaded, stacks, doubts)
    return MaskEvaluation(to, scores, means, pictures)


def _task_of(model: Model) -> SegmentTask:
    task = model.description.task
    if not isinstance(task, SegmentTask):
        raise SpotlightError(
            f"model {model.name} learnt the task {task.kind!r}, and cannot be judged by masks together with models of "
            "the task 'segment'. Evaluate it alone."
        )
    return task
