"""Scoring the stains of a stack: what is computed, and what is stored."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spotlight.evaluation.further_metrics import Cards, sources
from spotlight.evaluation.judge import StackScores, judge, sample
from spotlight.evaluation.methods import REPEAT, TARGET, Method
from spotlight.evaluation.reference import make_reference
from spotlight.evaluation.sets import FOREGROUND
from spotlight.evaluation.settings import EvaluationSettings
from spotlight.evaluation.shared import part_done
from spotlight.evaluation.store import key_of, load, save
from spotlight.images import Stack
from spotlight.pairs.pair import Pair


@dataclass(frozen=True, eq=False)
class Truth:
    """What is needed of a stack's reference once its stains are judged; see `Reference`."""

    nuclei: pd.DataFrame
    target_nuclei: pd.DataFrame
    threshold: float
    fraction: float
    labelled: bool
    segmentation_doubts: list[str]
    sample: "np.ndarray[Any, Any]"


@dataclass(frozen=True)
class Work:
    """What is done with every stack."""

    methods: tuple[Method, ...]
    settings: EvaluationSettings
    data_range: float | None
    metrics: Cards
    folder: Path

    def range_for(self, method: Method, pair: Pair) -> float | None:
        """The range that PSNR and SSIM refer to; None if the method's stains are no intensities."""
        return self.data_range if method.calibrated(pair) else None


def judge_stack(pair: Pair, work: Work) -> tuple[Truth, dict[str, StackScores]]:
    """Score all methods on one stack, or load the scores of an earlier call; stains and labels are written."""
    settings, to = work.settings, work.folder
    key = key_of(pair, settings)
    further = [sources(work.metrics)] if work.metrics else []
    keys = {m.key: key_of(pair, settings, m.digest(pair), work.range_for(m, pair), *further) for m in work.methods}
    if pair.repeat is not None:
        keys[REPEAT] = key_of(pair, settings, work.data_range, *further)
    truth = load(Truth, key, _place(to, "truth", pair))
    of_target = key_of(pair, settings, *further)
    if truth is not None and truth.labelled:
        keys[TARGET] = of_target
    found = {name: load(StackScores, own, _place(to, name, pair)) for name, own in keys.items()}
    if truth is None or not all(found.values()):
        truth = _judge_anew(pair, work, key, of_target, keys, found)
    # The real fluorescence comes first, the methods in their order.
    order = [name for name in (TARGET, REPEAT, *(m.key for m in work.methods)) if name in found]
    return truth, {name: scored for name in order if (scored := found[name]) is not None}


def _place(to: Path, method_key: str, pair: Pair) -> Path:
    return to / "judged" / method_key / pair.name


def _judge_anew(
    pair: Pair, work: Work, key: str, of_target: str, keys: dict[str, str], found: dict[str, StackScores | None]
) -> Truth:
    """Compute the scores that `found` lacks, and add them."""
    settings, to = work.settings, work.folder
    image, target = pair.read_both()
    reference = make_reference(pair, target, settings)
    truth = Truth(
        reference.nuclei,
        reference.target_nuclei,
        reference.threshold,
        reference.fraction,
        reference.labelled,
        list(reference.doubts),
        sample(target),
    )
    _save_labels(reference.truth[""], to / "labels" / "truth" / f"{pair.name}.ome.tif")
    foreground = replace(target, array=reference.mask.astype(np.uint8), channels=("foreground",), labels=True)
    foreground.save(to / "labels" / FOREGROUND / f"{pair.name}.ome.tif")
    if reference.labelled:
        keys[TARGET] = of_target
    methods = {method.key: method for method in work.methods}
    part_done()
    for method_key, own in keys.items():
        if found.get(method_key) is not None:
            continue
        stain: Stack | None = target
        doubts: tuple[str, ...] = ()
        if method_key == REPEAT:
            stain = pair.read_repeat(target)
        elif method_key != TARGET:
            method = methods[method_key]
            stain, doubts = method.stain(pair, image, target, settings.prediction, settings.any_voxel_size)
            stain.save(to / "stains" / method_key / f"{pair.name}.ome.tif")
        assert stain is not None
        data_range = work.range_for(methods[method_key], pair) if method_key in methods else work.data_range
        scored, labels = judge(stain, reference, settings, data_range, work.metrics, is_target=method_key == TARGET)
        _save_labels(labels, to / "labels" / method_key / f"{pair.name}.ome.tif")
        scored = replace(scored, doubts=doubts)
        save(scored, own, _place(to, method_key, pair))
        found[method_key] = scored
        if method_key in methods:
            part_done()
    if load(Truth, key, _place(to, "truth", pair)) is None:
        save(truth, key, _place(to, "truth", pair))
    return truth


def _save_labels(labels: Stack, path: Path) -> None:
    kind = np.uint16 if labels.data.max(initial=0) < 2**16 else np.uint32
    replace(labels, array=labels.data.astype(kind)).save(path)
