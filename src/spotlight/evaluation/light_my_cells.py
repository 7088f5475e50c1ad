"""The preset ``light-my-cells`` of `spotlight evaluate`: stains of planes, scored and tabled as in that challenge."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from spotlight.csv_files import write_csv
from spotlight.errors import SpotlightError
from spotlight.evaluation.methods import data_first
from spotlight.evaluation.stain_lookup import StainFile, find_stain_files
from spotlight.files import require_path, write_text
from spotlight.images import Stack, stem
from spotlight.locks import works_in
from spotlight.metrics.challenge import CHALLENGE_SCORES, challenge_scores, has_contrast
from spotlight.pairs.listing import read_pairs
from spotlight.pairs.pair import Pair
from spotlight.progress import Progress, tracked
from spotlight.quoting import safe_name
from spotlight.settings import Settings
from spotlight.version import __version__

ORGANELLES = {"Mitochondria": "M", "Nucleus": "N", "Tubulin": "T", "Actin": "A"}
"""Targets in the order of the challenge's table, and their letters there."""

FULLY_SCORED = ("Mitochondria", "Nucleus")
"""Organelles with all five scores; the challenge scores the others by `PARTIAL`."""
PARTIAL = ("ssim", "pcc")

FARTHEST = 5
"""Planes from the best focus up to which the challenge goes."""
BEYOND = f">{FARTHEST}"
UNKNOWN = "unknown"
BINS = (*map(str, range(FARTHEST + 1)), BEYOND, UNKNOWN)
EVERY = "all"

PLANES, TABLE, RECORD = "planes.csv", "table.csv", "light-my-cells.json"
Picture = dict[str, NDArray[Any]]


class LightMyCellsSettings(Settings):
    """What the preset scores.

    Examples
    --------
    >>> from spotlight.evaluation import LightMyCellsSettings
    >>> settings = LightMyCellsSettings(split="val", every_score=True)
    >>> settings.clip
    False
    """

    split: Literal["train", "val", "test"] = Field("test", description="Rows of the manifest to score.")
    every_score: bool = Field(
        False, description="Give tubulin and actin all five scores, too; the challenge gives them SSIM and PCC alone."
    )
    clip: bool = Field(False, description="Clip the normalised images to 0 to 1 before they are compared.")


@dataclass(frozen=True, eq=False)
class LightMyCells:
    """What the preset found, and where it wrote it.

    Attributes
    ----------
    folder : Path
        With ``planes.csv``, ``table.csv`` and ``light-my-cells.json``.
    planes : DataFrame
        One row per method, stain and input plane: whose it is, its modality, focus offset and bin, scores, and
        ``flat`` where the stain has no contrast.
    table : DataFrame
        One row per method, stain and focus bin, the bin ``all`` first: numbers of fields and planes, and of every
        score the mean over fields, the standard deviation (``_sd``, of one field NaN) and the number of fields that
        have a value (``_n``).
    missing : dict
        Targets of the manifest of which a method has no stain at all.
    settings : LightMyCellsSettings
        What was scored.
    pictures : dict
        By target and method: input, target and stain of the first plane, at most a few hundred pixels wide.

    Examples
    --------
    >>> from spotlight.evaluation import evaluate_light_my_cells
    >>> result = evaluate_light_my_cells("studies.csv", "stains", "evaluation")  # doctest: +SKIP
    >>> result.table.query("focus_bin == 'all'")  # doctest: +SKIP
    >>> result.missing  # doctest: +SKIP
    {}
    """

    folder: Path
    planes: pd.DataFrame
    table: pd.DataFrame
    missing: dict[str, list[str]]
    settings: LightMyCellsSettings
    pictures: dict[tuple[str, str], Picture]


@works_in("to")
def evaluate_light_my_cells(
    pairs: str | Path | Sequence[Pair],
    stains: str | Path | Mapping[str, str | Path],
    to: str | Path,
    settings: LightMyCellsSettings | None = None,
    *,
    target: str | None = None,
    progress: Progress | None = None,
) -> LightMyCells:
    """Score stains as the Light My Cells challenge does: every input plane with every target that its field has.

    Targets that a field lacks are not scored. Planes of one field, which have their target in common, are averaged
    first: means and standard deviations are over fields.

    Parameters
    ----------
    pairs : path or sequence of Pair
        A manifest whose targets have names, or such pairs. Of planes that state how far from the best focus they are
        (``focus_offset``) there are scores by distance, up to 5; those beyond and those unknown are bins of their own.
    stains : path or mapping
        A folder of stains, or several by the name of their method; see
        `spotlight.evaluation.stain_lookup.find_stain_files`.
    to : path
        Folder for the tables.
    settings : LightMyCellsSettings
        What is scored.
    target : str, optional
        Score only this one.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Returns
    -------
    LightMyCells
        The tables that were written into `to`, and the targets of which stains are missing.

    Raises
    ------
    SpotlightError
        If there is nothing to score, a stain is missing or does not fit its target, or a target has no contrast.

    Examples
    --------
    >>> from spotlight.evaluation import evaluate_light_my_cells
    >>> result = evaluate_light_my_cells("studies.csv", "stains", "evaluation")  # doctest: +SKIP
    >>> print(result.table)  # doctest: +SKIP
    """
    settings = settings or LightMyCellsSettings()
    pairs, stains, to = *data_first(pairs, stains, "evaluate_light_my_cells"), Path(to)
    chosen = _chosen(pairs, target, settings.split)
    folders = stains if isinstance(stains, Mapping) else {safe_name(Path(stains).resolve().name): stains}
    found = {name: find_stain_files(_folder(folder), chosen) for name, folder in folders.items()}
    fields = _fields(chosen)
    work = [(method, *one) for method, files in found.items() for one in zip(chosen, fields, files, strict=True)]
    rows: list[dict[str, Any]] = []
    pictures: dict[tuple[str, str], Picture] = {}
    for method, pair, field, file in tracked(work, "scoring", len(work), progress):
        if file is not None:
            truth = pair.read_target()
            stain = file.read(pair, truth)
            rows.append(_row(method, pair, field, stain, truth, settings))
            if (pair.target_name, method) not in pictures:
                images = {"input": pair.read_channels()[0], "target": truth, "stain": stain}
                pictures[pair.target_name, method] = {name: _small(image) for name, image in images.items()}
    planes = pd.DataFrame(rows)
    result = LightMyCells(to, planes, summarise_planes(planes), _missing(chosen, found), settings, pictures)
    _write(result, folders)
    return result


def focus_bin(offset: int | None) -> str:
    """Name the bin of a plane by its distance from the best focus: ``0`` to ``5``, ``>5``, or ``unknown``."""
    if offset is None:
        return UNKNOWN
    return str(abs(offset)) if abs(offset) <= FARTHEST else BEYOND


def summarise_planes(planes: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over fields, whose planes are averaged first.

    Parameters
    ----------
    planes : DataFrame
        With ``method``, ``target``, ``field``, ``focus_bin`` and the scores; NaN where one is not given.

    Returns
    -------
    DataFrame
        See `LightMyCells.table`.
    """
    rows = []
    for method in dict.fromkeys(planes["method"]):
        own = planes[planes["method"] == method]
        for target in sorted(set(own["target"]), key=_place):
            of_target = own[own["target"] == target]
            bins = {EVERY: of_target} | {name: of_target[of_target["focus_bin"] == name] for name in BINS}
            for name, part in bins.items():
                if part.empty:
                    continue
                # A field of which a plane has no value has none: its mean would be that of other planes.
                means = part.groupby("field")[list(CHALLENGE_SCORES)].agg(lambda scores: scores.mean(skipna=False))
                row = {"method": method, "target": target, "letter": ORGANELLES.get(target, ""), "focus_bin": name}
                row |= {"fields": len(means), "planes": len(part)}
                row |= {score: float(means[score].mean()) for score in CHALLENGE_SCORES}
                row |= {f"{score}_sd": float(means[score].std()) for score in CHALLENGE_SCORES}
                rows.append(row | {f"{score}_n": int(means[score].count()) for score in CHALLENGE_SCORES})
    return pd.DataFrame(rows)


def _place(target: str) -> tuple[int, str]:
    """Targets of the challenge first, in its order."""
    return ([*ORGANELLES, target].index(target), target)


def _chosen(pairs: str | Path | Sequence[Pair], target: str | None, split: str) -> list[Pair]:
    listed = read_pairs(pairs, target=target, every_target=True)
    chosen = [pair for pair in listed if pair.split in (split, "")]
    if not chosen:
        raise SpotlightError(f"no pair has the split {split!r}. Found: {sorted({p.split for p in listed})}.")
    if not all(pair.target_name for pair in chosen):
        raise SpotlightError(
            "the pairs do not say which organelle their target is. Give a manifest with columns such as "
            f"target:{next(iter(ORGANELLES))}, as `spotlight import-pairs light-my-cells` writes it."
        )
    return chosen


def _folder(folder: str | Path) -> Path:
    return require_path(folder, "Give a folder of stains, such as `spotlight predict` and `submit` write.")


def _fields(pairs: Sequence[Pair]) -> list[str]:
    """Name the field of every pair after its target's file; planes with one target are of one field."""
    named: dict[tuple[object, ...], str] = {}
    taken: Counter[str] = Counter()
    for pair in pairs:
        if _shown(pair) not in named:
            name = stem(pair.target).removesuffix(f"_{pair.target_name}")
            taken[f"{name}/{pair.target_name}"] += 1
            number = taken[f"{name}/{pair.target_name}"]
            named[_shown(pair)] = name if number == 1 else f"{name}-{number}"
    return [named[_shown(pair)] for pair in pairs]


def _shown(pair: Pair) -> tuple[object, ...]:
    """What planes of one field have in common."""
    return (pair.target, pair.target_name, pair.scene, pair.time, pair.region)


def _row(
    method: str, pair: Pair, field: str, stain: Stack, truth: Stack, settings: LightMyCellsSettings
) -> dict[str, Any]:
    try:
        scores = challenge_scores(stain.data, truth.data, clip=settings.clip)
    except SpotlightError as error:
        raise SpotlightError(f"{truth.source}: {error}") from error
    whole = settings.every_score or pair.target_name in FULLY_SCORED or pair.target_name not in ORGANELLES
    return {
        "method": method,
        "target": pair.target_name,
        "field": field,
        "plane": stem(pair.input),
        "modality": pair.modality,
        "focus_offset": pair.focus_offset,
        "focus_bin": focus_bin(pair.focus_offset),
        **{name: value if whole or name in PARTIAL else np.nan for name, value in scores.items()},
        "flat": not has_contrast(stain.data),
    }


def _small(image: Stack) -> NDArray[Any]:
    """Every n-th pixel of a plane, so that a page of many stays light."""
    step = -(-max(image.shape) // 512)
    return image.data[::step, ::step].copy()


def _missing(pairs: Sequence[Pair], found: Mapping[str, Sequence[StainFile | None]]) -> dict[str, list[str]]:
    absent = {
        method: sorted({p.target_name for p, file in zip(pairs, files, strict=True) if file is None}, key=_place)
        for method, files in found.items()
    }
    return {method: targets for method, targets in absent.items() if targets}


def _write(result: LightMyCells, folders: Mapping[str, str | Path]) -> None:
    for name, table in ((PLANES, result.planes), (TABLE, result.table)):
        whole = table.astype({"focus_offset": "Int64"} if "focus_offset" in table else {})
        write_csv(whole, result.folder / name, "%.6g")
    record = {
        "preset": "light-my-cells",
        "versions": {"spotlight": __version__},
        "settings": result.settings.model_dump(mode="json"),
        "stains": {name: str(folder) for name, folder in folders.items()},
        "missing": result.missing,
        "table": list(_plain(result.table)),
    }
    write_text(result.folder / RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def _plain(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows for JSON, which knows no NaN."""
    for row in table.to_dict("records"):
        yield {
            str(name): None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()
        }
