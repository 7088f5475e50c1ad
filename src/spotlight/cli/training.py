"""Commands of training: `train`, and the settings that it takes."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from spotlight.cli.app import (
    COMPUTING,
    INPUT,
    METHOD,
    OUTPUT,
    PROTOCOLS,
    Device,
    InputChannel,
    PairAxes,
    Pairs,
    Protocol,
    TargetChannel,
    To,
    VoxelSize,
    app,
    option,
    size_of,
)
from spotlight.cli.output import Reporter, answer, loading, say, wrote
from spotlight.errors import SpotlightError


@app.command()
def train(
    pairs: Pairs,
    to: To,
    protocol: Protocol = "spotlight",
    settings: Annotated[
        Path | None,
        option(METHOD, help="YAML file of experiment settings, instead of a protocol."),
    ] = None,
    task: Annotated[
        str | None,
        option(METHOD, help="What is learnt: stain (default), segment, restore, classify, or one of another package."),
    ] = None,
    steps: Annotated[int | None, option(METHOD, help="Training steps, instead of the protocol's.")] = None,
    batch_size: Annotated[int | None, option(METHOD, help="Patches per step, instead of the protocol's.")] = None,
    seed: Annotated[int | None, option(METHOD, help="Of initial weights and patches.")] = None,
    seeds: Annotated[
        int | None,
        option(METHOD, min=1, help="Train an ensemble: so many models, seeds 0, 1, ..., in folders seed-N."),
    ] = None,
    finetune: Annotated[
        Path | None,
        option(
            METHOD,
            "--finetune",
            "--from",
            help="Go on from the weights of this model; of another task, without its head.",
        ),
    ] = None,
    frozen: Annotated[
        Literal["none", "encoder", "all but head"] | None,
        option(METHOD, help="What of them stays as it is."),
    ] = None,
    allow_seen: Annotated[
        bool,
        option(METHOD, "--allow-seen", help="Start from a backbone that has seen test stacks of the manifest."),
    ] = False,
    axes: PairAxes = None,
    voxel_size: VoxelSize = None,
    grid: Annotated[str | None, option(INPUT, help="Voxel edge in µm to resample to, or 'native'.")] = None,
    input_channel: InputChannel = None,
    target_channel: TargetChannel = None,
    target: Annotated[
        list[str] | None,
        option(
            INPUT,
            help="For a manifest of several targets: which one. Given several times, or 'all': one network.",
        ),
    ] = None,
    planes: Annotated[
        Literal["together", "one"] | None,
        option(
            INPUT,
            help="See a stack whole, or one plane at a time, another at each draw, for flat targets.",
        ),
    ] = None,
    modalities: Annotated[
        Literal["unified", "separate", "dynamic", "film"] | None,
        option(
            INPUT,
            help="For brightfield, phase, DIC. unified: one network; separate: a model each; dynamic, film: one that "
            "takes the modality as an input.",
        ),
    ] = None,
    overwrite: Annotated[bool, option(OUTPUT, help="Start over, whatever the folder holds.")] = False,
    device: Device = None,
    cache: Annotated[
        Path | None,
        option(
            COMPUTING,
            help="Folder for prepared pairs, for data larger than memory and for several runs.",
        ),
    ] = None,
    explain: Annotated[
        bool,
        option(COMPUTING, "--explain", help="Say all that the run would do, and do nothing."),
    ] = False,
    probe: Annotated[
        bool,
        option(COMPUTING, help="With --explain: take a few steps to say how many minutes it takes."),
    ] = True,
) -> None:
    """Train a model on pairs of stacks. Interrupted, the same command goes on where it was.

    Started by torchrun or srun, all processes train one model together.
    """
    from spotlight.training import Experiment
    from spotlight.training.protocols import for_task

    values = for_task(Experiment.from_yaml(settings) if settings else protocol, task).model_dump()
    given: dict[str, object] = {"batch_size": batch_size, "device": device}
    given |= {"allow_seen": allow_seen or None}
    given |= {"steps": steps, "seed": seed, "finetune": finetune, "frozen": frozen}
    values["training"] |= {name: value for name, value in given.items() if value is not None}
    if grid is not None:
        values["preparation"]["grid"] = grid
    if planes is not None:
        values["preparation"]["planes"] = planes
    if modalities is not None:
        values["modalities"] = modalities
    chosen = target[0] if target and len(target) == 1 else target
    if seed is not None and seeds is not None:
        raise SpotlightError("--seed trains one model and --seeds several; give one of them.")
    experiment = Experiment.parse(values, "command line")
    loading()
    from spotlight.model import DESCRIPTION, read_description
    from spotlight.report import write_training_page
    from spotlight.report.training_page import training_text
    from spotlight.training import train as run
    from spotlight.training.explanation import explain as explained
    from spotlight.training.hardware import is_first

    size = size_of(voxel_size)
    if explain:
        with Reporter() as report:
            text = explained(
                pairs,
                experiment,
                input_channel=input_channel,
                target_channel=target_channel,
                target=chosen,
                axes=axes,
                voxel_size=size,
                probe=probe,
                progress=report,
            )
        answer(*text.splitlines(), plan=text)
        return
    with Reporter(resumable=True) as report:
        run(
            pairs,
            to,
            experiment,
            seeds=seeds,
            input_channel=input_channel,
            target_channel=target_channel,
            target=chosen,
            axes=axes,
            voxel_size=size,
            overwrite=overwrite,
            cache=cache,
            progress=report,
        )
    if is_first():
        scores: dict[Path, dict[str, float]] = {}
        summary: dict[Path, list[str]] = {}
        for made in sorted(path.parent for path in to.rglob(DESCRIPTION)):
            wrote(made, "model: {}")
            wrote(write_training_page(made), "its training: {}")
            scores[made], summary[made] = read_description(made).training["best"], training_text(made).splitlines()
            say(*summary[made])
        answer(scores=scores, summary=summary)


@app.command("settings")
def show_settings(
    protocol: Annotated[str, typer.Argument(help=PROTOCOLS)] = "spotlight",
    task: Annotated[
        str | None, typer.Option(help="With the settings of this task in place of those for stains.")
    ] = None,
) -> None:
    """Print a protocol's settings as YAML, to edit and give to `spotlight train --settings`."""
    from spotlight.settings import commented_yaml
    from spotlight.training import protocol as named

    experiment = named(protocol, task)
    answer(*commented_yaml(experiment).splitlines(), settings=experiment.model_dump(mode="json"))
