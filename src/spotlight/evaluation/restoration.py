"""`evaluate_restoration`: restored images against sharper ones, and against what classical methods make."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.csv_files import write_csv
from spotlight.errors import SpotlightError
from spotlight.evaluation.deconvolution import DECONVOLVED, SMOOTHED, Classical
from spotlight.evaluation.means import counted_means
from spotlight.evaluation.methods import TILE_VOXELS, Source
from spotlight.evaluation.shared import is_seen, judge_each, open_models, rows_of, tell_seen, write_record
from spotlight.evaluation.store import load, save
from spotlight.fingerprint import fingerprint
from spotlight.images import Stack
from spotlight.images.scaling import percentiles
from spotlight.locks import works_in
from spotlight.metrics import fourier_shell_of_two, intensity_scores, structural_similarity
from spotlight.pairs.listing import read_pairs
from spotlight.pairs.pair import Listed, Pair
from spotlight.pairs.prepared import PreparationSettings
from spotlight.pairs.table import read_table
from spotlight.prediction import Model, PredictionSettings
from spotlight.progress import Progress
from spotlight.tasks import DegradeSettings, RestoreTask

SCORES = "restoration_scores.csv"
MEANS = "restoration_means.csv"
RECORD = "restoration_evaluation.yaml"

LAYOUT = 1
JUDGED = "judged"
CLASSICAL = ".classical"
"""Where the scores of the input and of classical methods are kept, among those of models."""

INPUT = "input"
"""The row of the input as it is."""
SHOWN = {
    "psnr": ("PSNR (dB)", "of the range between the 0.1st and 99.9th percentile of the target"),
    "gain_db": ("gain (dB)", "PSNR less that of the input"),
    "ssim": ("SSIM", "structural similarity, of the same range"),
    "psnr_fitted": ("PSNR, fitted (dB)", "after the scale and offset that fit the target best, of the target's range"),
    "gain_fitted_db": (
        "gain, fitted (dB)",
        "that less the fitted PSNR of the input: brightness does not count",
    ),
    "detail_xy_um": ("detail in XY (µm)", "finest that agrees with the target (Fourier shell correlation)"),
    "detail_z_um": ("detail in Z (µm)", "the same along Z"),
}
"""Scores by their columns, with what people call them and what they are."""

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RestorationEvaluation:
    """What an evaluation of restored images found.

    Attributes
    ----------
    folder : Path
        With two tables as CSV, the restored images as OME-TIFF, and a record.
    scores : DataFrame
        One row per method and stack. ``nan`` where a score is not defined.
    means : DataFrame
        One row per method: means over stacks, the number of stacks of each, and the setting of classical methods.
    degraded : DegradeSettings or None
        How inputs were made from the targets; None if they were acquired.
    pictures : dict
        By stack and method, the input and the target among them: middle planes.

    Examples
    --------
    >>> from spotlight.evaluation import evaluate_restoration
    >>> result = evaluate_restoration("noisy.csv", "model", "evaluation")  # doctest: +SKIP
    >>> result.means.set_index("method")["psnr"]  # doctest: +SKIP
    """

    folder: Path
    scores: pd.DataFrame
    means: pd.DataFrame
    degraded: DegradeSettings | None
    pictures: Mapping[tuple[str, str], FloatArray]


@dataclass(frozen=True)
class RestorationWork:
    """What is done with every stack.

    Attributes
    ----------
    models : dict of str to Model
        By their names.
    folder : Path
        For what they make.
    task : RestoreTask
        How inputs are read, or made.
    blur_um : tuple of float or None
        Standard deviations of the blur of the inputs.
    classical : tuple of Classical
        The methods beside them.
    """

    models: Mapping[str, Model]
    folder: Path
    task: RestoreTask
    blur_um: tuple[float, ...] | None
    classical: tuple[Classical, ...]


@dataclass(frozen=True, eq=False)
class RestorationScores:
    """What one model, or the classical methods, made of one stack.

    Attributes
    ----------
    scores : DataFrame
        One row per method and setting that was tried.
    pictures : (rows, Y, X) float32
        Middle planes; of the classical methods the target's last. Empty for stacks without pictures.
    doubts : list of str
        In which ways the input is unlike those of the training.
    """

    scores: pd.DataFrame
    pictures: FloatArray
    doubts: list[str]


@works_in("to")
def evaluate_restoration(
    pairs: Listed,
    models: Source | Mapping[str, Source],
    to: str | Path,
    *,
    split: str = "test",
    blur_um: Sequence[float] | None = None,
    pictured: int = 3,
    workers: int = 1,
    progress: Progress | None = None,
) -> RestorationEvaluation:
    """Compare what models of the task "restore" make with sharper images, on the grid of the input.

    Beside them stand the input itself, a Gaussian filter and, where the blur is known, the filter of Wiener and the
    iteration of Richardson and Lucy. Each of these has the setting that has the greatest mean PSNR on these very
    stacks, which is in their favour. What is in the folder already, from files and models that have not changed, is not
    done again: an interrupted call goes on.

    Parameters
    ----------
    pairs : path or sequence of Pair
        A manifest with the columns ``input`` and ``target``, or pairs. For models that were trained on inputs made from
        sharp stacks, a manifest with ``input`` alone, the sharp stacks; theirs are made in the same way.
    models : path, Model, or mapping of str to such
        Model folders.
    to : path
        Folder for tables and restored images.
    split : str
        Rows to evaluate; those without a split are, too.
    blur_um : sequence of float, optional
        Standard deviations in µm of the Gaussian blur of the inputs, along the spatial axes. Left out: as the models'
        settings `degrade` say, or unknown.
    pictured : int
        Stacks of which pictures are kept.
    workers : int
        Processes. More than one need a script to guard its main part, as `multiprocessing` documents.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Returns
    -------
    RestorationEvaluation
        The tables that were written into `to`, and pictures.

    Raises
    ------
    SpotlightError
        If a model was not trained to restore, models were trained on inputs made in different ways, or there is nothing
        to evaluate, or a process dies.

    Examples
    --------
    >>> from spotlight.evaluation import evaluate_restoration
    >>> result = evaluate_restoration("noisy.csv", "model", "evaluation")  # doctest: +SKIP
    >>> result.means[["method", "psnr"]]  # doctest: +SKIP
    """
    to, loaded = Path(to), open_models(models)
    task = _common_task(loaded)
    if task.degrade is not None and isinstance(pairs, (str, Path)) and _has_targets(Path(pairs)):
        task = RestoreTask()  # real pairs say more than made ones
    chosen = rows_of(read_pairs(pairs, column=task.truth_column()), split)
    if blur_um is None and task.degrade is not None and any(task.degrade.blur_um):
        blur_um = task.degrade.blur_um
    classical = (SMOOTHED, *(DECONVOLVED if blur_um is not None else ()))
    work = RestorationWork(loaded, to, task, None if blur_um is None else tuple(blur_um), classical)
    rows: list[pd.DataFrame] = []
    pictures: dict[tuple[str, str], FloatArray] = {}
    doubts: dict[str, dict[str, Sequence[str]]] = {name: {} for name in loaded}
    items = [(pair, number < pictured) for number, pair in enumerate(chosen)]
    for pair, judged in zip(chosen, judge_each(judge_restoration, items, work, workers, progress), strict=True):
        first = judged[CLASSICAL].scores
        parts = (first[:1], *(judged[name].scores for name in loaded), first[1:])
        rows += [part.assign(stack=pair.name) for part in parts]
        for name, one in judged.items():
            if name != CLASSICAL:
                doubts[name][pair.name] = one.doubts
            for tried, plane in zip((*one.scores["tried"], "target"), one.pictures, strict=False):
                pictures[pair.name, tried] = plane
    for name, model in loaded.items():
        tell_seen(name, [pair.name for pair in chosen if is_seen(pair, model)])
    every = pd.concat(rows, ignore_index=True)
    before = every[every["method"] == INPUT].set_index("stack")
    for gain, score in (("gain_db", "psnr"), ("gain_fitted_db", "psnr_fitted")):
        every[gain] = every[score] - every["stack"].map(before[score])
    scores, settings = _best_of(every, classical)
    shown = [pair.name for pair in chosen[:pictured]]
    names = [*dict.fromkeys(scores["tried"]), "target"]
    pictures = {(stack, name): pictures[stack, name] for stack in shown for name in names}
    scores = scores.drop(columns="tried")
    means = counted_means(scores.drop(columns=["stack", "data_range"]), ["method"])
    means["setting"] = [settings.get(name, "") for name in means["method"]]
    write_csv(scores, to / SCORES, "%.6g")
    write_csv(means, to / MEANS, "%.6g")
    more = {
        "blur_um": None if blur_um is None else list(blur_um),
        "degraded": None if task.degrade is None else task.degrade.model_dump(mode="json"),
    }
    stacks = [{"name": pair.name, "input": str(pair.input), "target": str(pair.target)} for pair in chosen]
    write_record(to / RECORD, split, loaded, stacks, doubts, **more)
    return RestorationEvaluation(to, scores, means, task.degrade, pictures)


def judge_restoration(item: tuple[Pair, bool], work: RestorationWork) -> dict[str, RestorationScores]:
    """Restore a stack by all models and methods and score it, or load the scores of an earlier call.

    The item is the pair, and whether pictures are kept. The input and the classical methods come first.
    """
    pair, pictured = item
    facts = (LAYOUT, pair.name, pair.digest(), pair.fingerprints(), work.task, pictured)
    of_classical = fingerprint(*facts, work.blur_um, [(one.name, one.values) for one in work.classical])
    keys = {CLASSICAL: of_classical} | {name: fingerprint(*facts, model.digest) for name, model in work.models.items()}
    read: tuple[Stack, FloatArray] | None = None
    judged = {}
    for name, key in keys.items():
        place = work.folder / JUDGED / name / pair.name
        path = work.folder / name / f"{pair.name}{work.task.suffix}.ome.tif"
        known = load(RestorationScores, key, place) if name == CLASSICAL or path.exists() else None
        if known is None:
            if read is None:
                (given,), sharp = work.task.read(pair, PreparationSettings(grid="native"))
                read = given, sharp.data.astype(np.float32)
            known = _judge_anew(name, *read, work, pictured, path)
            save(known, key, place)
        judged[name] = known
    return judged


def _judge_anew(
    name: str, given: Stack, truth: FloatArray, work: RestorationWork, pictured: bool, path: Path
) -> RestorationScores:
    """Restore by one model, or by the classical methods, and score what is made."""
    doubts: Sequence[str] = ()
    if name == CLASSICAL:
        made = _classical(given, work)
    else:
        result, doubts = _restored(work.models[name], given)
        made = iter([(name, name, result.data)])
    rows, planes = [], []
    for method, tried, array in made:
        rows.append({"method": method, "tried": tried} | score_restoration(truth, array, given.voxel_size))
        planes.append(_middle(array))
    if name == CLASSICAL:
        planes.append(_middle(truth))
    else:
        result.save(path)
    kept = np.stack(planes) if pictured else np.zeros((0, 0, 0), np.float32)
    return RestorationScores(pd.DataFrame(rows), kept, list(doubts))


def _classical(given: Stack, work: RestorationWork) -> Iterator[tuple[str, str, FloatArray]]:
    """Give the input and what classical methods make of it, one at a time: method, setting, image."""
    image, sigmas = given.data.astype(np.float32), _in_voxels(work.blur_um, given)
    yield INPUT, INPUT, image
    for method in work.classical:
        for value in method.values:
            yield method.name, f"{method.name} {value:g}", method.restore(image, sigmas, value)


def score_restoration(
    truth: FloatArray, image: FloatArray, spacing: tuple[float, ...] | None = None
) -> dict[str, float]:
    """Score an image against a sharper one of the same intensities.

    Parameters
    ----------
    truth, image : (Z, Y, X) or (Y, X) ndarray
        The sharper image, and the one to score.
    spacing : tuple of float, optional
        Voxel size in µm, for the finest detail that agrees.

    Returns
    -------
    dict of str to float
        The scores of `SHOWN` without the gains, and ``data_range``, to which PSNR and SSIM refer: the distance between
        the 0.1st and the 99.9th percentile of `truth` (Weigert et al. 2018). The detail is NaN of images of two
        dimensions, of unknown voxel size, and where images agree at no frequency.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.evaluation import score_restoration
    >>> sharp = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    >>> scores = score_restoration(sharp, sharp + np.float32(0.1))
    >>> round(scores["psnr"])
    20
    """
    low, high = percentiles(truth, (0.1, 99.9))
    pixels = intensity_scores(truth, image, data_range=high - low)
    found = {
        "psnr": pixels["psnr"],
        "ssim": structural_similarity(truth, image, data_range=high - low)[0],
        "psnr_fitted": pixels["psnr_scale_invariant"],
        "data_range": high - low,
        "detail_xy_um": float("nan"),
        "detail_z_um": float("nan"),
    }
    if truth.ndim == 3 and spacing is not None:
        curves = fourier_shell_of_two(truth, image, spacing)
        found |= {f"detail_{axis}_um": curve.resolution for axis, curve in curves.items()}
    return found


def _best_of(rows: pd.DataFrame, classical: Sequence[Classical]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Keep of every classical method the setting of the greatest mean PSNR, and say which it is."""
    settings = {}
    for method in classical:
        own = rows[rows["method"] == method.name]
        best = str(own.groupby("tried")["psnr"].mean().idxmax())
        settings[method.name] = f"{method.setting} {best.removeprefix(method.name).strip()}, the best here"
        rows = rows[(rows["method"] != method.name) | (rows["tried"] == best)]
    return rows.reset_index(drop=True), settings


def _common_task(models: Mapping[str, Model]) -> RestoreTask:
    first: RestoreTask | None = None
    for name, model in models.items():
        task = model.description.task
        if not isinstance(task, RestoreTask):
            raise SpotlightError(
                f"model {name} learnt the task {task.kind!r}, and cannot be judged by sharper images together with "
                "models of the task 'restore'. Evaluate it alone."
            )
        if first is not None and task.degrade != first.degrade:
            raise SpotlightError(
                f"model {name} learnt from inputs that were made in another way (task.degrade) than those of the first "
                "model, so there is no common input. Evaluate them one by one, or give a manifest with targets."
            )
        first = first or task
    assert first is not None
    return first


def _has_targets(path: Path) -> bool:
    return path.is_file() and "target" in read_table(path)[0]


def _restored(model: Model, image: Stack) -> tuple[Stack, Sequence[str]]:
    settings = PredictionSettings(precision="float32", voxels=TILE_VOXELS[len(image.spatial_axes)])
    result, facts = model.stain(model.accept(image), settings)
    return result, facts["doubts"]


def _in_voxels(blur_um: Sequence[float] | None, stack: Stack) -> list[float]:
    if blur_um is None:
        return []
    edges = stack.require_voxel_size()
    return [sigma / edge for sigma, edge in zip(blur_um[-len(edges) :], edges, strict=True)]


def _middle(array: FloatArray) -> FloatArray:
    return array[len(array) // 2] if array.ndim == 3 else array
