"""Training: it learns, it can be killed and goes on, and it says what is wrong."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from conftest import TINY, change
from spotlight import SpotlightError, load_model
from spotlight.foreground import ForegroundSettings
from spotlight.images import Stack
from spotlight.losses import MseSettings, SharpLossSettings, SpotlightLossSettings
from spotlight.model import read_description
from spotlight.networks import FNetSettings
from spotlight.pairs import read_manifest
from spotlight.training import Experiment, PatchSettings, TrainingSettings, protocol, train
from spotlight.training.hardware import choose_precision


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_writes_a_log_and_keeps_the_best_weights(model_folder: Path) -> None:
    log = pd.read_csv(model_folder / "training" / "log.csv")
    validated = log.dropna(subset="validation_loss")
    assert validated["step"].tolist() == [4, 8, 12]
    best = read_description(model_folder).training["best"]
    assert best["step"] == validated.loc[validated["validation_loss"].idxmin(), "step"]
    assert best["loss"] == pytest.approx(validated["validation_loss"].min(), rel=1e-4)
    assert same(weights(model_folder), load_file(model_folder / "training" / "best.safetensors"))


@pytest.mark.parametrize("loss", [MseSettings(), SpotlightLossSettings(background=0.5)])
@pytest.mark.slow
def test_the_loss_falls(manifest: Path, tmp_path: Path, loss: MseSettings | SpotlightLossSettings) -> None:
    experiment = change(TINY, steps=40, validate_every=40).model_copy(update={"loss": loss})
    train(manifest, tmp_path / "model", experiment)
    log = pd.read_csv(tmp_path / "model" / "training" / "log.csv")
    assert log["loss"].min() < 0.9 * log["loss"].iloc[0]  # a batch differs from the next


@pytest.mark.slow
def test_a_stain_of_dye_is_learnt_through_the_blur_and_never_below_the_offset(manifest: Path, tmp_path: Path) -> None:
    sharp = protocol("spotlight-sharp")
    experiment = change(sharp, steps=16, validate_every=16).model_copy(
        update={
            "network": FNetSettings(depth=2, mult_chan=4, positive=True),
            "patches": PatchSettings(size=(32, 64, 64)),
            "loss": SharpLossSettings(sigma_um=(0.6, 0.2, 0.2), foreground=0.2, variation=0.01),
        }
    )
    folder = train(manifest, tmp_path / "model", experiment)
    log = pd.read_csv(folder / "training" / "log.csv")
    assert log["blurred_mse"].iloc[-1] < 0.95 * log["blurred_mse"].iloc[0]
    description = read_description(folder)
    assert description.target.center == "offset"
    assert description.training["settings"]["loss"]["sigma_um"] == [0.6, 0.2, 0.2]
    pair = read_manifest(manifest)[-1]
    stain = load_model(folder).predict(pair.input, channel="Brightfield")
    offset = description.target.to_intensity(0.0)
    assert stain.data.min() >= offset - 1e-3
    # Camera offset and background light of the simulation: 100 + 12 * 3.
    assert offset == pytest.approx(136, abs=25)


@pytest.mark.slow
def test_the_same_settings_give_the_same_weights_and_another_seed_others(
    manifest: Path, model_folder: Path, tmp_path: Path
) -> None:
    again = train(manifest, tmp_path / "again", TINY)
    other = train(manifest, tmp_path / "other", change(TINY, seed=1))
    assert same(weights(again), weights(model_folder))
    assert not same(weights(other), weights(model_folder))


RUN = """
import sys
sys.path.insert(0, {tests!r})
from conftest import TINY, change
from spotlight.training import train
train({manifest!r}, {to!r}, change(TINY, steps=40, checkpoint_every=3, validate_every=5))
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_weights(manifest: Path, tmp_path: Path) -> None:
    experiment = change(TINY, steps=40, checkpoint_every=3, validate_every=5)
    straight = train(manifest, tmp_path / "straight", experiment)
    to = tmp_path / "killed"
    code = RUN.format(tests=str(Path(__file__).parents[1]), manifest=str(manifest), to=str(to))
    log = to / "training" / "log.csv"
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    kills = 0
    for goal in (1, 3, 5):
        process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=environment)
        while process.poll() is None and (not log.exists() or log.read_bytes().count(b"\n") <= goal):
            time.sleep(0.005)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (to / "model.yaml").exists() or process.returncode == 0
    assert kills >= 2
    train(manifest, to, experiment)
    assert same(weights(to), weights(straight))
    courses = [pd.read_csv(folder / "training" / "log.csv") for folder in (to, straight)]
    pd.testing.assert_frame_equal(*courses)
    assert read_description(to).training["best"] == read_description(straight).training["best"]


@pytest.mark.slow
def test_control_c_leaves_a_run_that_goes_on(manifest: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from spotlight.cli import main; main()", "train", str(manifest), "--to", "m"]
    (tmp_path / "e.yaml").write_text(change(TINY, steps=2000, checkpoint_every=2000, validate_every=2000).to_yaml())
    # A shell lets what it runs in the background ignore Ctrl-C, and what that starts inherits it.
    process = subprocess.Popen(
        [*command, "--settings", "e.yaml"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and not (tmp_path / "m" / "training" / "log.csv").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command goes on from here" in complaint
    assert "Traceback" not in complaint
    assert not (tmp_path / "m" / "model.yaml").exists()
    assert (tmp_path / "m" / "training" / "last.ckpt").exists()  # nothing was lost


@pytest.mark.slow
def test_tensorboard_logs_beside_the_csv(manifest: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    to = train(manifest, tmp_path / "model", change(TINY, tensorboard=True))
    events = EventAccumulator(str(to / "training" / "tensorboard"))
    events.Reload()
    log = pd.read_csv(to / "training" / "log.csv")
    assert [e.step for e in events.Scalars("loss")] == log["step"].tolist()
    assert [e.value for e in events.Scalars("loss")] == pytest.approx(log["loss"].tolist(), rel=1e-4)


@pytest.mark.slow
def test_a_finished_run_is_not_repeated_and_another_is_refused(
    manifest: Path, model_folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    before = (copy / "model.yaml").stat().st_mtime_ns
    assert train(manifest, copy, TINY) == copy
    assert (copy / "model.yaml").stat().st_mtime_ns == before
    with pytest.raises(SpotlightError, match="differs in training"):
        train(manifest, copy, change(TINY, seed=7))
    pairs = read_manifest(manifest)[1:]
    with pytest.raises(SpotlightError, match="differs in the data"):
        train(pairs, copy, TINY)
    train(pairs, copy, TINY, overwrite=True)
    assert read_description(copy).training["data"]["train"][0]["name"] == "field-01"


@pytest.mark.slow
def test_validation_stacks_are_held_out_where_none_are_named(manifest: Path, tmp_path: Path) -> None:
    pairs = [pair for pair in read_manifest(manifest) if pair.split == "train"]
    train(pairs, tmp_path / "two", TINY)
    data = read_description(tmp_path / "two").training["data"]
    assert sorted(s["name"] for s in data["train"] + data["validation"]) == ["field-00", "field-01"]
    assert len(data["validation"]) == 1
    train(pairs[:1], tmp_path / "one", TINY)
    record = read_description(tmp_path / "one").training
    assert record["data"]["validation"] == []
    assert record["best"] == {"step": 12}


def test_whole_groups_are_held_out(manifest: Path, tmp_path: Path) -> None:
    pairs = read_manifest(manifest)
    grouped = [replace(pair, split="train", group=f"plate {n % 2}") for n, pair in enumerate(pairs)]
    train(grouped, tmp_path / "model", change(TINY, steps=1))
    data = read_description(tmp_path / "model").training["data"]
    held = {stack["name"] for stack in data["validation"]}
    assert held in ({"field-00", "field-02"}, {"field-01", "field-03"})
    assert len(data["train"]) == 2


def test_two_dimensions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "ab":
        cells = rng.normal(size=(2, 60, 70)).cumsum(0).astype(np.float32)
        Stack(cells, "CYX", None, ("Phase", "Nuclei")).save(tmp_path / "data" / f"{name}.ome.tif")
    native = TINY.preparation.model_copy(update={"grid": "native"})
    experiment = TINY.model_copy(update={"preparation": native})
    folder = train(tmp_path / "data", tmp_path / "model", experiment, input_channel="Phase", target_channel="Nuclei")
    description = read_description(folder)
    assert (description.input.axes, description.input.voxel_size, description.training["patch"]) == (
        "YX",
        None,
        [60, 68],
    )
    assert load_model(folder).predict(tmp_path / "data" / "a.ome.tif").shape == (60, 70)
    with pytest.raises(SpotlightError, match="no voxel size"):
        train(tmp_path / "data", tmp_path / "grid", TINY, input_channel="Phase", target_channel="Nuclei")


@pytest.mark.slow
def test_the_patch_follows_the_stacks(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    assert read_description(model_folder).training["patch"] == [32, 64, 64]
    small = TINY.model_copy(update={"patches": PatchSettings(size=(16, 32, 32), augment=True)})
    assert read_description(train(manifest, tmp_path / "small", small)).training["patch"] == [16, 32, 32]
    for size, message in (((16, 30, 32), "multiples of 4"), ((32, 64), "3 multiples"), ((48, 64, 64), "does not fit")):
        wrong = TINY.model_copy(update={"patches": PatchSettings(size=size)})
        with pytest.raises(SpotlightError, match=message):
            train(manifest, tmp_path / f"{message}", wrong)


def test_a_stack_thinner_than_the_network_needs(manifest: Path, tmp_path: Path) -> None:
    deep = TINY.model_copy(update={"network": FNetSettings(depth=6, mult_chan=1)})
    with pytest.raises(SpotlightError, match=r"field-0\d: has \(32, 64, 64\) voxels.*needs at least 64"):
        train(manifest, tmp_path / "deep", deep)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.full((32, 64, 64), 7, np.uint16), "is constant"),
        (np.where(np.arange(64) == 3, np.nan, np.ones((32, 64, 64))).astype(np.float32), "NaN"),
        (np.ones((32, 64, 60), np.uint16), "same field on the same grid"),
    ],
)
def test_bad_targets_leave_nothing_behind(manifest: Path, tmp_path: Path, target: np.ndarray, message: str) -> None:
    from dataclasses import replace

    Stack(target, "ZYX", (0.29,) * 3, ("DNA",)).save(tmp_path / "bad.ome.tif")
    pairs = [replace(p, target=tmp_path / "bad.ome.tif") for p in read_manifest(manifest)[:1]]
    with pytest.raises(SpotlightError, match=message):
        train(pairs, tmp_path / "model", TINY)
    assert not (tmp_path / "model").exists()


def test_a_target_without_foreground(manifest: Path, tmp_path: Path) -> None:
    dark = TINY.preparation.model_copy(update={"foreground": ForegroundSettings(method="fixed", value=1e6)})
    with pytest.raises(SpotlightError, match="no stack has a patch .* with enough foreground"):
        train(manifest, tmp_path / "model", TINY.model_copy(update={"preparation": dark}))
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_a_full_disk_keeps_the_last_checkpoint_whole(manifest: Path, tmp_path: Path) -> None:
    """A limit on file sizes stands for a full disk: the checkpoint does not fit, the run says so and can go on."""
    code = RUN.format(tests=str(Path(__file__).parents[1]), manifest=str(manifest), to=str(tmp_path / "m"))
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))\n"
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", limit + code], capture_output=True, text=True)
    assert "SpotlightError" in result.stderr
    assert re.search(r"(last\.ckpt|best\.safetensors): cannot be written", result.stderr)
    assert [f.name for f in (tmp_path / "m" / "training").iterdir() if f.name.startswith(".")] == []
    assert not (tmp_path / "m" / "model.yaml").exists()


def test_no_training_rows(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(SpotlightError, match="no pair has the split 'train'"):
        train([p for p in read_manifest(manifest) if p.split == "test"], tmp_path / "x", TINY)


def test_a_loss_that_is_no_number_stops_the_run(manifest: Path, tmp_path: Path) -> None:
    wild = change(TINY, learning_rate=1e30, steps=30, validate_every=30)
    with pytest.raises(SpotlightError, match=r"exploded at step \d+, with patches of field-0\d.*learning_rate"):
        train(manifest, tmp_path / "wild", wild)
    assert not (tmp_path / "wild" / "model.yaml").exists()


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named(manifest: Path, tmp_path: Path) -> None:
    to = tmp_path / "model"
    train(manifest, to, TINY)
    (to / "model.yaml").unlink()
    (to / "training" / "last.ckpt").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(SpotlightError, match=r"last\.ckpt: the checkpoint is damaged.*start over"):
        train(manifest, to, TINY)


def test_a_run_killed_after_its_last_step_only_writes_the_model(
    manifest: Path, model_folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    (copy / "model.yaml").unlink()
    (copy / "weights.safetensors").unlink()
    train(manifest, copy, TINY)
    assert same(weights(copy), weights(model_folder))
    assert read_description(copy).training["best"] == read_description(model_folder).training["best"]


def test_published_protocols() -> None:
    spotlight, fnet = protocol("spotlight-2025"), protocol("fnet-2018")
    for experiment in (spotlight, fnet):
        assert experiment.training.model_dump(
            include={"steps", "batch_size", "learning_rate", "betas", "schedule"}
        ) == {
            "steps": 50_000,
            "batch_size": 24,
            "learning_rate": 1e-3,
            "betas": (0.5, 0.999),
            "schedule": "constant",
        }
        assert (experiment.network.depth, experiment.network.mult_chan, experiment.network.init) == (4, 32, "fnet")
        assert experiment.preparation.grid == 0.29
        assert not experiment.patches.augment
    loss = spotlight.loss
    assert isinstance(loss, SpotlightLossSettings)
    assert (loss.weight, loss.k, loss.reading, loss.background) == (0.5, -0.95, "clamp", 0)
    assert (spotlight.patches.least_foreground, spotlight.patches.anywhere) == (0.001, 0)
    assert (spotlight.preparation.target_center, fnet.preparation.target_center) == ("threshold", "mean")
    assert spotlight.preparation.mask_median_px == 1
    assert isinstance(fnet.loss, MseSettings)
    with pytest.raises(SpotlightError, match="unknown protocol 'unet'"):
        protocol("unet")


def test_an_experiment_survives_yaml(tmp_path: Path) -> None:
    for name in ("spotlight", "fnet", "spotlight-sharp", "spotlight-2025", "fnet-2018"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(protocol(name).to_yaml())
        assert Experiment.from_yaml(path) == protocol(name)
    path.write_text("training: {stepz: 3}")
    with pytest.raises(SpotlightError, match=r"unknown setting 'training\.stepz'; did you mean 'steps'"):
        Experiment.from_yaml(path)


def test_precision_follows_the_processor() -> None:
    assert choose_precision("float32", torch.device("cpu")) == "float32"
    expected = "bf16" if "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8") else "float32"
    assert choose_precision("auto", torch.device("cpu")) == expected
    assert TrainingSettings().precision == "auto"
