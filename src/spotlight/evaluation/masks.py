"""`evaluate_masks`: probabilities of structures against masks that were not trained on."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from spotlight.csv_files import write_csv
from spotlight.errors import SpotlightError
from spotlight.evaluation.mask_fields import MaskWork, judge_fields
from spotlight.evaluation.means import counted_means
from spotlight.evaluation.methods import Source
from spotlight.files import write_text
from spotlight.locks import works_in
from spotlight.pairs.fields import group_fields
from spotlight.pairs.listing import read_pairs
from spotlight.pairs.pair import Listed
from spotlight.prediction import Model, load_model
from spotlight.prediction.acceptance import tell_doubts
from spotlight.quoting import safe_name
from spotlight.tasks import SegmentTask
from spotlight.version import __version__

log = logging.getLogger("spotlight")

SCORES = "mask_scores.csv"
MEANS = "mask_means.csv"
RECORD = "mask_evaluation.yaml"

Progress = Callable[[str, int, int, dict[str, float]], None]
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

    Raises
    ------
    SpotlightError
        If a model was not trained on masks, or lacks a structure, or there is nothing to evaluate, or a process dies.
    """
    to = Path(to)
    sources = models if isinstance(models, Mapping) else {_name_of(models): models}
    loaded = {name: one if isinstance(one, Model) else load_model(one) for name, one in sources.items()}
    tasks = [_task_of(model) for model in loaded.values()]
    column = tasks[0].column
    listed = read_pairs(pairs, target=target, every_target=target is None, column=column)
    chosen = [pair for pair in listed if pair.split in (split, "")]
    if not chosen:
        raise SpotlightError(f"no row has the split {split!r}. Found: {sorted({pair.split for pair in listed})}.")
    fields = [[chosen[number] for number in field] for field in group_fields(chosen)]
    rows: list[pd.DataFrame] = []
    pictures: dict[tuple[str, str, str], Masks] = {}
    doubts: dict[str, dict[str, Sequence[str]]] = {name: {} for name in loaded}
    for done, (field, judged) in enumerate(
        zip(fields, judge_fields(fields, MaskWork(loaded, to), workers), strict=True)
    ):
        for name, one in judged.items():
            doubts[name][field[0].name] = one.doubts
            rows.append(one.scores.assign(method=name, stack=field[0].name))
            for structure, flat in zip(one.scores["structure"] if done < pictured else (), one.pictures, strict=False):
                pictures[name, structure, field[0].name] = (flat[0], flat[1] > 0, flat[2] > 0)
        if progress is not None:
            progress("evaluating", done + 1, len(fields), {})
    for name, found in doubts.items():
        tell_doubts(name, found)
    scores = pd.concat(rows, ignore_index=True)
    scores = scores[
        ["method", "structure", "stack", *scores.columns.difference(["method", "structure", "stack"], False)]
    ]
    for name in loaded:
        seen = scores[scores["seen_in_training"] & (scores["method"] == name)]["stack"]
        if len(seen):
            stacks = ", ".join(dict.fromkeys(seen))
            log.warning("%s was trained or pretrained on %s: these scores are not those of unseen data.", name, stacks)
    means = counted_means(scores.drop(columns=["stack", "seen_in_training"]), ["method", "structure"])
    write_csv(scores, to / SCORES, "%.6g")
    write_csv(means, to / MEANS, "%.6g")
    record = {
        "versions": {"spotlight": __version__},
        "split": split,
        "models": {name: model.description.model_dump(mode="json") for name, model in loaded.items()},
        "stacks": [{"name": pair.name, "input": str(pair.input), "mask": str(pair.target)} for pair in chosen],
        "doubts": {name: {stack: list(said) for stack, said in found.items()} for name, found in doubts.items()},
    }
    write_text(to / RECORD, yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
    return MaskEvaluation(to, scores, means, pictures)


def _name_of(source: Source) -> str:
    return source.name if isinstance(source, Model) else safe_name(Path(source).resolve().name)


def _task_of(model: Model) -> SegmentTask:
    task = model.description.task
    if not isinstance(task, SegmentTask):
        raise SpotlightError(
            f"model {model.name} learnt the task {task.kind!r}, and cannot be judged by masks together with models of "
            "the task 'segment'. Evaluate it alone."
        )
    return task
