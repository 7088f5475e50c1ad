"""`spotlight submit`, and the preset ``light-my-cells`` of `spotlight evaluate`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from spotlight.cli.app import To, app
from spotlight.cli.output import Reporter, answer, loading, say, wrote
from spotlight.errors import SpotlightError


@app.command()
def submit(
    stains: Annotated[list[Path], typer.Argument(help="Stains or labels that `predict` made, or folders of them.")],
    to: To,
    challenge: Annotated[
        Literal["light-my-cells", "selma3d-2026"], typer.Option(help="Stains of planes, or labels of patches.")
    ] = "light-my-cells",
    overwrite: Annotated[bool, typer.Option(help="Replace files that are there already.")] = False,
) -> None:
    """Write results as a challenge wants them: stains in a folder per organelle, or masks in a folder per patch."""
    from spotlight.export import write_selma3d, write_submission
    from spotlight.images import read
    from spotlight.prediction import find_parts
    from spotlight.prediction.files import SUFFIX

    for part in (frame for one in find_parts(stains) for frame in one.each_frame()):
        stain = read(part.path, scene=part.scene, time=part.time)
        if challenge == "selma3d-2026":
            wrote(write_selma3d(stain, part.name.removesuffix("-labels"), to, overwrite=overwrite))
            continue
        for path in write_submission(stain, part.name.removesuffix(SUFFIX), to, overwrite=overwrite):
            wrote(path)


def score_light_my_cells(
    stains: Mapping[str, Path],
    pairs: Path,
    to: Path,
    settings: Path | None,
    split: str | None,
    target: str | None,
    unfit: Mapping[str, object],
) -> None:
    """Do what `spotlight evaluate --preset light-my-cells` does; options in `unfit` must not be given with it."""
    loading()
    from spotlight.evaluation import LightMyCellsSettings, evaluate_light_my_cells
    from spotlight.report.challenge_page import table_text, write_challenge_page

    given = [name for name, value in unfit.items() if value is not None]
    if given:
        raise SpotlightError(f"{', '.join(given)} does not apply to --preset light-my-cells. Remove it.")
    chosen = LightMyCellsSettings.from_yaml(settings) if settings else LightMyCellsSettings()
    values = chosen.model_dump() | ({} if split is None else {"split": split})
    with Reporter() as report:
        result = evaluate_light_my_cells(
            pairs, stains, to, LightMyCellsSettings.parse(values, "command line"), target=target, progress=report
        )
    answer(scores=result.table)
    say("", *table_text(result).splitlines(), "")
    wrote(write_challenge_page(result), "The page: {}")
