"""Staining on many machines: stacks, and layers of large stacks, as tasks of Dask distributed.

The machine that starts the run holds all state; workers share nothing but files. Each task writes a file of its own
that appears only when it is whole, so that a task may be done twice, by anyone.
"""

import logging
import signal
import threading
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spotlight.errors import SpotlightError
from spotlight.files import explained_writing
from spotlight.images import Part
from spotlight.images.plates import beside
from spotlight.installation import missing_package
from spotlight.locks import Busy, working_on
from spotlight.model import find_folder
from spotlight.prediction import tasks
from spotlight.prediction.acceptance import tell_doubts
from spotlight.prediction.loading import load_model
from spotlight.prediction.options import Stained, StainOptions
from spotlight.prediction.places import Places
from spotlight.prediction.workspace import workspace_of
from spotlight.progress import Progress

if TYPE_CHECKING:
    from distributed import Client, Future

    from spotlight.prediction.slurm import Jobs

log = logging.getLogger("spotlight")

IN_FLIGHT = 4
"""Tasks per thread of the workers that the scheduler knows at a time, however many there are to come."""
RETRIES = 3
"""How often a task is tried again after an error that is not the image's."""
LOST = "the scheduler was lost. Start it and its workers again; the same command goes on where it was."


def stain_on_cluster(
    model_folder: str | Path,
    listed: Sequence[Part],
    to: str | Path,
    options: StainOptions = StainOptions(),  # noqa: B008 - frozen
    *,
    scheduler: str | None = None,
    certificates: str | Path | None = None,
    cluster: Literal["slurm"] | None = None,
    workers: int = 1,
    cluster_options: dict[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Stained]:
    """Stain images of files on the workers of a cluster; see `stain_files`, whose results these are.

    All machines must see the model, the images and the folder for the stains under the same paths.

    Parameters
    ----------
    model_folder : path
        A model folder or an ensemble.
    listed, to, options, overwrite, progress
        See `stain_files`.
    scheduler : str, optional
        Address of a running Dask scheduler, such as ``tls://host:8786``.
    certificates : path, optional
        Folder with the TLS certificates for that scheduler: ``ca.pem``, ``cert.pem`` and ``key.pem``. Without them,
        whoever reaches the scheduler can run code as you.
    cluster : "slurm", optional
        Start a scheduler here, and workers as jobs of this kind; they end with the call. All of them talk by TLS, with
        certificates made for the run.
    workers : int
        Number of these workers.
    cluster_options : dict, optional
        For `dask_jobqueue.SLURMCluster`: queue, cores, memory, walltime...

    Returns
    -------
    list of Stained
        In the order of `listed`.

    Raises
    ------
    SpotlightError
        If the scheduler cannot be reached, a worker cannot take part, or a package is missing.

    Examples
    --------
    >>> from spotlight.prediction import find_parts, stain_on_cluster
    >>> options = {"queue": "gpu", "cores": 8, "memory": "32GB", "walltime": "02:00:00"}
    >>> stained = stain_on_cluster(
    ...     "model", find_parts(["new"]), "stains", cluster="slurm", workers=20, cluster_options=options
    ... )  # doctest: +SKIP
    """
    model_folder = find_folder(model_folder).absolute()
    model = load_model(model_folder)
    places = Places.of(listed, to, model.description.task.suffix, options.form)
    shared = places.to if places.plate is None else places.to.parent
    spec = tasks.RunSpec(
        model_folder,
        model.digest,
        shared.absolute() / f".cluster-{uuid.uuid4().hex[:8]}.part",
        replace(options, form=places.form),
        overwrite,
    )
    with _connected(scheduler, certificates, cluster, workers, cluster_options or {}, shared) as (client, jobs):
        with explained_writing(shared):
            shared.mkdir(parents=True, exist_ok=True)
            spec.marker.touch()
        try:
            _wait_for_a_worker(client, jobs)
            with _explained_loss():
                results = _Run(client, spec, places, progress).done()
        finally:
            spec.marker.unlink(missing_ok=True)
    tell_doubts(model_folder.name, {one.part.name: one.doubts for one in results})
    return results


@contextmanager
def slurm_jobs(workers: int, options: dict[str, Any], shared: Path) -> Iterator["Jobs"]:
    """Start a scheduler here, and keep so many workers in jobs of SLURM.

    Their certificates lie in a hidden folder of `shared`, which all machines see.

    Raises
    ------
    SpotlightError
        If dask-jobqueue is missing, or refuses the options.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        from spotlight.prediction.certificates import temporary_certificates
        from spotlight.prediction.slurm import Jobs, start_cluster
    except ImportError as error:
        raise missing_package("starting SLURM jobs", error, "cluster") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)  # its import makes Ctrl-C end the process
    with (
        temporary_certificates(shared) as security,
        start_cluster(workers, options, security) as cluster,
        Jobs(cluster).watched() as jobs,
    ):
        yield jobs


@contextmanager
def _connected(
    scheduler: str | None,
    certificates: str | Path | None,
    cluster: str | None,
    workers: int,
    options: dict[str, Any],
    shared: Path,
) -> Iterator[tuple["Client", "Jobs | None"]]:
    if (scheduler is None) == (cluster is None):
        raise SpotlightError("staining on a cluster takes the address of a scheduler or a kind of cluster, not both.")
    if certificates is not None and scheduler is None:
        raise SpotlightError("certificates are for a scheduler that runs already; those of jobs are made for each run.")
    try:
        from distributed import Client

        from spotlight.prediction.certificates import read_certificates
    except ImportError as error:
        raise missing_package("staining on a cluster", error, "cluster") from error
    if scheduler is None:
        with _quiet_dask(), slurm_jobs(workers, options, shared) as jobs, Client(jobs.cluster) as client:
            log.info("Dashboard, on this machine alone: http://127.0.0.1:%d/status", jobs.dashboard_port)
            yield client, jobs
        return
    security = None if certificates is None else read_certificates(certificates)
    if security is None:
        log.warning(
            "%s asks for no certificate: whoever reaches it can run code as you. docs/cluster.md shows how to use TLS.",
            scheduler,
        )
    try:
        client = Client(scheduler, security=security)
    except (TypeError, RuntimeError) as error:
        raise SpotlightError(
            f"{scheduler}: the certificates do not fit ({error}). An address that begins with tls:// needs "
            "--certificates (certificates=), and certificates need such an address."
        ) from error
    except (OSError, ValueError) as error:
        raise SpotlightError(
            f"{scheduler}: no scheduler answers there ({error}). Start one with: dask scheduler, and give the address "
            "that it prints."
        ) from error
    with client:
        log.info("Dashboard: %s", client.dashboard_link)
        yield client, None


@contextmanager
def _quiet_dask() -> Iterator[None]:
    """Silence the connection messages of Dask; we report the ones that matter."""
    dask = logging.getLogger("distributed")
    level = dask.level
    dask.setLevel(logging.ERROR)
    try:
        yield
    finally:
        dask.setLevel(level)


def _wait_for_a_worker(client: "Client", jobs: "Jobs | None") -> None:
    """Wait until there is one, as long as one can come."""
    if not client.nthreads():
        log.info("Waiting for the first worker.")
    while not client.nthreads():
        with suppress(TimeoutError):
            client.wait_for_workers(1, timeout=2)
        if jobs is not None and not client.nthreads():
            jobs.raise_if_hopeless()
    if jobs is not None:
        jobs.had_worker = True


@contextmanager
def _explained_loss() -> Iterator[None]:
    """Say in our words that there is no scheduler any more."""
    try:
        yield
    except (OSError, CancelledError) as error:
        raise SpotlightError(LOST) from error


@dataclass(frozen=True)
class _Task:
    image: int
    step: Literal["begin", "layer", "finish"]
    number: int = 0
    alone: bool = False
    last: bool = False


PRIORITY = {"begin": 0, "layer": 1, "finish": 2}
"""What is begun is finished first, so that few layers lie about."""


class _Run:
    """What is to be done, in the air and done."""

    def __init__(self, client: "Client", spec: tasks.RunSpec, places: Places, progress: Progress | None) -> None:
        from distributed import as_completed

        self.client = client
        self.spec = spec
        self.places = places
        self.listed = places.listed
        self.paths = [places.path_of(part) for part in self.listed]
        self.progress = progress
        self.name = uuid.uuid4().hex[:8]
        self.waiting = deque(_Task(image, "begin") for image in range(len(self.listed)))
        self.suspects: list[_Task] = []
        self.taken: list[_Task] = []
        self.locks: dict[int, ExitStack] = {}
        self.flying: dict[str, _Task] = {}
        self.prepared: dict[int, tasks.PreparedStack] = {}
        self.left: dict[int, int] = {}
        self.results: dict[int, Stained] = {}
        self.landing = as_completed()
        self.sent = self.landed = 0

    def done(self) -> list[Stained]:
        """Do it all."""
        try:
            self._send()
            for future in self.landing:
                task = self.flying.pop(future.key)
                self.landed += 1
                if task.image not in self.results:
                    self._take(task, future)
                self._send()
                if self.progress is not None:
                    to_come = len(self.flying) + len(self.waiting) + len(self.suspects)
                    self.progress("staining on the cluster", self.landed, self.landed + to_come, {})
        finally:
            if self.flying and self.client.status == "running":
                self.client.cancel(list(self.landing.futures), force=True)
            for image in list(self.locks):
                self._unlock(image)
        return [self.results[image] for image in range(len(self.listed))]

    def _send(self) -> None:
        """Keep the scheduler supplied, without giving it all at once."""
        enough = IN_FLIGHT * max(1, sum(self.client.nthreads().values()))
        while self.waiting and len(self.flying) < enough:
            self._submit(self.waiting.popleft())
        if self.suspects and not self.flying:
            self._submit(replace(self.suspects.pop(), alone=True))
        if self.taken and not self.flying:  # they may be done now
            self.waiting.extend(replace(task, last=True) for task in self.taken)
            self.taken = []
            self._send()

    def _submit(self, task: _Task) -> None:
        if task.image in self.results or not self._is_ours(task):
            return
        part, path = self.listed[task.image], self.paths[task.image].absolute()
        given: list[Any] = [self.spec, replace(part, path=part.path.absolute()), path]
        function: Any = tasks.begin
        if task.step != "begin":
            given.append(self.prepared[task.image])
            function = tasks.finish
        if task.step == "layer":
            given.append(task.number)
            function = tasks.compute_layer
        self.sent += 1
        # Dask's dashboard shows these names, and counts together what begins alike up to the first digit.
        key = f"{task.step}-{self.name}{self.sent}-{part.name}{f'-{task.number}' if task.step == 'layer' else ''}"
        self.flying[key] = task
        self.landing.add(
            self.client.submit(function, *given, key=key, pure=False, retries=RETRIES, priority=PRIORITY[task.step])
        )

    def _is_ours(self, task: _Task) -> bool:
        """Lock the image's stain until it is done; where another process is at work, it is put off once."""
        if task.image not in self.locks:
            lock = ExitStack()
            try:
                lock.enter_context(working_on(beside(self.paths[task.image])))
            except Busy as error:
                if task.last:
                    self._fail(task.image, str(error))
                else:
                    self.taken.append(task)
                return False
            self.locks[task.image] = lock
        return True

    def _unlock(self, image: int) -> None:
        if image in self.locks:
            self.locks.pop(image).close()

    def _take(self, task: _Task, future: "Future[Any]") -> None:
        """Take note of what became of a task, and of what can be done next."""
        from distributed.comm.core import CommClosedError
        from distributed.scheduler import KilledWorker

        image = task.image
        try:
            outcome = future.result()
        except KilledWorker as error:
            # The scheduler blames all tasks that waited on the worker; whoever is to blame does it again, alone.
            if not task.alone:
                self.suspects.append(task)
                return
            host = error.last_worker.host
            self._fail(image, f"it killed its worker again and again, lastly on {host}. Is there memory enough for it?")
        except ImportError as error:
            raise SpotlightError(
                f"a worker lacks {error.name} ({error}). All machines need the same environment."
            ) from error
        except CommClosedError:
            raise
        except Exception as error:  # whatever it was on that machine, the other images go on
            self._fail(image, str(error))
        else:
            self._go_on(task, outcome)

    def _go_on(self, task: _Task, outcome: Stained | tasks.PreparedStack | tasks.WorkerProblem | None) -> None:
        image = task.image
        if isinstance(outcome, tasks.WorkerProblem):
            raise SpotlightError(outcome.reason)
        if isinstance(outcome, Stained):
            if outcome.state == "failed":
                self._fail(image, outcome.reason)
            else:
                self.places.list(self.listed[image])
                self.results[image] = replace(outcome, part=self.listed[image], path=self.paths[image])
                self._unlock(image)
            return
        if isinstance(outcome, tasks.PreparedStack):
            self.prepared[image] = outcome
            self.left[image] = outcome.layers
            self.waiting.extendleft(_Task(image, "layer", number) for number in reversed(range(outcome.layers)))
            return
        self.left[image] -= 1
        if not self.left[image]:
            self.waiting.appendleft(_Task(image, "finish"))

    def _fail(self, image: int, reason: str) -> None:
        log.error("%s: %s", self.listed[image].name, reason)
        self.results[image] = Stained(self.listed[image], self.paths[image], "failed", reason)
        if image in self.locks:
            workspace_of(self.paths[image]).remove_if_idle()
        self._unlock(image)
        self.waiting = deque(task for task in self.waiting if task.image != image)
        self.suspects = [task for task in self.suspects if task.image != image]
