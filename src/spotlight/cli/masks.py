"""What `evaluate` does for models that find masks."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spotlight.cli.app import Reporter, say, size_of
from spotlight.errors import SpotlightError


def finds_masks(folders: Iterable[Path]) -> bool:
    """Whether the first folder that is a model or an ensemble finds masks."""
    from spotlight.model import DESCRIPTION, read_description

    for folder in folders:
        found = [folder / DESCRIPTION, *sorted(folder.glob(f"*/{DESCRIPTION}"))]
        there = [path for path in found if path.exists()]
        if there:
            return read_description(there[0].parent).task.learns == "masks"
    return False


def score_masks(
    models: Mapping[str, Path],
    pairs: Path,
    to: Path,
    split: str | None,
    target: str | None,
    axes: str | None,
    voxel_size: str | None,
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

    if given := [name for name, value in unfit.items() if value is not None]:
        raise SpotlightError(f"{', '.join(given)} cannot be used for models that find masks. Leave it out.")
    loaded = {name: load_model(folder) for name, folder in models.items()}
    column = next(iter(loaded.values())).description.task.column
    listed = read_pairs(pairs, None, None, target, target is None, axes, size_of(voxel_size), column)
    with Reporter() as report:
        result = evaluate_masks(listed, loaded, to, split=split or "test", progress=report)
    page = write_mask_page(result)
    say("", *mask_text(result).splitlines(), "", f"The page with pictures: {page}")
