"""The demo, and commands before training: simulated and public data, proposals, checks, and what files hold."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from spotlight.cli.app import (
    Axes,
    Form,
    InputChannel,
    PairAxes,
    Pairs,
    Scene,
    Target,
    TargetChannel,
    Time,
    To,
    VoxelSize,
    Workers,
    app,
    size_of,
)
from spotlight.cli.output import Reporter, answer, loading, say, say_commands, warn, wrote
from spotlight.errors import SpotlightError
from spotlight.quoting import counted


@app.command()
def demo(
    to: To = Path("demo"),
    seed: Annotated[int, typer.Option(help="Seed of the simulated cells and of the training.")] = 0,
) -> None:
    """Simulate cells, train F-net and Spotlight on them, compare both with the exact truth, and write a page."""
    say(
        f"The demo writes 100 MB to {to} and needs 2 GB of memory. On two processor cores it takes about 4 minutes, or "
        "6 if they do not compute in bfloat16. Stop it by Ctrl-C; the same command goes on.",
        err=True,
    )
    loading()
    from spotlight.demonstration import demo as run

    with Reporter(resumable=True) as report:
        page, table = run(to, seed, report, workers=os.cpu_count() or 1)
    say("", *table.splitlines(), "")
    wrote(page, "The page with pictures and curves: {}")


@app.command()
def simulate(
    to: To,
    train: Annotated[int, typer.Option(help="Fields for training.")] = 6,
    val: Annotated[int, typer.Option(help="Fields for validation.")] = 1,
    test: Annotated[int, typer.Option(help="Fields for testing.")] = 2,
    seed: Annotated[int, typer.Option(help="The same seed gives the same fields.")] = 0,
    settings: Annotated[Path | None, typer.Option(help="YAML file of simulation settings.")] = None,
    layout: Annotated[
        Literal["stacks", "any-microscope", "light-my-cells", "light-sheet"],
        typer.Option(
            help="Stacks of stem cells, seen by one microscope or by many; study folders of many stains; or cleared "
            "tissue with masks."
        ),
    ] = "stacks",
    complete: Annotated[
        list[str] | None, typer.Option(help="light-my-cells: a split whose fields have every stain; may be repeated.")
    ] = None,
) -> None:
    """Simulate pairs of transmitted light and fluorescence, or light-sheet stacks with masks, and their manifest."""
    from spotlight.simulation import (
        AnyMicroscopeSettings,
        LightMyCellsSettings,
        LightSheetSettings,
        SimulationSettings,
        simulate_any_microscope,
        simulate_light_my_cells,
        simulate_light_sheet,
        simulate_pairs,
    )

    if complete and layout != "light-my-cells":
        raise SpotlightError(f"--complete does not apply to {layout}, whose fields lack no stain. Remove it.")
    counts = {"train": train, "val": val, "test": test}
    workers = os.cpu_count() or 1
    with Reporter(resumable=True) as report:
        progress = report.tiles("simulating")
        if layout == "light-my-cells":
            studies = LightMyCellsSettings.from_yaml(settings) if settings else LightMyCellsSettings()
            manifest = simulate_light_my_cells(to, counts, studies, seed, workers, complete or (), progress)
        elif layout == "light-sheet":
            sheets = LightSheetSettings.from_yaml(settings) if settings else LightSheetSettings()
            manifest = simulate_light_sheet(to, counts, sheets, seed, workers, progress)
        elif layout == "any-microscope":
            ranges = AnyMicroscopeSettings.from_yaml(settings) if settings else AnyMicroscopeSettings()
            manifest = simulate_any_microscope(to, counts, ranges, seed, workers, progress)
        else:
            chosen = SimulationSettings.from_yaml(settings) if settings else SimulationSettings()
            manifest = simulate_pairs(to, counts, chosen, seed, workers, progress)
    wrote(manifest)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder with the images, in subfolders or not.")],
    to: Annotated[Path | None, typer.Option("--to", "-o", help="Where to write; else into the folder.")] = None,
    input_pattern: Annotated[str | None, typer.Option("--input", help="Inputs, e.g. 'bf/*.tif': * is shared.")] = None,
    target_pattern: Annotated[str | None, typer.Option("--target", help="Targets, e.g. 'dna/*.tif'.")] = None,
    labels_pattern: Annotated[str | None, typer.Option("--labels", help="Instance labels, likewise.")] = None,
    mask_pattern: Annotated[
        str | None, typer.Option("--mask", help="Instead of targets: masks of a structure, to segment it.")
    ] = None,
    input_channel: Annotated[
        list[str] | None, typer.Option(help="For files with both: the transmitted light. Several: once for each.")
    ] = None,
    target_channel: Annotated[str | None, typer.Option(help="For files with both: the fluorescence.")] = None,
    target_plane: Annotated[
        str | None, typer.Option(help="Of targets that are stacks, take a plane: max, mean, focus, or an index.")
    ] = None,
    axes: Axes = None,
    voxel_size: VoxelSize = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a manifest and an experiment that are there.")] = False,
) -> None:
    """Look at a folder of images: propose pairs and splits, and plan the training, with reasons."""
    from spotlight.plan import init as run

    with Reporter() as report:
        plan = run(
            folder,
            to,
            overwrite=overwrite,
            progress=report,
            input_pattern=input_pattern,
            target_pattern=target_pattern,
            labels_pattern=labels_pattern,
            mask_pattern=mask_pattern,
            axes=axes,
            voxel_size=size_of(voxel_size),
            input_channel=input_channel,
            target_channel=target_channel,
            target_plane=target_plane,
        )
    answer(reasons=plan.reasons, targets=plan.targets)
    say(*plan.reasons, "", "Look at these files:")
    wrote(plan.manifest)
    wrote(plan.experiment)
    say("", "Then:")
    which = ("--target", plan.targets[0]) if plan.targets else ()
    train = ("train", plan.manifest, "--settings", plan.experiment, *which, "--to", "model")
    say_commands(("check", plan.manifest), train)


@app.command()
def stack_planes(
    folder: Annotated[Path, typer.Argument(help="Folder with one file per plane or timepoint, in subfolders or not.")],
    to: To,
) -> None:
    """Make stacks of files of single planes: writes lists of them, each of which is read as one image."""
    from spotlight.images.layouts import find_plane_files
    from spotlight.images.plane_files import write_plane_files
    from spotlight.pairs.gathering import describe, images_below

    found, faults = find_plane_files(images_below(folder), folder)
    for fault in faults:
        warn(f"planes are missing, so they are no stack: {fault}")
    if not found:
        raise SpotlightError(
            f"{folder}: no names of files there say which planes belong together, as img_z000.tif and img_z001.tif do."
        )
    for image in found:
        wrote(write_plane_files(image, to))
    say(describe(found))


@app.command()
def import_pairs(
    layout: Annotated[
        Literal["label-free", "integrated-cell", "light-my-cells"], typer.Argument(help="The public data set.")
    ],
    source: Annotated[Path, typer.Argument(help="Its table, or for light-my-cells the folder of the studies.")],
    to: Annotated[Path, typer.Option("--to", "-o", help="Manifest to write.")] = Path("manifest.csv"),
    root: Annotated[Path | None, typer.Option(help="Where the table's paths start; else its folder.")] = None,
    first_train: Annotated[
        int | None, typer.Option(min=1, help="label-free: only so many training rows; the publication used 30.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="light-my-cells: only this fluorescence, such as Nucleus.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a manifest that is there.")] = False,
) -> None:
    """Write the manifest of a public data set, from its own table or folders."""
    from spotlight.pairs.importers import LAYOUTS
    from spotlight.pairs.manifest import write_manifest

    if to.exists() and (not overwrite or to.resolve() == source.resolve()):
        raise SpotlightError(f"{to}: is there already. Choose another name with --to, or say --overwrite.")
    given = {"root": root, "first_train": first_train, "target": target}
    facts = {name: value for name, value in given.items() if value is not None}
    fitting = {"label-free": {"root", "first_train"}, "integrated-cell": {"root"}, "light-my-cells": {"target"}}
    if not set(facts) <= fitting[layout]:
        unfit = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(set(facts) - fitting[layout]))
        raise SpotlightError(f"{unfit} does not apply to {layout}. Remove it.")
    pairs = LAYOUTS[layout](source, **facts)
    absent = sorted({str(f) for pair in pairs for f in (pair.input, pair.target) if not f.exists()})
    wrote(write_manifest(pairs, to), f"{{}}: {counted(len(pairs), 'pair')}")
    if absent:
        warn(f"{len(absent)} of their files are not there yet, the first: {absent[0]}")


@app.command()
def check(
    pairs: Pairs,
    to: To = Path("check"),
    settings: Annotated[Path | None, typer.Option(help="YAML file of the limits.")] = None,
    workers: Workers = None,
    input_channel: InputChannel = None,
    target_channel: TargetChannel = None,
    target: Target = None,
    axes: PairAxes = None,
    voxel_size: VoxelSize = None,
) -> None:
    """Look for what would spoil training: a table, a page with pictures, and exit status 1 if there is any."""
    from spotlight.pairs import CheckSettings
    from spotlight.pairs import check as run
    from spotlight.report import write_check_page
    from spotlight.report.check_page import group_findings

    chosen = CheckSettings.from_yaml(settings) if settings else CheckSettings()
    with Reporter() as report:
        result = run(
            pairs,
            to,
            chosen,
            input_channel=input_channel,
            target_channel=target_channel,
            target=target,
            axes=axes,
            voxel_size=size_of(voxel_size),
            workers=workers or os.cpu_count() or 1,
            progress=report,
        )
    for group in group_findings(result.findings):
        names, more = group["pairs"], " (the first of them)" if group["each"] else ""
        who = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
        who = who if len(names) == 1 else f"{len(names)} pairs ({who})"
        said = f"{who}: {group['subject']}: {group['found']}{more}"
        (say if group["severity"] == "note" else answer)(f"{group['severity']}: {said}")
    answer(findings=result.findings)
    wrote(write_check_page(result, to), f"{counted(len(result.pairs), 'pair')}; the page with pictures: {{}}")
    if result.failed:
        raise typer.Exit(1)


@app.command()
def resample(
    images: Annotated[list[Path], typer.Argument(help="Images of the same field, such as those of a binned camera.")],
    like: Annotated[Path, typer.Option(help="Image whose grid they are brought to.")],
    to: To,
    labels: Annotated[bool, typer.Option("--labels", help="They are labels or masks: take the nearest voxel.")] = False,
    scene: Scene = None,
    time: Time = None,
    axes: Axes = None,
    voxel_size: VoxelSize = None,
    form: Form = "ome.tif",
    overwrite: Annotated[bool, typer.Option(help="Replace images that are there already.")] = False,
) -> None:
    """Bring images to the grid of another image of the same field. Each keeps its name, in the folder --to."""
    from spotlight.images import read, resample_like
    from spotlight.prediction import find_parts, read_part

    size = size_of(voxel_size)
    grid = read(like, axes_if_unstated=axes)
    for part in find_parts(images, scene, time, axes, strict=True):
        path = to / f"{part.name}.{form}"
        if path.exists() and (not overwrite or path.resolve() in (part.path.resolve(), like.resolve())):
            raise SpotlightError(f"{path}: is there already. Choose another folder with --to, or say --overwrite.")
        wrote(resample_like(read_part(part, axes, size), grid, labels).save(path))


@app.command()
def clear_cache(folder: Annotated[Path, typer.Argument(help="Cache of prepared pairs.")]) -> None:
    """Remove what `train --cache` prepared, and nothing else."""
    from spotlight.pairs import clear_cache as run

    removed = run(folder)
    answer(f"{removed} prepared pairs removed from {folder}", removed=removed)
