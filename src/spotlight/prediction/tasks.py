"""What a worker of a cluster does: it is given paths and settings, and gives back a small record."""

import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from spotlight.devices import find_device
from spotlight.errors import SpotlightError
from spotlight.fingerprint import State
from spotlight.images import Part
from spotlight.prediction.files import FileStain, Stained, StainOptions, doubts_of, states_of_image
from spotlight.prediction.loading import load_model
from spotlight.prediction.settings import PredictionSettings
from spotlight.prediction.stain import Model
from spotlight.version import __version__

log = logging.getLogger("spotlight")

LOADING = threading.Lock()
T = TypeVar("T")


@dataclass(frozen=True)
class Order:
    """What every task of a run is told.

    Attributes
    ----------
    model : Path
        Model folder.
    digest : str
        Fingerprint of the model that is meant.
    mark : Path
        A file beside the stains, which every worker must see.
    options : StainOptions
        What is to become of every image.
    overwrite : bool
        Replace stains that are there already.
    version : str
        Of Spotlight.
    """

    model: Path
    digest: str
    mark: Path
    options: StainOptions
    overwrite: bool = False
    version: str = __version__


@dataclass(frozen=True)
class Begun:
    """A large stack whose layers can now be computed, by whom ever.

    Attributes
    ----------
    key : str
        Fingerprint of all that its stain depends on, besides what the files of the input hold.
    inputs : dict
        States of these files.
    mark : str
        Fingerprint of key and states, by which what is kept of the stain is known.
    shape : tuple of int
        On the network's grid.
    settled : PredictionSettings
        Settings that leave nothing open.
    layers : int
        Their number.
    """

    key: str
    inputs: dict[str, dict[str, str]]
    mark: str
    shape: tuple[int, ...]
    settled: PredictionSettings
    layers: int


@dataclass(frozen=True)
class Unfit:
    """A worker that cannot take part, and why."""

    reason: str


def begin(order: Order, part: Part, path: Path) -> Stained | Begun | Unfit:
    """Stain an image; a large one is only prepared, and its tiles and arithmetic are chosen."""

    def do(model: Model) -> Stained | Begun:
        states = None if part.fault else _states(order.mark, part.path, part.scene)
        work = FileStain(model, part, path, order.options, states)
        if work.is_made(order.overwrite):
            return Stained(part, path, "kept", doubts=doubts_of(path))
        work.take_up()
        if not work.is_large:
            work.finish()
            return Stained(part, path, "made", doubts=doubts_of(path))
        steps = work.steps
        begun = Begun(work.key, work.inputs, work.mark, steps.shape, steps.settled, steps.tiling.layers)
        steps.prepared  # noqa: B018 - kept for the layers
        return begun

    return _on_this_worker(order, part, path, do)


def compute_layer(order: Order, part: Part, path: Path, begun: Begun, number: int) -> Stained | Unfit | None:
    """Compute a layer of a large stack; a Stained says that it failed."""

    def do(model: Model) -> None:
        work = FileStain(model, part, path, order.options, begun=begun)
        work.steps_of(begun.shape, begun.settled).layer(number)

    return _on_this_worker(order, part, path, do, begun.settled.device)


def finish(order: Order, part: Part, path: Path, begun: Begun) -> Stained | Unfit:
    """Blend the layers of a large stack, and write its stain."""

    def do(model: Model) -> Stained:
        work = FileStain(model, part, path, order.options, begun=begun)
        work.finish(steps=work.steps_of(begun.shape, begun.settled))
        return Stained(part, path, "made", doubts=doubts_of(path))

    return _on_this_worker(order, part, path, do, begun.settled.device)


def _on_this_worker(
    order: Order, part: Part, path: Path, do: Callable[[Model], T], device: str | None = None
) -> T | Stained | Unfit:
    """Do it with the model, if this worker can; what is wrong with the image is said in a record.

    Other errors are raised, since they may be the machine's, and a second try elsewhere may go well. They are raised
    as plain text: a task whose error cannot be pickled would never end.
    """
    host = socket.gethostname()
    if order.version != __version__:
        return Unfit(f"{host}: has spotlight {__version__}, but {order.version} gave the order. Install the same.")
    if not order.mark.exists():
        return Unfit(
            f"{host}: does not see {order.mark.parent} as the machine that gave the order does. All workers need the "
            "same files under the same paths; use a folder of a shared file system."
        )
    try:
        find_device(device or order.options.settings.device)
        with LOADING:
            model = _load(order.model, order.digest)
    except SpotlightError as error:
        return Unfit(f"{host}: {error}")
    try:
        return do(model)
    except SpotlightError as error:
        return Stained(part, path, "failed", str(error))
    except Exception as error:
        log.exception("%s", part.name)
        reason = f"{host}: {type(error).__name__}: {str(error)[:1000]}"
    raise RuntimeError(reason)  # not where it was caught, since the other error would be pickled as its context


@lru_cache(maxsize=1)
def _load(folder: Path, digest: str) -> Model:
    model = load_model(folder)
    if model.digest != digest:
        raise SpotlightError(
            f"{folder}: holds another model here than on the machine that gave the order. Copy it to all machines, or "
            "use a folder of a shared file system."
        )
    return model


@lru_cache(maxsize=1)
def _states(order: Path, path: Path, scene: str | None) -> list[State]:
    """States of the files of an image, once for all its timepoints of one order."""
    return states_of_image(path, scene)
