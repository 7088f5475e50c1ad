"""Staining on a cluster: a real scheduler and workers, killed on the way, give what one process gives."""

import asyncio
import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import numpy as np
import psutil
import pytest
import torch
import yaml
from distributed import LocalCluster, Security
from distributed.comm import connect
from scipy import ndimage
from yaozarrs import v05
from yaozarrs.write.v05 import PlateBuilder

from locking import holder
from spotlight import SpotlightError, load_model, read
from spotlight.images import Part, Stack
from spotlight.prediction import PredictionSettings, StainOptions, find_parts, stain_files, stain_on_cluster
from spotlight.prediction.certificates import read_certificates, temporary_certificates
from spotlight.prediction.cluster import slurm_jobs
from spotlight.prediction.options import Stained
from spotlight.prediction.tasks import RunSpec, WorkerProblem, begin

PRELOAD = """
import os, signal, threading, time
import spotlight.prediction.files as files
import spotlight.prediction.listing as listing
import spotlight.prediction.engines as engines
files.SLAB_VOXELS = 200_000  # the stack "large" is, fields of the plate are not
if not hasattr(files, "untouched"):  # Dask loads this twice
    files.untouched = listing.read_selected, engines.Engine.__call__
read, compute = files.untouched
def deadly(path, *more):
    if "deadly" in str(path):
        os.kill(os.getpid(), signal.SIGKILL)
    return read(path, *more)
def slow(self, tile):
    time.sleep(0.1)
    return compute(self, tile)
def strange(path, *more):
    if "strange" in str(path):
        error = ValueError("cannot be pickled")
        error.more = lambda: open(path)
        error.lock = threading.Lock()
        raise error
    return deadly(path, *more)
listing.read_selected, engines.Engine.__call__ = strange, slow
"""
SETTINGS = PredictionSettings(precision="float32", tile=(24, 48, 48), device="cpu")
OPTIONS = StainOptions(settings=SETTINGS)


def wait_for(found: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not found():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Address of a scheduler, and the number of the process that starts its two workers and replaces dead ones."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "preload.py").write_text(PRELOAD)
    environment = os.environ | {
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    common = ["--scheduler-file", "scheduler.json", "--no-dashboard"]
    modules = {
        "scheduler": [*common, "--port", "0", "--host", "127.0.0.1", "--dashboard-address", ":0"],
        "worker": [*common, "--nworkers", "2", "--nthreads", "1", "--memory-limit", "0", "--preload", "preload.py"],
    }
    started = []
    try:
        for name, options in modules.items():
            with (folder / f"{name}.txt").open("w") as out:
                command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *options]
                started.append(subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out))
            wait_for((folder / "scheduler.json").exists)
        yield json.loads((folder / "scheduler.json").read_text())["address"], started[1].pid
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the workers: on some processors the last bit depends on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def worker_processes(nanny: int) -> list[int]:
    children = psutil.Process(nanny).children(recursive=True)
    return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]


def structure(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=shape)
    return (1000 + 4000 * ndimage.gaussian_filter(noise, 1.5)).astype(np.uint16)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Part:
    stack = Stack(structure((24, 72, 160)), "ZYX", (0.29, 0.31, 0.29), ("Brightfield",))
    return find_parts([stack.save(tmp_path_factory.mktemp("large") / "large.ome.tif")])[0]


def test_a_killed_client_and_killed_workers_do_not_change_the_result(
    cluster: tuple[str, int], model_folder: Path, large: Part, tmp_path: Path
) -> None:
    address, nanny = cluster
    (expected,) = stain_files(load_model(model_folder), [large], tmp_path / "here", OPTIONS)
    (tmp_path / "settings.yaml").write_text(SETTINGS.to_yaml())
    command = [sys.executable, "-m", "spotlight", "predict", str(model_folder), str(large.path)]
    command += ["--to", "there", "--settings", "settings.yaml", "--scheduler", address]

    result = tmp_path / "there" / "large-stain.ome.tif"

    def layers() -> list[Path]:
        return sorted(tmp_path.glob("there/.large*/layer-*.npy"))

    first = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(layers()) >= 1)
    finally:
        first.kill()
        first.wait()
    found = {path: path.stat().st_mtime_ns for path in layers()}
    assert not result.exists()
    killed = []

    def kill_a_worker(work: str, done: int, total: int, figures: dict[str, float]) -> None:
        if not killed and done >= 3:
            assert not result.exists()
            killed.extend(worker_processes(nanny))
            assert all(path.stat().st_mtime_ns == when for path, when in found.items())  # they were taken up
            os.kill(killed[0], signal.SIGKILL)

    (stained,) = stain_on_cluster(
        model_folder, [large], result.parent, OPTIONS, scheduler=address, progress=kill_a_worker
    )
    assert (stained.state, stained.path) == ("made", result)
    wait_for(lambda: len(worker_processes(nanny)) == 2)
    assert killed[0] not in worker_processes(nanny)
    np.testing.assert_array_equal(read(result).data, read(expected.path).data)
    records = [json.loads(path.with_name(f"{path.name}.json").read_text()) for path in (result, expected.path)]
    assert [record.pop("made") for record in records]
    assert records[0] == records[1]
    left = {path.name for path in result.parent.iterdir()} - {result.name, f"{result.name}.json"}
    assert all(name.startswith(".cluster-") for name in left)  # of the killed client
    assert len(left) == 1


def write_plate(path: Path, fields: int) -> Path:
    wells = [v05.PlateWell(path=f"A/{n}", rowIndex=0, columnIndex=n) for n in range(3)]
    columns = [v05.Column(name=str(n)) for n in range(3)]
    plate = v05.PlateDef(columns=columns, rows=[v05.Row(name="A")], wells=wells)
    builder = PlateBuilder(path, plate=v05.Plate(plate=plate), writer="zarr")
    axes = [v05.SpaceAxis(name=name, unit="micrometer") for name in "zyx"]
    scale = v05.ScaleTransformation(scale=[0.29] * 3)
    scales = v05.Multiscale(axes=axes, datasets=[v05.Dataset(path="0", coordinateTransformations=[scale])])
    for n in range(3):
        images = {
            str(field): (v05.Image(multiscales=[scales]), [structure((24, 32, 40), seed=10 * n + field)])
            for field in range(fields)
        }
        builder.write_well(row="A", col=str(n), images=images)
    return path


def test_a_plate_is_stained_and_what_kills_workers_fails_alone(
    cluster: tuple[str, int], model_folder: Path, tmp_path: Path
) -> None:
    field = Stack(structure((24, 32, 40)), "ZYX", (0.29,) * 3)
    deadly = field.save(tmp_path / "deadly.ome.tif")
    strange = field.save(tmp_path / "strange.ome.tif")
    constant = replace(field, array=np.ones((24, 32, 40), np.uint16)).save(tmp_path / "constant.ome.tif")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "broken.ome.tif").write_bytes(b"II*")
    plate = write_plate(tmp_path / "plate.ome.zarr", fields=2)
    listed = find_parts([deadly, plate, constant, strange, tmp_path / "folder"])
    assert len(listed) == 10
    options = replace(OPTIONS, form="ome.zarr", kind="uint16", channel=0)
    seen = []
    results = stain_on_cluster(
        model_folder,
        listed,
        tmp_path / "there",
        options,
        scheduler=cluster[0],
        progress=lambda work, done, total, _: seen.append((work, done, total)),
    )
    assert [result.state for result in results] == ["failed", *["made"] * 6, *["failed"] * 3]
    assert [result.part for result in results] == listed
    assert "killed its worker again and again" in results[0].reason
    assert socket.gethostname() in results[0].reason or "127.0.0.1" in results[0].reason
    assert "is constant" in results[-3].reason
    assert "ValueError: cannot be pickled" in results[-2].reason
    assert results[-1].reason == listed[-1].fault != ""
    assert seen[-1][1] == seen[-1][2] >= 10
    expected = stain_files(load_model(model_folder), listed[1:-3], tmp_path / "here", options)
    for one, other in zip(results[1:-3], expected, strict=True):
        np.testing.assert_array_equal(read(one.path).data, read(other.path).data)
    again = stain_on_cluster(model_folder, listed[1:-2], tmp_path / "there", options, scheduler=cluster[0])
    assert [result.state for result in again] == [*["kept"] * 6, "failed"]
    names = {path.name for path in (tmp_path / "there").iterdir()}
    assert names == {f"{part.name}-stain.ome.zarr{end}" for part in listed[1:-3] for end in ("", ".json")}


def test_a_worker_that_cannot_take_part_is_named(model_folder: Path, large: Part, tmp_path: Path) -> None:
    digest = load_model(model_folder).digest
    mark = tmp_path / "mark"
    mark.touch()
    order = RunSpec(model_folder, digest, mark, OPTIONS)

    def said(order: RunSpec) -> str:
        answer = begin(order, large, tmp_path / "large-stain.ome.tif")
        assert isinstance(answer, WorkerProblem)
        assert answer.reason.startswith(f"{socket.gethostname()}: ")
        return answer.reason

    assert f"does not see {tmp_path / 'elsewhere'} as" in said(replace(order, marker=tmp_path / "elsewhere" / "mark"))
    assert "Install the same" in said(replace(order, version="0.0.1"))
    assert "holds another model here" in said(replace(order, digest="0" * 64))
    assert "Give a model folder" in said(replace(order, model=tmp_path / "none"))
    nowhere = replace(OPTIONS, settings=SETTINGS.model_copy(update={"device": "nonsense"}))
    assert "cannot be used here" in said(replace(order, options=nowhere))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mark"]


def test_stains_are_locked_while_workers_make_them(
    cluster: tuple[str, int], model_folder: Path, large: Part, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    stain = out / f"{large.name}-stain.ome.tif"

    def stained(**more: Any) -> Stained:
        return stain_on_cluster(model_folder, [large], out, OPTIONS, scheduler=cluster[0], **more)[0]

    with holder(stain) as process:
        assert f"is being written by process {process.pid}" in stained().reason
    seen: list[bool] = []
    assert stained(progress=lambda *_: seen.append((out / f".{stain.name}.lock").exists())).state == "made"
    assert seen[0]
    assert sorted(out.iterdir()) == [stain, stain.with_name(f"{stain.name}.json")]


@pytest.mark.filterwarnings("ignore:unclosed cluster:ResourceWarning")  # what refuses its options is not closed
@pytest.mark.slow
def test_jobs_of_slurm_get_a_script(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    options = {"cores": 8, "memory": "32GB", "queue": "gpu", "walltime": "02:00:00"}
    options |= {"worker_extra_args": ["--nthreads", "1"], "scheduler_options": {"dashboard_address": ":0"}}
    before = signal.getsignal(signal.SIGINT)
    with slurm_jobs(0, options, tmp_path / "to") as jobs:
        script = jobs.cluster.job_script()
    assert signal.getsignal(signal.SIGINT) is before
    for line in ("#SBATCH -p gpu", "#SBATCH --cpus-per-task=8", "#SBATCH -t 02:00:00"):
        assert line in script.splitlines()
    assert re.search(r"dask_worker tls://\S+ .* --nthreads 1 .*--tls-key", script)
    assert "--nworkers" not in script  # a job of 8 cores is one worker
    for wrong, message in (
        ({"cores": None}, "needs cores and memory"),
        ({"nonsense": 1}, "refused by dask_jobqueue"),
        ({"walltime": yaml.safe_load("12:00:00")}, "walltime must be text in quotes"),
        ({"log_directory": f"{__file__}/logs"}, "Check log_directory"),
    ):
        with pytest.raises(SpotlightError, match=message), slurm_jobs(1, options | wrong, tmp_path):
            pass
    gc.collect()


def connects(address: str, security: Security | None) -> bool:
    async def greet() -> None:
        identity = {} if security is None else security.get_connection_args("client")
        await (await connect(address, timeout=3, **identity)).close()

    try:
        asyncio.run(greet())
    except (OSError, TypeError, RuntimeError):
        return False
    return True


def test_strangers_do_not_reach_a_run(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    with slurm_jobs(0, {"cores": 1, "memory": "1GB", "scheduler_options": {"port": 0}}, tmp_path) as jobs:
        address = jobs.cluster.scheduler_address
        assert address.startswith("tls://")
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o077 == 0
        assert all(file.stat().st_mode & 0o077 == 0 for file in folder.iterdir())
        assert connects(address, read_certificates(folder))
        assert not connects(address, None)
        assert not connects(address.replace("tls://", "tcp://"), None)
        with temporary_certificates(tmp_path / "stranger") as another:
            assert not connects(address, another)
        listening = [
            c.laddr.ip for c in psutil.Process().net_connections("inet") if c.laddr.port == jobs.dashboard_port
        ]
        assert set(listening) == {"127.0.0.1"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stranger"]
    assert not list((tmp_path / "stranger").iterdir())
    for option in ({"security": False}, {"protocol": "tcp://"}):
        with pytest.raises(SpotlightError, match=r"made for each run\. Remove it"), slurm_jobs(0, option, tmp_path):
            pass


@pytest.mark.slow
def test_a_scheduler_with_certificates_stains(model_folder: Path, large: Part, tmp_path: Path) -> None:
    def stained(**more: object) -> list[str]:
        results = stain_on_cluster(model_folder, [large], tmp_path / "to", OPTIONS, **more)  # type: ignore[arg-type]
        return [result.state for result in results]

    with temporary_certificates(tmp_path) as security:
        (folder,) = tmp_path.glob(".certificates-*")
        options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
        with LocalCluster(protocol="tls://", security=security, **options) as cluster:
            address = cluster.scheduler_address
            with pytest.raises(SpotlightError, match=r"certificates do not fit .* needs --certificates"):
                stained(scheduler=address)
            assert stained(scheduler=address, certificates=folder) == ["made"]
    with pytest.raises(SpotlightError, match=r"Missing: ca\.pem, cert\.pem, key\.pem"):
        stained(scheduler=address, certificates=tmp_path)
    with pytest.raises(SpotlightError, match="for a scheduler that runs already"):
        stained(cluster="slurm", certificates=tmp_path)


STAND_INS = {
    "sbatch": """
        n=0; until mkdir jobs/$n 2>/dev/null; do n=$((n + 1)); done
        echo Submitted batch job $n
        cp $1 jobs/$n/script
        [ $n = 0 ] && exit
        setsid bash jobs/$n/script >jobs/$n/log 2>&1 </dev/null & echo $! >jobs/$n/pid
    """,
    "squeue": "for n in $(ls jobs); do [ $n = 0 ] && echo '0|FAILED|NonZeroExitCode' || echo $n'|RUNNING|None'; done",
    "scontrol": "echo '   StdErr=/logs/of-job'",
    "scancel": "kill $(cat jobs/$1/pid)",
}


@pytest.mark.slow
def test_a_job_that_dies_before_its_worker_answers_is_replaced(
    model_folder: Path, large: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Shell scripts stand in for SLURM: job 0 dies at once, job 1 is a worker; see test_slurm.py for the real one."""
    pytest.importorskip("dask_jobqueue")
    (tmp_path / "jobs").mkdir()
    for name, text in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\ncd {tmp_path}\n{text}")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr("spotlight.prediction.slurm.AGAIN", 0.1)
    monkeypatch.setattr("spotlight.prediction.slurm.LOOK", 0.5)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    options = {"cores": 1, "memory": "2GB", "scheduler_options": {"dashboard_address": ":0"}}

    def wait(*_: object) -> None:
        wait_for(lambda: len(list((tmp_path / "jobs").iterdir())) == 3)

    results = stain_on_cluster(
        model_folder,
        [large],
        tmp_path / "to",
        OPTIONS,
        cluster="slurm",
        workers=2,
        cluster_options=options,
        progress=wait,
    )
    assert [result.state for result in results] == ["made"]
    assert "Job 0 of SLURM has ended (failed: NonZeroExitCode). What it wrote: /logs/of-job." in caplog.text


@pytest.mark.slow
def test_without_slurm_nothing_waits_for_jobs(
    model_folder: Path, large: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("PATH", str(tmp_path))
    options = {"cores": 1, "memory": "2GB", "scheduler_options": {"dashboard_address": ":0"}}
    with pytest.raises(SpotlightError, match="SLURM took no job: .*No such file or directory: 'sbatch'"):
        stain_on_cluster(model_folder, [large], tmp_path / "to", OPTIONS, cluster="slurm", cluster_options=options)
    assert list((tmp_path / "to").iterdir()) == []


def test_what_cannot_be_is_said_before_anything_is_done(
    model_folder: Path, large: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**more: object) -> str:
        with pytest.raises(SpotlightError) as caught:
            stain_on_cluster(model_folder, [large], tmp_path / "to", OPTIONS, **more)  # type: ignore[arg-type]
        return str(caught.value)

    assert "not both" in refused()
    assert "not both" in refused(scheduler="tcp://127.0.0.1:1", cluster="slurm")
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        assert "no scheduler answers there" in refused(scheduler="tcp://127.0.0.1:1")
    assert "no scheduler answers there" in refused(scheduler="nonsense://127.0.0.1")
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "[cluster]" in refused(scheduler="tcp://127.0.0.1:1")
    assert not (tmp_path / "to").exists()
