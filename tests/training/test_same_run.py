"""A run goes on, or is finished, only with the data and settings with which it was begun, and one process at a time."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from conftest import TINY
from locking import holder
from spotlight import SpotlightError, read
from spotlight.comparison import compare
from spotlight.images import Stack
from spotlight.training import train

ONE_STEP = TINY.model_copy(
    update={"training": TINY.training.model_copy(update={"steps": 1, "validate_every": 1, "checkpoint_every": 1})}
)


def own(manifest: Path, folder: Path, form: str) -> tuple[Path, list[Path]]:
    """A manifest of own copies of the images to train and validate on, as OME-Zarr or OME-TIFF."""
    rows = pd.read_csv(manifest).query("split != 'test'")
    files = []
    for name in rows["input"]:
        file = folder / f"{Path(name).name.split('.')[0]}.{form}"
        read(manifest.parent / name).save(file)
        files.append(file)
    names = [file.name for file in files]
    rows = rows.assign(input=names, target=names, labels=[str(manifest.parent / name) for name in rows["labels"]])
    rows.to_csv(folder / "pairs.csv", index=False)
    return folder / "pairs.csv", files


def write_anew(file: Path) -> None:
    """Write an image anew, of the same size, and set the time of its change back."""
    facts = file.stat()
    stack = read(file)
    values = stack.data.copy()
    values[..., 0] += 1
    Stack(values, stack.axes, stack.voxel_size, stack.channels).save(file)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.mark.parametrize("form", ["ome.tif", "ome.zarr"])
@pytest.mark.slow
def test_data_that_changed_are_other_data(manifest: Path, form: str, tmp_path: Path) -> None:
    pairs, files = own(manifest, tmp_path, form)
    model = train(pairs, tmp_path / "model", ONE_STEP)
    before = (model / "model.yaml").stat().st_mtime_ns
    for file in files:  # touched, and copied to where it was
        inner = [file, *file.rglob("*")] if file.is_dir() else [file]
        for path in inner:
            os.utime(path, (1, 1))
    assert train(pairs, model, ONE_STEP) == model
    assert (model / "model.yaml").stat().st_mtime_ns == before
    interrupted = Path(shutil.copytree(model, tmp_path / "interrupted"))
    (interrupted / "model.yaml").unlink()
    write_anew(files[1])
    for folder in (model, interrupted):
        with pytest.raises(SpotlightError, match=rf"the data \({files[1]} has changed since it was begun\)"):
            train(pairs, folder, ONE_STEP)
    write_anew(files[0])
    with pytest.raises(SpotlightError, match=rf"\({files[0]} and 1 more have changed"):
        train(pairs, model, ONE_STEP)
    train(pairs, model, ONE_STEP, overwrite=True)
    assert (model / "model.yaml").stat().st_mtime_ns != before
    assert train(pairs, model, ONE_STEP) == model
    (model / "training" / "data.json").write_text("[")
    with pytest.raises(SpotlightError, match=r"data\.json: is damaged"):
        train(pairs, model, ONE_STEP)


def test_runs_of_versions_that_recorded_no_states(manifest: Path, tmp_path: Path) -> None:
    pairs, files = own(manifest, tmp_path, "ome.tif")
    model = train(pairs, tmp_path / "model", ONE_STEP)
    (model / "training" / "data.json").unlink()
    assert train(pairs, model, ONE_STEP) == model
    os.utime(files[0])
    with pytest.raises(SpotlightError, match=f"{files[0]} has changed since it was begun"):
        train(pairs, model, ONE_STEP)


def test_comparing_does_not_take_models_of_other_data(manifest: Path, tmp_path: Path) -> None:
    pairs, files = own(manifest, tmp_path, "ome.zarr")
    rows = pd.read_csv(pairs).assign(split=["train", "train", "test"])
    rows.to_csv(pairs, index=False)
    (tmp_path / "e.yaml").write_text(ONE_STEP.to_yaml())
    comparison = {"pairs": "pairs.csv", "methods": {"a": {"settings": "e.yaml"}}, "baseline": "a", "seeds": [0]}
    comparison["evaluation"] = {"resolution": False}
    (tmp_path / "comparison.yaml").write_text(yaml.safe_dump(comparison))
    train(pairs, tmp_path / "out" / "models" / "a" / "seed-0", ONE_STEP, seed=0)
    write_anew(files[0])
    with pytest.raises(SpotlightError, match=rf"seed-0: holds a run that differs in the data \({files[0]} has changed"):
        compare(tmp_path / "comparison.yaml", tmp_path / "out")


def test_training_says_who_is_at_work(manifest: Path, tmp_path: Path) -> None:
    with holder(tmp_path / "model", "working_in") as process:
        with pytest.raises(SpotlightError, match=f"model: is being written by process {process.pid} on "):
            train(manifest, tmp_path / "model", ONE_STEP)
    train(manifest, tmp_path / "model", ONE_STEP)
    assert not list((tmp_path / "model").glob(".*"))


@pytest.mark.slow
def test_of_two_trainings_for_one_folder_one_is_refused(manifest: Path, tmp_path: Path) -> None:
    """Both are started at the same time, with different seeds."""
    (tmp_path / "e.yaml").write_text(ONE_STEP.to_yaml())
    command = [sys.executable, "-m", "spotlight", "train", str(manifest), "--settings", "e.yaml", "--to", "model"]
    started = [
        subprocess.Popen([*command, "--seed", str(seed)], cwd=tmp_path, stderr=subprocess.PIPE) for seed in (1, 2)
    ]
    said = [process.communicate()[1].decode() for process in started]
    assert sorted(process.returncode for process in started) == [0, 2]
    won = [process.returncode for process in started].index(0)
    record = yaml.safe_load((tmp_path / "model" / "model.yaml").read_text())
    assert record["training"]["settings"]["training"]["seed"] == won + 1
    log = pd.read_csv(tmp_path / "model" / "training" / "log.csv")
    assert list(log["step"]) == [1]
    # Refused while the other was at work, or after it had ended.
    assert "is being written by process" in said[1 - won] or "differs in training" in said[1 - won]
    assert json.loads((tmp_path / "model" / "training" / "data.json").read_text())
    assert not list((tmp_path / "model").glob(".*"))
