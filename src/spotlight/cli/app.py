"""The Typer application, the options that several commands share, and progress."""

import shlex
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import typer

from spotlight.quoting import visible

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

app = typer.Typer(
    name="spotlight",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Virtual staining in 3D: train on pairs of transmitted-light and fluorescence stacks, stain new ones, "
    "find and measure their nuclei, and judge the result.",
)

INPUT, OUTPUT, METHOD, COMPUTING = "Input", "Output", "Method", "Computing"
CLUSTER, TUNING = "Cluster", "Tuning"
"""Groups of options in the help."""


def option(group: str, *names: str, **more: Any) -> Any:
    """Declare an option of a group of the help; see `typer.Option`."""
    return typer.Option(*names, rich_help_panel=group, **more)


Pairs = Annotated[Path, typer.Argument(help="Manifest (CSV or Parquet), or a folder of two-channel stacks.")]
PROTOCOLS = (
    "spotlight, fnet or spotlight-sharp, sized for a laptop; spotlight-2025, fnet-2018 or spotlight-plus, at the "
    "published size."
)
Protocol = Annotated[str, option(METHOD, help=PROTOCOLS)]
To = Annotated[Path, option(OUTPUT, "--to", "-o", help="Where to write.")]
ToPlate = Annotated[
    Path,
    option(OUTPUT, "--to", "-o", help="Where to write: a folder or, for an OME-Zarr plate, NAME.ome.zarr: one plate."),
]
InputChannel = Annotated[
    list[str] | None,
    option(INPUT, help="For a folder: name or index of the transmitted-light channel. For several: once for each."),
]
TargetChannel = Annotated[str | None, option(INPUT, help="For a folder: name or index of the fluorescence channel.")]
Target = Annotated[str | None, option(INPUT, help="For a manifest of several targets: which one.")]
Channel = Annotated[
    str | None,
    option(INPUT, help="Name or zero-based index of the channel to use; luminance: the mean of RGB."),
]
Scene = Annotated[
    str | None,
    option(INPUT, help="Name or index of the image, for files that hold several, e.g. B/03/0; else all."),
]
Time = Annotated[
    int | None,
    option(INPUT, min=0, help="Zero-based timepoint, for files that hold several; else all."),
]
Form = Annotated[Literal["ome.tif", "ome.zarr"], option(OUTPUT, "--format", help="File format of the results.")]
Kind = Literal["float32", "uint16", "uint8"]
Axes = Annotated[str | None, option(INPUT, help="Axes as stored, for files that do not state them, e.g. ZYX.")]
PairAxes = Annotated[
    str | None,
    option(INPUT, "--axes", help="Axes of all files as stored, where they do not state them, or wrongly."),
]
VoxelSize = Annotated[
    str | None,
    option(INPUT, help="Voxel edges in µm for files that do not state them, e.g. '0.29 0.108 0.108'."),
]
Device = Annotated[
    str | None,
    option(COMPUTING, help="What computes, instead of the settings' device: auto (a GPU if any), gpu or cpu."),
]
Workers = Annotated[
    int | None,
    option(COMPUTING, min=1, help="Processes; else one per core. Each needs memory for a stack."),
]


def size_of(voxel_size: str | None) -> tuple[float, ...] | None:
    """Read --voxel-size, if it was given."""
    if voxel_size is None:
        return None
    from spotlight.pairs.manifest import parse_voxel_size

    return parse_voxel_size(voxel_size, "--voxel-size")


def say(*lines: object, err: bool = False) -> None:
    """Print lines; characters in them that would act on the terminal are written as escapes."""
    for line in lines:
        typer.echo(visible(str(line)), err=err)


def loading() -> None:
    """Say that PyTorch is being loaded, which takes seconds, unless this process has it already."""
    if "torch" not in sys.modules:
        say("loading PyTorch", err=True)


def say_commands(*commands: tuple[object, ...]) -> None:
    """Print what to type next; a shell takes every word as it is, whatever a file is called."""
    for command in commands:
        say(f"  spotlight {shlex.join(map(str, command))}")


class Reporter:
    """Shows progress: a bar on a terminal, a line every few seconds elsewhere.

    Parameters
    ----------
    resumable : bool
        Whether the command goes on where it was when it is given again.
    """

    has_said: ClassVar[bool] = False

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
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}", markup=False),
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
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.say_stopped("; the same command goes on from here" if self.resumable else "")

    @classmethod
    def say_stopped(cls, more: str = "") -> None:
        """Say once that the command was stopped."""
        if not cls.has_said:
            say(f"stopped{more}", err=True)
        cls.has_said = True

    def __call__(self, work: str, done: int, total: int, figures: dict[str, float]) -> None:
        """Take note of how far a piece of work is."""
        now = time.monotonic()
        # Of a validation, its loss and what a training step does not have.
        twice = {f"validation_{name}" for name in figures} - {"validation_loss"}
        chosen = {n: v for n, v in figures.items() if n not in twice}
        shown = "  ".join(f"{name} {value:.4g}" for name, value in chosen.items())
        new = work != self.work
        if new:
            self.work, self.first, self.started, self.spoke = work, done, now, 0.0
        each = (now - self.started) / (done - self.first) if done > self.first else 0.0
        speed = f"{1 / each:.3g} per second" if each else ""
        if self.bar is not None:
            if new or self.task is None:
                self.task = self.bar.add_task(visible(work), total=total, figures="")
            self.bar.update(self.task, completed=done, total=total, figures=f"{speed}  {shown}")
        elif new or done == total or now - self.spoke >= 5:
            self.spoke = now
            left = f"{_duration(each * (total - done))} left, {speed}" if each else ""
            say(f"{work}  {done}/{total}  {left}  {shown}".rstrip(), err=True)

    def tiles(self, work: str) -> Any:
        """Give a callback of (done, total) for a piece of work."""
        return lambda done, total: self(work, done, total, {})


def _duration(seconds: float) -> str:
    """A length of time as a person says it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
