"""The command that adds finished results to images that are there."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from spotlight.cli.app import OUTPUT, app, option
from spotlight.cli.output import Reporter, answer, wrote
from spotlight.errors import SpotlightError
from spotlight.quoting import counted


@app.command()
def add(
    results: Annotated[Path, typer.Argument(help="OME-Zarr of a stain, with or without labels: an image or a plate.")],
    to: Annotated[Path, option(OUTPUT, "--to", "-o", help="The OME-Zarr 0.5 that they are added to.")],
    only: Annotated[
        Literal["channels", "labels"] | None, option(OUTPUT, help="Add only the stain, or only the labels.")
    ] = None,
) -> None:
    """Add a stain as further channels, and its labels as labels, to the OME-Zarr that it was made from.

    What is there already is kept. Killed at any moment, every image is as it was or as it will be; the same command
    goes on.
    """
    from spotlight.images import read, scenes
    from spotlight.images.adding import add_channels, add_labels
    from spotlight.images.plates import plate_metadata, read_attributes
    from spotlight.progress import tracked

    if results.resolve() == to.resolve():
        raise SpotlightError(f"{to}: is the same as the results. Name the OME-Zarr that they were made from.")
    fields = [scene.name for scene in scenes(results)] if plate_metadata(results) is not None else [""]
    if fields != [""] and (plate_metadata(to) is None or not {scene.name for scene in scenes(to)} >= set(fields)):
        raise SpotlightError(
            f"{to}: is no plate with the wells and fields of {results}. Name the one it was made from."
        )
    added = 0
    with Reporter(resumable=True) as report:
        for field in tracked(fields, "adding", len(fields), report):
            source, image = results / field, to / field
            if "image-label" in read_attributes(source).get("ome", {}):
                if only != "channels":
                    added += add_labels(source, image, "nuclei")
            elif only != "labels":
                added += add_channels(read(source), image)
            listed = read_attributes(source / "labels").get("ome", {}).get("labels", [])
            for name in listed if only != "channels" else []:
                added += add_labels(source / "labels" / name, image, name)
    answer(added=added)
    wrote(to, f"{{}}: {added} channels and labels added in {counted(len(fields), 'image')}")
