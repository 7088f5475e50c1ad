"""`spotlight info`: what image files state; files that state the same are told together."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spotlight.cli.app import app
from spotlight.cli.output import answer, current, report_failures, warn
from spotlight.errors import SpotlightError
from spotlight.quoting import visible

if TYPE_CHECKING:
    from spotlight.images import Facts

TITLES = ("axes", "size", "type", "voxel size in µm", "channels")
MOST_NAMED = 3
"""Images of one kind that are named one by one."""


@dataclass(frozen=True)
class Stated:
    """What a file states of one of its images: cells of a row, values for scripts, and what is doubtful."""

    label: str
    cells: tuple[str, ...]
    values: dict[str, object]
    doubts: tuple[str, ...]


@app.command()
def info(images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")]) -> None:
    """Say what files state: images, axes as stored, sizes, channels and voxel sizes. Reads no pixel values."""
    files, doubts = _listed(images)
    found: list[Stated] = []
    failed: dict[str, str] = {}
    for file in files:
        try:
            found += _of_file(file, alone=len(files) == 1)
        except SpotlightError as error:
            if len(files) == 1:
                raise
            failed[str(file)] = str(error).removeprefix(f"{file}: ")
    if found:
        _show(found, str(files[0]) if len(files) == 1 else "")
    answer(images=[one.values for one in found])
    for doubt in dict.fromkeys([*doubts, *(doubt for one in found for doubt in one.doubts)]):
        warn(doubt)
    report_failures(failed, len(files))


def _listed(images: list[Path]) -> tuple[list[Path], list[str]]:
    """The files that are meant, and what is to be said of their folders."""
    from spotlight.addresses import Address, located
    from spotlight.images import is_image
    from spotlight.images.layouts import find_plane_files
    from spotlight.pairs.gathering import describe, images_below

    files: list[Path] = []
    doubts: list[str] = []
    for given in map(located, images):
        if isinstance(given, Address) or not given.is_dir() or is_image(given):
            files.append(given)
            continue
        found = images_below(given)
        if not found:
            raise SpotlightError(f"{given}: is a folder without image files. Give one with images, or a file.")
        if planes := find_plane_files(found, given)[0]:
            doubts.append(f"{given}: {describe(planes)} Make stacks of them: spotlight stack-planes.")
        files += found
    return files, doubts


def _of_file(file: Path, alone: bool) -> Iterator[Stated]:
    """What a file states of its images; they are called by number and name, and by the file if it is not alone."""
    from spotlight.images import scenes

    parts = scenes(file)
    for number, part in enumerate(parts):
        names = [] if alone else [str(file)]
        names += [f"{number}: {part.name}"] if alone or len(parts) > 1 else []
        yield _state(part.load(), ": ".join(names), file, part.name)


def _state(facts: "Facts", label: str, file: Path, scene: str) -> Stated:
    from spotlight.images.colour import luminances
    from spotlight.images.facts import STORED_AXES
    from spotlight.images.units import impossible_size, unusual_size

    size = ", ".join(f"{facts.called(axis)} {length:.4g}" for axis, length in facts.voxel_size.items())
    size += f", every {facts.frame_interval:.6g} s" if facts.frame_interval else ""
    size += f" (stated in {facts.unit})" if facts.voxel_size and facts.unit != "µm" else ""
    if facts.unread:
        size += ("; " if size else "") + f"not understood: {facts.unread}"
    doubts = [facts.doubt] if facts.doubt else []
    known = tuple(facts.voxel_size[axis] for axis in "ZYX" if axis in facts.voxel_size)
    if len(known) > 1 and (doubt := impossible_size(known) or unusual_size(known)):
        doubts.append(f"{file}: {scene}: {doubt}. If it is wrong, state the right one: --voxel-size.")
    channels = ", ".join(f"{n}: {name}" for n, name in enumerate(facts.all_channels)) or "not named"
    channels += "".join(f"; or {name}, their mean" for name in luminances(facts.all_channels))
    understood = set(facts.axes) <= set(STORED_AXES)
    axes = facts.axes if understood else f"not stated ({facts.found})"
    shape, kind = " x ".join(map(str, facts.array.shape)), str(facts.array.dtype)
    values: dict[str, object] = {
        "file": file,
        "scene": scene,
        "axes": facts.axes if understood else None,
        "shape": facts.array.shape,
        "dtype": kind,
        "voxel_size_um": facts.voxel_size,
        "channels": facts.all_channels,
    }
    return Stated(label, (axes, shape, kind, size or "not stated", channels), values, tuple(doubts))


def _show(found: list[Stated], title: str) -> None:
    """Print a table of the images of one file, or below the names of the files of each kind one of what they state."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    kinds: dict[tuple[str, ...], list[str]] = {}
    for one in found:
        kinds.setdefault(one.cells, []).append(visible(one.label))
    console = Console(soft_wrap=True, stderr=current().as_json)
    table = Table("image", *TITLES)
    if title:
        console.print(Text(visible(title)))
    for cells, labels in kinds.items():
        row = [Text(visible(cell)) for cell in cells]
        if title:
            table.add_row(Text("\n".join(_few(labels))), *row)
            continue
        table = Table(*TITLES)
        table.add_row(*row)
        console.print(Text("\n".join(_few(labels))), table, sep="\n")
    if title:
        console.print(table)


def _few(labels: list[str]) -> list[str]:
    if len(labels) <= MOST_NAMED:
        return labels
    return [*labels[:MOST_NAMED], f"and {len(labels) - MOST_NAMED} more that state the same"]
