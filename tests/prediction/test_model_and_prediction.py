"""The model folder keeps what it promises, and refuses what it can tell is wrong."""

import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from conftest import TINY
from spotlight import SpotlightError, load_model, read
from spotlight.images import Stack
from spotlight.model import InputDescription, TargetDescription, read_description, save_model
from spotlight.pairs import prepare_pair, read_manifest
from spotlight.prediction import Model, PredictionSettings, StainOptions, find_parts, stain_files
from spotlight.prediction.acceptance import require_extent


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Model:
    return load_model(model_folder)


@pytest.fixture(scope="module")
def image(manifest: Path) -> Stack:
    return read_manifest(manifest)[-1].read_input()


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


def test_a_stain_is_on_the_inputs_grid_with_its_facts(model: Model, manifest: Path, tmp_path: Path) -> None:
    pair = read_manifest(manifest)[-1]
    stain = model.predict(pair.input)  # the channel is found by the name it had in training
    assert (stain.axes, stain.shape, stain.voxel_size) == ("ZYX", (32, 64, 64), (0.29,) * 3)
    assert stain.data.dtype == np.float32
    assert stain.channels == ("DNA (virtual)",)
    saved = read(stain.save(tmp_path / "stain.ome.tif"))
    assert saved.channels == ("DNA (virtual)",)
    np.testing.assert_array_equal(saved.data, stain.data)


@pytest.mark.slow
def test_path_stack_and_array_give_the_same(model: Model, manifest: Path, image: Stack) -> None:
    from_path = model.predict(read_manifest(manifest)[-1].input)
    np.testing.assert_array_equal(model.predict(image), from_path)
    stated = model.predict(image.data, voxel_size=image.voxel_size)
    np.testing.assert_array_equal(stated, from_path)
    turned = model.predict(np.moveaxis(image.data, 0, 2), axes="YXZ", voxel_size=image.voxel_size)
    np.testing.assert_array_equal(turned, from_path)
    with pytest.warns(FutureWarning, match="From version 0.3 on it must be stated") as warned:
        np.testing.assert_array_equal(model.predict(image.data), from_path)
    assert warned[0].filename == __file__


@pytest.mark.slow
def test_intensities_are_the_affine_map_of_normalised_values(model: Model, image: Stack) -> None:
    target = model.description.target
    normalised = model.predict(image, normalised=True).data
    (low, high), (bottom, top) = target.normalised_range, target.intensity_range
    expected = bottom + (normalised - low) / (high - low) * (top - bottom)
    np.testing.assert_allclose(model.predict(image).data, expected, rtol=1e-4)
    assert TargetDescription(center="mean", normalised_range=(-1, 3), intensity_range=(100, 500)).to_intensity(
        np.array([-1.0, 3.0, 0.0])
    ).tolist() == [100, 500, 200]


@pytest.mark.slow
def test_a_flat_background_has_the_training_targets_level(model: Model, image: Stack, manifest: Path) -> None:
    free = model.predict(image, normalised=True, flatten=False).data
    flat = model.predict(image, normalised=True, flatten=True).data
    targets = [prepare_pair(pair, TINY.preparation) for pair in read_manifest(manifest)[:2]]
    level = np.float32(np.mean([np.median(p.target[p.target < 0]) for p in targets]))
    np.testing.assert_array_equal(flat, np.where(free >= 0, free, level))
    assert not model.description.target.flatten
    np.testing.assert_array_equal(model.predict(image, normalised=True).data, free)


def test_a_model_without_a_threshold_cannot_flatten() -> None:
    target = TargetDescription(center="mean", normalised_range=(0, 1), intensity_range=(0, 1))
    with pytest.raises(SpotlightError, match="records no foreground threshold"):
        target.flattened(np.zeros((2, 2), np.float32))


@pytest.mark.slow
def test_tiles_agree_with_the_whole_where_their_context_is_the_same(model: Model, image: Stack) -> None:
    whole = model.predict(image, normalised=True).data
    tiles = PredictionSettings(tile=(32, 48, 48), overlap=(0, 40, 40))
    tiled = model.predict(image, normalised=True, settings=tiles).data
    assert np.abs(tiled - whole).mean() < 0.1 * whole.std()


def test_bf16_is_close(model: Model, image: Stack) -> None:
    exact = model.predict(image, normalised=True, settings=PredictionSettings(precision="float32")).data
    half = model.predict(image, normalised=True, settings=PredictionSettings(precision="bf16")).data
    assert np.sqrt(np.mean((half - exact) ** 2)) < 0.02 * exact.std()


@pytest.mark.parametrize("shape", [(16, 16, 16), (17, 33, 70), (48, 20, 31)])
def test_any_size_from_the_least_on(model: Model, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(1000, 50, shape)
    assert model.predict(image, voxel_size=(0.29,) * 3).shape == shape


def test_other_voxel_sizes_within_tolerance_are_resampled(model: Model, image: Stack) -> None:
    stain = model.predict(replace(image, voxel_size=(0.31, 0.27, 0.27)))
    assert stain.shape == image.shape
    assert stain.voxel_size == (0.31, 0.27, 0.27)


@pytest.mark.slow
def test_inputs_that_the_model_was_not_made_for(model: Model, image: Stack) -> None:
    coarse = replace(image, voxel_size=(0.29, 0.65, 0.65))
    with pytest.raises(SpotlightError, match=r"voxels of 0.29 x 0.65 x 0.65 µm.*trained on 0.29 x 0.29 x 0.29"):
        model.predict(coarse)
    assert model.predict(coarse, any_voxel_size=True).shape == image.shape
    with pytest.raises(SpotlightError, match="no voxel size"):
        model.predict(replace(image, voxel_size=None))
    with pytest.raises(SpotlightError, match="has axes YX .* stains ZYX"):
        model.predict(Stack(image.data[0], "YX", (0.29, 0.29)))
    with pytest.raises(SpotlightError, match="too thin: 3 voxels along Z"):
        model.predict(image.crop((slice(0, 3), slice(None), slice(None))))
    with pytest.raises(SpotlightError, match="is constant"):
        model.predict(replace(image, array=np.ones((32, 32, 32))))
    with pytest.raises(SpotlightError, match="NaN"):
        model.predict(replace(image, array=np.where(np.arange(32) == 5, np.nan, image.data[:, :, :32])))
    with pytest.raises(SpotlightError, match="has 2 channels"):
        model.predict(Stack(np.stack([image.data] * 2), "CZYX", (0.29,) * 3))
    with pytest.raises(SpotlightError, match="no channel 'GFP'"):
        model.predict(image, channel="GFP")
    with pytest.raises(SpotlightError, match="tile must be 3 numbers"):
        model.predict(image, settings=PredictionSettings(tile=(64, 64)))
    with pytest.raises(SpotlightError, match="scene='A' chooses an image of a file"):
        model.predict(image, scene="A")
    with pytest.raises(SpotlightError, match="device 'tpu'"):
        model.predict(image, settings=PredictionSettings(device="tpu"))


def test_a_folder_says_all_that_a_prediction_depends_on(model_folder: Path) -> None:
    description = read_description(model_folder)
    assert description.input.channel == "Brightfield"
    assert description.target.channel == "DNA"
    assert description.input.voxel_size == ((0.29, 0.29),) * 3
    assert description.training["settings"]["loss"]["kind"] == "spotlight"
    stacks = description.training["data"]["train"]
    assert [stack["name"] for stack in stacks] == ["field-00", "field-01"]
    assert len({stack["digest"] for stack in stacks}) == 2
    assert description.versions["torch"] == torch.__version__


def edit(folder: Path, **changes: object) -> None:
    path = folder / "model.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def test_damaged_folders(copy: Path, tmp_path: Path) -> None:
    edit(copy, format=99)
    with pytest.raises(SpotlightError, match=r"format 99.*pip install --upgrade"):
        load_model(copy)
    edit(copy, format=1, networc={})
    with pytest.raises(SpotlightError, match="unknown setting 'networc'; did you mean 'network'"):
        load_model(copy)
    (copy / "model.yaml").write_text("a: [")
    with pytest.raises(SpotlightError, match="not valid YAML"):
        load_model(copy)
    (copy / "model.yaml").unlink()
    with pytest.raises(SpotlightError, match="training has not finished"):
        load_model(copy)
    with pytest.raises(SpotlightError, match="give a model folder"):
        load_model(tmp_path)


def test_damaged_weights(copy: Path) -> None:
    weights = copy / "weights.safetensors"
    content = weights.read_bytes()
    for broken in (content[:1000], b"", b"\x00" * 100, content[:-4]):
        weights.write_bytes(broken)
        with pytest.raises(SpotlightError, match="weights cannot be loaded"):
            load_model(copy)
    weights.unlink()
    with pytest.raises(SpotlightError, match=r"weights\.safetensors: no such file.* Copy the whole model folder"):
        load_model(copy)


def spoil(folder: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change a tensor of a model folder in which no hash is recorded, as in those of older versions."""
    edit(folder, weights_sha256="")
    state = load_file(folder / "weights.safetensors")
    save_file(state | {name: change(state[name]).contiguous()}, folder / "weights.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_weight_that_is_not_finite(copy: Path, value: float) -> None:
    spoil(copy, "head.weight", lambda weight: weight.flatten().index_fill(0, torch.tensor(3), value).view_as(weight))
    with pytest.raises(SpotlightError, match=r"cannot be loaded \(head\.weight has values that are not finite\)"):
        load_model(copy)


def test_variances_and_types_that_cannot_be(copy: Path) -> None:
    name = next(name for name in load_file(copy / "weights.safetensors") if name.endswith("running_var"))
    for change, message in (
        (lambda variance: -variance, "negative variances"),
        (torch.Tensor.half, "has type torch.float16, but the network needs torch.float32"),
        (torch.Tensor.int, "has type torch.int32"),
    ):
        spoil(copy, name, change)
        with pytest.raises(SpotlightError, match=message):
            load_model(copy)


def test_weights_that_the_description_does_not_mean(copy: Path, model: Model) -> None:
    assert read_description(copy).weights_sha256 == sha256((copy / "weights.safetensors").read_bytes()).hexdigest()
    text = (copy / "model.yaml").read_text()
    spoil(copy, "head.weight", lambda weight: weight * 2)
    load_model(copy)
    (copy / "model.yaml").write_text(text)
    with pytest.raises(SpotlightError, match=r"SHA-256 is .*, but model\.yaml states"):
        load_model(copy)
    values = yaml.safe_load(text)
    del values["weights_sha256"]
    (copy / "model.yaml").write_text(yaml.safe_dump(values))
    load_model(copy)


@pytest.mark.slow
def test_a_stain_that_is_not_finite_is_not_written(model: Model, image: Stack, manifest: Path, tmp_path: Path) -> None:
    """Weights that are finite, but so large that what follows from them is not."""
    network = deepcopy(model.networks[0])
    with torch.no_grad():
        network.head.weight.fill_(3e38)
    wild = Model(model.description, network, "wild")
    with pytest.raises(SpotlightError, match="model wild gives values that are not finite"):
        wild.predict(image)
    (result,) = stain_files(wild, find_parts([manifest], split="test"), tmp_path / "out", StainOptions())
    assert "not finite" in result.reason
    assert not list((tmp_path / "out").glob("*.tif"))


def test_weights_that_are_not_finite_are_not_written(model: Model, tmp_path: Path) -> None:
    network = deepcopy(model.networks[0])
    with torch.no_grad():
        network.head.bias.fill_(float("nan"))
    with pytest.raises(SpotlightError, match=r"was not written, because head\.bias has values that are not finite"):
        save_model(tmp_path / "model", model.description, network)
    assert not list(tmp_path.rglob("*.*"))


def test_weights_of_another_network(copy: Path) -> None:
    edit(copy, network={"depth": 3, "mult_chan": 4})
    with pytest.raises(SpotlightError, match="weights cannot be loaded"):
        load_model(copy)


@pytest.mark.slow
def test_a_flat_background_is_flat_after_resampling_too(model: Model, image: Stack) -> None:
    target = model.description.target
    coarse = replace(image, voxel_size=(0.31, 0.31, 0.31))
    values = model.predict(coarse, normalised=True, flatten=True).data
    assert target.threshold is not None
    low = values[values < target.threshold]
    assert low.size == 0 or np.ptp(low) == 0


@pytest.mark.slow
def test_another_name_than_in_training_has_to_be_confirmed(model: Model, image: Stack) -> None:
    other = replace(image, channels=("DIC",))
    with pytest.raises(SpotlightError, match="named 'DIC', but model tiny was trained on 'Brightfield'"):
        model.predict(other)
    np.testing.assert_array_equal(model.predict(other, channel="DIC").data, model.predict(image).data)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_weights_on_a_full_disk(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spotlight import files
    from spotlight.weights import save_weights

    monkeypatch.setattr(files.uuid, "uuid4", lambda: type("U", (), {"hex": "0" * 32}))
    (tmp_path / ".weights.safetensors.00000000.part").symlink_to("/dev/full")
    with pytest.raises(SpotlightError, match="the disk is full"):
        save_weights(tmp_path / "weights.safetensors", model.networks[0])
    assert list(tmp_path.iterdir()) == []


def test_descriptions_that_make_no_sense(copy: Path) -> None:
    text = yaml.safe_load((copy / "model.yaml").read_text())
    for value, message in (
        ([2, 1], "first value must be less"),
        ([0, float("nan")], "finite number"),
        ([1, 1], "first value must be less"),
    ):
        edit(copy, target=text["target"] | {"intensity_range": value})
        with pytest.raises(SpotlightError, match=message):
            load_model(copy)


@pytest.mark.parametrize(
    ("grid", "said"), [("native", "along Z, but"), (0.3, r"along Z on the network's grid \(0.3 µm\)")]
)
def test_thin_stacks_are_told_the_grid_that_has_a_size(grid: Any, said: str) -> None:
    expected = InputDescription(axes="ZYX", grid=grid, voxel_size=None)
    with pytest.raises(SpotlightError, match=f"too thin: 3 voxels {said}"):
        require_extent((8, 8, 8), expected, "m", Stack(np.zeros((3, 9, 9)), "ZYX"), (3, 9, 9))


def test_a_spread_needs_something_that_differs(model: Model, image: Stack) -> None:
    with pytest.raises(SpotlightError, match="one model gives one. Add flips and turns"):
        model.predict(image, settings=PredictionSettings(spread=True))


def test_normalised_stains_are_not_rounded() -> None:
    with pytest.raises(SpotlightError, match="Received: uint8. Leave --dtype"):
        StainOptions(normalised=True, kind="uint8")
