"""What `evaluate` does for models of other tasks than staining."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spotlight.cli.app import Reporter, say, size_of
from spotlight.errors import SpotlightError


def task_of(folders: Iterable[Path]) -> str:
    """Return what the first folder that is a model or an ensemble learnt: the kind of its task; empty if none is."""
    from spotlight.model import DESCRIPTION, read_description

    for folder in folders:
        found = [folder / DESCRIPTION, *sorted(folder.glob(f"*/{DESCRIPTION}"))]
        there = [path for path in found if path.exists()]
        if there:
            return read_description(there[0].parent).task.kind
    return ""


def refuse(unfit: Mapping[str, Any], what: str) -> None:
    """Raise a `SpotlightError` if something was given for options, by their names, that are for stains."""
    if given := [name for name, value in unfit.items() if value not in (None, False)]:
        raise SpotlightError(f"{', '.join(given)} cannot be used for models that {what}. Leave it out.")


def score_masks(
    models: Mapping[str, Path],
    pairs: Path,
    to: Path,
    split: str | None,
    target: str | None,
    axes: str | None,
    voxel_size: str | None,
    workers: int | None,
    unfit: Mapping[str, Any],
) -> None:
    """Evaluate models of masks, print the means, and write the page.

    `unfit` are options that are for stains, by their names, with what was given for them.
    """
    from spotlight.evaluation import evaluate_masks
    from spotlight.pairs import read_pairs
    from spotlight.prediction import load_model
    from spotlight.report import write_mask_page
    from spotlight.report.mask_page import mask_text

    refuse(unfit, "find masks")
    loaded = {name: load_model(folder) for name, folder in models.items()}
    column = next(iter(loaded.values())).description.task.column
    listed = read_pairs(pairs, None, None, target, target is None, axes, size_of(voxel_size), column)
    count = workers or os.cpu_count() or 1
    with Reporter(resumable=True) as report:
        result = evaluate_masks(listed, loaded, to, split=split or "test", workers=count, progress=report)
    page = write_mask_page(result)
    say("", *mask_text(result).splitlines(), "", f"The page with pictures: {page}")


def score_restoration(
    models: Mapping[str, Path], pairs: Path, to: Path, split: str | None, unfit: Mapping[str, Any]
) -> None:
    """Evaluate models that restore images, print the means, and write the page."""
    from spotlight.evaluation import evaluate_restoration
    from spotlight.report import write_restoration_page
    from spotlight.report.restoration_page import restoration_text

    refuse(unfit, "restore images")
    with Reporter() as report:
        result = evaluate_restoration(pairs, models, to, split=split or "test", progress=report)
    page = write_restoration_page(result)
    say("", *restoration_text(result).splitlines(), "", f"The page with pictures: {page}")


def score_classes(
    models: Mapping[str, Path], pairs: Path, to: Path, split: str | None, unfit: Mapping[str, Any]
) -> None:
    """Evaluate models that tell classes apart, print the scores, and write the page."""
    from spotlight.evaluation import evaluate_classes
    from spotlight.report import write_class_page
    from spotlight.report.class_page import class_text

    refuse(unfit, "tell classes apart")
    with Reporter() as report:
        result = evaluate_classes(pairs, models, to, split=split or "test", progress=report)
    page = write_class_page(result)
    say("", *class_text(result).splitlines(), "", f"The page with the confusions: {page}")
