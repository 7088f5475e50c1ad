"""Runs of training: parts and processes, averages, fine-tuning, early ends, and what is said of them."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from command_line import run_command
from conftest import TINY
from spotlight import SpotlightError, load_model
from spotlight.images import Stack
from spotlight.losses import MseSettings, SpotlightLossSettings
from spotlight.model import read_description
from spotlight.pairs import read_manifest, read_pairs
from spotlight.report import write_training_page
from spotlight.training import Experiment, explain, protocol, train
from spotlight.training.settings import TrainingSettings


def change(experiment: Experiment, **training: object) -> Experiment:
    values = experiment.model_dump()
    values["training"] |= training
    return Experiment.parse(values, "test")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


SHARED_RUNS = """
from spotlight.errors import SpotlightError
from spotlight.training import Experiment, train
for name in ("uneven", "two"):
    try:
        train({manifest!r}, name, Experiment.from_yaml(name + ".yaml"), cache="cache")
    except SpotlightError as error:
        print(name, error)
"""
SHARED = {"batch_size": 4, "steps": 3, "validate_every": 3, "checkpoint_every": 3, "learning_rate": 1e-12}
SMOOTH = {"loss": MseSettings()}  # the soft threshold is so steep that other rounding gives other gradients


@pytest.fixture(scope="module")
def shared_runs(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Folder of the runs of two processes, which are started once for all, and the lines that they print."""
    folder = tmp_path_factory.mktemp("shared")
    for name, changed in (("uneven", {"batch_size": 3}), ("two", SHARED)):
        (folder / f"{name}.yaml").write_text(change(TINY, **changed).model_copy(update=SMOOTH).to_yaml())
    (folder / "run.py").write_text(SHARED_RUNS.format(manifest=str(manifest)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "run.py"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout.splitlines()


def test_two_processes_give_what_one_gives_in_two_parts(
    manifest: Path, shared_runs: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """Batch normalisation sees the same patches in both, so that the gradients agree: their means over the steps, with
    weights that stay, since Adam makes steps of full length of gradients that are mere rounding."""
    one = train(manifest, tmp_path / "one", change(TINY, micro_batches=2, **SHARED).model_copy(update=SMOOTH))
    two = shared_runs[0] / "two"
    assert read_description(two).training["processes"] == 2
    assert len(list((shared_runs[0] / "cache").glob("*.prepared"))) == 3
    logs = [pd.read_csv(folder / "training" / "log.csv") for folder in (one, two)]
    assert logs[0]["step"].tolist() == logs[1]["step"].tolist()
    states = [torch.load(f / "training" / "last.ckpt", weights_only=True)["optimizer_states"][0] for f in (one, two)]
    for (_, alone), (_, together) in zip(*(state["state"].items() for state in states), strict=True):
        a, b = alone["exp_avg"], together["exp_avg"]
        assert (a - b).norm() < 0.03 * a.norm() + 1e-5 * a.numel() ** 0.5  # other patches would differ by their noise
    assert logs[1]["validation_loss"].dropna().tolist() == pytest.approx(logs[0]["validation_loss"].dropna(), rel=1e-2)


def test_a_batch_that_processes_cannot_share(shared_runs: tuple[Path, list[str]]) -> None:
    folder, said = shared_runs
    assert len(said) == 2
    assert all(line.startswith("uneven a batch of 3 patches cannot be shared by 2 processes") for line in said)
    assert not (folder / "uneven").exists()


@pytest.mark.slow
def test_parts_of_a_batch_are_one_step(manifest: Path, tmp_path: Path) -> None:
    folder = train(manifest, tmp_path / "parts", change(TINY, batch_size=4, micro_batches=2, steps=8))
    log = pd.read_csv(folder / "training" / "log.csv")
    assert log["step"].tolist() == [4, 8]
    state = torch.load(folder / "training" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 8
    assert {int(s["step"]) for s in state["optimizer_states"][0]["state"].values()} == {8}


def test_that_slurm_is_installed_is_nothing_to_warn_of(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert read_description(train(manifest, tmp_path / "run", change(TINY, steps=2))).training["processes"] == 1


@pytest.mark.slow
def test_what_fits_into_memory_is_found_said_and_kept(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("spotlight.training.plan.memory_to_use", lambda _: (70 * 2**20, "70 MiB may be used"))
    experiment = change(TINY, batch_size=4, steps=2)
    folder = train(manifest, tmp_path / "m", experiment)
    assert "divided into 2 micro-batches" in caplog.text
    assert read_description(folder).training["settings"]["training"]["micro_batches"] == 2
    monkeypatch.undo()  # with more memory, the run goes on as it was begun
    assert train(manifest, tmp_path / "m", experiment) == folder
    with pytest.raises(SpotlightError, match="cannot be cut into 3 equal micro-batches"):
        change(TINY, batch_size=4, micro_batches=3)


def test_out_of_memory_says_what_would_fit(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object) -> None:
        torch.empty(2**60)  # the allocator's own complaint

    monkeypatch.setattr("spotlight.training.engine.StainModule.training_step", too_large)
    with pytest.raises(SpotlightError, match=r"out of memory: a step of 2 patches .* enough for \d+"):
        train(manifest, tmp_path / "m", TINY)


@pytest.mark.slow
def test_the_running_average_is_that_of_the_weights(manifest: Path, tmp_path: Path) -> None:
    experiment = change(TINY, ema=0.5, steps=3, validate_every=3, checkpoint_every=1)
    folder = train(manifest, tmp_path / "average", experiment)
    steps = [train(manifest, tmp_path / f"{n}", change(TINY, steps=n, validate_every=n)) for n in (1, 2, 3)]
    one, two, three = (weights(step)["head.weight"] for step in steps)
    torch.testing.assert_close(weights(folder)["head.weight"], 0.25 * one + 0.25 * two + 0.5 * three)


@pytest.mark.slow
def test_a_run_ends_early_where_nothing_gets_better(manifest: Path, tmp_path: Path) -> None:
    stuck = change(TINY, learning_rate=1e-9, steps=400, validate_every=2, patience=2, choose_by="foreground_pearson")
    folder = train(manifest, tmp_path / "m", stuck)
    log = pd.read_csv(folder / "training" / "log.csv").dropna(subset="validation_loss")
    scores = log["validation_foreground_pearson"].to_numpy()
    assert len(scores) < 200
    best = read_description(folder).training["best"]
    assert best["foreground_pearson"] == pytest.approx(scores.max(), rel=1e-4)
    assert log["step"].iloc[-1] == best["step"] + 4
    assert train(manifest, folder, stuck) == folder


@pytest.mark.parametrize(("frozen", "moved"), [("encoder", {"ups", "decoders", "head"}), ("all but head", {"head"})])
@pytest.mark.slow
def test_fine_tuning_begins_from_a_model_and_keeps_what_is_frozen(
    manifest: Path, model_folder: Path, tmp_path: Path, frozen: str, moved: set[str]
) -> None:
    other = change(TINY, finetune=model_folder, frozen=frozen, steps=2, validate_every=2)
    other = other.model_copy(update={"network": other.network.model_copy(update={"mult_chan": 16})})
    folder = train(manifest, tmp_path / "m", other)
    before, after = weights(model_folder), weights(folder)
    assert read_description(folder).network == read_description(model_folder).network
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == moved
    assert load_model(folder).predict(manifest.parent / "field-03.ome.tif", channel="Brightfield").shape


@pytest.mark.slow
def test_fine_tuning_with_other_weights_is_another_run(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    train(manifest, base, change(TINY, steps=1, validate_every=1))
    tuned = change(TINY, finetune=base, steps=2, validate_every=2)
    train(manifest, tmp_path / "m", tuned)
    train(manifest, base, change(TINY, steps=2, validate_every=1), overwrite=True)
    with pytest.raises(SpotlightError, match="differs in the data"):
        train(manifest, tmp_path / "m", tuned)
    with pytest.raises(SpotlightError, match="no such file"):
        train(manifest, tmp_path / "n", change(TINY, finetune=tmp_path / "nothing"))
    with pytest.raises(SpotlightError, match="name a model by finetune"):
        change(TINY, frozen="encoder")


@pytest.mark.parametrize("instances", ["cc-dice", "blob"])
@pytest.mark.slow
def test_losses_that_count_nuclei_are_trained_with_and_without_a_cache(
    manifest: Path, tmp_path: Path, instances: str
) -> None:
    loss = SpotlightLossSettings(instances=instances, reading="smooth", k_start=-0.5)  # type: ignore[arg-type]
    experiment = change(TINY, steps=4).model_copy(update={"loss": loss})
    plain = train(manifest, tmp_path / "plain", experiment)
    cached = train(manifest, tmp_path / "cached", experiment, cache=tmp_path / "cache")
    assert all(torch.equal(value, weights(cached)[name]) for name, value in weights(plain).items())
    assert pd.read_csv(plain / "training" / "log.csv")["instances"].between(0, 1).all()


def test_a_preview_shows_input_target_and_stain(model_folder: Path) -> None:
    picture = np.asarray(Image.open(model_folder / "training" / "preview.png"))
    assert picture.shape == (64 + 4 + 32, 3 * 64 + 2 * 4)
    assert (picture[:, 64:68] == 255).all()
    assert picture[:64, :64].std() > 10
    on_the_way = sorted((model_folder / "training" / "previews").iterdir())
    assert [int(path.stem) for path in on_the_way] == [4, 8, 12]
    with Image.open(on_the_way[0]) as first:
        assert first.size == picture.shape[::-1]


def test_the_page_of_a_run(model_folder: Path) -> None:
    page = write_training_page(model_folder).read_text()
    best = read_description(model_folder).training["best"]["step"]
    assert f"Kept are the weights of step {best}, with loss" in page
    steps = [step for step, _ in json.loads(re.search(r'id="previews">(.*?)</script>', page)[1])]
    assert steps == [4, 8, 12]
    assert page.count("<figure>") == 4  # loss, its two parts, and the correlation
    assert not re.search(r"(src|href)=.(https?:|/)", page)
    assert "field-00, field-01" in page
    assert re.search(r"<td>duration</td><td>\d+ s for [\d,]+ steps</td>", page)
    assert re.search(r"<td>hardware</td><td>.+</td>", page)
    assert "input: Brightfield" in page
    assert re.search(r'<li class="(bad|doubt|good)">', page)
    with pytest.raises(SpotlightError, match="no such file"):
        write_training_page(model_folder / "training")


def test_explaining_reads_headers_only_and_says_the_published_numbers(manifest: Path, tmp_path: Path) -> None:
    before = sorted(manifest.parent.iterdir())
    text = explain(manifest, protocol("spotlight-2025"))
    for fact in ("23,280,769 weights", "50,000 steps, 1,200,000 patches", "at least 132 foreground", "2.2e+17 FLOP"):
        assert fact in text
    assert "2 pairs (field-00, field-01) to learn from" in text
    assert "named by the manifest" in text
    assert sorted(manifest.parent.iterdir()) == before
    settings = text.split("All settings\n")[1]
    assert Experiment.parse(yaml.safe_load(settings), "explained") == protocol("spotlight-2025")
    assert "mean squared error over all voxels" in explain(manifest, protocol("fnet-2018"))


def test_explaining_a_pair_that_is_listed_twice_speaks_of_fields() -> None:
    light, dna = np.random.default_rng(0).random((2, 8, 16, 16), np.float32)
    pair = tuple(Stack(image, "ZYX", (0.29, 0.29, 0.29)) for image in (light, dna))
    text = explain([pair, pair], protocol("fnet"))
    assert "2 pairs show 1 field: pairs with the same input are one field" in text
    assert "Is a pair listed twice?" in text
    assert "stains" not in text.split("Preparation")[0]


PUBLISHED = {"steps": 50_000, "batch_size": 24, "learning_rate": 1e-3, "betas": (0.5, 0.999), "schedule": "constant"}


@pytest.mark.parametrize(
    ("name", "center", "least", "loss"),
    [
        ("spotlight-2025", "threshold", 0.001, SpotlightLossSettings(weight=0.5, k=-0.95)),
        ("fnet-2018", "mean", 0.0, MseSettings()),
    ],
)
def test_the_published_protocols_are_to_the_letter(name: str, center: str, least: float, loss: object) -> None:
    found = protocol(name)
    assert found.training == TrainingSettings(**PUBLISHED, ema=0, warmup=0, patience=0)  # type: ignore[arg-type]
    assert (found.network.depth, found.network.mult_chan, found.network.init) == (4, 32, "fnet")
    assert (found.preparation.grid, found.preparation.target_center) == (0.29, center)
    assert (found.patches.least_foreground, found.patches.augment) == (least, False)
    assert found.loss == loss
    assert not found.flatten_background


@pytest.mark.slow
def test_an_ensemble_and_an_explanation_on_the_command_line(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(change(TINY, steps=2, validate_every=2).to_yaml())
    command = ["train", str(manifest), "--to", "m", "--settings", "e.yaml", "--seeds", "2"]
    explained = run_command(*command, "--explain", cwd=tmp_path)
    assert explained.returncode == 0
    assert "2 pairs (field-00, field-01)" in explained.stdout
    assert not (tmp_path / "m").exists()
    done = run_command(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    seeds = [read_description(tmp_path / "m" / f"seed-{n}").training["settings"]["training"]["seed"] for n in (0, 1)]
    assert seeds == [0, 1]
    assert (tmp_path / "m" / "seed-1" / "training.html").exists()
    both = run_command(*command, "--seed", "3", cwd=tmp_path)
    assert both.returncode == 2
    assert "give one of them" in both.stderr


@pytest.mark.slow
def test_arrays_train_as_their_files_do(manifest: Path, tmp_path: Path) -> None:
    """The same weights as from files; the folder records the digest of the arrays, by which evaluations know them."""
    stacks = [tuple(map(np.asarray, pair.read_both())) for pair in read_manifest(manifest)]
    size = read_manifest(manifest)[0].read_input().voxel_size
    quick = change(TINY, steps=3, validate_every=3)
    arrays = stacks[:3]
    folder = train(arrays, tmp_path / "arrays", quick, voxel_size=size)
    files = train([replace(pair, split="") for pair in read_manifest(manifest)[:3]], tmp_path / "files", quick)
    for name, weight in weights(files).items():
        assert torch.equal(weights(folder)[name], weight)
    data = read_description(folder).training["data"]
    recorded = {row["name"]: row["digest"] for part in ("train", "validation") for row in data[part]}
    assert recorded == {pair.name: pair.digest() for pair in read_pairs(arrays, voxel_size=size)}

    before = (folder / "model.yaml").stat().st_mtime_ns
    cached = train(arrays, tmp_path / "cached", quick, voxel_size=size, cache=tmp_path / "cache")
    assert torch.equal(weights(cached)["head.weight"], weights(folder)["head.weight"])
    train(arrays, folder, quick, voxel_size=size)  # the same run: nothing to do
    assert (folder / "model.yaml").stat().st_mtime_ns == before
    with pytest.raises(SpotlightError, match="a run that differs in the data"):
        train([(image, target + 1) for image, target in arrays], folder, quick, voxel_size=size)


def test_one_seed_or_several() -> None:
    for given in ({"seeds": 0}, {"seeds": 2, "seed": 1}):
        with pytest.raises(SpotlightError, match=rf"Give one of them. Received: seeds={given['seeds']}"):
            train("nowhere.csv", "nowhere", TINY, **given)  # type: ignore[arg-type]


@pytest.mark.slow
def test_an_ensemble_is_its_members(manifest: Path, tmp_path: Path) -> None:
    quick, works = change(TINY, steps=2, validate_every=2), set()
    folder = train(
        manifest, tmp_path / "both", quick, seeds=2, progress=lambda work, *_: works.add(work.partition(":")[0])
    )
    assert sorted(path.name for path in folder.iterdir()) == ["seed-0", "seed-1"]
    assert works == {"seed 0", "seed 1"}
    assert len(load_model(folder).networks) == 2
    alone = weights(train(manifest, tmp_path / "one", quick, seed=1))
    assert all(torch.equal(weights(folder / "seed-1")[name], weight) for name, weight in alone.items())
    with pytest.raises(SpotlightError, match="holds a single model. Write the ensemble to another folder"):
        train(manifest, tmp_path / "one", quick, seeds=2)
