"""The commands `pretrain` and `few-shot`: starts for other tasks, and whether they help."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from spotlight.cli.app import (
    COMPUTING,
    INPUT,
    METHOD,
    OUTPUT,
    Device,
    InputChannel,
    PairAxes,
    To,
    VoxelSize,
    Workers,
    app,
    option,
    size_of,
)
from spotlight.cli.output import Reporter, answer, loading, say, say_commands, wrote
from spotlight.errors import SpotlightError


@app.command()
def pretrain(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder or manifest of stacks; labels are not used. For simulated stacks, these or a microscope: "
            "cleared-2x, cleared-12x."
        ),
    ],
    to: To,
    pretext: Annotated[
        Literal["hidden", "simulated"],
        option(METHOD, help="hidden: fill in hidden blocks of your stacks; simulated: masks of simulated stacks."),
    ] = "hidden",
    task: Annotated[
        str, option(METHOD, help="The task to come, segment or stain, whose grid and scaling are taken.")
    ] = "segment",
    settings: Annotated[
        Path | None, option(METHOD, help="YAML file of settings (spotlight settings --task hidden).")
    ] = None,
    steps: Annotated[int | None, option(METHOD, help="Training steps.")] = None,
    batch_size: Annotated[int | None, option(METHOD, help="Patches per step.")] = None,
    hidden_share: Annotated[float | None, option(METHOD, help="Share of the blocks that are hidden (0.3).")] = None,
    block_px: Annotated[int | None, option(METHOD, help="Edge of a hidden block in Y and X, in voxels (8).")] = None,
    seed: Annotated[int | None, option(METHOD, help="Of initial weights, patches and simulation.")] = None,
    structures: Annotated[
        str | None,
        option(METHOD, help="Simulated structures, by commas: vessels, spots, nuclei, plaques, microglia."),
    ] = None,
    fields: Annotated[int, option(METHOD, min=2, help="Simulated stacks.")] = 32,
    axes: PairAxes = None,
    voxel_size: VoxelSize = None,
    grid: Annotated[str | None, option(INPUT, help="Voxel edge in µm to resample to, or 'native'.")] = None,
    input_channel: InputChannel = None,
    overwrite: Annotated[bool, option(OUTPUT, help="Start over, whatever the folder holds.")] = False,
    device: Device = None,
    workers: Workers = 1,
    cache: Annotated[Path | None, option(COMPUTING, help="Folder for prepared stacks, for data beyond memory.")] = None,
    explain: Annotated[
        bool, option(COMPUTING, "--explain", help="Say all that the run would do, and do nothing.")
    ] = False,
    probe: Annotated[bool, option(COMPUTING, help="With --explain: take a few steps to say how long it takes.")] = True,
) -> None:
    """Learn from stacks without labels, as a start for `train --from`. Interrupted, the same command goes on."""
    from spotlight.simulation.tissue import STRUCTURES
    from spotlight.training import Experiment

    loading()
    from spotlight.pairs.unlabelled import read_inputs
    from spotlight.report import write_training_page
    from spotlight.training import pretrain as run
    from spotlight.training import pretraining
    from spotlight.training.explanation import explain as explained
    from spotlight.training.hardware import is_first

    if settings is None:
        edge = None if grid is None else grid if grid == "native" else _number(grid)
        experiment = pretraining(
            pretext,
            task,
            steps=steps,
            batch_size=batch_size,
            seed=seed,
            grid=edge,  # type: ignore[arg-type]
            hidden_share=hidden_share,
            block_px=block_px,
        )
    else:
        given = {"--steps": steps, "--batch-size": batch_size, "--seed": seed, "--grid": grid, "--block-px": block_px}
        if twice := [name for name, value in (given | {"--hidden-share": hidden_share}).items() if value is not None]:
            raise SpotlightError(f"{', '.join(twice)} and --settings were given. Write it into {settings}.")
        experiment = Experiment.from_yaml(settings)
    if device is not None:
        values = experiment.model_dump()
        values["training"]["device"] = device
        experiment = Experiment.parse(values, "command line")
    size = size_of(voxel_size)
    if explain:
        if pretext == "simulated":
            raise SpotlightError(
                "--explain looks at stacks that are there. Simulate some, and explain `train` on them."
            )
        with Reporter() as report:
            inputs = read_inputs(source, input_channel, axes, size)
            text = explained(inputs, experiment, probe=probe, progress=report)
        answer(*text.splitlines())
        return
    chosen = STRUCTURES if structures is None else tuple(part.strip() for part in structures.split(","))
    if unknown := [name for name in chosen if name not in STRUCTURES]:
        raise SpotlightError(f"--structures are some of {', '.join(STRUCTURES)}. Received: {', '.join(unknown)}.")
    with Reporter(resumable=True) as report:
        made = run(
            source,
            to,
            experiment,
            pretext=pretext,
            structures=chosen,  # type: ignore[arg-type]
            fields=fields,
            workers=workers or 1,
            input_channel=input_channel,
            axes=axes,
            voxel_size=size,
            overwrite=overwrite,
            cache=cache,
            progress=report,
        )
    if is_first():
        what = "model" if pretext == "simulated" else "backbone"
        wrote(made, f"{what}: {{}}")
        wrote(write_training_page(made), "its training: {}")
        say("next:")
        say_commands(("train", "MANIFEST", "--task", task, "--from", made, "--to", "MODEL"))


@app.command("few-shot")
def few_shot(
    pairs: Annotated[Path, typer.Argument(help="Manifest with a column mask or mask:NAME.")],
    to: To,
    start: Annotated[list[Path], option(METHOD, "--from", help="Backbone or model to start from; for several: each.")],
    task: Annotated[str, option(METHOD, help="segment.")] = "segment",
    shots: Annotated[str, option(METHOD, help="Numbers of labelled stacks, by commas.")] = "1,2,5",
    draws: Annotated[int, option(METHOD, min=1, help="How often they are drawn; five or more show most.")] = 5,
    steps: Annotated[int, option(METHOD, min=1, help="Training steps.")] = 200,
    folds: Annotated[
        int, option(METHOD, min=2, help="Without rows of the split test: groups that are held out in turn.")
    ] = 5,
    settings: Annotated[Path | None, option(METHOD, help="YAML file of settings of the trainings.")] = None,
    target: Annotated[str | None, option(INPUT, help="For a manifest of several masks: which one.")] = None,
    cache: Annotated[Path | None, option(COMPUTING, help="Folder for prepared stacks, for all trainings.")] = None,
) -> None:
    """Say whether a pretrained start helps on your labelled stacks. Interrupted, the same command goes on."""
    loading()
    from spotlight.comparison import FewShotSettings
    from spotlight.comparison import few_shot as run
    from spotlight.report import write_few_shot_page
    from spotlight.training import Experiment

    try:
        numbers = tuple(int(part) for part in shots.split(","))
    except ValueError as error:
        raise SpotlightError(f"--shots are whole numbers, separated by commas. Received: {shots!r}.") from error
    asked = FewShotSettings.parse({"shots": numbers, "draws": draws, "steps": steps, "folds": folds}, "--shots")
    experiment = Experiment.from_yaml(settings) if settings else None
    with Reporter(resumable=True) as report:
        found = run(
            pairs,
            to,
            start,
            asked,
            task=task,
            target=target,
            experiment=experiment,
            cache=cache,
            progress=report,
        )
    answer(scores=found.scores, comparison=found.table)
    say(*found.verdicts())
    wrote(write_few_shot_page(found.folder), "The page with the learning curve: {}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise SpotlightError(f"--grid is a length in µm, or 'native'. Received: {text!r}.") from error
