"""`evaluate_restoration`: restored images against sharper ones, and against what classical methods make."""

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
from spotlight.evaluation.deconvolution import DECONVOLVED, SMOOTHED, Classical
from spotlight.evaluation.means import counted_means
from spotlight.evaluation.methods import TILE_VOXELS, Source
from spotlight.files import write_text
from spotlight.images import Stack
from spotlight.images.scaling import percentiles
from spotlight.locks import works_in
from spotlight.metrics import fourier_shell_of_two, intensity_scores, structural_similarity
from spotlight.pairs.listing import read_pairs
from spotlight.pairs.pair import Listed
from spotlight.pairs.prepare import PreparationSettings
from spotlight.pairs.table import read_table
from spotlight.prediction import Model, PredictionSettings, load_model
from spotlight.prediction.acceptance import tell_doubts
from spotlight.progress import Progress
from spotlight.quoting import safe_name
from spotlight.tasks import DegradeSettings, RestoreTask
from spotlight.version import __version__

SCORES = "restoration_scores.csv"
MEANS = "restoration_means.csv"
RECORD = "restoration_evaluation.yaml"

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
    """

    folder: Path
    scores: pd.DataFrame
    means: pd.DataFrame
    degraded: DegradeSettings | None
    pictures: Mapping[tuple[str, str], FloatArray]


@works_in("to")
def evaluate_restoration(
    pairs: Listed,
    models: Source | Mapping[str, Source],
    to: str | Path,
    *,
    split: str = "test",
    blur_um: Sequence[float] | None = None,
    pictured: int = 3,
    progress: Progress | None = None,
) -> RestorationEvaluation:
    """Compare what models of the task "restore" make with sharper images, on the grid of the input.

    Beside them stand the input itself, a Gaussian filter and, where the blur is known, the filter of Wiener and the
    iteration of Richardson and Lucy. Each of these has the setting that has the greatest mean PSNR on these very
    stacks, which is in their favour.

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
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Raises
    ------
    SpotlightError
        If a model was not trained to restore, models were trained on inputs made in different ways, or there is nothing
        to evaluate.
    """
    to = Path(to)
    sources = models if isinstance(models, Mapping) else {_name_of(models): models}
    loaded = {name: one if isinstance(one, Model) else load_model(one) for name, one in sources.items()}
    task = _common_task(loaded)
    if task.degrade is not None and isinstance(pairs, (str, Path)) and _has_targets(Path(pairs)):
        task = RestoreTask()  # real pairs say more than made ones
    chosen = [p for p in read_pairs(pairs, column=task.truth_column()) if p.split in (split, "")]
    if not chosen:
        raise SpotlightError(f"no row has the split {split!r}. Add rows with it, or choose another with split=.")
    if blur_um is None and task.degrade is not None and any(task.degrade.blur_um):
        blur_um = task.degrade.blur_um
    classical = (SMOOTHED, *(DECONVOLVED if blur_um is not None else ()))
    rows: list[dict[str, Any]] = []
    pictures: dict[tuple[str, str], FloatArray] = {}
    doubts: dict[str, dict[str, Sequence[str]]] = {name: {} for name in loaded}
    for done, pair in enumerate(chosen):
        (given,), sharp = task.read(pair, PreparationSettings(grid="native"))
        truth, image = sharp.data.astype(np.float32), given.data.astype(np.float32)
        made: dict[str, tuple[FloatArray, str]] = {INPUT: (image, "")}
        for name, model in loaded.items():
            result, doubts[name][pair.name] = _restored(model, given)
            result.save(to / name / f"{pair.name}{task.suffix}.ome.tif")
            made[name] = (result.data, "")
        sigmas = _in_voxels(blur_um, given)
        for method in classical:
            for value in method.values:
                made[f"{method.name} {value:g}"] = (method.restore(image, sigmas, value), method.name)
        scored = {name: score_restoration(truth, array, given.voxel_size) for name, (array, _) in made.items()}
        for name, (array, family) in made.items():
            own, before = scored[name], scored[INPUT]
            gains = {
                "gain_db": own["psnr"] - before["psnr"],
                "gain_fitted_db": own["psnr_fitted"] - before["psnr_fitted"],
            }
            rows.append({"method": family or name, "tried": name, "stack": pair.name} | own | gains)
            if done < pictured:
                pictures[pair.name, name] = _middle(array)
        if done < pictured:
            pictures[pair.name, "target"] = _middle(truth)
        if progress is not None:
            progress("evaluating", done + 1, len(chosen), {})
    for name, found in doubts.items():
        tell_doubts(name, found)
    scores, settings = _best_of(pd.DataFrame(rows), classical)
    kept = {*scores["tried"], "target"}
    pictures = {(stack, name): array for (stack, name), array in pictures.items() if name in kept}
    scores = scores.drop(columns="tried")
    means = counted_means(scores.drop(columns=["stack", "data_range"]), ["method"])
    means["setting"] = [settings.get(name, "") for name in means["method"]]
    write_csv(scores, to / SCORES, "%.6g")
    write_csv(means, to / MEANS, "%.6g")
    record = {
        "versions": {"spotlight": __version__},
        "split": split,
        "blur_um": None if blur_um is None else list(blur_um),
        "degraded": None if task.degrade is None else task.degrade.model_dump(mode="json"),
        "models": {name: model.description.model_dump(mode="json") for name, model in loaded.items()},
        "stacks": [{"name": pair.name, "input": str(pair.input), "target": str(pair.target)} for pair in chosen],
        "doubts": {name: {stack: list(said) for stack, said in found.items()} for name, found in doubts.items()},
    }
    write_text(to / RECORD, yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
    return RestorationEvaluation(to, scores, means, task.degrade, pictures)


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


def _name_of(source: Source) -> str:
    return source.name if isinstance(source, Model) else safe_name(Path(source).resolve().name)


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
