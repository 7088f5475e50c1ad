"""`evaluate`: stain, segment, measure and compare with the target and the truth, stack by stack."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt

from spotlight.errors import SpotlightError
from spotlight.evaluation.judge import TARGET, Finding, Reference, judge, make_reference, sample
from spotlight.files import whole_file, write_text
from spotlight.foreground import ForegroundSettings
from spotlight.images import Stack
from spotlight.metrics import profile_distance, profile_error
from spotlight.pairs.manifest import read_pairs
from spotlight.pairs.pair import Pair
from spotlight.prediction import Model, PredictionSettings, load_model
from spotlight.profiles import FEATURES
from spotlight.segmentation import SegmentationSettings
from spotlight.settings import Settings

log = logging.getLogger("spotlight")

RESERVED = (TARGET, "truth", "input")
"""Names of folders and views that no model may take."""


class EvaluationSettings(Settings):
    """How stains are judged; the same for all methods."""

    split: str = Field("test", description="Rows of the manifest to evaluate; rows without a split always are.")
    foreground: ForegroundSettings = Field(
        ForegroundSettings(median_px=3, gaussian_px=0),
        description="Where foreground scores are taken, unless a pair brings a mask: Otsu after a median against hot "
        "pixels.",
    )
    segmentation: SegmentationSettings = Field(SegmentationSettings(), description="How nuclei are found.")
    prediction: PredictionSettings = Field(PredictionSettings(), description="How stains are computed.")
    pictured: NonNegativeInt = Field(2, description="Stacks whose input and target are kept for the page's pictures.")


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found, and where it wrote it.

    Attributes
    ----------
    folder : Path
        With the tables below as CSV, ``evaluation.yaml``, and stains and labels as OME-TIFF.
    scores : DataFrame
        One row per stack and method.
    average_precision : DataFrame
        One row per stack, method and threshold of the intersection over union.
    nuclei : DataFrame
        One row per matched nucleus, with true and found measurements and relative errors.
    histograms : DataFrame
        Share of voxels per intensity bin and method.
    """

    folder: Path
    scores: pd.DataFrame
    average_precision: pd.DataFrame
    nuclei: pd.DataFrame
    histograms: pd.DataFrame


def evaluate(
    models: str | Path | Mapping[str, str | Path | Model],
    pairs: str | Path | Sequence[Pair],
    to: str | Path,
    settings: EvaluationSettings | None = None,
    *,
    input_channel: str | None = None,
    target_channel: str | None = None,
    target: str | None = None,
    progress: Callable[[str, int, int, dict[str, float]], None] | None = None,
) -> Evaluation:
    """Evaluate one or several models on the same stacks.

    Each stack is stained by each model; stains and the target are segmented alike and compared with the labels of the
    manifest or, where there are none, with the segmentation of the target.

    Parameters
    ----------
    models : path, or mapping of name to path or Model
        Model folders.
    pairs : path or sequence of Pair
        A manifest, a folder of stacks with both channels, or pairs.
    to : path
        Folder for tables, stains and labels.
    settings : EvaluationSettings
        Split, foreground, segmentation and prediction.
    input_channel, target_channel : str, optional
        Channel names or indices, for a folder.
    target : str, optional
        Which target to compare with, for a manifest of several.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Raises
    ------
    SpotlightError
        If there is nothing to evaluate or a file does not fit.
    """
    settings = settings or EvaluationSettings()
    to = Path(to)
    loaded = _load(models)
    listed = read_pairs(pairs, input_channel, target_channel, target)
    chosen = [pair for pair in listed if pair.split in (settings.split, "")]
    if not chosen:
        raise SpotlightError(f"no pair has the split {settings.split!r}. Found: {sorted({p.split for p in listed})}.")
    findings: list[Finding] = []
    records: list[dict[str, Any]] = []
    samples: list[tuple[str, NDArray[np.float32]]] = []
    true_nuclei: dict[str, pd.DataFrame] = {}
    target_nuclei: dict[str, pd.DataFrame] = {}
    for number, pair in enumerate(chosen, start=1):
        image, fluorescence = pair.read_both()
        reference = make_reference(pair, fluorescence, settings.foreground, settings.segmentation)
        if number <= settings.pictured:
            for kind, stack in (("input", image), (TARGET, fluorescence)):
                stack.save(to / "images" / kind / f"{pair.name}.ome.tif")
        found = _judge_all(image, reference, loaded, to, settings)
        findings += found
        samples += [(TARGET, sample(fluorescence)), *((f.method, f.sample) for f in found if f.method != TARGET)]
        records.append(_record(pair, reference, loaded))
        true_nuclei[pair.name], target_nuclei[pair.name] = reference.nuclei, reference.target_nuclei
        if progress is not None:
            progress("evaluating", number, len(chosen), {})
    ranges = {
        "truth": _feature_ranges(pd.concat(true_nuclei.values())),
        TARGET: _feature_ranges(pd.concat(target_nuclei.values())),
    }
    rows = [
        {
            "stack": finding.stack,
            "method": finding.method,
            **finding.scores,
            "profile_error": profile_error(true_nuclei[finding.stack], finding.measured, ranges["truth"]),
            "profile_distance": profile_distance(true_nuclei[finding.stack], finding.measured, ranges["truth"]),
            "profile_distance_to_target": np.nan
            if finding.method == TARGET
            else profile_distance(target_nuclei[finding.stack], finding.measured, ranges[TARGET]),
        }
        for finding in findings
    ]
    evaluation = Evaluation(
        to,
        pd.DataFrame(rows),
        pd.concat([f.curve for f in findings], ignore_index=True),
        pd.concat([f.matched for f in findings], ignore_index=True),
        _histograms(samples),
    )
    for name in ("scores", "average_precision", "nuclei", "histograms"):
        with whole_file(to / f"{name}.csv") as temporary:
            getattr(evaluation, name).to_csv(temporary, index=False, float_format="%.6g")
    record = {
        "models": {name: model.description.model_dump(mode="json") for name, model in loaded.items()},
        "settings": settings.model_dump(mode="json"),
        "feature_ranges": {
            of: {name: list(limits) for name, limits in features.items()} for of, features in ranges.items()
        },
        "stacks": records,
    }
    write_text(to / "evaluation.yaml", yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
    return evaluation


def _load(models: str | Path | Mapping[str, str | Path | Model]) -> dict[str, Model]:
    if isinstance(models, (str, Path)):
        models = {Path(models).resolve().name: models}
    for name in models:
        if name in RESERVED or not name or set(name) & set('/\\:*?"<>|'):
            raise SpotlightError(f"a model cannot be named {name!r}, which means something else; give it another name.")
    return {name: model if isinstance(model, Model) else load_model(model) for name, model in models.items()}


def _judge_all(
    image: Stack, reference: Reference, models: dict[str, Model], to: Path, settings: EvaluationSettings
) -> list[Finding]:
    """Judge the target itself, where there are labels to compare it with, and the stain of every model."""
    findings = []
    methods: dict[str, Model | None] = {TARGET: None, **models} if reference.labelled else {**models}
    for name, model in methods.items():
        if model is None:
            stain, data_range = reference.target, None
        else:
            stain = model.predict(image, settings=settings.prediction)
            low, high = model.description.target.intensity_range
            data_range = high - low
            stain.save(to / "stains" / name / f"{reference.name}.ome.tif")
        finding, labels = judge(name, stain, reference, settings.segmentation, data_range)
        _save_labels(labels, to / "labels" / name / f"{reference.name}.ome.tif")
        findings.append(finding)
    _save_labels(reference.truth, to / "labels" / "truth" / f"{reference.name}.ome.tif")
    return findings


def _save_labels(labels: Stack, path: Path) -> None:
    kind = np.uint16 if labels.data.max(initial=0) < 2**16 else np.uint32
    replace(labels, array=labels.data.astype(kind)).save(path)


def _record(pair: Pair, reference: Reference, models: dict[str, Model]) -> dict[str, Any]:
    digest = pair.digest()
    seen = [name for name, model in models.items() if digest in _training_digests(model)]
    for name in seen:
        log.warning("%s was used to train model %s: its scores are not those of unseen data.", pair.name, name)
    return {
        "name": pair.name,
        "input": str(pair.input),
        "target": str(pair.target),
        "seen_in_training": seen,
        "truth": "labels of the manifest" if reference.labelled else "segmentation of the target",
        "threshold": reference.threshold,
        "foreground_fraction": reference.fraction,
    }


def _training_digests(model: Model) -> set[str]:
    data = model.description.training.get("data", {})
    return {stack["digest"] for part in ("train", "validation") for stack in data.get(part, [])}


def _feature_ranges(nuclei: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """1st to 99th percentile of every feature over the reference nuclei of all stacks: one scale for all methods."""
    features = FEATURES[3 if "volume" in nuclei else 2]
    if nuclei.empty:
        return {}
    limits = nuclei[list(features)].quantile([0.01, 0.99])
    return {name: (float(limits[name].iloc[0]), float(limits[name].iloc[1])) for name in features}


def _histograms(samples: list[tuple[str, NDArray[np.float32]]]) -> pd.DataFrame:
    """Share of voxels per intensity bin, pooled over stacks; one set of bins for all methods."""
    methods = list(dict.fromkeys(name for name, _ in samples))
    pooled = {name: np.concatenate([values for of, values in samples if of == name]) for name in methods}
    limits = np.array([np.percentile(values, [0.1, 99.8]) for values in pooled.values()])
    edges = np.linspace(limits[:, 0].min(), limits[:, 1].max(), 101)
    tables = []
    for name, values in pooled.items():
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        rows = {"method": name, "from": edges[:-1], "to": edges[1:], "share": counts / values.size}
        tables.append(pd.DataFrame(rows))
    return pd.concat(tables, ignore_index=True)


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over stacks: one row per method, two columns per metric."""
    numbers = scores.drop(columns="stack").groupby("method", sort=False)
    return numbers.agg(["mean", "std"])
