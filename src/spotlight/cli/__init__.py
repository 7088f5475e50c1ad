"""The command line: each command calls one public function. Nothing heavy is imported before a command runs."""

import gc
import io
import logging
import signal
import sys
from typing import Annotated, Any

import typer
from typer.models import CommandInfo

from spotlight import stopping
from spotlight.cli import (
    adding,
    challenge,
    data,
    export,
    importing,
    information,
    models,
    pretrain,
    public,
    segmentation,
    training,
)
from spotlight.cli.app import app
from spotlight.cli.output import Reporter, begin, current
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
    "information",
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
    handler = Handler()
    handler.setFormatter(Visible())
    logging.basicConfig(handlers=[handler])
    logging.getLogger("spotlight").setLevel(logging.INFO)
    begin(quiet="--quiet" in sys.argv, as_json="--json" in sys.argv)  # also if the arguments cannot be read
    status, fault = 0, ""
    try:
        status = int(app(standalone_mode=False) or 0)
    except SpotlightError as error:
        fault = str(error)
    except MemoryError as error:
        fault = f"the machine's memory does not suffice ({error}). {less_memory(sys.argv[1:])}"
    except RuntimeError as error:
        # torch has no error of its own for a processor's memory, and importing it to name the GPU's takes seconds.
        if "not enough memory" not in str(error) and "out of memory" not in str(error):
            raise
        fault = f"the memory does not suffice ({str(error).splitlines()[0]}). {less_memory(sys.argv[1:])}"
    except (KeyboardInterrupt, typer.Abort):
        status = stopping.ABORTED + signal.SIGINT
    except Exception as error:
        status, told = _of_usage(error)
        current().finish(_command(), status, told)
        sys.exit(status)
    if fault:
        typer.secho(f"error: {visible(fault, lines=True)}", fg=typer.colors.RED, err=True)
        status = 2
    if stopping.asked():
        Reporter.say_stopped()
        status, fault = stopping.ABORTED + stopping.asked(), "stopped"
        gc.freeze()  # the collection of all that was imported takes seconds
    current().finish(_command(), status, fault)
    sys.exit(status)


def _command() -> str:
    """Name of the command that was given; empty if it is none."""
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    return words[0] if words else ""


class Handler(logging.StreamHandler[Any]):
    """Shows log messages, and keeps warnings for --json."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show a message."""
        super().emit(record)
        if record.levelno >= logging.WARNING:
            current().warnings.append(record.getMessage())


class Visible(logging.Formatter):
    """Log messages as lines of text that do nothing to a terminal, whatever they quote."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a message without its level and place."""
        return visible(super().format(record), lines=True)


def _of_usage(error: Exception) -> tuple[int, str]:
    """Say what is wrong with the arguments of a command, as Typer does; give status and text. Others are raised."""
    if not hasattr(error, "format_message") or not hasattr(error, "exit_code"):
        raise error
    from typer.rich_utils import rich_format_error

    if isinstance(getattr(error, "message", None), str):
        error.message = visible(error.message)  # type: ignore[attr-defined]
    rich_format_error(error)  # type: ignore[arg-type]
    return int(error.exit_code), str(error.format_message())


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
