"""`evaluate_masks`: probabilities of structures against masks that were not trained on."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from spotlight.csv_files import write_csv
from spotlight.errors import SpotlightError
from spotlight.evaluation.means import counted_means
from spotlight.evaluation.methods import TILE_VOXELS, Source
from spotlight.files import write_text
from spotlight.images import Stack
from spotlight.images.joining import all_channels, separate
from spotlight.images.slabs import in_memory
from spotlight.locks import works_in
from spotlight.metrics import betti_errors, cl_dice, component_f1, mask_dice, panoptic_dice
from spotlight.model import was_seen
from spotlight.pairs.fields import group_fields
from spotlight.pairs.listing import read_pairs
from spotlight.pairs.pair import Listed, Pair
from spotlight.pairs.prepare import PreparationSettings
from spotlight.prediction import Model, PredictionSettings, load_model
from spotlight.prediction.acceptance import tell_doubts
from spotlight.quoting import safe_name
from spotlight.tasks import SegmentTask, find_labels
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
    progress: Progress | None = None,
) -> MaskEvaluation:
    """Compare what models of the task "segment" find with masks.

    Every score is computed on the grid of the input, where the mask is annotated. Found is what has at least the
    probability `SegmentTask.threshold` and the size `SegmentTask.least_voxels`.

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
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Raises
    ------
    SpotlightError
        If a model was not trained on masks, or lacks a structure, or there is nothing to evaluate.
    """
    to = Path(to)
    sources = models if isinstance(models, Mapping) else {_name_of(models): models}
    loaded = {name: one if isinstance(one, Model) else load_model(one) for name, one in sources.items()}
    tasks = {name: _task_of(model) for name, model in loaded.items()}
    column = next(iter(tasks.values())).column
    listed = read_pairs(pairs, target=target, every_target=target is None, column=column)
    chosen = [pair for pair in listed if pair.split in (split, "")]
    if not chosen:
        raise SpotlightError(f"no row has the split {split!r}. Found: {sorted({pair.split for pair in listed})}.")
    fields = [[chosen[number] for number in field] for field in group_fields(chosen)]
    rows: list[dict[str, Any]] = []
    pictures: dict[tuple[str, str, str], Masks] = {}
    doubts: dict[str, dict[str, Sequence[str]]] = {name: {} for name in loaded}
    for done, field in enumerate(fields):
        image = field[0].read_input()
        for name, model in loaded.items():
            result, found_doubts = _predicted(model, image)
            doubts[name][field[0].name] = found_doubts
            result.save(to / name / f"{field[0].name}{tasks[name].suffix}.ome.tif")
            for pair in field:
                structure = pair.target_name or result.channels[0]
                made = _score(pair, structure, separate(image)[0], result, tasks[name])
                who = {"method": name, "structure": structure, "stack": field[0].name}
                rows.append(who | made[0] | {"seen_in_training": _is_seen(pair, model)})
                if done < pictured:
                    pictures[name, structure, field[0].name] = made[1]
        if progress is not None:
            progress("evaluating", done + 1, len(fields), {})
    for name, found in doubts.items():
        tell_doubts(name, found)
    scores = pd.DataFrame(rows)
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


def score_masks(
    truth: NDArray[np.bool_], found: NDArray[np.bool_], kind: str | None, spacing: tuple[float, ...] | None = None
) -> dict[str, float]:
    """Score a found mask by what suits a kind of structure.

    Parameters
    ----------
    truth, found : (Z, Y, X) or (Y, X) bool
        The true mask and the found one.
    kind : "contiguous", "isolated" or None
        Contiguous structures have clDice and errors of Betti numbers; isolated ones the panoptic quality and F1. With
        None, a structure has both.
    spacing : tuple of float, optional
        Edge lengths of a voxel, for skeletons.

    Returns
    -------
    dict of str to float
        Dice, and NaN for what does not suit the kind.
    """
    scores = dict.fromkeys(("cl_dice", "betti_0_error", "betti_1_error", "panoptic_dice", "component_f1"), float("nan"))
    if kind != "isolated":
        components, loops, _ = betti_errors(truth, found)
        scores |= {"cl_dice": cl_dice(truth, found, spacing), "betti_0_error": components, "betti_1_error": loops}
    if kind != "contiguous":
        scores |= {"panoptic_dice": panoptic_dice(truth, found), "component_f1": component_f1(truth, found)}
    return {"mask_dice": mask_dice(truth, found)} | scores


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


def _predicted(model: Model, image: Stack) -> tuple[Stack, Sequence[str]]:
    settings = PredictionSettings(precision="float32", voxels=TILE_VOXELS[len(image.spatial_axes)])
    result, facts = model.stain(model.accept(image, all_channels(image)), settings)
    return result, facts["doubts"]


def _score(
    pair: Pair, structure: str, image: Stack, result: Stack, task: SegmentTask
) -> tuple[dict[str, float], Masks]:
    """Score one structure of one stack; returns the scores, and projections of input, truth and what was found."""
    if structure not in result.channels:
        raise SpotlightError(
            f"{pair.name}: has a mask of {structure!r}, but the model finds {', '.join(result.channels)}. Choose one "
            "of them with target= (Python) or --target."
        )
    probability = result.channel(structure)
    made = task.prepare(pair, PreparationSettings(grid="native"), in_memory)
    known = made.mask
    split = structure in task.split
    found = (find_labels(probability, task.threshold, task.least_voxels, split).data > 0) & known
    truth = (made.target > 0) & known
    kind = task.structures.get(structure)
    shown = image.data[0] if "C" in image.axes else image.data  # of several channels, the first
    flat = tuple(array.max(axis=0) if array.ndim == 3 else array for array in (shown, truth, found))
    return score_masks(truth, found, kind, image.voxel_size), (flat[0].astype(np.float32), flat[1], flat[2])


def _is_seen(pair: Pair, model: Model) -> bool:
    data = model.description.training.get("data", {})
    trained = {stack["digest"] for part in ("train", "validation") for stack in data.get(part, [])}
    return pair.digest() in trained or was_seen(model.description, pair)
