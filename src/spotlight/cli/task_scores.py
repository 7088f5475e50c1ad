"""What `evaluate` does for models of other tasks than staining."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spotlight.cli.app import size_of
from spotlight.cli.output import Reporter, answer, say, wrote
from spotlight.errors import SpotlightError

SCORED = ("segment", "restore", "classify")
"""Tasks, besides staining, whose models `evaluate` judges."""


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


def score_task(
    kind: str,
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
    """Evaluate models of another task, print the scores, and write the page.

    `kind` is one of `SCORED`; `unfit` are options that are for stains, by their names, with what was given for them.
    """
    from spotlight import evaluation, report
    from spotlight.pairs import read_pairs
    from spotlight.prediction import load_model
    from spotlight.report.class_page import class_text
    from spotlight.report.mask_page import mask_text
    from spotlight.report.restoration_page import restoration_text

    kinds: dict[str, tuple[Any, Any, Any, str, int]] = {  # what restores needs much memory: one stack at a time
        "segment": (evaluation.evaluate_masks, report.write_mask_page, mask_text, "find masks", os.cpu_count() or 1),
        "restore": (
            evaluation.evaluate_restoration,
            report.write_restoration_page,
            restoration_text,
            "restore images",
            1,
        ),
        "classify": (evaluation.evaluate_classes, report.write_class_page, class_text, "tell classes apart", 1),
    }
    run, write, text, what, count = kinds[kind]
    refuse(unfit, what)
    if kind != "segment":
        refuse({"--target": target, "--axes": axes, "--voxel-size": voxel_size}, what)
    loaded = {name: load_model(folder) for name, folder in models.items()}
    listed: Any = pairs
    if kind == "segment":
        column = next(iter(loaded.values())).description.task.column
        listed = read_pairs(pairs, None, None, target, target is None, axes, size_of(voxel_size), column)
    with Reporter(resumable=True) as shown:
        result = run(listed, loaded, to, split=split or "test", workers=workers or count, progress=shown)
    answer(scores=result.scores)
    say("", *text(result).splitlines(), "")
    wrote(write(result), "The page: {}")
