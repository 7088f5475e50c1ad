"""Scoring the masks of a stack: what is computed, and what is stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.evaluation.methods import TILE_VOXELS
from spotlight.evaluation.shared import is_seen
from spotlight.evaluation.store import load, save
from spotlight.fingerprint import fingerprint
from spotlight.images import Stack
from spotlight.images.joining import all_channels, separate
from spotlight.images.slabs import in_memory
from spotlight.metrics import betti_errors, cl_dice, component_f1, mask_dice, panoptic_dice
from spotlight.pairs.pair import Pair
from spotlight.pairs.prepared import PreparationSettings
from spotlight.prediction import Model, PredictionSettings
from spotlight.tasks import SegmentTask, find_labels

LAYOUT = 1
JUDGED = "judged"


@dataclass(frozen=True)
class MaskWork:
    """What is done with every stack: the models, by name, and the folder for what they find."""

    models: Mapping[str, Model]
    folder: Path


@dataclass(frozen=True, eq=False)
class FieldScores:
    """What was found in one stack by one model.

    Attributes
    ----------
    scores : DataFrame
        One row per structure.
    pictures : (structures, 3, Y, X) float32
        Maximum projections of the input, the true and the found mask.
    doubts : list of str
        In which ways the input is unlike those of the training.
    """

    scores: pd.DataFrame
    pictures: NDArray[np.float32]
    doubts: list[str]


def judge_field(field: list[Pair], work: MaskWork) -> dict[str, FieldScores]:
    """Score all models on one stack, or load the scores of an earlier call; probabilities are written."""
    facts = [(pair.name, pair.digest(), pair.fingerprints()) for pair in field]
    image: Stack | None = None
    judged = {}
    for name, model in work.models.items():
        task = model.description.task
        assert isinstance(task, SegmentTask)
        key, place = fingerprint(LAYOUT, facts, model.digest), work.folder / JUDGED / name / field[0].name
        path = work.folder / name / f"{field[0].name}{task.suffix}.ome.tif"
        known = load(FieldScores, key, place) if path.exists() else None
        if known is None:
            image = field[0].read_input() if image is None else image
            known = _judge_anew(field, image, model, task, path)
            save(known, key, place)
        judged[name] = known
    return judged


def _judge_anew(field: list[Pair], image: Stack, model: Model, task: SegmentTask, path: Path) -> FieldScores:
    settings = PredictionSettings(precision="float32", voxels=TILE_VOXELS[len(image.spatial_axes)])
    result, facts = model.stain(model.accept(image, all_channels(image)), settings)
    rows, pictures = [], []
    for pair in field:
        structure = pair.target_name or result.channels[0]
        scores, flat = _score(pair, structure, separate(image)[0], result, task)
        rows.append({"structure": structure} | scores | {"seen_in_training": is_seen(pair, model)})
        pictures.append(flat)
    result.save(path)
    return FieldScores(pd.DataFrame(rows), np.stack(pictures), list(facts["doubts"]))


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

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.evaluation import score_masks
    >>> truth = np.zeros((8, 8), bool)
    >>> truth[2:6, 2:6] = True
    >>> float(score_masks(truth, truth, None)["mask_dice"])
    1.0
    """
    scores = dict.fromkeys(("cl_dice", "betti_0_error", "betti_1_error", "panoptic_dice", "component_f1"), float("nan"))
    if kind != "isolated":
        components, loops, _ = betti_errors(truth, found)
        scores |= {"cl_dice": cl_dice(truth, found, spacing), "betti_0_error": components, "betti_1_error": loops}
    if kind != "contiguous":
        scores |= {"panoptic_dice": panoptic_dice(truth, found), "component_f1": component_f1(truth, found)}
    return {"mask_dice": mask_dice(truth, found)} | scores


def _score(
    pair: Pair, structure: str, image: Stack, result: Stack, task: SegmentTask
) -> tuple[dict[str, float], NDArray[np.float32]]:
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
    return score_masks(truth, found, kind, image.voxel_size), np.stack(flat, dtype=np.float32, casting="unsafe")
