"""The command line: each command calls one public function. Nothing heavy is imported before a command runs."""

import logging
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, Self

import typer

from spotlight.errors import SpotlightError
from spotlight.version import __version__

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from spotlight.images import Part

app = typer.Typer(
    name="spotlight",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Virtual staining in 3D: train on pairs of transmitted-light and fluorescence stacks, stain new ones, "
    "find and measure their nuclei, and judge the result.",
)

Pairs = Annotated[Path, typer.Argument(help="CSV manifest, or a folder of two-channel stacks.")]
To = Annotated[Path, typer.Option("--to", "-o", help="Where to write.")]
InputChannel = Annotated[str | None, typer.Option(help="For a folder: name or index of the transmitted-light channel.")]
TargetChannel = Annotated[str | None, typer.Option(help="For a folder: name or index of the fluorescence channel.")]
Channel = Annotated[str | None, typer.Option(help="Name or zero-based index of the channel to use.")]
Scene = Annotated[
    str | None, typer.Option(help="Name or index of the image, for files that hold several, e.g. B/03/0; else all.")
]
Time = Annotated[int | None, typer.Option(min=0, help="Zero-based timepoint, for files that hold several; else all.")]
Form = Annotated[Literal["ome.tif", "ome.zarr"], typer.Option("--format", help="File format of the results.")]
Kind = Literal["float32", "uint16", "uint8"]
Axes = Annotated[str | None, typer.Option(help="Axes as stored, for files that do not state them, e.g. ZYX.")]
VoxelSize = Annotated[
    str | None, typer.Option(help="Voxel edges in µm for files that do not state them, e.g. '0.29 0.108 0.108'.")
]


class Reporter:
    """Shows progress: a bar on a terminal, a line every few seconds elsewhere.

    Parameters
    ----------
    resumable : bool
        Whether the command goes on where it was when it is given again.
    """

    def __init__(self, resumable: bool = False) -> None:
        self.resumable = resumable
        self.bar: Bar | None = None
        self.task: TaskID | None = None
        self.work = ""
        self.first = 0
        self.started = self.spoke = 0.0
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}"),
                console=Console(stderr=True),
            )

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
        if kind is KeyboardInterrupt:
            typer.echo("stopped; the same command goes on from here" if self.resumable else "stopped", err=True)

    def __call__(self, work: str, done: int, total: int, figures: dict[str, float]) -> None:
        """Take note of how far a piece of work is."""
        now = time.monotonic()
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items() if name in SHOWN)
        new = work != self.work
        if new:
            self.work, self.first, self.started, self.spoke = work, done, now, 0.0
        if self.bar is not None:
            if new or self.task is None:
                self.task = self.bar.add_task(work, total=total, figures="")
            self.bar.update(self.task, completed=done, total=total, figures=shown)
        elif new or done == total or now - self.spoke >= 5:
            self.spoke = now
            rate = (now - self.started) / (done - self.first) if done > self.first else None
            left = f"{rate * (total - done):.0f} s left" if rate is not None else ""
            typer.echo(f"{work}  {done}/{total}  {left}  {shown}".rstrip(), err=True)

    def tiles(self, work: str) -> Any:
        """Give a callback of (done, total) for a piece of work."""
        return lambda done, total: self(work, done, total, {})


SHOWN = ("loss", "masked_mse", "dice", "validation_loss", "validation_foreground_pearson")


def main() -> None:
    """Run the command line; errors of ours end with status 2 and no traceback."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("spotlight").setLevel(logging.INFO)
    try:
        app()
    except SpotlightError as error:
        _fail(str(error))
    except MemoryError as error:
        _fail(f"the machine's memory does not suffice ({error}). {LESS_MEMORY}")
    except RuntimeError as error:
        # torch has no error of its own for a processor's memory, and importing it to name the GPU's takes seconds.
        if "not enough memory" not in str(error) and "out of memory" not in str(error):
            raise
        _fail(f"the memory does not suffice ({str(error).splitlines()[0]}). {LESS_MEMORY}")


LESS_MEMORY = "Train with a smaller --batch-size, or predict with smaller tiles."


def _fail(message: str) -> NoReturn:
    typer.secho(f"error: {message}", fg=typer.colors.RED, err=True)
    sys.exit(2)


def _parts(images: list[Path], scene: str | None, time: int | None, axes: str | None) -> "dict[str, Part]":
    """Every scene and timepoint that is asked for, by the name of its results; an error if two have one name."""
    from spotlight.images import parts

    listed: dict[str, Part] = {}
    for image in images:
        for part in parts(image, scene, time, axes):
            if part.name in listed:
                raise SpotlightError(
                    f"{image}: its result would overwrite that of {listed[part.name].path}, since both are named "
                    f"{part.name}. Rename one."
                )
            listed[part.name] = part
    return listed


def _version(show: bool) -> None:
    if show:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take options that stand before the command."""


@app.command()
def demo(
    to: To = Path("demo"),
    seed: Annotated[int, typer.Option(help="Seed of the simulated cells and of the training.")] = 0,
) -> None:
    """Simulate cells, train F-net and Spotlight on them, compare both with the exact truth, and write a page."""
    from spotlight.demo import demo as run

    with Reporter(resumable=True) as report:
        page, table = run(to, seed, report, workers=os.cpu_count() or 1)
    typer.echo(f"\n{table}\n\nThe page with pictures and curves: {page}")


@app.command()
def simulate(
    to: To,
    train: Annotated[int, typer.Option(help="Fields for training.")] = 6,
    val: Annotated[int, typer.Option(help="Fields for validation.")] = 1,
    test: Annotated[int, typer.Option(help="Fields for testing.")] = 2,
    seed: Annotated[int, typer.Option(help="The same seed gives the same fields.")] = 0,
    settings: Annotated[Path | None, typer.Option(help="YAML file of simulation settings.")] = None,
) -> None:
    """Simulate pairs of brightfield and fluorescence stacks with exact labels, as OME-TIFFs with a manifest."""
    from spotlight.simulation import SimulationSettings, simulate_pairs

    chosen = SimulationSettings.from_yaml(settings) if settings else SimulationSettings()
    with Reporter(resumable=True) as report:
        counts = {"train": train, "val": val, "test": test}
        manifest = simulate_pairs(to, counts, chosen, seed, os.cpu_count() or 1, report.tiles("simulating"))
    typer.echo(manifest)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder with the images, in subfolders or not.")],
    to: Annotated[Path | None, typer.Option("--to", "-o", help="Where to write; else into the folder.")] = None,
    input_pattern: Annotated[str | None, typer.Option("--input", help="Inputs, e.g. 'bf/*.tif': * is shared.")] = None,
    target_pattern: Annotated[str | None, typer.Option("--target", help="Targets, e.g. 'dna/*.tif'.")] = None,
    labels_pattern: Annotated[str | None, typer.Option("--labels", help="Instance labels, likewise.")] = None,
    input_channel: Annotated[str | None, typer.Option(help="For files with both: the transmitted light.")] = None,
    target_channel: Annotated[str | None, typer.Option(help="For files with both: the fluorescence.")] = None,
    axes: Axes = None,
    voxel_size: VoxelSize = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a manifest and an experiment that are there.")] = False,
) -> None:
    """Look at a folder of images: propose pairs and splits, and plan the training, with reasons."""
    from spotlight.pairs.manifest import parse_voxel_size
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
            axes=axes,
            voxel_size=parse_voxel_size(voxel_size, "--voxel-size") if voxel_size else None,
            input_channel=input_channel,
            target_channel=target_channel,
        )
    for reason in plan.reasons:
        typer.echo(reason)
    typer.echo(f"\nLook at {plan.manifest} and {plan.experiment}. Then:")
    typer.echo(f"  spotlight check {plan.manifest}")
    typer.echo(f"  spotlight train {plan.manifest} --settings {plan.experiment} --to model")


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
    target: Annotated[str | None, typer.Option(help="light-my-cells: the fluorescence; Nucleus unless said.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a manifest that is there.")] = False,
) -> None:
    """Write the manifest of a public data set, from its own table or folders."""
    from spotlight.pairs.importers import LAYOUTS
    from spotlight.pairs.proposal import write_manifest

    if to.exists() and (not overwrite or to.resolve() == source.resolve()):
        raise SpotlightError(f"{to}: is there already. Choose another name with --to, or say --overwrite.")
    given = {"root": root, "first_train": first_train, "target": target}
    facts = {name: value for name, value in given.items() if value is not None}
    fitting = {"label-free": {"root", "first_train"}, "integrated-cell": {"root"}, "light-my-cells": {"target"}}
    if not set(facts) <= fitting[layout]:
        unfit = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(set(facts) - fitting[layout]))
        raise SpotlightError(f"{unfit} means nothing for {layout}. Leave it out.")
    pairs = LAYOUTS[layout](source, **facts)
    absent = sorted({str(f) for pair in pairs for f in (pair.input, pair.target) if not f.exists()})
    typer.echo(f"{write_manifest(pairs, to)}: {len(pairs)} pairs")
    if absent:
        typer.echo(f"{len(absent)} of their files are not there yet, the first: {absent[0]}", err=True)


@app.command()
def check(
    pairs: Pairs,
    to: To = Path("check"),
    settings: Annotated[Path | None, typer.Option(help="YAML file of the limits.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; else one per core.")] = None,
    input_channel: InputChannel = None,
    target_channel: TargetChannel = None,
) -> None:
    """Look for what would spoil training: a table, a page with pictures, and exit status 1 if there is any."""
    from spotlight.pairs import CheckSettings
    from spotlight.pairs import check as run
    from spotlight.report import write_check_page

    chosen = CheckSettings.from_yaml(settings) if settings else CheckSettings()
    with Reporter() as report:
        result = run(
            pairs,
            to,
            chosen,
            input_channel=input_channel,
            target_channel=target_channel,
            workers=workers or os.cpu_count() or 1,
            progress=report,
        )
    for finding in result.findings.to_dict("records"):
        typer.echo(f"{finding['severity']}: {finding['pair']}: {finding['subject']}: {finding['found']}")
    typer.echo(f"{len(result.pairs)} pairs; the page with pictures: {write_check_page(result, to)}")
    if result.failed:
        raise typer.Exit(1)


@app.command()
def train(
    pairs: Pairs,
    to: To,
    protocol: Annotated[str, typer.Option(help="spotlight, fnet, spotlight-2025 or fnet-2018.")] = "spotlight",
    settings: Annotated[
        Path | None, typer.Option(help="YAML file of experiment settings, instead of a protocol.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps, instead of the protocol's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Patches per step, instead of the protocol's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of initial weights and patches.")] = None,
    grid: Annotated[str | None, typer.Option(help="Voxel edge in µm to resample to, or 'native'.")] = None,
    input_channel: InputChannel = None,
    target_channel: TargetChannel = None,
    overwrite: Annotated[bool, typer.Option(help="Start over, whatever the folder holds.")] = False,
    cache: Annotated[Path | None, typer.Option(help="Folder for prepared pairs, for data larger than memory.")] = None,
) -> None:
    """Train a model on pairs of stacks. Interrupted, the same command goes on where it was."""
    from spotlight.training import Experiment
    from spotlight.training import protocol as named
    from spotlight.training import train as run

    values = (Experiment.from_yaml(settings) if settings else named(protocol)).model_dump()
    if batch_size is not None:
        values["training"]["batch_size"] = batch_size
    if grid is not None:
        values["preparation"]["grid"] = grid
    experiment = Experiment.parse(values, "command line")
    with Reporter(resumable=True) as report:
        folder = run(
            pairs,
            to,
            experiment,
            steps=steps,
            seed=seed,
            input_channel=input_channel,
            target_channel=target_channel,
            overwrite=overwrite,
            cache=cache,
            progress=report,
        )
    typer.echo(f"model: {folder}")


@app.command()
def clear_cache(folder: Annotated[Path, typer.Argument(help="Cache of prepared pairs.")]) -> None:
    """Remove what `train --cache` prepared, and nothing else."""
    from spotlight.pairs import clear_cache as run

    typer.echo(f"{run(folder)} prepared pairs removed from {folder}")


@app.command("settings")
def show_settings(
    protocol: Annotated[str, typer.Argument(help="spotlight, fnet, spotlight-2025 or fnet-2018.")] = "spotlight",
) -> None:
    """Print a protocol's settings as YAML, to edit and give to `spotlight train --settings`."""
    from spotlight.training import protocol as named

    typer.echo(named(protocol).to_yaml())


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    images: Annotated[list[Path], typer.Argument(help="Transmitted-light stacks to stain.")],
    to: To,
    channel: Channel = None,
    scene: Scene = None,
    time: Time = None,
    axes: Axes = None,
    voxel_size: VoxelSize = None,
    normalised: Annotated[bool, typer.Option(help="Write the network's own units instead of intensities.")] = False,
    flatten: Annotated[
        bool | None, typer.Option(help="Make everything below the foreground threshold plain background.")
    ] = None,
    any_voxel_size: Annotated[bool, typer.Option(help="Accept voxels unlike those of the training stacks.")] = False,
    form: Form = "ome.tif",
    dtype: Annotated[
        Kind, typer.Option(help="Type of the stain's values; whole numbers are rounded and clipped.")
    ] = "float32",
) -> None:
    """Stain stacks. Each stain is named after its input, in the folder given by --to."""
    from spotlight.images import read
    from spotlight.pairs.manifest import parse_voxel_size
    from spotlight.prediction import load_model

    loaded = load_model(model)
    size = parse_voxel_size(voxel_size, "--voxel-size") if voxel_size else None
    listed = _parts(images, scene, time, axes)
    with Reporter() as report:
        for name, part in listed.items():
            stain = loaded.predict(
                read(part.path, scene=part.scene, time=part.time, axes=axes, voxel_size=size),
                channel=channel,
                normalised=normalised,
                flatten=flatten,
                any_voxel_size=any_voxel_size,
                progress=report.tiles(f"staining {name}"),
            )
            typer.echo(stain.save(to / f"{name}-stain.{form}", dtype))


@app.command()
def segment(
    images: Annotated[list[Path], typer.Argument(help="Fluorescence stacks or stains.")],
    to: To,
    channel: Channel = None,
    scene: Scene = None,
    time: Time = None,
    axes: Axes = None,
    voxel_size: VoxelSize = None,
    settings: Annotated[Path | None, typer.Option(help="YAML file of segmentation settings.")] = None,
    form: Form = "ome.tif",
) -> None:
    """Find nuclei. Labels and measurements (CSV, one row a nucleus) go to the folder given by --to."""
    from spotlight.files import whole_file
    from spotlight.images import read
    from spotlight.pairs.manifest import parse_voxel_size
    from spotlight.profiles import measure
    from spotlight.segmentation import SegmentationSettings
    from spotlight.segmentation import segment as run

    chosen = SegmentationSettings.from_yaml(settings) if settings else SegmentationSettings()
    size = parse_voxel_size(voxel_size, "--voxel-size") if voxel_size else None
    for name, part in _parts(images, scene, time, axes).items():
        stack = read(part.path, scene=part.scene, time=part.time, axes=axes, voxel_size=size).channel(channel)
        labels = run(stack, chosen)
        typer.echo(labels.save(to / f"{name}-labels.{form}"))
        table = to / f"{name}-nuclei.csv"
        with whole_file(table) as temporary:
            measure(labels, stack).to_csv(temporary, index=False, float_format="%.6g")
        typer.echo(table)


@app.command()
def info(images: Annotated[list[Path], typer.Argument(help="Image files.")]) -> None:
    """Say what files state: images, axes as stored, sizes, channels and voxel sizes. Reads no pixel values."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from spotlight.images import scenes

    titles = ("image", "axes", "size", "type", "voxel size in µm", "channels")
    for image in images:
        table = Table(*titles, title=escape(str(image)), title_justify="left")
        for number, scene in enumerate(scenes(image)):
            facts = scene.load()
            size = ", ".join(f"{axis} {length:.4g}" for axis, length in facts.voxel_size.items()) or "not stated"
            unit = f" (stated in {facts.unit})" if facts.voxel_size and facts.unit != "µm" else ""
            channels = ", ".join(f"{n}: {name}" for n, name in enumerate(facts.channels)) or "not named"
            axes = facts.axes if set(facts.axes) <= set("TCZYX") else f"not stated ({facts.axes})"
            shape = " x ".join(map(str, facts.array.shape))
            kind = str(facts.array.dtype)
            table.add_row(escape(f"{number}: {scene.name}"), axes, shape, kind, size + unit, escape(channels))
        Console(soft_wrap=True).print(table)


@app.command()
def evaluate(
    pairs: Pairs,
    model: Annotated[list[Path], typer.Option("--model", "-m", help="Model folder; repeat for several.")],
    to: To,
    split: Annotated[str | None, typer.Option(help="Rows of the manifest to evaluate: test unless said.")] = None,
    settings: Annotated[Path | None, typer.Option(help="YAML file of evaluation settings.")] = None,
    input_channel: InputChannel = None,
    target_channel: TargetChannel = None,
) -> None:
    """Judge models on pairs they have not seen: tables, stains, labels and a page with pictures."""
    from spotlight.evaluation import EvaluationSettings
    from spotlight.evaluation import evaluate as run
    from spotlight.report import write_report
    from spotlight.report.text import score_text

    chosen = EvaluationSettings.from_yaml(settings) if settings else EvaluationSettings()
    values = chosen.model_dump() | ({} if split is None else {"split": split})
    named = {folder.resolve().name: folder for folder in model}
    if len(named) < len(model):
        raise SpotlightError("the model folders must have different names; rename one.")
    with Reporter() as report:
        evaluation = run(
            named,
            pairs,
            to,
            EvaluationSettings.parse(values, "command line"),
            input_channel=input_channel,
            target_channel=target_channel,
            progress=report,
        )
        page = write_report(to)
    typer.echo(f"\n{score_text(evaluation.scores)}\n\nThe page with pictures and curves: {page}")


@app.command("import-fnet")
def import_fnet(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of the original F-net code (model.p).")],
    to: To,
) -> None:
    """Turn a checkpoint of the original F-net implementation into a model folder."""
    from spotlight.import_fnet import import_fnet as run

    typer.echo(run(checkpoint, to))
