"""Networks of several stains, told the modality or not: their protocol, their sizes, and what they compute."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from spotlight.errors import SpotlightError
from spotlight.export.onnx import export_onnx
from spotlight.images import Stack
from spotlight.model import InputDescription, ModelDescription, TargetDescription, read_model, save_model
from spotlight.networks import (
    Conditioned,
    FNet,
    FNetSettings,
    NetworkSettings,
    PatchGAN,
    Pix2PixGenerator,
    Pix2PixSettings,
    StainNetwork,
    UNetPlusPlus,
    UNetPlusPlusSettings,
)
from spotlight.networks.conditioning import DynamicConv, Film
from spotlight.networks.settings import Conditioning
from spotlight.pairs import Pair
from spotlight.prediction import Model, PredictionSettings, load_model
from spotlight.prediction.engines import folded
from spotlight.prediction.tiling import plan_tiles
from spotlight.training import Experiment
from spotlight.training.engine import frozen_parts
from spotlight.training.explanation import explain
from spotlight.training.settings import PatchSettings

SMALL: dict[str, NetworkSettings] = {
    "fnet": FNetSettings(depth=2, mult_chan=4, init="torch"),
    "residual": FNetSettings(depth=2, mult_chan=4, block="residual", init="torch"),
    "pix2pix": Pix2PixSettings(width=4, blocks=2),
    "unetpp": UNetPlusPlusSettings(depth=2, width=4),
}
KINDS = [(name, dims) for name in SMALL for dims in (2, 3) if (name, dims) != ("pix2pix", 3)]
CODES = torch.eye(3, dtype=torch.float64)


def small(name: str, dims: int, conditioning: str = "none", stains: int = 2) -> StainNetwork:
    """A random network in float64, with statistics and modulations that a trained one could have."""
    torch.manual_seed(0)
    settings = SMALL[name].model_copy(update={"conditioning": conditioning})
    network = settings.build(dims, stains, 0 if conditioning == "none" else 3).double()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.02, 0.2)
            if isinstance(module, nn.Linear):
                module.weight.normal_(0, 0.3)
    return network.eval()


def image(dims: int, samples: int = 3) -> Tensor:
    return torch.randn(samples, 1, *(16, 24, 8)[:dims], dtype=torch.float64)


def pairs(folder: Path, shape: tuple[int, ...]) -> list[Pair]:
    """Two pairs of files, of which headers are read."""
    stack = Stack(np.zeros(shape, np.uint16), "ZYX"[-len(shape) :], (0.29,) * len(shape))
    return [Pair(name, *[stack.save(folder / f"{name}-{side}.ome.tif") for side in ("in", "out")]) for name in "ab"]


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


# The protocol.


@pytest.mark.parametrize("conditioning", ["none", "dynamic", "film"])
@pytest.mark.parametrize(("name", "dims"), KINDS)
def test_every_network_keeps_the_shape_and_uses_every_weight(name: str, dims: int, conditioning: str) -> None:
    network = small(name, dims, conditioning)
    x = image(dims)
    stain = network(x, None if conditioning == "none" else CODES)
    assert stain.shape == (3, 2, *x.shape[2:])
    assert (network.dims, network.stains, network.width) == (dims, 2, 4)
    least = torch.zeros(1, 1, *[network.divisor] * dims, dtype=torch.float64)
    assert network(least, CODES[:1] if network.modalities else None).shape == (1, 2, *least.shape[2:])
    stain[:, 0].square().sum().backward(retain_graph=True)
    stain[:, 1].square().sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


@pytest.mark.parametrize(("name", "dims"), KINDS)
def test_stains_have_heads_of_their_own(name: str, dims: int) -> None:
    network, x = small(name, dims), image(dims)
    before = network(x)
    heads = network.heads[1] if name == "pix2pix" else network.head
    with torch.no_grad():
        for weight in heads.parameters():
            (weight if name == "pix2pix" else weight[1:]).mul_(0.5)
    after = network(x)
    assert torch.equal(after[:, 0], before[:, 0])
    assert not torch.allclose(after[:, 1], before[:, 1])


@pytest.mark.parametrize(("name", "dims"), KINDS)
def test_frozen_parts_leave_the_decoder_or_the_heads(name: str, dims: int) -> None:
    head = {"pix2pix": "heads"}.get(name, "head")
    decoder = {"pix2pix": {"decoders"}, "unetpp": {"ups", "nodes"}}.get(name, {"ups", "decoders"})
    for which, free in (("none", None), ("encoder", {*decoder, head}), ("all but head", {head})):
        network = small(name, dims)
        for part in frozen_parts(network, which):
            part.requires_grad_(False)
        found = {key.split(".")[0] for key, weight in network.named_parameters() if weight.requires_grad}
        assert found == (free or {key.split(".")[0] for key in network.state_dict()})


def test_weights_of_a_single_stain_have_the_names_of_models_trained_before() -> None:
    levels = [f"encoders.{level}.{place}" for level in (0, 1) for place in (0, 1, 3, 4)]
    levels += [f"downs.0.{p}" for p in (0, 1)] + [f"ups.0.{p}" for p in (0, 1)]
    levels += [f"decoders.0.{place}" for place in (0, 1, 3, 4)] + ["head"]
    weights = {f"{level}.{kind}" for level in levels for kind in ("weight", "bias")}
    assert {name for name, _ in FNet(2, 1, 2).named_parameters()} == weights
    residual = dict(FNet(2, 1, 2, block="residual").named_parameters())
    assert {
        name.removesuffix(".weight") for name in residual if name.startswith("encoders.1") and "weight" in name
    } == {
        "encoders.1.shortcut",
        *(f"encoders.1.body.{place}" for place in (0, 1, 3, 4)),
    }


@pytest.mark.parametrize(("dims", "stains", "modalities"), [(4, 1, 0), (2, 0, 0), (2, 1, -1), (2, 1, 2)])
def test_numbers_that_make_no_network(dims: int, stains: int, modalities: int) -> None:
    with pytest.raises(ValueError, match=r"Received: "):
        FNet(dims, 1, 2, stains, modalities=modalities)


def test_settings_that_do_not_go_with_the_data(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pix2pix is for two-dimensional images. Received: 3 dim.*'fnet' or 'unetpp'"):
        Pix2PixSettings().build(3)
    with pytest.raises(ValueError, match=r"needs the number of modalities.*'film' with 0 modalities"):
        FNetSettings(conditioning="film").build(2)
    with pytest.raises(ValueError, match=r"has 0\. Received: conditioning 'none' with 3"):
        FNetSettings().build(2, modalities=3)
    with pytest.raises(SpotlightError, match="two-dimensional"):
        explain(pairs(tmp_path, (16, 64, 64)), Experiment(network=Pix2PixSettings(tanh=False)))


def test_settings_are_told_apart_by_their_architecture() -> None:
    """Files written before there were several architectures need not name it."""
    for values, expected in (
        ({"depth": 3, "mult_chan": 16}, FNetSettings(depth=3, mult_chan=16)),
        ({"architecture": "fnet"}, FNetSettings()),
        ({"architecture": "pix2pix", "blocks": 12, "tanh": False}, Pix2PixSettings(blocks=12, tanh=False)),
        ({"architecture": "unetpp", "conditioning": "film"}, UNetPlusPlusSettings(conditioning="film")),
    ):
        experiment = Experiment.parse({"network": values}, "test")
        assert experiment.network == expected
        assert Experiment.parse(experiment.model_dump(mode="json"), "again") == experiment
    # Nodes at full resolution: five instead of two, or four.
    for depth, width in ((4, 80), (3, 64)):
        settings = UNetPlusPlusSettings(depth=depth, width=32)
        assert settings.memory_width == settings.build(2).memory_width == width
    assert (FNetSettings(mult_chan=8).width, Pix2PixSettings().width, UNetPlusPlusSettings().width) == (8, 64, 32)
    for wrong, message in (
        ({"architecture": "unet_pp"}, "unknown network 'unet_pp'. Did you mean 'unetpp'?"),
        ({"architecture": "pix2pix", "block": 9}, "did you mean 'blocks'"),
        ({"dept": 3}, "did you mean 'depth'"),
        (3, "valid dictionary or instance of NetworkSettings"),
    ):
        with pytest.raises(SpotlightError, match=message):
            Experiment.parse({"network": wrong}, "test")


def described(name: str, dims: int) -> ModelDescription:
    return ModelDescription(
        network=SMALL[name],
        input=InputDescription(axes="ZYX" if dims == 3 else "YX", grid="native"),
        target=TargetDescription(center="mean", normalised_range=(0, 1), intensity_range=(0, 1)),
    )


@pytest.mark.parametrize(("name", "dims"), [("pix2pix", 2), ("unetpp", 3)])
def test_model_folders_of_other_networks(name: str, dims: int, tmp_path: Path) -> None:
    network = small(name, dims, stains=1).float()
    model = load_model(save_model(tmp_path / "model", described(name, dims), network))
    assert type(model.networks[0]) is type(network)
    picture = np.random.default_rng(0).normal(size=(16, 24, 16)[:dims]).astype(np.float32)
    normal = (picture - picture.mean()) / picture.std()
    settings = PredictionSettings(tile=picture.shape, precision="float32", device="cpu")
    stain = model.predict(picture, voxel_size=(1.0,) * dims, settings=settings).data
    with torch.inference_mode():
        expected = network(torch.from_numpy(normal)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(stain, expected, atol=1e-4 * np.abs(expected).max())
    if name == "pix2pix":
        with pytest.raises(SpotlightError, match="two-dimensional"):
            read_model(save_model(tmp_path / "flat", described(name, 3), network))


@pytest.mark.parametrize(("name", "conditioning"), [("pix2pix", "film"), ("fnet", "dynamic")])
@pytest.mark.slow
def test_a_file_holds_a_network_of_a_fixed_modality(name: str, conditioning: str, tmp_path: Path) -> None:
    """`export_onnx` compares what ONNX Runtime makes of the file with the network."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    fixed = Conditioned(small(name, 2, conditioning, stains=1), CODES[1])
    if isinstance(fixed.network, FNet):
        with torch.no_grad():
            fixed.network.head.weight.div_(fixed(image(2)).std())  # the tolerance is for spreads of about 1
    path = export_onnx(Model(described(name, 2), fixed.float()), tmp_path / "network.onnx", bare=True)
    facts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert facts["tiles"].startswith("Because of instance normalisation" if name == "pix2pix" else "Values at least")


def test_explaining_names_the_network(tmp_path: Path) -> None:
    both = pairs(tmp_path, (128, 128))
    for network, fact, weights in (
        (FNetSettings(), "F-net of depth 4 with 32 channels", "8,116,225"),
        (
            UNetPlusPlusSettings(),
            "UNet++ of depth 4 with 32 channels (Zhou et al. 2019: 4, 32)",
            "9,048,897",
        ),
        (
            Pix2PixSettings(tanh=False),
            "pix2pix of 9 blocks with 64 channels (Liu et al. 2024: 9, 64)",
            "11,365,633",
        ),
    ):
        said = explain(both, Experiment(network=network))
        assert fact in said
        assert f": {weights} weights" in said
    assert "50% of them from any position." in explain(both, Experiment(patches=PatchSettings(anywhere=0.5)))
    odd = PatchSettings(size=(60, 60))
    with pytest.raises(SpotlightError, match="2 multiples of 8 for these stacks and this network"):
        explain(both, Experiment(network=Pix2PixSettings(tanh=False), patches=odd))


# What is seen.


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_reach_of_unetpp_is_that_of_the_gradient(depth: int) -> None:
    network = UNetPlusPlus(2, depth, 1).double().eval()
    network.pool = nn.AvgPool2d(2)  # sees the same voxels as the maximum, and has a gradient in all of them
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)  # nothing cancels
    size, divisor = 32 * network.divisor, network.divisor
    reached = 0
    for place in range(size // 2, size // 2 + divisor):
        x = torch.ones(1, 1, divisor, size, dtype=torch.float64, requires_grad=True)
        network(x)[0, 0, 0, place].backward()
        assert x.grad is not None
        (columns,) = np.nonzero(x.grad[0, 0].sum(0).numpy())
        reached = max(reached, place - columns.min(), columns.max() - place)
    assert reached == network.reach


def test_networks_without_a_limited_reach_have_no_exact_tiles() -> None:
    network = Pix2PixGenerator(4, 1)
    assert network.reach is None
    settings = PredictionSettings(tile=(64, 64), overlap="exact")
    with pytest.raises(SpotlightError, match=r"whole tile, through instance normalisation\. Blend tiles"):
        plan_tiles((128, 128), network, settings)
    assert plan_tiles((128, 128), network, settings.model_copy(update={"overlap": (16, 16)})).tiles > 1
    x = torch.randn(1, 1, 64, 64, requires_grad=True)
    network.eval()(x)[0, 0, 0, 0].backward()
    assert x.grad is not None
    assert (x.grad[0, 0, -8:, -8:] != 0).any()


# Conditioning.


@pytest.mark.parametrize(("dims", "stride"), [(2, 1), (2, 2), (3, 1)])
def test_a_dynamic_convolution_is_a_convolution_of_each_sample_by_its_own_kernels(dims: int, stride: int) -> None:
    torch.manual_seed(0)
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims](2, 5, 3, padding=1, stride=stride).double()
    layer = DynamicConv(conv, 3).double()
    nn.init.normal_(layer.scale.weight)
    nn.init.normal_(layer.scale.bias)
    x = torch.randn(4, 2, *[7] * dims, dtype=torch.float64)
    codes = CODES[[2, 0, 0, 1]]
    assert conv.bias is not None
    for sample, code, found in zip(x, codes, layer(x, codes), strict=True):
        table = layer.scale.weight @ code + layer.scale.bias
        weight, bias = conv.weight.detach().clone(), conv.bias.detach().clone()
        for o, i in itertools.product(range(5), range(2)):
            weight[o, i] *= table[2 * o + i].item()
        for o in range(5):
            bias[o] *= table[10 + o].item()
        apply = {2: functional.conv2d, 3: functional.conv3d}[dims]
        torch.testing.assert_close(found, apply(sample[None], weight, bias, stride=stride, padding=1)[0])
        torch.testing.assert_close(layer.fixed(code)(sample[None])[0], found)


def test_film_by_hand() -> None:
    layer = Film(2, 2)
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)
    assert torch.equal(layer(x, torch.eye(2)), x)
    with torch.no_grad():
        layer.modulation.weight.copy_(torch.tensor([[0.5, 0], [1, -1], [10, 0], [0, 20]]))
    # Scales of 1.5 and 2 and shifts of 10 and 0 for the first sample; 1 and 0, and 0 and 20 for the second.
    expected = torch.tensor([[11.5, 4.0], [3.0, 20.0]])
    assert torch.equal(layer(x, torch.eye(2)).flatten(1), expected)
    assert torch.equal(layer.fixed(torch.tensor([0.0, 1.0]))(x[1:]).flatten(1), expected[1:])


@pytest.mark.parametrize("conditioning", ["dynamic", "film"])
@pytest.mark.parametrize(("name", "dims"), KINDS)
def test_a_conditioned_network_starts_as_the_plain_one(name: str, dims: int, conditioning: str) -> None:
    settings = SMALL[name].model_copy(update={"conditioning": conditioning})
    told = settings.build(dims, 2, 3).double().eval()
    plain = SMALL[name].build(dims, 2).double().eval()
    state = {key.replace(".plain.", "."): value for key, value in told.state_dict().items()}
    own = {key for key in state if ".scale." in key or ".modulation." in key}
    assert own
    plain.load_state_dict({key: value for key, value in state.items() if key not in own})
    x = image(dims)
    torch.testing.assert_close(told(x, CODES), plain(x))


@pytest.mark.parametrize("conditioning", ["dynamic", "film"])
@pytest.mark.parametrize(("name", "dims"), KINDS)
def test_a_fixed_modality_is_that_of_the_code_also_when_folded(name: str, dims: int, conditioning: str) -> None:
    network = small(name, dims, conditioning)
    x = image(dims)
    with torch.inference_mode():
        each = network(x, CODES)
        apart = (network(x[:1], CODES[1:2]) - each[:1]).square().mean().sqrt() / each[:1].std()
        if (name, conditioning) != ("pix2pix", "dynamic"):
            assert apart > 1e-2  # the code matters
        torch.testing.assert_close(folded(network)(x, CODES), each, rtol=1e-9, atol=1e-9)
        for sample, code in enumerate(CODES):
            fixed = Conditioned(network, code)
            assert (fixed.modalities, fixed.reach, fixed.divisor) == (0, network.reach, network.divisor)
            assert not any(isinstance(module, (DynamicConv, Film)) for module in fixed.modules())
            whole = folded(fixed)
            assert not any("BatchNorm" in type(module).__name__ for module in whole.modules())
            for made in (fixed, whole):
                torch.testing.assert_close(made(x[[sample]]), each[[sample]], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(network(x, CODES), each)  # which stayed as it was


def test_codes_that_are_missing_or_do_not_fit() -> None:
    told, plain = small("fnet", 2, "film"), small("fnet", 2)
    x = image(2)
    for network, code, message in (
        (told, None, "conditioned on 3 modalities and needs them"),
        (plain, CODES, "not conditioned on the modality"),
        (told, CODES[:2], r"3 numbers for each of 3 samples. Received: shape \(2, 3\)"),
        (told, CODES[:, :2], r"Received: shape \(3, 2\)"),
        (Conditioned(told, CODES[0]), CODES, "not conditioned on the modality"),
    ):
        with pytest.raises(ValueError, match=message):
            network(x, code)
    for network, code in ((plain, CODES[0]), (told, CODES), (told, CODES[0, :2])):
        with pytest.raises(ValueError, match="`modality` must have shape"):
            Conditioned(network, code)
    assert torch.equal(told(x, CODES.long()), told(x, CODES))  # as torch.nn.functional.one_hot gives them


def test_instance_normalisation_takes_a_dynamic_convolution_out_again() -> None:
    """Scales of the filters of one input channel do not pass the normalisation; modulations behind it do."""
    torch.manual_seed(0)
    x, apart = image(2), {}
    each: tuple[Conditioning, ...] = ("dynamic", "film")
    for conditioning in each:
        settings = Pix2PixSettings(width=8, blocks=1, conditioning=conditioning)
        network = settings.build(2, modalities=3).double().eval()
        with torch.no_grad():
            for module in network.modules():
                if isinstance(module, nn.Linear):
                    module.weight.uniform_(-0.5, 0.5)  # scales from 0.5 to 1.5
            one, other = network(x, CODES[[0, 0, 0]]), network(x, CODES[[1, 1, 1]])
        apart[conditioning] = float((one - other).square().mean().sqrt() / one.std())
    assert apart["dynamic"] < 1e-3
    assert apart["film"] > 0.1


# pix2pix.


def test_pix2pix_has_the_published_size() -> None:
    network = Pix2PixGenerator(stains=4)
    assert count(network) == 12_481_540
    assert count(*network.encoder_parts()) == pytest.approx(10.99e6, rel=1e-3)
    assert count(network.decoders[0], network.heads[0]) == pytest.approx(0.372e6, rel=1e-3)
    assert count(Pix2PixGenerator(stains=4, blocks=12)) == pytest.approx(16.02e6, rel=1e-3)
    assert count(*Pix2PixGenerator(blocks=12).encoder_parts()) == pytest.approx(14.53e6, rel=1e-3)


def test_pix2pix_is_what_its_formula_says() -> None:
    network = small("pix2pix", 2)
    weights = iter(list(network.parameters()))

    def normal(v: Tensor) -> Tensor:
        mean, var = v.mean((2, 3), keepdim=True), v.var((2, 3), keepdim=True, correction=0)
        return (v - mean) / (var + 1e-5).sqrt()

    def mirrored(v: Tensor, by: int) -> Tensor:
        return torch.from_numpy(np.pad(v.numpy(), [(0, 0), (0, 0), (by, by), (by, by)], mode="reflect"))

    def conv(v: Tensor, **how: Any) -> Tensor:
        return functional.conv2d(v, next(weights), next(weights), **how)

    def up(v: Tensor) -> Tensor:
        weight, bias = next(weights), next(weights)
        return functional.conv_transpose2d(v, weight, bias, stride=2, padding=1, output_padding=1)

    x = image(2)
    with torch.no_grad():
        v = normal(conv(mirrored(x, 3))).relu()
        v = normal(conv(v, stride=2, padding=1)).relu()
        v = normal(conv(v, stride=2, padding=1)).relu()
        for _ in range(2):
            inner = normal(conv(mirrored(v, 1))).relu()
            v = v + normal(conv(mirrored(inner, 1)))
        ends = [normal(up(normal(up(v)).relu())).relu() for _ in range(2)]
        stains = [conv(mirrored(end, 3)).tanh() for end in ends]
        torch.testing.assert_close(network(x), torch.cat(stains, 1))


def test_pix2pix_drops_while_training_only_and_is_bounded_where_asked() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 1, 32, 32)
    network = Pix2PixGenerator(4, 2)
    assert not torch.equal(network(x), network(x))
    assert torch.equal(network.eval()(x), network(x))
    still = Pix2PixGenerator(4, 2, dropout=0.0)
    assert torch.equal(still(x), still(x))
    free = Pix2PixGenerator(4, 2, tanh=False).eval()
    free.load_state_dict(network.state_dict())
    with torch.no_grad():
        for weight in (*network.heads.parameters(), *free.heads.parameters()):
            weight.mul_(50)
    assert free(x).abs().max() > 1
    torch.testing.assert_close(free(x).tanh(), network(x))


# PatchGAN.


def test_patchgan_has_the_published_size() -> None:
    network = PatchGAN()
    assert count(network) == pytest.approx(2.76e6, rel=2e-3)
    logits = network(torch.zeros(1, 1, 512, 512), torch.zeros(1, 1, 512, 512))
    assert logits.shape == (1, 1, 62, 62)
    stack = torch.zeros(2, 1, 24, 32, 40)
    assert PatchGAN(3, width=8)(stack, stack).shape == (2, 1, 1, 2, 3)


def test_patchgan_sees_patches_of_70_pixels_of_both_images() -> None:
    network = PatchGAN(width=2).double()
    for number, layer in enumerate(network.layers):
        if isinstance(layer, nn.InstanceNorm2d):
            network.layers[number] = nn.Identity()  # whose mean and variance are those of the whole image
    pair = torch.randn(2, 1, 1, 160, 160, dtype=torch.float64, requires_grad=True)
    network(*pair)[0, 0, 9, 9].backward()
    assert pair.grad is not None
    for seen in pair.grad.abs().flatten(1, 2):
        for axis in (0, 1):
            (places,) = np.nonzero(seen.sum((0, 1 + axis)).numpy())
            assert (len(places), np.ptp(places)) == (70, 69)


def test_patchgan_normalises_all_but_the_first_and_the_last() -> None:
    network = PatchGAN(width=4).double()
    x, stain = torch.randn(2, 2, 1, 48, 48, dtype=torch.float64)
    convolutions = [layer for layer in network.layers if isinstance(layer, nn.Conv2d)]
    v = torch.cat((x, stain), 1)
    for number, layer in enumerate(convolutions):
        v = functional.conv2d(v, layer.weight, layer.bias, stride=2 if number < 3 else 1, padding=1)
        if 0 < number < 4:
            mean, var = v.mean((2, 3), keepdim=True), v.var((2, 3), keepdim=True, correction=0)
            v = (v - mean) / (var + 1e-5).sqrt()
        if number < 4:
            v = torch.where(v > 0, v, 0.2 * v)
    torch.testing.assert_close(network(x, stain), v)


# UNet++.


def test_unetpp_has_the_published_size() -> None:
    """9.04 million without batch normalisation, as its authors count (UNet++ against a wide U-Net of 9.13 million)."""
    network = UNetPlusPlus()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert round((count(network) - count(*norms)) / 1e6, 2) == 9.04
    assert len(network.encoders) + len(network.nodes) == math.comb(6, 2)


@pytest.mark.parametrize("dims", [2, 3])
def test_unetpp_is_what_its_recursion_says(dims: int) -> None:
    network = small("unetpp", dims)
    assert isinstance(network, UNetPlusPlus)
    x = image(dims)
    pool = {2: functional.max_pool2d, 3: functional.max_pool3d}[dims]

    def node(i: int, j: int) -> Tensor:
        if j == 0:
            return network.encoders[i](pool(node(i - 1, 0), 2) if i else x)  # type: ignore[no-any-return]
        before = [node(i, k) for k in range(j)]
        raised = network.ups[f"{i}_{j}"](node(i + 1, j - 1))
        return network.nodes[f"{i}_{j}"](torch.cat([*before, raised], 1))  # type: ignore[no-any-return]

    torch.testing.assert_close(network(x), network.head(node(0, 2)))


@pytest.mark.parametrize("name", ["fnet", "residual", "unetpp", "dynamic"])
@pytest.mark.parametrize(("planes", "edge"), [(4, 16), (8, 16), (16, 16), (4, 96)])
def test_gradients_in_bfloat16_are_those_in_float32(name: str, planes: int, edge: int) -> None:
    """Also where one, two or four planes are left on the innermost level; what memory held before is not in them.

    Few and large planes ended the process.
    """
    torch.manual_seed(0)
    if name == "dynamic":
        network = SMALL["fnet"].model_copy(update={"depth": 2, "conditioning": "dynamic"}).build(3, modalities=2)
    else:
        network = SMALL[name].model_copy(update={"depth": 2}).build(3)
    network.train().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    batch = torch.randn(4 if edge == 16 else 1, 1, planes, edge, edge)

    def gradients(fast: bool) -> dict[str, Tensor]:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            stain = network(batch, torch.eye(2)[:1].expand(len(batch), 2) if name == "dynamic" else None)
        (stain.float() * batch).mean().backward()
        return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None and p.ndim == 5}

    exact = gradients(False)
    for _ in range(8 if edge == 16 else 1):
        litter = [torch.full((count(network),), math.nan, dtype=torch.bfloat16) for _ in range(4)]
        del litter
        for parameter, found in gradients(True).items():
            apart = (found - exact[parameter]).norm() / exact[parameter].norm()
            assert apart < 0.5, parameter  # rounding of activations makes a third
