"""Commands that find and number nuclei."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from spotlight.cli.app import (
    INPUT,
    METHOD,
    OUTPUT,
    TUNING,
    Axes,
    Channel,
    Device,
    Form,
    InputChannel,
    Scene,
    TargetChannel,
    Time,
    To,
    ToPlate,
    VoxelSize,
    app,
    option,
    size_of,
)
from spotlight.cli.output import Reporter, answer, report_failures, say, wrote
from spotlight.errors import SpotlightError
from spotlight.quoting import counted


@app.command()
def segment(
    images: Annotated[
        list[Path], typer.Argument(help="Fluorescence stacks or stains; with --tune a CSV manifest or a folder.")
    ],
    to: ToPlate,
    channel: Channel = None,
    scene: Scene = None,
    time: Time = None,
    axes: Axes = None,
    voxel_size: VoxelSize = None,
    wells: Annotated[
        Path | None, option(INPUT, help="Of a plate: table with a column well, to stand beside every nucleus.")
    ] = None,
    method: Annotated[
        str | None,
        option(METHOD, help="watershed (default), cellpose, or one of an installed package."),
    ] = None,
    settings: Annotated[Path | None, option(METHOD, help="YAML file of segmentation settings.")] = None,
    features: Annotated[
        Literal["quick", "full"],
        option(METHOD, help="What is measured: size and shape, or all of docs/profiles.md."),
    ] = "quick",
    track: Annotated[
        bool,
        option(OUTPUT, "--track", help="Of time-lapses: follow nuclei, one number for one nucleus through time."),
    ] = False,
    farthest: Annotated[
        float | None,
        option(METHOD, min=0.01, help="To track: longest way of a nucleus from frame to frame, in µm."),
    ] = None,
    device: Device = None,
    form: Form = "ome.tif",
    table: Annotated[
        list[Path] | None,
        option(
            OUTPUT,
            help="Of a plate: where its table goes, .csv, .parquet or .h5ad; else beside it. Repeat for several.",
        ),
    ] = None,
    names: Annotated[
        Literal["plain", "pycytominer"],
        option(OUTPUT, help="Of a plate: names of the table's columns; with Metadata_ and Nuclei_ for pycytominer."),
    ] = "plain",
    tune: Annotated[
        bool,
        option(
            TUNING,
            "--tune",
            help="Find the settings that suit a manifest's curated labels, and write them.",
        ),
    ] = False,
    split: Annotated[str, option(TUNING, help="Rows of the manifest to tune on.")] = "train",
    incomplete: Annotated[
        bool,
        option(TUNING, "--incomplete", help="To tune where some nuclei have no curated label."),
    ] = False,
    stacks: Annotated[int, option(TUNING, min=1, help="Most stacks to tune on.")] = 8,
    finer: Annotated[
        bool,
        option(TUNING, "--finer", help="To tune: also try a grid twice as fine, which takes 8 times as long."),
    ] = False,
    input_channel: InputChannel = None,
    target_channel: TargetChannel = None,
) -> None:
    """Find nuclei. Labels and measurements (CSV and Parquet, one row a nucleus) go to the folder given by --to.

    NAME-segmentation.yaml says with which settings they were found, and what speaks against them. What is there
    already from the same image and settings is kept; interrupted, the same command goes on.

    With --to PLATE.ome.zarr, labels of an OME-Zarr plate go into a plate, and all nuclei into one table; interrupted,
    the same command goes on. With the name of the plate itself, they are added to it.

    With --tune, the folder gets segmentation.yaml, to be given by --settings here and by evaluation settings, and
    tuning.csv with all that was tried.
    """
    from spotlight.csv_files import write_csv
    from spotlight.files import write_text
    from spotlight.images.plates import names_a_zarr
    from spotlight.locks import working_on
    from spotlight.nuclei import Asked, segment_files
    from spotlight.segmentation import SEGMENTERS, read_settings
    from spotlight.tracking import TrackingSettings

    if settings is not None and method is not None:
        raise SpotlightError("--settings names its method itself; leave out --method.")
    named = SEGMENTERS.find(method or SEGMENTERS.default)
    chosen = read_settings(settings) if settings else named.parse({}, "--method")
    if device is not None:
        if "device" not in type(chosen).model_fields:
            raise SpotlightError(f"--device does not apply to {chosen.method}, which has no such setting. Remove it.")
        chosen = chosen.parse(chosen.model_dump() | {"device": device}, "--device")
    size = size_of(voxel_size)
    if farthest is not None and not track:
        raise SpotlightError("--farthest is for following nuclei through time; say --track, too.")
    if tune:
        from spotlight.segmentation.tuning import tune as find

        if len(images) > 1:
            raise SpotlightError("--tune takes one manifest or folder of stacks.")
        with Reporter() as report:
            tuning = find(
                images[0],
                chosen,
                split=split,
                complete=not incomplete,
                most_stacks=stacks,
                finer=finer,
                input_channel=input_channel,
                target_channel=target_channel,
                axes=axes,
                voxel_size=size,
                progress=report,
            )
        with working_on(to / "segmentation.yaml"):
            write_csv(tuning.tried, to / "tuning.csv", "%.4g")
            write_text(to / "segmentation.yaml", tuning.to_yaml())
        answer(scores={"mean_ap": tuning.score, "mean_ap_before": tuning.first_score, "stacks": len(tuning.stacks)})
        say(f"mean AP {tuning.first_score:.3f} -> {tuning.score:.3f} on {counted(len(tuning.stacks), 'stack')}")
        wrote(to / "segmentation.yaml")
        return
    way = {} if farthest is None else {"farthest_um": farthest}
    asked = Asked(
        channel=channel,
        axes=axes,
        voxel_size=size,
        features=features,
        tracking=TrackingSettings.parse(way, "--farthest") if track else None,
    )
    if names_a_zarr(to):
        from spotlight.plates import segment_plate

        if len(images) > 1:
            raise SpotlightError(f"{to}: is made of one OME-Zarr plate. Give one, or name a folder with --to.")
        with Reporter(resumable=True) as report:
            plate = segment_plate(
                images[0],
                to,
                chosen,
                scene=scene,
                time=time,
                wells=wells,
                tables=table,
                naming=names,
                progress=report,
                **asked,
            )
        again = f" ({counted(plate.kept, 'field')} there already)" if plate.kept else ""
        nuclei = counted(len(plate.table), "nucleus", "nuclei")
        wrote(to, f"{{}}: {nuclei} in {counted(len(plate.labels), 'field')}{again}")
        for path in plate.tables:
            wrote(path)
        report_failures(plate.failed, len(plate.failed) + len(plate.labels))
        return
    if wells is not None or table or names != "plain":
        raise SpotlightError("--wells, --table and --names are for one table of a plate; end --to in .ome.zarr.")
    with Reporter(resumable=True) as report:
        found = segment_files(images, to, chosen, scene=scene, time=time, form=form, progress=report, **asked)
    for one in found:
        for path in (one.labels, *one.tables) if one.state != "failed" else ():
            wrote(path, f"{{}}{' (was there already)' if one.state == 'kept' else ''}")
    report_failures({one.part.name: one.reason for one in found if one.state == "failed"}, len(found))


@app.command()
def label(
    masks: Annotated[list[Path], typer.Argument(help="Masks: 0 for background, anything else for bodies.")],
    to: To,
    channel: Channel = None,
    scene: Scene = None,
    time: Time = None,
    axes: Axes = None,
    voxel_size: VoxelSize = None,
    form: Form = "ome.tif",
    overwrite: Annotated[bool, option(OUTPUT, help="Replace labels that are there already.")] = False,
) -> None:
    """Number the bodies of masks: each connected piece gets a number of its own. NAME-labels go to the folder --to."""
    import numpy as np

    from spotlight.images import label_pieces
    from spotlight.images.joining import take
    from spotlight.prediction import find_parts, read_part

    size = size_of(voxel_size)
    for part in find_parts(masks, scene, time, axes, strict=True):
        path = to / f"{part.name}-labels.{form}"
        if path.exists() and not overwrite:
            raise SpotlightError(f"{path}: is there already. Choose another folder with --to, or say --overwrite.")
        labels = label_pieces(take(read_part(part, axes, size), channel or part.channel))
        bodies = sum(int(np.max(frame)) for frame in (labels.data if part.frames else [labels.data]))
        wrote(labels.save(path), f"{{}}: {bodies} bodies")
