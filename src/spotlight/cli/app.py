"""The Typer application, and the options that several or all commands share."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from spotlight.cli.output import beating, begin

Command = TypeVar("Command", bound=Callable[..., None])

INPUT, OUTPUT, METHOD, COMPUTING = "Input", "Output", "Method", "Computing"
CLUSTER, TUNING = "Cluster", "Tuning"
"""Groups of options in the help."""


def option(group: str, *names: str, **more: Any) -> Any:
    """Declare an option of a group of the help; see `typer.Option`."""
    return typer.Option(*names, rich_help_panel=group, **more)


Pairs = Annotated[Path, typer.Argument(help="Manifest (CSV or Parquet), or a folder of two-channel stacks.")]
PROTOCOLS = (
    "spotlight, fnet or spotlight-sharp, sized for a laptop; spotlight-2025, fnet-2018 or spotlight-plus, at the "
    "published size; spots, for masks of small bodies in cleared tissue."
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
AnyVoxelSize = Annotated[
    bool, option(COMPUTING, "--any-voxel-size", help="Accept voxels unlike those of the training stacks.")
]
Device = Annotated[
    str | None,
    option(COMPUTING, help="What computes, instead of the settings' device: auto (a GPU if any), gpu or cpu."),
]
Workers = Annotated[
    int | None,
    option(COMPUTING, min=1, help="Processes; else one per core. Each needs memory for a stack."),
]
Quiet = Annotated[bool, option(OUTPUT, "--quiet", help="Say nothing but warnings, errors and the result.")]
Json = Annotated[bool, option(OUTPUT, "--json", help="Print the result as one JSON object; all else to stderr.")]


def size_of(voxel_size: str | None) -> tuple[float, ...] | None:
    """Read --voxel-size, if it was given."""
    if voxel_size is None:
        return None
    from spotlight.pairs.manifest import parse_voxel_size

    return parse_voxel_size(voxel_size, "--voxel-size")


class App(typer.Typer):
    """A Typer application whose commands all take --quiet and --json, and say within seconds what they do."""

    def command(self, name: str | None = None, **more: Any) -> Callable[[Command], Command]:
        """Declare a command, as `typer.Typer.command` does."""
        declare = super().command(name, **more)

        def declared(run: Command) -> Command:
            declare(_speaking(run))
            return run

        return declared


def _speaking(run: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all have."""

    @functools.wraps(run)
    def command(quiet: bool, json: bool, **given: Any) -> None:
        begin(quiet, json)
        with beating("starting"):
            run(**given)

    shared = {"quiet": Quiet, "json": Json}
    parameters = [
        *inspect.signature(run).parameters.values(),
        *(inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=a) for n, a in shared.items()),
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = run.__annotations__ | shared
    return command


app = App(
    name="spotlight",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Virtual staining in 3D: train on pairs of transmitted-light and fluorescence stacks, stain new ones, "
    "find and measure their nuclei, and judge the result.",
)
