"""Commands that bring models: those of lists, and networks of other programs."""

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from spotlight.cli.app import To, VoxelSize, app, size_of
from spotlight.cli.output import answer, loading, wrote
from spotlight.errors import SpotlightError


@app.command("import-fnet")
def import_fnet(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of the original F-net code (model.p).")],
    to: To,
    branch: Annotated[
        Literal["release_1", "master"] | None,
        typer.Option(help="Branch of the original code that trained it; needed where the file does not tell."),
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(help="Voxel edge in µm that it was trained on, or native; else that of the branch's pipeline."),
    ] = None,
    voxel_size: VoxelSize = None,
) -> None:
    """Turn a checkpoint of the original F-net implementation into a model folder."""
    loading()
    from spotlight.import_fnet import import_fnet as run

    size = size_of(voxel_size)
    wrote(run(checkpoint, to, branch=branch, grid=_parse_grid(grid), voxel_size=size))


@app.command("import-viscy")
def import_viscy(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of VisCy: VSCyto2D, VSCyto3D, VSNeuromast or alike.")],
    to: To,
    outputs: Annotated[
        list[str],
        typer.Option(help="What the outputs stain, in the order of the training, e.g. --outputs nuclei membrane."),
    ],
    further: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    input_channel: Annotated[
        str, typer.Option(help="Name of the channel it was trained on; else channels of any name are taken.")
    ] = "",
    voxel_size: VoxelSize = None,
    greatest_voxel_size: Annotated[
        str | None, typer.Option(help="Greatest voxel edges of the training stacks, if --voxel-size is the least.")
    ] = None,
) -> None:
    """Turn a checkpoint of VisCy (UNeXt2 or FCMAE) into a model folder."""
    loading()
    from spotlight.import_viscy import import_viscy as run

    names = [*outputs, *(further or ())]  # all words after --outputs
    sizes = size_of(voxel_size), size_of(greatest_voxel_size)
    wrote(
        run(
            checkpoint,
            to,
            names,
            input_channel=input_channel,
            voxel_size=sizes[0],
            greatest_voxel_size=sizes[1],
        )
    )


@app.command()
def models(
    where: Annotated[
        str | None,
        typer.Argument(help="Folder or address of a list of models; else those that come with Spotlight."),
    ] = None,
    get: Annotated[str | None, typer.Option(help="Copy or download the model of this name to --to.")] = None,
    to: Annotated[Path | None, typer.Option("--to", "-o", help="The model folder to write.")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the list of a folder of models: names, licences, SHA-256.")
    ] = False,
    licence: Annotated[str, typer.Option(help="With --write: SPDX identifier for models that state none.")] = "",
) -> None:
    """List models: those that come with Spotlight, or those of a folder or an address. Downloads nothing unasked."""
    from spotlight.catalogue import copy_model, list_models, write_list

    if (get is None) != (to is None) or (get and write):
        raise SpotlightError("--get names a model and --to the folder to write; give both, without --write.")
    if write:
        if where is None:
            raise SpotlightError("--write makes the list of a folder of models. Name the folder.")
        wrote(write_list(where, licence))
        return
    if get is not None and to is not None:
        wrote(copy_model(get, to, where))
        return
    found = list_models(where).models
    answer(models={name: model.model_dump(mode="json") for name, model in found.items()})
    for name, model in found.items():
        answer(f"{name}  {model.summary}{f' [{model.licence}]' if model.licence else ''}")


def _parse_grid(text: str | None) -> float | Literal["native"] | None:
    """Read the edge of cubic voxels in µm, or "native"."""
    if text is None or text == "native":
        return text  # type: ignore[return-value]
    try:
        edge = float(text)
    except ValueError:
        edge = 0.0
    if not 0 < edge < math.inf:
        raise SpotlightError(f"--grid must be a positive length in µm, or native. Received: {text!r}.")
    return edge
