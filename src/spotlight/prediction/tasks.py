"""What a worker of a cluster does: it receives paths and settings, and returns a small record."""

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
from spotlight.images.selection import FurtherInput
from spotlight.prediction.files import FileStain
from spotlight.prediction.listing import states_of_image
from spotlight.prediction.loading import load_model
from spotlight.prediction.options import Stained, StainOptions
from spotlight.prediction.records import doubts_of
from spotlight.prediction.settings import PredictionSettings
from spotlight.prediction.stain import Model
from spotlight.version import __version__

log = logging.getLogger("spotlight")

LOADING = threading.Lock()
T = TypeVar("T")


@dataclass(frozen=True)
class RunSpec:
    """What every task of a run does.

    Attributes
    ----------
    model : Path
        Model folder.
    digest : str
        Fingerprint of the model that is meant.
    marker : Path
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
    marker: Path
    options: StainOptions
    overwrite: bool = False
    version: str = __version__


@dataclass(frozen=True)
class PreparedStack:
    """A large stack that is prepared. Any worker can now compute its layers.

    Attributes
    ----------
    key : str
        Fingerprint of all that its stain depends on, besides what the files of the input hold.
    inputs : dict
        States of these files.
    fingerprint : str
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
    fingerprint: str
    shape: tuple[int, ...]
    settled: PredictionSettings
    layers: int


@dataclass(frozen=True)
class WorkerProblem:
    """A worker that cannot take part, and why."""

    reason: str


def begin(run: RunSpec, part: Part, path: Path) -> Stained | PreparedStack | WorkerProblem:
    """Stain an image; a large one is only prepared, and its tiles and arithmetic are chosen."""

    def do(model: Model) -> Stained | PreparedStack:
        states = None if part.fault else _states(run.marker, part.path, part.scene, part.further)
        work = FileStain(model, part, path, run.options, states)
        if work.is_made(run.overwrite):
            return Stained(part, path, "kept", doubts=doubts_of(path))
        work.take_up()
        if not work.is_large:
            work.finish()
            return Stained(part, path, "made", doubts=doubts_of(path))
        steps = work.steps
        prepared = PreparedStack(
            work.key, work.inputs, work.fingerprint, steps.shape, steps.settled, steps.tiling.layers
        )
        steps.prepared  # noqa: B018 - kept for the layers
        return prepared

    return _on_this_worker(run, part, path, do)


def compute_layer(
    run: RunSpec, part: Part, path: Path, prepared: PreparedStack, number: int
) -> Stained | WorkerProblem | None:
    """Compute a layer of a large stack; a Stained says that it failed."""

    def do(model: Model) -> None:
        work = FileStain(model, part, path, run.options, prepared=prepared)
        work.steps_of(prepared.shape, prepared.settled).layer(number)

    return _on_this_worker(run, part, path, do, prepared.settled.device)


def finish(run: RunSpec, part: Part, path: Path, prepared: PreparedStack) -> Stained | WorkerProblem:
    """Blend the layers of a large stack, and write its stain."""

    def do(model: Model) -> Stained:
        work = FileStain(model, part, path, run.options, prepared=prepared)
        work.finish(steps=work.steps_of(prepared.shape, prepared.settled))
        return Stained(part, path, "made", doubts=doubts_of(path))

    return _on_this_worker(run, part, path, do, prepared.settled.device)


def _on_this_worker(
    run: RunSpec, part: Part, path: Path, do: Callable[[Model], T], device: str | None = None
) -> T | Stained | WorkerProblem:
    """Do it with the model, if this worker can; what is wrong with the image is said in a record.

    Other errors are raised, since they may be the machine's, and a second try elsewhere may go well. They are raised
    as plain text: a task whose error cannot be pickled would never end.
    """
    host = socket.gethostname()
    if run.version != __version__:
        return WorkerProblem(
            f"{host}: has spotlight {__version__}, but {run.version} started the run. Install the same."
        )
    if not run.marker.exists():
        return WorkerProblem(
            f"{host}: does not see {run.marker.parent} as the machine that started the run does. All workers need the "
            "same files under the same paths; use a folder of a shared file system."
        )
    try:
        find_device(device or run.options.settings.device)
        with LOADING:
            model = _load(run.model, run.digest)
    except SpotlightError as error:
        return WorkerProblem(f"{host}: {error}")
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
            f"{folder}: holds another model here than on the machine that started the run. Copy it to all machines, or "
            "use a folder of a shared file system."
        )
    return model


@lru_cache(maxsize=1)
def _states(marker: Path, path: Path, scene: str | None, further: tuple[FurtherInput, ...]) -> list[State]:
    """States of the files of an image, once for all its timepoints in one run."""
    return states_of_image(path, scene, further)
