"""Staining by jobs of a real SLURM; skipped where none answers."""

import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cluster import OPTIONS, PRELOAD, write_plate

from spotlight import SpotlightError, load_model, read
from spotlight.prediction import find_parts, stain_files, stain_on_cluster

pytest.importorskip("dask_jobqueue")


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    try:
        subprocess.run(["sbatch", "--test-only", "--wrap", "true"], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("no SLURM answers on this machine")
    (tmp_path / "preload.py").write_text(PRELOAD)
    return {
        "cores": 1,
        "memory": "1GB",
        "job_name": f"spotlight-{uuid.uuid4().hex[:8]}",
        "log_directory": str(tmp_path / "logs"),
        "job_script_prologue": [f"export PYTHONPATH={':'.join(sys.path)}"],
        "worker_extra_args": ["--nthreads", "1", "--preload", str(tmp_path / "preload.py")],
        "scheduler_options": {"dashboard_address": ":0"},
    }


def states(options: dict[str, Any]) -> list[str]:
    command = ["squeue", "-h", "-t", "all", "-o", "%T", "-n", options["job_name"]]
    return sorted(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_a_cancelled_job_is_replaced_and_none_are_left(
    model_folder: Path, tmp_path: Path, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    listed = find_parts([write_plate(tmp_path / "plate.ome.zarr", fields=2)])
    cancelled = []

    def cancel(*_: object) -> None:
        if not cancelled:
            cancelled.append(subprocess.run(["scancel", "-n", options["job_name"]], check=True))

    results = stain_on_cluster(
        model_folder, listed, tmp_path / "there", OPTIONS, cluster="slurm", cluster_options=options, progress=cancel
    )
    assert [result.state for result in results] == ["made"] * 6
    assert "has ended (cancelled" in caplog.text
    assert set(states(options)) <= {"CANCELLED", "COMPLETING"}
    assert len(states(options)) == 2
    expected = stain_files(load_model(model_folder), listed, tmp_path / "here", OPTIONS)
    for one, other in zip(results, expected, strict=True):
        np.testing.assert_array_equal(read(one.path).data, read(other.path).data)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"queue": "no-such-partition"}, "SLURM took no job: .*partition"),
        ({"job_script_prologue": ["exit 3"]}, "has ended .failed: NonZeroExitCode.*What it wrote: .*logs/.*err"),
    ],
)
def test_jobs_that_cannot_be_are_explained(
    model_folder: Path, tmp_path: Path, options: dict[str, Any], wrong: dict[str, Any], message: str
) -> None:
    listed = find_parts([write_plate(tmp_path / "plate.ome.zarr", fields=1)])
    with pytest.raises(SpotlightError, match=message):
        stain_on_cluster(
            model_folder, listed, tmp_path / "there", OPTIONS, cluster="slurm", cluster_options=options | wrong
        )
    assert list((tmp_path / "there").iterdir()) == []
