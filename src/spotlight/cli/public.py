"""`spotlight data`: public data sets, fetched and made ready for training."""

from typing import Annotated

import typer

from spotlight.cli.app import App, To, app
from spotlight.cli.output import Reporter, say, say_commands, wrote

data = App(no_args_is_help=True, help="Fetch a public data set, with its manifest.")
app.add_typer(data, name="data")


@data.callback()
def group() -> None:
    """Keep the name of the only command."""


@data.command()
def allen_dna(
    to: To,
    fields: Annotated[int, typer.Option(min=1, help="Fields of view, each some hundred MB.")] = 40,
    endpoint: Annotated[
        str | None, typer.Option(help="Address of an S3-compatible server with a copy of the bucket allencell.")
    ] = None,
    connections: Annotated[int, typer.Option(min=1, help="Files that are fetched at a time.")] = 4,
    overwrite: Annotated[bool, typer.Option(help="Replace a manifest of other pairs.")] = False,
) -> None:
    """Fetch brightfield, DNA and nuclear masks of stem cells (Allen Institute). The same command again goes on."""
    from spotlight.pairs import fetch_integrated_cell
    from spotlight.pairs.fetch import Server

    with Reporter(resumable=True) as report:
        server = Server(endpoint, connections=connections)
        manifest = fetch_integrated_cell(to, fields, server=server, overwrite=overwrite, progress=report)
    wrote(manifest)
    say("Next:")
    say_commands(("check", manifest), ("train", manifest, "--to", "model"))
