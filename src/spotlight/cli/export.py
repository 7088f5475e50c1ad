"""`spotlight export`: a model for other tools."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from spotlight.cli.app import To, app
from spotlight.cli.output import loading, wrote
from spotlight.errors import SpotlightError


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    to: To,
    form: Annotated[
        Literal["onnx", "bioimage", "card"],
        typer.Option("--format", help="An ONNX file, a package of the BioImage Model Zoo, or a model card (Markdown)."),
    ] = "onnx",
    bare: Annotated[
        bool, typer.Option("--bare", help="onnx: the network alone, in normalised units, for tools that tile.")
    ] = False,
    modality: Annotated[
        str | None,
        typer.Option(help="onnx, bioimage: brightfield, phase or dic, for a model that needs the modality."),
    ] = None,
    flatten: Annotated[
        bool | None, typer.Option(help="onnx, bioimage: plain background below the threshold; else as the model does.")
    ] = None,
    author: Annotated[list[str] | None, typer.Option(help="bioimage: who made the model; repeat for several.")] = None,
    licence: Annotated[str | None, typer.Option(help="bioimage: SPDX identifier, for example CC-BY-4.0.")] = None,
    cite: Annotated[
        list[str] | None, typer.Option(help="bioimage: a publication, as text that ends with its DOI or https address.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="bioimage: title; else the name of the model folder.")] = None,
    halo: Annotated[
        bool, typer.Option("--halo", help="bioimage: state the overlap of tiles; tools then pad whole stacks by it.")
    ] = False,
) -> None:
    """Write a model for other tools, with all they need to get the same stain, into the folder given by --to."""
    _require_fitting(
        form,
        onnx={"bare": bare},
        bioimage={"author": author, "licence": licence, "cite": cite, "name": name, "halo": halo},
        card={},
    )
    if modality is not None and form == "card":
        raise SpotlightError(
            "--modality does not apply to a card, which tells of all that a model was trained on. Remove it; of a "
            "folder with a model for each, name the one: MODEL/phase."
        )
    if flatten is not None and (bare or form == "card"):
        raise SpotlightError("--flatten and --no-flatten mean nothing for a bare network or a card. Leave them out.")
    if form == "bioimage" and not (author and licence):
        raise SpotlightError(
            "a package of the BioImage Model Zoo names its authors and the licence of its weights, which no model "
            "folder knows. Give --author and --licence."
        )
    loading()
    from spotlight.export import Publication, export_bioimage, export_onnx, write_card
    from spotlight.images.modality import parse_modality
    from spotlight.model import read_description
    from spotlight.prediction import load_model

    if form == "card":
        wrote(write_card(read_description(model), model.resolve().name, to / "card.md"))
        return
    loaded = load_model(model)
    file = loaded.name
    if modality is not None:
        chosen = parse_modality(modality, "--modality")
        file = f"{file}-{chosen}" if loaded.needs_modality else file
        loaded = loaded.for_modality(chosen)
    if flatten is not None:
        loaded = loaded.flattened(flatten)
    if form == "onnx":
        wrote(export_onnx(loaded, to / f"{file}{'-bare' if bare else ''}.onnx", bare=bare))
        return
    values = {"authors": author, "licence": licence, "name": name, "cite": cite or ()}
    publication = Publication.parse(values, "command line")
    wrote(export_bioimage(loaded, to / f"{file}.bioimage.zip", publication, halo=halo))


def _require_fitting(form: str, **options: dict[str, Any]) -> None:
    """Refuse options that are given and belong to another format."""
    unfit = [f"--{key}" for other in options if other != form for key, value in options[other].items() if value]
    if unfit:
        raise SpotlightError(f"{', '.join(unfit)} does not apply to --format {form}. Remove it.")
