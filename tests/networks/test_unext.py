"""UNeXt2 and FCMAE: parity with VisCy's networks, import of checkpoints, and windows of planes."""

import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from typer.testing import CliRunner

from conftest import TINY, change
from spotlight.cli import app
from spotlight.errors import SpotlightError
from spotlight.export.onnx import export_onnx
from spotlight.images import Stack
from spotlight.import_viscy import import_viscy, network_of
from spotlight.model import read_description, read_model
from spotlight.networks import FcmaeSettings, FNet, UNeXt, UNeXt2Settings, Windowed
from spotlight.prediction import PredictionSettings, load_model
from spotlight.prediction.workspace import InMemory
from spotlight.training import Experiment, train
from spotlight.training.settings import PatchSettings

FLOAT32 = PredictionSettings(precision="float32")
SMALL = UNeXt2Settings(depths=(1, 2), widths=(12, 16), window=3, stem=(3, 4))
SMALL_FCMAE = FcmaeSettings(depths=(1, 2), widths=(12, 16), window=4, stem=(2, 4))

NAMES = {
    "unext2": {
        r"stem\.(\w+)": r"stem.conv.\1",
        r"stem_norm\.": "encoder_stages.stem_1.",
        r"encoder\.": "encoder_stages.stages_",
        "depthwise": "conv_dw",
        r"mix\.": "head.conv.0.conv.",
        r"rectify\.": "head.conv.0.adn.A.",
        r"head\.(?!conv)": "head.conv.1.",
    },
    "fcmae": {
        r"stem\.(\w+)": r"encoder.stem.conv3d.\1",
        r"stem_norm\.": "encoder.stem.norm.",
        r"encoder\.(?!stem)": "encoder.stages.",
    },
}
"""How VisCy names what we name otherwise, as its checkpoints do."""


def viscy_state(network: UNeXt) -> dict[str, Tensor]:
    """The weights under VisCy's names and in its shapes."""
    state = {}
    for name, value in network.state_dict().items():
        part, _, rest = name.partition(".")
        if part in ("encoder", "decoder"):
            stage, place, rest = rest.split(".", 2)
            names = set(network.state_dict())
            first = 2 if f"{part}.{stage}.0.depthwise.weight" not in names else 0
            inner = f"downsample.{place}" if int(place) < first else f"blocks.{int(place) - first}"
            for ours, theirs in (("expand", "mlp.fc1"), ("response", "mlp.grn"), ("reduce", "mlp.fc2")):
                rest = rest.replace(ours, theirs)
            if part == "decoder":
                rest = rest.replace("depthwise", "conv_dw")
                if re.search(r"fc\d\.weight", rest):
                    value = value[..., None, None]
                state[f"decoder.decoder_stages.{stage}.conv.{inner}.{rest}"] = value
                continue
            name = f"encoder.{stage}.{inner}.{rest}"
            if network.kind == "fcmae":
                name = name.replace("depthwise", "dwconv").replace(".norm.", ".layernorm.")
        for ours, theirs in NAMES[network.kind].items():
            found = re.match(ours, name)
            if ours == "depthwise" or found:
                name = re.sub(ours, theirs, name, count=1)
                if found:
                    break
        if network.kind == "unext2":
            name = name.replace("depthwise", "conv_dw")
        state[name] = value
    if network.kind == "fcmae":  # which has one for a single plane, too
        weight = state["encoder.stem.conv3d.weight"]
        state["encoder.stem.conv2d.weight"] = weight[:, :, 0].repeat(network.width // len(weight), 1, 1, 1)
        state["encoder.stem.conv2d.bias"] = torch.zeros(network.width)
    return state


def anyones_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights that follow from names and shapes alone."""
    made = {}
    for name, value in state.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        weight = 0.05 * rng.standard_normal(tuple(value.shape))
        if name.endswith("weight") and value.ndim == 1:
            weight += 1
        made[name] = torch.from_numpy(weight.astype(np.float32))
    return made


PUBLISHED = {
    # What viscy_models 0.1.0 gives for such weights at (0, 0, 0), (Z / 2, Y / 2, X / 2) and the end of each output.
    "VSCyto2D": (
        FcmaeSettings(window=1, stem=(1, 2)),
        2,
        [[-0.105052, 0.036428, 0.213442], [-0.038619, 0.122625, 0.142272]],
    ),
    "VSCyto3D": (UNeXt2Settings(), 3, [[-0.019986, 0.097555, -0.161318], [0.065017, -0.281375, 0.148573]]),
    "VSCyto3D-fcmae": (
        FcmaeSettings(window=15, stem=(5, 4)),
        3,
        [[-0.160579, 1.723339, -1.734239], [-0.410997, -0.593526, -1.981963]],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_give_viscys_values(name: str) -> None:
    settings, dims, expected = PUBLISHED[name]
    with torch.device("meta"):
        empty = settings.build(dims, 2)
    assert isinstance(empty, UNeXt)
    network, found = network_of(anyones_weights(viscy_state(empty)), name)
    assert found == settings
    shape = (1, 1, settings.window, 64, 96)
    x = np.random.default_rng(7).standard_normal(shape).astype(np.float32).reshape(1, 1, *shape[-dims:])
    with torch.inference_mode():
        y = network.eval()(torch.from_numpy(x)).numpy().reshape(2, settings.window, 64, 96)
    places = [(0, 0, 0), (settings.window // 2, 32, 48), (-1, -1, -1)]
    np.testing.assert_allclose([[one[place] for place in places] for one in y], expected, atol=2e-5)


def random_network(settings: UNeXt2Settings | FcmaeSettings, dims: int = 3, stains: int = 2) -> UNeXt:
    """A network whose weights all matter."""
    torch.manual_seed(0)
    network = settings.build(dims, stains)
    assert isinstance(network, UNeXt)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return network.eval()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("settings", [SMALL, SMALL_FCMAE])
def test_every_weight_is_used_and_shapes_are_kept(settings: UNeXt2Settings | FcmaeSettings, dims: int) -> None:
    network = random_network(settings, dims)
    window = (settings.window,) if dims == 3 else ()
    x = torch.randn(2, 1, *window, 16, 24)
    found = network(x)
    assert found.shape == (2, 2, *window, 16, 24)
    found.square().sum().backward()
    assert all(weight.grad is not None and (weight.grad != 0).any() for weight in network.parameters())
    assert network.divisor == 8
    if dims == 3:
        with pytest.raises(ValueError, match=f"windows of {settings.window} planes. Received: 7"):
            network(torch.randn(1, 1, 7, 16, 16))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"depths": (1,)}, "one number for each"),
        ({"window": 4}, "must divide the window of 4"),
        ({"widths": (13, 16), "window": 6}, "must be a multiple of the 2 places"),
        ({"stem": (3, 2)}, "must be 4, not 2"),
    ],
)
def test_sizes_that_do_not_go_together(changes: dict[str, object], said: str) -> None:
    with pytest.raises(SpotlightError, match=said):
        UNeXt2Settings.parse(SMALL.model_dump() | changes, "network")


# Windows.


def by_hand(network: UNeXt, x: Tensor, step: int) -> NDArray[np.float32]:
    """Mean of all windows that hold a plane."""
    total, count = np.zeros((network.stains, *x.shape[2:])), np.zeros(x.shape[2])
    starts = sorted({*range(0, x.shape[2] - network.planes + 1, step), x.shape[2] - network.planes})
    for start in starts:
        with torch.no_grad():
            total[:, start : start + network.planes] += network(x[:, :, start : start + network.planes])[0].numpy()
        count[start : start + network.planes] += 1
    return np.asarray(total / count[:, None, None], np.float32)


@pytest.mark.parametrize(("step", "depth"), [(1, 8), (2, 8), (3, 8), (1, 3)])
def test_a_plane_is_the_mean_of_all_windows_that_hold_it(step: int, depth: int) -> None:
    network = random_network(SMALL)
    x = torch.randn(1, 1, depth, 16, 16)
    with torch.no_grad():
        found = Windowed(network, 3, step)(x)[0].numpy()
    np.testing.assert_allclose(found, by_hand(network, x, step), atol=1e-6)


def test_windows_that_a_network_cannot_take() -> None:
    network = random_network(SMALL)
    for window, step in ((4, 1), (3, 0), (3, 4)):
        with pytest.raises(ValueError, match="windows of"):
            Windowed(network, window, step)
    with pytest.raises(ValueError, match="a multiple of 4 planes"):
        Windowed(FNet(3, 2, 2), 6)
    with pytest.raises(ValueError, match="needs a stack of as many"):
        Windowed(network, 3)(torch.randn(1, 1, 2, 16, 16))


def test_the_window_of_another_network_is_a_setting(model_folder: Path) -> None:
    model = load_model(model_folder)
    image = np.random.default_rng(0).normal(1000, 100, (14, 32, 32)).astype(np.float32)
    settings = FLOAT32.model_copy(update={"window": 8, "window_step": 3})
    stain = model.predict(image, voxel_size=(0.29,) * 3, settings=settings, normalised=True, flatten=False)
    x = torch.from_numpy((image - image.mean()) / image.std())[None, None]
    with torch.no_grad():
        parts = [model.networks[0](x[:, :, start : start + 8])[0, 0].numpy() for start in (0, 3, 6)]
    planes = [
        [part[z - start] for part, start in zip(parts, (0, 3, 6), strict=True) if 0 <= z - start < 8] for z in range(14)
    ]
    expected = np.stack([np.mean(plane, axis=0) for plane in planes])
    np.testing.assert_allclose(np.asarray(stain.data), expected, atol=1e-4)
    with pytest.raises(SpotlightError, match=r"a multiple of 4 planes .* window_step"):
        model.predict(image, voxel_size=(0.29,) * 3, settings=FLOAT32.model_copy(update={"window": 6}))


# Checkpoints.


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    state = {f"model.{name}": value for name, value in viscy_state(random_network(SMALL)).items()}
    torch.save({"state_dict": state, "epoch": 3, "optimizer_states": [{"lr": 1e-3}]}, tmp_path / "viscy.ckpt")
    return tmp_path / "viscy.ckpt"


@pytest.mark.parametrize(
    ("settings", "dims"),
    [(SMALL, 3), (SMALL_FCMAE, 3), (FcmaeSettings(depths=(1, 1), widths=(8, 8), window=1, stem=(1, 2)), 2)],
)
def test_a_checkpoint_becomes_a_model(settings: UNeXt2Settings | FcmaeSettings, dims: int, tmp_path: Path) -> None:
    network = random_network(settings, dims)
    state = viscy_state(network)
    if dims == 2:  # of a single plane, the two-dimensional stem is used
        state["encoder.stem.conv2d.bias"] = network.state_dict()["stem.bias"]
        state["encoder.stem.conv3d.weight"] = state["encoder.stem.conv3d.weight"] + 1
    torch.save(state, tmp_path / "bare.pt")
    description, found = read_model(import_viscy(tmp_path / "bare.pt", tmp_path / "model", ["nuclei", "membrane"]))
    assert description.network == settings
    assert [target.channel for target in description.targets] == ["nuclei", "membrane"]
    assert (description.input.normalisation, description.input.grid) == ("median/iqr", "native")
    x = torch.randn(1, 1, *((settings.window,) if dims == 3 else ()), 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(found(x), network(x))


def test_an_imported_model_stains_stacks_of_any_depth(checkpoint: Path, tmp_path: Path) -> None:
    folder = import_viscy(
        checkpoint,
        tmp_path / "model",
        ["nuclei", "membrane"],
        voxel_size=(0.2, 0.1, 0.1),
        greatest_voxel_size=(0.25, 0.15, 0.15),
    )
    model = load_model(folder)
    rng = np.random.default_rng(0)
    image = rng.normal(500, 20, (9, 40, 48)).astype(np.float32)
    stain = model.predict(image, voxel_size=(0.2, 0.12, 0.12), settings=FLOAT32)
    assert stain.channels == ("nuclei (virtual)", "membrane (virtual)")
    low, middle, high = np.percentile(image, [25, 50, 75])
    x = torch.from_numpy((image - middle) / (high - low)).float()[None, None]
    network = model.networks[0]
    assert isinstance(network, UNeXt)
    np.testing.assert_allclose(np.asarray(stain.data), by_hand(network, x, 1), atol=1e-4)
    # Tiles hold all planes.
    tiled = model.steps(
        model.accept(Stack(image, "ZYX", (0.2, 0.12, 0.12))),
        FLOAT32.model_copy(update={"tile": (3, 16, 16)}),
        InMemory(),
    )
    assert tiled.tiling.tile == (9, 16, 16)
    with pytest.raises(SpotlightError, match=r"too thin: 2 voxels along Z.*needs at least 3"):
        model.predict(image[:2], voxel_size=(0.2, 0.12, 0.12))
    with pytest.raises(SpotlightError, match=r"trained on 0\.2 to 0\.25 x 0\.1 to 0\.15"):
        model.predict(image, voxel_size=(0.2, 0.3, 0.3))


@pytest.mark.parametrize(
    ("outputs", "more", "said"),
    [
        (["nuclei"], {}, "has 2 outputs"),
        (["nuclei", "nuclei"], {}, "names of their own"),
        (["a", "b"], {"voxel_size": (0.1, 0.1)}, "3 positive lengths"),
        (["a", "b"], {"voxel_size": (0.2,) * 3, "greatest_voxel_size": (0.1,) * 3}, "not below the least"),
        (["a", "b"], {"greatest_voxel_size": (0.1,) * 3}, "needs the least one"),
    ],
)
def test_facts_that_do_not_fit_the_checkpoint(
    checkpoint: Path, tmp_path: Path, outputs: list[str], more: dict[str, tuple[float, ...]], said: str
) -> None:
    with pytest.raises(SpotlightError, match=said):
        import_viscy(checkpoint, tmp_path / "model", outputs, **more)  # type: ignore[arg-type]
    assert not (tmp_path / "model").exists()


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("echo pwned",)


@pytest.mark.parametrize("content", [{"state_dict": {"x": Evil()}}, {"other.weight": torch.ones(2)}, [1, 2]])
def test_other_files_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(SpotlightError, match=r"other\.ckpt"):
        import_viscy(tmp_path / "other.ckpt", tmp_path / "model", ["nuclei"])
    assert not (tmp_path / "model").exists()


def test_names_and_shapes_that_the_networks_do_not_have(checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    for name, value, said in (
        ("model.extra.weight", torch.ones(1), "has a tensor 'extra.weight'"),
        ("model.head.conv.1.bias", torch.ones(3), "does not fit the network"),
        ("model.stem.conv.weight", torch.ones(12, 2, 3, 4, 4), "2 input channels"),
    ):
        torch.save(state | {name: value}, tmp_path / "changed.ckpt")
        with pytest.raises(SpotlightError, match=said):
            import_viscy(tmp_path / "changed.ckpt", tmp_path / "model", ["a", "b"])


def test_the_command(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    command = ["import-viscy", str(checkpoint), "--to", str(folder), "--outputs", "nuclei", "membrane"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0
    assert [target.channel for target in read_description(folder).targets] == ["nuclei", "membrane"]


# Training and export.


@pytest.mark.slow
def test_it_is_trained_from_scratch_and_from_a_checkpoint(
    manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = change(
        Experiment(preparation=TINY.preparation, training=TINY.training, network=SMALL), steps=2, validate_every=2
    )
    described = read_description(train(manifest, tmp_path / "scratch", experiment))
    assert described.training["patch"] == [3, 64, 64]
    loaded = load_model(tmp_path / "scratch")
    stain = loaded.predict(np.random.default_rng(0).normal(9, 1, (7, 16, 80)), voxel_size=(0.29,) * 3)
    assert np.isfinite(stain.data).all()
    with pytest.raises(SpotlightError, match=r"must be 3 planes \(network.window\)"):
        wrong = experiment.model_copy(update={"patches": PatchSettings(size=(8, 64, 64))})
        train(manifest, tmp_path / "wrong", wrong)

    one = random_network(SMALL, stains=1)
    torch.save(viscy_state(one), tmp_path / "one.ckpt")
    start = import_viscy(tmp_path / "one.ckpt", tmp_path / "one", ["DNA"])
    finer = change(experiment, finetune=start, frozen="encoder", learning_rate=1e-3)
    _, tuned = read_model(train(manifest, tmp_path / "tuned", finer))
    assert "learnt with the scaling 'median/iqr', but this run has 'mean/std'" in caplog.text
    before, after = one.state_dict(), tuned.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert {"decoder", "head"} <= changed <= {"decoder", "head", "mix", "rectify"}


def test_the_head_begins_at_a_value() -> None:
    network = random_network(SMALL)
    network.begin_at([-3.0, 1.5])
    found = network(torch.randn(1, 1, 3, 16, 16))
    torch.testing.assert_close(found, torch.tensor([-3.0, 1.5]).reshape(1, 2, 1, 1, 1).expand_as(found))
    with pytest.raises(ValueError, match="only UNeXt2"):
        random_network(SMALL_FCMAE).begin_at([0.0, 0.0])


@pytest.mark.slow
def test_the_network_is_exported(checkpoint: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = load_model(import_viscy(checkpoint, tmp_path / "model", ["nuclei", "membrane"]))
    with pytest.raises(SpotlightError, match="--bare"):
        export_onnx(model, tmp_path / "whole.onnx")
    path = export_onnx(model, tmp_path / "bare.onnx", bare=True)  # compares it with torch
    session = onnxruntime.InferenceSession(path)
    assert session.get_modelmeta().custom_metadata_map["window"] == "3"
    assert session.get_inputs()[0].shape[2] == 3
