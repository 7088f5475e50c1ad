"""Workers as SLURM jobs: reports the state of the jobs, and submits those again that ended unexpectedly.

Imports dask-jobqueue, so it is imported only where it is needed.
"""

import logging
import os
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Any

from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed import Security, Status

from spotlight.errors import SpotlightError

log = logging.getLogger("spotlight")

ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
ENDED |= {"REVOKED", "TIMEOUT", "GONE"}
"""States that a job does not leave; GONE is ours for one that SLURM does not know any more."""
LOOK = 15.0
"""Most seconds between two looks at the jobs."""
AGAIN = 45.0
"""Seconds until another job takes the place of a refused or ended one; Dask itself takes 15 if it had a worker."""


class Job(SLURMJob):
    """A job that notes why it was refused, where Dask's would end the whole cluster in tracebacks."""

    refused = ""

    async def start(self) -> None:
        """Submit the job."""
        try:
            await super().start()  # type: ignore[no-untyped-call]
        except (OSError, RuntimeError, ValueError) as error:
            self.refused = " ".join((str(error).partition("stderr:\n")[2] or str(error)).split())
            self.status = Status.running

    async def close(self) -> None:
        """Cancel the job."""
        await super().close()  # type: ignore[no-untyped-call]
        self.status = Status.closed  # Dask's job does not say so, and the cluster wants it of all that are still held


class Jobs:
    """What becomes of the jobs of a cluster, as far as it is known.

    Parameters
    ----------
    cluster : SLURMCluster
        Made with ``job_cls=Job``.
    """

    def __init__(self, cluster: SLURMCluster) -> None:
        assert cluster.loop is not None
        self.cluster, self.loop = cluster, cluster.loop
        self.had_worker = False
        """To be set when the first worker has come."""
        self.summary = ""
        self.ended: dict[Job, tuple[str, float]] = {}
        """Jobs that are over, why, and when this was seen."""

    @property
    def dashboard_port(self) -> int:
        """Port of the scheduler's dashboard."""
        scheduler: Any = self.cluster.scheduler
        return int(scheduler.http_server.port)

    @contextmanager
    def watched(self) -> Iterator["Jobs"]:
        """Look at them now and then, in a thread."""
        over = threading.Event()

        def watch() -> None:
            pause = 1.0
            while not over.wait(pause):
                self.look()
                pause = min(2 * pause, LOOK)

        thread = threading.Thread(target=watch, name="jobs of SLURM", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()

    def look(self) -> None:
        """Say what has changed, and let Dask ask again for what was refused or has ended."""
        jobs: dict[str, Job] = dict(self.cluster.workers)  # before SLURM is asked, which then knows them all
        states = job_states()
        if states is None:
            return
        for name, job in jobs.items():
            reason = self._why_over(job, states)
            if reason and job not in self.ended:
                if all(reason != said for said, _ in self.ended.values()):  # many may be refused for the same
                    log.warning("%s", reason)
                self.ended[job] = reason, monotonic()
            elif reason and self.had_worker and monotonic() - self.ended[job][1] > AGAIN:
                self.loop.add_callback(partial(self._forget, name, job))
        known = Counter(_said(*states[job.job_id]) for job in jobs.values() if job.job_id in states)
        summary = ", ".join(f"{number} {state}" for state, number in sorted(known.items()))
        if summary != self.summary:
            log.info("Jobs of SLURM: %s", summary or "none")
            self.summary = summary

    def raise_if_hopeless(self) -> None:
        """Raise an error if all jobs were refused or have ended before any worker came."""
        jobs = list(self.cluster.workers.values())
        if jobs and all(job in self.ended for job in jobs):
            raise SpotlightError(
                f"no worker has come, and none will. {self.ended[jobs[0]][0]} Correct the cluster options, or "
                "what jobs lack on their machine."
            )

    def _why_over(self, job: Job, states: dict[str, tuple[str, str]]) -> str:
        """A sentence on a job that was refused or has ended; empty for others."""
        if job.refused:
            return f"SLURM took no job: {job.refused}."
        if job.job_id is None:
            return ""
        state, reason = states.get(job.job_id, ("GONE", ""))
        if state not in ENDED:
            return ""
        if job in self.ended:
            return self.ended[job][0]
        return f"Job {job.job_id} of SLURM has ended ({_said(state, reason)}). What it wrote: {output_of(job.job_id)}."

    def _forget(self, name: str, job: Job) -> None:
        """Dask then sees that a job is missing."""
        if self.cluster.workers.get(name) is job:
            del self.cluster.workers[name]
            job.status = Status.closed


def _said(state: str, reason: str) -> str:
    state = state.lower().replace("_", " ")
    return state if reason in ("", "None", "Prolog") else f"{state}: {reason}"


def job_states() -> dict[str, tuple[str, str]] | None:
    """State and reason of my jobs by number; None if SLURM does not answer."""
    command = ["squeue", "-h", "-t", "all", "-u", str(os.getuid()), "-o", "%i|%T|%r"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except FileNotFoundError:
        return {}
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("squeue does not answer (%s).", error)
        return None
    return {job: (state, reason) for job, state, reason in (line.split("|", 2) for line in answer.splitlines())}


def output_of(job: str) -> str:
    """Where a job writes its errors, as far as SLURM still knows."""
    try:
        known = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        known = ""
    found = re.search(r"^\s*StdErr=(.+)$", known, re.MULTILINE)
    return found[1] if found else "see log_directory, or the folder where the command was given"


def start_cluster(workers: int, options: dict[str, Any], security: Security) -> SLURMCluster:
    """Start a scheduler here, and keep so many workers in jobs, one in each unless `processes` says otherwise.

    The dashboards of scheduler and workers, which ask for no password, can be reached from their own machine alone,
    unless the options say otherwise.

    Parameters
    ----------
    workers : int
        Number of workers.
    options : dict
        For `dask_jobqueue.SLURMCluster`.
    security : Security
        Certificates for all connections.

    Raises
    ------
    SpotlightError
        If dask-jobqueue refuses the options.
    """
    if isinstance(options.get("walltime"), int):
        raise SpotlightError(
            'the cluster option walltime must be text in quotes, such as "12:00:00": without them YAML makes '
            f"12:00:00 the number 43200, and SLURM takes numbers for minutes. It is {options['walltime']}."
        )
    refused = {"security", "protocol"} & set(options)
    if refused:
        raise SpotlightError(
            f"the cluster options name {' and '.join(sorted(refused))}, but all connections use certificates that are "
            "made for each run. Remove it; for a scheduler of your own, use --scheduler and --certificates."
        )
    # Dask would put several processes into a job of several cores, which share its GPU and its memory.
    given: dict[str, Any] = {"processes": 1} | options | {"job_cls": Job, "security": security}
    given["scheduler_options"] = {"dashboard_address": "127.0.0.1:8787"} | (options.get("scheduler_options") or {})
    given["worker_extra_args"] = ["--dashboard-address", "127.0.0.1:0", *(options.get("worker_extra_args") or [])]
    try:
        cluster = SLURMCluster(**given)
    except OSError as error:
        raise SpotlightError(
            f"the scheduler cannot start here ({error}). Check log_directory, and interface or host, if the cluster "
            "options name them."
        ) from error
    except (TypeError, ValueError) as error:
        raise SpotlightError(
            f"the cluster options are refused by dask_jobqueue.SLURMCluster ({error}). It needs cores and memory at "
            "least."
        ) from error
    # Not a plain scale(): this asks for a new job when one has ended.
    cluster.adapt(minimum=workers, maximum=workers)
    return cluster
