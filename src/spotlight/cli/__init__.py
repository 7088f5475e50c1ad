"""The command line: each command calls one public function. Nothing heavy is imported before a command runs."""

import logging
import sys
from typing import Annotated, NoReturn

import typer
from typer.models import CommandInfo

from spotlight.cli import challenge, data, export, models, public, training
from spotlight.cli.app import app
from spotlight.errors import SpotlightError
from spotlight.version import __version__

__all__ = ["app", "challenge", "data", "export", "main", "models", "public", "training"]


def _name(command: CommandInfo) -> str:
    return command.name or (command.callback.__name__ if command.callback else "")


ORDER = (
    *("demo", "simulate", "init", "import-pairs", "check", "info", "train", "settings", "clear-cache"),
    *("predict", "segment", "evaluate", "compare", "export", "import-fnet", "submit"),
)
"""Commands in the order in which data pass them; others follow."""
app.registered_commands.sort(key=lambda command: ORDER.index(_name(command)) if _name(command) in ORDER else len(ORDER))

LESS_MEMORY = {
    "train": "Train with a smaller --batch-size.",
    "predict": "Predict with smaller tiles (tile in --settings).",
}
LESS_DATA = (
    "Give a smaller stack, or take fewer --workers where the command has them. If the stack is small, look at its "
    "voxel size with spotlight info: a wrong one makes a grid of very many voxels."
)


def less_memory(arguments: list[str]) -> str:
    """What helps when the memory does not suffice for a command."""
    return LESS_MEMORY.get(arguments[0] if arguments else "", LESS_DATA)


def main() -> None:
    """Run the command line; errors of ours end with status 2 and no traceback."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("spotlight").setLevel(logging.INFO)
    try:
        app()
    except SpotlightError as error:
        _fail(str(error))
    except MemoryError as error:
        _fail(f"the machine's memory does not suffice ({error}). {less_memory(sys.argv[1:])}")
    except RuntimeError as error:
        # torch has no error of its own for a processor's memory, and importing it to name the GPU's takes seconds.
        if "not enough memory" not in str(error) and "out of memory" not in str(error):
            raise
        _fail(f"the memory does not suffice ({str(error).splitlines()[0]}). {less_memory(sys.argv[1:])}")


def _fail(message: str) -> NoReturn:
    typer.secho(f"error: {message}", fg=typer.colors.RED, err=True)
    sys.exit(2)


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
