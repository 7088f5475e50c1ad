"""Several input channels: what a network learns from them, how they are prepared, and how manifests name them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import change, real_data
from several_channels import EXPERIMENT, FAST, NAMES, PIXELS, SIZE, field, only, pearson, write
from spotlight import SpotlightError, load_model, read
from spotlight.images import Stack
from spotlight.model import make_network, read_description
from spotlight.networks import FNetSettings, ModuleSettings, Pix2PixSettings, UNetPlusPlusSettings
from spotlight.pairs import Pair, PatchSampler, check, patch_starts, prepare_pair, read_manifest
from spotlight.pairs.cache import prepare_cached
from spotlight.pairs.manifest import write_manifest
from spotlight.prediction import find_parts
from spotlight.training import PatchSettings, train
from spotlight.training.batches import PatchBatches, vary
from spotlight.training.explanation import explain


@pytest.mark.slow
def test_a_second_channel_shows_what_the_first_does_not(
    two_channels: list[Pair], two_channel_model: Path, tmp_path: Path
) -> None:
    new = write(tmp_path, 9)
    blind = load_model(train(only(two_channels, "Brightfield"), tmp_path / "one", EXPERIMENT))
    assert pearson(load_model(two_channel_model).predict(new), field(9)["DNA"]) > 0.8
    assert abs(pearson(blind.predict(new), field(9)["DNA"])) < 0.3


def test_the_model_says_which_channels_it_takes(two_channel_model: Path, two_channels: list[Pair]) -> None:
    description = read_description(two_channel_model)
    assert (description.format, description.input.names) == (2, NAMES[:2])
    for channel, name in zip(description.input.channels, NAMES, strict=False):
        means = [float(field(number)[name].mean()) for number in range(3)]
        assert channel.mean == pytest.approx((min(means), max(means)))
        assert channel.octaves is not None


def test_a_model_of_one_channel_takes_one(two_channels: list[Pair], tmp_path: Path) -> None:
    single = load_model(train(only(two_channels, "Phase"), tmp_path / "one", change(EXPERIMENT, steps=1)))
    assert single.description.format == 1
    with pytest.raises(SpotlightError, match="takes one channel. Received: 'Brightfield', 'Phase'"):
        single.predict(two_channels[0].input, channel=NAMES[:2])


@pytest.mark.parametrize(
    "settings",
    [
        FNetSettings(depth=1, mult_chan=4),
        FNetSettings(depth=1, mult_chan=4, block="residual", conditioning="dynamic"),
        UNetPlusPlusSettings(depth=1, width=4, conditioning="film"),
        Pix2PixSettings(width=4, blocks=1, tanh=False),
    ],
)
def test_without_weights_a_second_channel_changes_nothing(settings: FNetSettings) -> None:
    modalities = 2 * (settings.conditioning != "none")
    one = make_network(settings, 2, modalities=modalities).eval()
    two = make_network(settings, 2, modalities=modalities, in_channels=2).eval()
    state = one.state_dict()
    for name, weight in two.state_dict().items():
        if weight.shape == state[name].shape:
            continue
        if "scale" in name:  # of a dynamic convolution, which begins as the plain one
            state[name] = weight
            continue
        padded = torch.zeros_like(weight)
        padded[:, :1] = state[name]
        state[name] = padded
    two.load_state_dict(state)
    code = torch.eye(2)[:1] if modalities else None
    image = torch.randn(1, 2, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(two(image, code), one(image[:, :1], code))


class Sum(torch.nn.Module):
    """The sum of all channels."""

    divisor = 1
    reach = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(1, keepdim=True)


def test_modules_take_several_channels() -> None:
    image = torch.randn(1, 3, 8, 8)
    network = make_network(ModuleSettings.of(Sum), 2, in_channels=3)
    torch.testing.assert_close(network(image), image.sum(1, keepdim=True))


class Planes(torch.nn.Module):
    """A convolution in three dimensions, whose planes are the channels of an image, and the mean of its planes."""

    divisor = 1

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv3d(1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(x[:, None]).mean(2)
        return found


def test_modules_of_two_dimensions_may_have_layers_of_three(two_channels: list[Pair], tmp_path: Path) -> None:
    run = change(EXPERIMENT, steps=1).model_copy(update={"network": ModuleSettings.of(Planes)})
    model = load_model(train(two_channels, tmp_path / "model", run))
    assert model.predict(two_channels[0].input, settings=FAST).shape == (PIXELS, PIXELS)


def test_every_channel_is_scaled_by_itself(two_channels: list[Pair], tmp_path: Path) -> None:
    both = prepare_pair(two_channels[0], EXPERIMENT.preparation)
    assert both.input.shape == (2, PIXELS, PIXELS)
    assert both.channels == ("Brightfield", "DNA")
    for number, name in enumerate(NAMES[:2]):
        alone = prepare_pair(only(two_channels, name)[0], EXPERIMENT.preparation)
        np.testing.assert_array_equal(both.input[number], alone.input)
    assert both.further_inputs == (("Phase", *alone.statistics),)
    cached = [prepare_cached(two_channels[0], EXPERIMENT.preparation, tmp_path) for _ in range(2)]
    for again in cached:
        np.testing.assert_array_equal(again.input, both.input)
        assert again.further_inputs == both.further_inputs
    assert prepare_cached(only(two_channels, "Phase")[0], EXPERIMENT.preparation, tmp_path).input.ndim == 2
    fixed = EXPERIMENT.preparation.model_copy(update={"scaling": "uint16", "grid": "native"})
    np.testing.assert_allclose(
        prepare_pair(two_channels[0], fixed).input[1], field(0)["Phase"] / 32767.5 - 1, atol=1e-6
    )


def test_patches_hold_all_channels_of_one_place(two_channels: list[Pair]) -> None:
    prepared = [prepare_pair(pair, EXPERIMENT.preparation) for pair in two_channels[:2]]
    sampler = PatchSampler([patch_starts(p.target.shape, (16, 16)) for p in prepared], (16, 16), 0, augment=True)
    batch = PatchBatches(prepared, sampler, PatchSettings(), 4).batch(3)
    assert batch.input.shape == (4, 2, 16, 16)
    for drawn, found in zip(sampler.draw(3, 4), batch.input.numpy(), strict=True):
        for channel in range(2):
            cut = sampler.cut(prepared[drawn.stack].input[channel], drawn.start, drawn.turn)
            np.testing.assert_array_equal(found[channel], cut)


def test_channels_are_varied_apart_and_one_as_before() -> None:
    settings, seeds = PatchSettings(intensity=0.5), [(0, 1)]
    source = np.random.default_rng([0, 1, 1])
    contrast, brightness = source.uniform(-0.5, 0.5), source.uniform(-0.5, 0.5)
    one = torch.ones(1, 1, 4, 4)
    torch.testing.assert_close(vary(one, settings, seeds), one * (1 + contrast) + brightness)
    first, second = vary(torch.ones(1, 2, 4, 4), settings, seeds)[0, :, 0, 0]
    assert first != second


@pytest.mark.slow
def test_a_run_goes_on_where_it_was(two_channels: list[Pair], two_channel_model: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def stop(work: str, done: int, *_: object) -> None:
        if work == "training" and done >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(two_channels, begun, EXPERIMENT, progress=stop)
    assert not (begun / "model.yaml").exists()
    train(two_channels, begun, EXPERIMENT)
    assert (begun / "weights.safetensors").read_bytes() == (two_channel_model / "weights.safetensors").read_bytes()
    with pytest.raises(SpotlightError, match="differs in the data"):
        train(only(two_channels, "Phase"), begun, EXPERIMENT)


@pytest.mark.slow
def test_the_check_looks_at_every_channel(two_channels: list[Pair], tmp_path: Path) -> None:
    images = field(0)
    images["Brightfield"] = np.roll(images["Phase"], 9, axis=1)
    stack = Stack(np.stack(list(images.values())), "CYX", SIZE, NAMES).save(tmp_path / "shifted.ome.tif")
    shifted = replace(
        two_channels[0], name="shifted", input=stack, target=stack, input_channel=("Phase", "Brightfield")
    )
    checked = check([*two_channels, shifted])
    assert checked.pairs["input:Phase_mean"][0] == pytest.approx(field(0)["Phase"].mean())
    about = checked.findings.query("pair == 'shifted' and subject == 'registration'")["found"]
    assert [text.split(" in X ")[1] for text in about] == ["from the input channel Brightfield."]
    flat = Stack(np.stack([images["DNA"], np.ones_like(images["DNA"]), images["DNA"]]), "CYX", SIZE, NAMES)
    path = flat.save(tmp_path / "flat.ome.tif")
    (finding,) = check([replace(two_channels[0], input=path, target=path)]).findings.to_dict("records")
    assert "(channel Phase): is constant" in finding["found"]


def test_a_manifest_names_several_channels(two_channels: list[Pair], tmp_path: Path) -> None:
    path = write_manifest(two_channels, tmp_path / "manifest.csv")
    assert "Brightfield;Phase" in path.read_text()
    assert [pair.input_channel for pair in read_manifest(path)] == [NAMES[:2]] * 4
    (first, *_) = find_parts([path])
    assert first.channel == NAMES[:2]
    path.write_text(path.read_text().replace("Brightfield;Phase", "Brightfield;;Phase"))
    with pytest.raises(SpotlightError, match="line 2: input_channel: channels are names"):
        read_manifest(path)


def test_channels_show_one_field(tmp_path: Path) -> None:
    small, large = (Stack(np.ones((n, n), np.uint16), "YX", SIZE).save(tmp_path / f"{n}.tif") for n in (16, 32))
    path = tmp_path / "manifest.csv"
    path.write_text(f"input,input:Phase,target\n{large.name},{small.name},{large.name}\n")
    with pytest.raises(SpotlightError, match="must show the same field on the same grid"):
        read_manifest(path)[0].read_both()


def test_planes_can_be_channels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    planes = rng.integers(100, 999, (5, PIXELS, PIXELS), np.uint16)
    stack = Stack(np.stack([planes, planes[::-1]]), "CZYX", (1.0, *SIZE), ("BF", "DNA")).save(
        tmp_path / "stack.ome.tif"
    )
    wanted = ("BF z=1", "BF z=2", "BF z=3")
    pair = Pair("stack", stack, stack, input_channel=wanted, target_channel="DNA z=2")
    image, target = pair.read_both()
    assert (image.axes, image.channels, target.axes) == ("CYX", wanted, "YX")
    np.testing.assert_array_equal(image.data, planes[1:4])
    np.testing.assert_array_equal(target.data, planes[2])
    model = load_model(train([pair], tmp_path / "model", change(EXPERIMENT, steps=1)))
    with pytest.raises(
        SpotlightError, match=r"'BF z=3', planes of the files that it was trained on\. Found: 'BF', 'DNA'"
    ):
        model.predict(stack)  # which planes are in focus here, only the user knows
    assert model.predict(stack, channel=("BF z=0", "BF z=1", "BF z=2")).shape == (PIXELS, PIXELS)
    with pytest.raises(SpotlightError, match=r"has no plane 'BF z=5'; there are 0 to 4"):
        model.predict(stack, channel=("BF z=5", "BF z=1", "BF z=2"))
    with pytest.raises(SpotlightError, match="axes are YX, without Z"):
        read(write(tmp_path, 0), channel="Phase z=0")


def test_pairs_of_a_run_have_the_same_channels(two_channels: list[Pair], tmp_path: Path) -> None:
    for other in ("Phase", ("Phase", "Brightfield")):
        mixed = [two_channels[0], replace(two_channels[1], input_channel=other)]
        with pytest.raises(SpotlightError, match="the same channels in the same order"):
            train(mixed, tmp_path / "mixed", EXPERIMENT)
    single = [replace(pair, input_channel=NAMES[:2]) for pair in two_channels]
    one_plane = EXPERIMENT.model_copy(
        update={"preparation": EXPERIMENT.preparation.model_copy(update={"planes": "one"})}
    )
    with pytest.raises(SpotlightError, match=r"inputs of one channel, but 2 are named.*'Brightfield z=3;Phase z=3'"):
        train(single, tmp_path / "planes", one_plane)


def test_fine_tuning_needs_the_same_channels(two_channels: list[Pair], two_channel_model: Path, tmp_path: Path) -> None:
    with pytest.raises(SpotlightError, match="has 2 input channels, but this run 1"):
        train(only(two_channels, "Phase"), tmp_path / "tuned", change(EXPERIMENT, finetune=two_channel_model))


@pytest.mark.slow
def test_the_plan_says_how_many_channels(two_channels: list[Pair]) -> None:
    said = explain(two_channels, EXPERIMENT)
    assert "takes 2 input channels, each scaled by itself" in said
    assert "input channels" not in explain(only(two_channels, "Phase"), EXPERIMENT)


def test_planes_of_a_real_stack_are_channels_of_a_flat_target() -> None:
    stack, dapi = (real_data(f"brightfield_defocus_2d/set1_{name}.ome.tif") for name in ("brightfield", "dapi"))
    pair = Pair("set1", stack, dapi, input_channel=("z=1", "z=2", "z=3"), voxel_size=(10.0, 0.2004, 0.2004))
    image, target = pair.read_both()
    assert (image.axes, image.shape, image.voxel_size) == ("CYX", (3, *target.shape), (0.2004, 0.2004))
    np.testing.assert_array_equal(image.data, read(stack).data[1:4])


@pytest.mark.slow
def test_channels_of_a_real_file_are_found_and_scaled(tmp_path: Path) -> None:
    file = real_data("multichannel_nd2/example-multichannel.ome.tif")
    pair = Pair("cells", file, file, input_channel=("brightfield", "FITC"), target_channel="DAPI")
    model = load_model(train([pair], tmp_path / "model", change(EXPERIMENT, steps=1)))
    names = [channel.channel for channel in model.description.input.channels]
    assert names == ["brightfield", "FITC"]
    stain = model.predict(file, settings=FAST)
    assert stain.shape == (256, 256)
    both = read(file, channel=("brightfield", "FITC"))
    found = model.predict(both.data, voxel_size=both.voxel_size, settings=FAST)
    np.testing.assert_array_equal(found.data, stain.data)
