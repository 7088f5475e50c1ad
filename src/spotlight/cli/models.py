"""Commands of models: stain, segment, evaluate."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from spotlight.cli.app import (
    CLUSTER,
    COMPUTING,
    INPUT,
    METHOD,
    OUTPUT,
    AnyVoxelSize,
    Axes,
    Device,
    Form,
    InputChannel,
    Kind,
    PairAxes,
    Pairs,
    Scene,
    Target,
    TargetChannel,
    Time,
    To,
    ToPlate,
    VoxelSize,
    Workers,
    app,
    option,
    size_of,
)
from spotlight.cli.challenge import score_light_my_cells
from spotlight.cli.output import Reporter, answer, loading, report_failures, say, wrote
from spotlight.cli.task_scores import SCORED, refuse, score_task, task_of
from spotlight.errors import SpotlightError
from spotlight.quoting import safe_name


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Model folder, package, ONNX file, or folder of models.")],
    images: Annotated[list[Path], typer.Argument(help="Stacks of transmitted light, plates, folders, manifests.")],
    to: ToPlate,
    channel: Annotated[
        list[str] | None,
        option(
            INPUT,
            help="Name or zero-based index of the channel to use; luminance: the mean of RGB; z=3: plane 3. For a "
            "model of several channels: once for each, in its order.",
        ),
    ] = None,
    scene: Scene = None,
    time: Time = None,
    axes: Axes = None,
    voxel_size: VoxelSize = None,
    normalised: Annotated[bool, option(OUTPUT, help="Write the network's own units instead of intensities.")] = False,
    flatten: Annotated[
        bool | None,
        option(OUTPUT, help="Make everything below the foreground threshold plain background."),
    ] = None,
    any_voxel_size: AnyVoxelSize = False,
    plane: Annotated[
        int | None,
        option(INPUT, min=0, help="Which plane to stain, for models of single planes."),
    ] = None,
    split: Annotated[str | None, option(INPUT, help="Of manifests, stain only the rows of this split.")] = None,
    modality: Annotated[
        str | None,
        option(INPUT, help="How all of them were seen, if a model has to know: brightfield, phase or dic."),
    ] = None,
    form: Form = "ome.tif",
    dtype: Annotated[
        Kind,
        option(OUTPUT, help="Type of the stain's values; whole numbers are rounded and clipped."),
    ] = "float32",
    settings: Annotated[
        Path | None, option(COMPUTING, help="YAML file of prediction settings: tiles, overlap...")
    ] = None,
    device: Device = None,
    exact: Annotated[
        bool,
        option(COMPUTING, "--exact", help="Tiles that overlap by all that the network sees."),
    ] = False,
    augment: Annotated[
        bool,
        option(COMPUTING, "--augment", help="Mean over flips and turns, eight times the work."),
    ] = False,
    spread: Annotated[
        bool,
        option(
            OUTPUT,
            "--spread",
            help="A second channel: the spread over flips, turns and ensemble members.",
        ),
    ] = False,
    seams: Annotated[
        bool,
        option(
            COMPUTING,
            "--seams",
            help="Compare with exact tiles, print the difference, and write nothing.",
        ),
    ] = False,
    overwrite: Annotated[bool, option(OUTPUT, help="Replace stains that are there already.")] = False,
    scheduler: Annotated[
        str | None,
        option(CLUSTER, help="Spread over the workers of this Dask scheduler, e.g. tls://host:8786."),
    ] = None,
    certificates: Annotated[
        Path | None,
        option(CLUSTER, help="Folder with ca.pem, cert.pem and key.pem for that scheduler."),
    ] = None,
    cluster: Annotated[
        Literal["slurm"] | None,
        option(CLUSTER, help="Spread over workers that are started as jobs of SLURM."),
    ] = None,
    workers: Annotated[int | None, option(CLUSTER, min=1, help="Number of these workers.")] = None,
    cluster_options: Annotated[
        Path | None,
        option(CLUSTER, help="YAML file for dask_jobqueue.SLURMCluster: queue, cores, memory, walltime..."),
    ] = None,
) -> None:
    """Stain stacks. Each stain is named after its input, in the folder given by --to.

    With --to NAME.ome.zarr, the stains of an OME-Zarr plate are one plate of the same wells and fields.

    Stains that are there already, from the same model, input and options, are kept; interrupted, the same command goes
    on. Files that fail are listed at the end, with exit status 1, or 2 if it was the only one.
    """
    loading()
    from spotlight.images.joining import parse_channels
    from spotlight.images.plates import names_a_zarr
    from spotlight.plain_yaml import load_yaml
    from spotlight.prediction import (
        PredictionSettings,
        StainOptions,
        classify_files,
        find_parts,
        load_model,
        measure_seams,
        stain_files,
        stain_on_cluster,
    )

    if cluster is None and (workers is not None or cluster_options is not None):
        raise SpotlightError("--workers and --cluster-options describe jobs; give --cluster slurm, too.")
    if certificates is not None and scheduler is None:
        raise SpotlightError("--certificates are for a scheduler that runs already; give its address by --scheduler.")
    if seams and (cluster or scheduler):
        raise SpotlightError("--seams is measured on this machine; leave out --scheduler and --cluster.")
    values = (PredictionSettings.from_yaml(settings) if settings else PredictionSettings()).model_dump()
    given: dict[str, object] = {"device": device, "overlap": "exact" if exact else None}
    given |= {"augment": augment or None, "spread": spread or None}
    values |= {name: value for name, value in given.items() if value is not None}
    options = StainOptions(
        parse_channels(channel),
        axes,
        size_of(voxel_size),
        normalised,
        flatten,
        any_voxel_size,
        plane,
        modality,
        form,
        dtype,
        PredictionSettings.parse(values, "command line"),
    )
    loaded = load_model(model)
    listed = find_parts(images, scene, time, axes, strict=seams, split=split)
    if loaded.description.task.learns == "classes":
        if names_a_zarr(to):
            raise SpotlightError(f"{to}: this model tells classes apart, in a table. Name a folder with --to.")
        refuse({"--seams": seams, "--scheduler": scheduler, "--cluster": cluster}, "tell classes apart")
        with Reporter(resumable=True) as report:
            table, faults = classify_files(loaded, listed, to, options, overwrite=overwrite, progress=report)
        counts = ", ".join(f"{count} {name}" for name, count in table["class"].value_counts().items())
        answer(classes=table)
        if len(table):
            wrote(to / "classes.csv", f"{{}}: {counts}")
        else:
            say("No image was classified.")
        report_failures(faults, len(listed))
        return
    with Reporter(resumable=True) as report:
        if seams:
            seams_of: dict[str, object] = {}
            for part in (frame for one in listed for frame in one.each_frame()):
                found = measure_seams(loaded, part, options, report)
                seams_of[part.name] = vars(found)
                answer(f"{part.name}: {found}", seams=seams_of)
            return
        if scheduler or cluster:
            results = stain_on_cluster(
                model,
                listed,
                to,
                options,
                scheduler=scheduler,
                certificates=certificates,
                cluster=cluster,
                workers=workers or 1,
                cluster_options=load_yaml(cluster_options) if cluster_options else None,
                overwrite=overwrite,
                progress=report,
            )
        else:
            results = stain_files(loaded, listed, to, options, overwrite=overwrite, progress=report)
    for result in results:
        if result.state != "failed":
            wrote(result.path, f"{{}}{' (was there already)' if result.state == 'kept' else ''}")
    report_failures({one.part.name: one.reason for one in results if one.state == "failed"}, len(results))


@app.command()
def evaluate(
    pairs: Pairs,
    model: Annotated[
        list[Path],
        option(
            INPUT,
            "--model",
            "--predictions",
            "-m",
            help="Model folder, package, ONNX file, or folder of stains; repeat for several.",
        ),
    ],
    to: To,
    preset: Annotated[
        Literal["light-my-cells"] | None,
        option(METHOD, help="Scores and table of this challenge, for folders of stains of planes."),
    ] = None,
    split: Annotated[str | None, option(INPUT, help="Rows of the manifest to evaluate: test unless said.")] = None,
    settings: Annotated[Path | None, option(METHOD, help="YAML file of evaluation settings.")] = None,
    input_channel: InputChannel = None,
    target_channel: TargetChannel = None,
    target: Target = None,
    axes: PairAxes = None,
    voxel_size: VoxelSize = None,
    any_voxel_size: AnyVoxelSize = False,
    device: Device = None,
    workers: Workers = None,
) -> None:
    """Judge models on pairs they have not seen: tables, stains, labels and a page with pictures."""
    named = {safe_name(folder.resolve().name): folder for folder in model}
    if len(named) < len(model):
        raise SpotlightError("the model folders must have different names; rename one.")
    if preset is not None:
        unfit = {
            "--input-channel": input_channel,
            "--target-channel": target_channel,
            "--axes": axes,
            "--voxel-size": voxel_size,
            "--any-voxel-size": any_voxel_size or None,
            "--device": device,
            "--workers": workers,
        }
        score_light_my_cells(named, pairs, to, settings, split, target, unfit)
        return
    loading()
    from spotlight.evaluation import EvaluationSettings
    from spotlight.evaluation import evaluate as run
    from spotlight.report import write_report
    from spotlight.report.text import score_text, summary_text

    learnt = task_of(named.values())
    not_taken: dict[str, object] = {
        "--settings": settings,
        "--any-voxel-size": any_voxel_size,
        "--input-channel": input_channel,
        "--target-channel": target_channel,
    }
    if learnt in SCORED:
        not_taken["--device"] = device
        score_task(learnt, named, pairs, to, split, target, axes, voxel_size, workers, not_taken)
        return
    chosen = EvaluationSettings.from_yaml(settings) if settings else EvaluationSettings()
    values = chosen.model_dump() | ({} if split is None else {"split": split})
    values["prediction"] |= {} if device is None else {"device": device}
    values["any_voxel_size"] |= any_voxel_size
    with Reporter(resumable=True) as report:
        evaluation = run(
            pairs,
            named,
            to,
            EvaluationSettings.parse(values, "command line"),
            input_channel=input_channel,
            target_channel=target_channel,
            target=target,
            axes=axes,
            voxel_size=size_of(voxel_size),
            workers=workers or os.cpu_count() or 1,
            progress=report,
        )
        page = write_report(to, progress=report)
    summary = summary_text(evaluation.scores).splitlines()
    answer(scores=evaluation.scores, summary=summary)
    say("", *score_text(evaluation.scores).splitlines(), "", *summary, "")
    wrote(page, "The page with pictures and curves: {}")


@app.command()
def compare(
    comparison: Annotated[Path, typer.Argument(help="YAML file: pairs, methods, seeds and baseline.")],
    to: To,
    device: Device = None,
    workers: Workers = None,
) -> None:
    """Train several methods with several seeds, judge them on the same pairs, and say which is better, with tests."""
    loading()
    from spotlight.comparison import compare as run
    from spotlight.report import write_report
    from spotlight.report.text import score_text

    with Reporter(resumable=True) as report:
        compared = run(comparison, to, device=device, workers=workers or os.cpu_count() or 1, progress=report)
        page = write_report(to, "Comparison of methods", progress=report)
    answer(scores=compared.evaluation.scores, comparison=compared.table)
    say("", *score_text(compared.evaluation.scores).splitlines(), "", *compared.table["verdict"], "")
    wrote(page, "The page with pictures and curves: {}")
