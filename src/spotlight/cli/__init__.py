"""The command line: each command calls one public function. Nothing heavy is imported before a command runs."""

import gc
import io
import logging
import signal
import sys
from typing import Annotated, NoReturn

import typer
from typer.models import CommandInfo

from spotlight import stopping
from spotlight.cli import adding, challenge, data, export, importing, models, pretrain, public, segmentation, training
from spotlight.cli.app import Reporter, app
from spotlight.errors import SpotlightError
from spotlight.quoting import visible
from spotlight.version import __version__

__all__ = [
    "adding",
    "app",
    "challenge",
    "data",
    "export",
    "importing",
    "main",
    "models",
    "pretrain",
    "public",
    "segmentation",
    "training",
]


def _name(command: CommandInfo) -> str:
    return command.name or (command.callback.__name__ if command.callback else "")


ORDER = (
    *("demo", "simulate", "init", "import-pairs", "check", "info", "pretrain", "train", "settings", "clear-cache"),
    *("predict", "segment", "label", "evaluate", "compare", "few-shot", "export", "submit"),
    *("models", "import-fnet", "import-viscy"),
)
"""Commands in the order in which data pass them; others follow."""
app.registered_commands.sort(key=lambda command: ORDER.index(_name(command)) if _name(command) in ORDER else len(ORDER))

LESS_MEMORY = {
    "pretrain": "Train with a smaller --batch-size.",
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
    """Run the command line; errors of ours end with status 2 and no traceback, signals with 128 and their number."""
    stopping.install()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # of a terminal or file that has no µ
    handler = logging.StreamHandler()
    handler.setFormatter(Visible())
    logging.basicConfig(handlers=[handler])
    logging.getLogger("spotlight").setLevel(logging.INFO)
    status: object = 0
    try:
        status = app(standalone_mode=False)
    except SpotlightError as error:
        _fail(str(error))
    except MemoryError as error:
        _fail(f"the machine's memory does not suffice ({error}). {less_memory(sys.argv[1:])}")
    except RuntimeError as error:
        # torch has no error of its own for a processor's memory, and importing it to name the GPU's takes seconds.
        if "not enough memory" not in str(error) and "out of memory" not in str(error):
            raise
        _fail(f"the memory does not suffice ({str(error).splitlines()[0]}). {less_memory(sys.argv[1:])}")
    except (KeyboardInterrupt, typer.Abort):
        status = stopping.ABORTED + signal.SIGINT
    except Exception as error:
        status = _of_usage(error)
    if stopping.asked():
        Reporter.say_stopped()
        status = stopping.ABORTED + stopping.asked()
        gc.freeze()  # the collection of all that was imported takes seconds
    sys.exit(status if isinstance(status, int) else 0)


class Visible(logging.Formatter):
    """Log messages as lines of text that do nothing to a terminal, whatever they quote."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a message without its level and place."""
        return visible(super().format(record), lines=True)


def _fail(message: str) -> NoReturn:
    typer.secho(f"error: {visible(message, lines=True)}", fg=typer.colors.RED, err=True)
    sys.exit(2)


def _of_usage(error: Exception) -> int:
    """Say what is wrong with the arguments of a command, as Typer does, and give the status; others are raised."""
    if not hasattr(error, "format_message") or not hasattr(error, "exit_code"):
        raise error
    from typer.rich_utils import rich_format_error

    if isinstance(getattr(error, "message", None), str):
        error.message = visible(error.message)  # type: ignore[attr-defined]
    rich_format_error(error)  # type: ignore[arg-type]
    return int(error.exit_code)


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
