"""Several input channels: how a model finds them in files, and what it makes of them."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from command_line import run_command
from conftest import change
from several_channels import EXPERIMENT, FAST, NAMES, PIXELS, SIZE, field, pearson, write
from spotlight import SpotlightError, evaluate, load_model, read
from spotlight.images import Stack
from spotlight.model import ModelDescription, make_network, read_description, save_model
from spotlight.networks import FNetSettings
from spotlight.pairs import Pair, prepare_pair, read_manifest
from spotlight.pairs.manifest import write_manifest
from spotlight.prediction import Model, PredictionSettings, StainOptions, find_parts, stain_files
from spotlight.prediction.tasks import PreparedStack, RunSpec, begin, compute_layer, finish
from spotlight.report import write_report


@pytest.fixture(scope="module")
def model(two_channel_model: Path) -> Model:
    return load_model(two_channel_model)


def test_channels_are_found_by_name_wherever_they_are(model: Model, tmp_path: Path) -> None:
    usual, swapped = write(tmp_path / "a", 9), write(tmp_path / "b", 9, ("DNA", "Phase", "Brightfield"))
    stain = model.predict(usual, settings=FAST)
    assert stain.axes == "YX"
    assert stain.channels == ("DNA (virtual)",)
    np.testing.assert_array_equal(model.predict(swapped, settings=FAST).data, stain.data)
    for stated in (NAMES[:2], ("Phase", "Brightfield"), "Brightfield;Phase", ("#0", "#1"), (0, 1)):
        np.testing.assert_array_equal(model.predict(usual, channel=stated, settings=FAST).data, stain.data)
    array = read(usual).data[:2]
    np.testing.assert_array_equal(model.predict(array, voxel_size=SIZE, settings=FAST).data, stain.data)


def test_what_the_user_states_wins(model: Model, tmp_path: Path) -> None:
    images = field(9)
    renamed = Stack(np.stack([images["Phase"], images["Brightfield"]]), "CYX", SIZE, ("PC", "BF"))
    with pytest.raises(
        SpotlightError, match=r"takes 2 channels: 'Brightfield', 'Phase'\. Found: 'PC', 'BF'.*--channel"
    ):
        model.predict(renamed)
    stain = model.predict(renamed, channel=("BF", "PC"), settings=FAST)
    np.testing.assert_array_equal(stain.data, model.predict(write(tmp_path, 9), settings=FAST).data)
    other = model.predict(renamed, channel=("PC", "BF"), settings=FAST)
    assert not np.array_equal(other.data, stain.data)


def test_missing_channels_are_asked_for(model: Model) -> None:
    images = field(9)
    for image, stated, found in (
        (Stack(images["Phase"], "YX", SIZE, ("Phase",)), None, "Found: 'Phase'"),
        (Stack(np.stack(list(images.values())), "CYX", SIZE), None, r"Found: CYX \(3, 64, 64\) without names"),
        (Stack(np.stack(list(images.values())), "CYX", SIZE, NAMES), "Phase", "Received: 'Phase'"),
    ):
        with pytest.raises(SpotlightError, match=f"takes 2 channels.*{found}.*in that order"):
            model.predict(image, channel=stated)
    with pytest.raises(SpotlightError, match="no channel 'GFP'"):
        model.predict(Stack(np.stack(list(images.values())), "CYX", SIZE, NAMES), channel=("Phase", "GFP"))
    with pytest.raises(SpotlightError, match=r"axes 'CYX' for shape \(64, 64\)"):
        model.predict(images["Phase"], voxel_size=SIZE)


def test_tiles_give_what_the_whole_gives(model: Model, tmp_path: Path) -> None:
    new = write(tmp_path, 9)
    whole = model.predict(new, settings=PredictionSettings(precision="float32", tile=(64, 64)))
    tiles = PredictionSettings(precision="float32", tile=(32, 32), overlap="exact")
    np.testing.assert_allclose(model.predict(new, settings=tiles).data, whole.data, rtol=1e-4)


def test_files_are_stained_and_kept(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = write(tmp_path, 9)
    options = StainOptions(settings=FAST)
    parts = find_parts([new])
    (made,) = stain_files(model, parts, tmp_path / "stains", options)
    assert made.state == "made"
    whole = model.predict(new, settings=FAST)
    np.testing.assert_array_equal(read(made.path).data, whole.data)
    assert stain_files(model, parts, tmp_path / "stains", options)[0].state == "kept"
    monkeypatch.setattr("spotlight.prediction.files.SLAB_VOXELS", 1000)  # as a stack larger than memory
    (large,) = stain_files(model, parts, tmp_path / "large", options)
    np.testing.assert_array_equal(read(large.path).data, whole.data)


def test_workers_that_share_a_large_stack_give_the_same(
    two_channel_model: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, path = write(tmp_path, 9), tmp_path / "stain.ome.tif"
    monkeypatch.setattr("spotlight.prediction.files.SLAB_VOXELS", 1000)
    order = RunSpec(
        two_channel_model, model.digest, new, StainOptions(settings=FAST.model_copy(update={"tile": (64, 32)}))
    )
    (part,) = find_parts([new])
    begun = begin(order, part, path)
    assert isinstance(begun, PreparedStack)
    assert begun.layers > 1
    for number in range(begun.layers):
        assert compute_layer(order, part, path, begun, number) is None
    finish(order, part, path, begun)
    np.testing.assert_array_equal(read(path).data, model.predict(new, settings=order.options.settings).data)


@pytest.mark.slow
def test_a_model_is_judged_with_all_its_channels(
    two_channel_model: Path, two_channels: list[Pair], tmp_path: Path
) -> None:
    file = write(tmp_path, 9, ("Phase", "DNA", "Brightfield"))
    judged = replace(two_channels[0], name="new", input=file, target=file, split="test")
    scores = evaluate([judged], two_channel_model, tmp_path / "evaluation", workers=1).scores
    assert scores["pearson"].max() == pytest.approx(
        pearson(load_model(two_channel_model).predict(file), field(9)["DNA"]), abs=1e-3
    )
    assert write_report(tmp_path / "evaluation").exists()


@pytest.mark.slow
def test_the_command_line_names_several_channels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(2):
        write(tmp_path / "fields", number)
    settings = tmp_path / "experiment.yaml"
    settings.write_text(change(EXPERIMENT, steps=2, validate_every=2).to_yaml())
    both = ("--input-channel", "Brightfield", "--input-channel", "Phase", "--target-channel", "DNA")
    done = run_command("train", tmp_path / "fields", "--settings", settings, *both, "--to", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert read_description(tmp_path / "model").input.names == NAMES[:2]
    new = write(tmp_path, 9)
    assert run_command("predict", tmp_path / "model", new, "--to", tmp_path / "stains").returncode == 0
    stated = run_command(
        "predict", tmp_path / "model", new, "--to", tmp_path / "stated", "--channel", "0", "--channel", "1"
    )
    assert stated.returncode == 0, stated.stderr
    stains = [read(tmp_path / to / "field-9-stain.ome.tif").data for to in ("stains", "stated")]
    np.testing.assert_array_equal(*stains)
    refused = run_command("predict", tmp_path / "model", new, "--to", tmp_path / "none", "--channel", "Phase")
    assert refused.returncode == 2
    assert "takes 2 channels: 'Brightfield', 'Phase'" in caplog.text


def test_each_channel_that_is_unlike_the_training_is_named(model: Model) -> None:
    images = field(9)
    images["Phase"] = np.where(np.indices((PIXELS, PIXELS))[0] % 8 < 4, 60000, 100).astype(np.uint16)
    stack = model.accept(Stack(np.stack(list(images.values())), "CYX", SIZE, NAMES))
    _, facts = model.stain(stack, FAST)
    assert facts["doubts"]
    assert all(doubt.startswith("in the channel Phase ") for doubt in facts["doubts"])


def test_channels_may_be_in_files_of_their_own(two_channels: list[Pair], model: Model, tmp_path: Path) -> None:
    for name, image in field(0).items():
        Stack(image, "YX", SIZE, ("own",)).save(tmp_path / f"{name}.tif")
    path = tmp_path / "manifest.csv"
    path.write_text("input,input:Phase,target,target_channel\nBrightfield.tif,Phase.tif,DNA.tif,\n")
    (pair,) = read_manifest(path)
    assert pair.in_channels == 2
    assert pair.read_input().channels == ("own", "Phase")
    np.testing.assert_array_equal(
        prepare_pair(pair, EXPERIMENT.preparation).input, prepare_pair(two_channels[0], EXPERIMENT.preparation).input
    )
    assert len(pair.files()) == 3
    assert read_manifest(write_manifest([pair], tmp_path / "again.csv")) == [pair]
    (part,) = find_parts([path])
    (made,) = stain_files(model, [part], tmp_path / "stains", StainOptions(settings=FAST))
    np.testing.assert_array_equal(read(made.path).data, model.predict(two_channels[0].input, settings=FAST).data)
    assert len(made.path.with_name(f"{made.path.name}.json").read_text().split("stamp")) == 3
    before = pair.digest(), pair.fingerprints()
    Stack(field(1)["Phase"], "YX", SIZE).save(tmp_path / "Phase.tif")
    assert (pair.digest(), pair.fingerprints()) != before
    for header, match in (
        ("input,input:,target", "needs the name of a channel, for example input:phase"),
        ("input,input_channel:Phase,target", "has input_channel:Phase but no input:Phase"),
    ):
        path.write_text(f"{header}\nBrightfield.tif,Phase.tif,DNA.tif\n")
        with pytest.raises(SpotlightError, match=match):
            read_manifest(path)
    path.write_text("input,input:Phase,target\nBrightfield.tif,,DNA.tif\n")
    with pytest.raises(SpotlightError, match="input:Phase is empty"):
        read_manifest(path)


def test_a_newer_format_is_for_newer_versions(two_channel_model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(two_channel_model, tmp_path / "copy"))
    path = copy / "model.yaml"
    path.write_text(path.read_text().replace("format: 2", "format: 3"))
    with pytest.raises(SpotlightError, match="has format 3"):
        load_model(copy)


def test_a_model_without_a_list_has_one_channel(model: Model, tmp_path: Path) -> None:
    """What versions before wrote."""
    first = model.description.input.model_copy(update={"further_channels": ()})
    network = make_network(FNetSettings(depth=1, mult_chan=4), 2)
    values = model.description.model_copy(update={"input": first, "format": 1}).model_dump(mode="json")
    del values["input"]["further_channels"]
    saved = save_model(tmp_path / "old", ModelDescription.parse(values, "old"), network)
    assert load_model(saved).description.input.names == ("Brightfield",)
