"""ONNX files and packages of the Model Zoo as models: ours taken back, those of others, and what is refused."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from spotlight.errors import SpotlightError
from spotlight.evaluation import EvaluationSettings, evaluate
from spotlight.export.onnx import export_onnx
from spotlight.images import Stack
from spotlight.model import InputDescription, ModelDescription, TargetDescription
from spotlight.networks import FNet, FNetSettings, Pix2PixSettings
from spotlight.prediction import PredictionSettings, load_model
from spotlight.prediction.stain import Model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FLOAT32 = PredictionSettings(precision="float32")
QUICK = EvaluationSettings(resolution=False, pictured=0)


def twice(folder: Path, axes: int = 2, channels: int | str = 1) -> Path:
    """An ONNX file of somebody else: a plain factor of two."""
    helper = onnx.helper
    shape = ["n", channels, *["z", "y", "x"][-axes:]]
    two = helper.make_tensor("two", onnx.TensorProto.FLOAT, [1], [2.0])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["image", "two"], ["out"])],
        "twice",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, shape)],
        [two],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "twice.onnx")
    return folder / "twice.onnx"


def described(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> dict[str, Any]:
    """What `rdf.yaml` says of it."""
    space = [{"type": "space", "id": axis, "unit": "micrometer", "scale": 0.5} for axis in "yx"]
    batch, names = {"type": "batch"}, {"type": "channel", "id": "channel"}
    return {
        "format_version": "0.5.4",
        "inputs": [{"axes": [batch, names | {"channel_names": ["light"]}, *space], "preprocessing": before}],
        "outputs": [{"axes": [batch, names | {"channel_names": ["dna"]}, *space], "postprocessing": after}],
        "weights": {"onnx": {"source": "network.onnx"}},
    }


def package(folder: Path, values: dict[str, Any], weights: bytes) -> Path:
    with zipfile.ZipFile(folder / "package.zip", "w") as file:
        file.writestr("rdf.yaml", yaml.safe_dump(values))
        file.writestr("network.onnx", weights)
    return folder / "package.zip"


def pairs_of(folder: Path) -> list[tuple[Stack, Stack]]:
    """Two fields of 0.5 µm: transmitted light, and fluorescence of two bodies."""
    made = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        light = rng.normal(1000, 80, (64, 72)).astype(np.float32)
        dye = 200 + rng.normal(0, 5, light.shape).astype(np.float32)
        dye[6:30, 8:32] += 500
        dye[34:58, 40 + seed : 64 + seed] += 400
        light[6:58, 8:60] += 60
        made.append(
            tuple(Stack(a, "YX", (0.5, 0.5), (c,), f"field-{seed}") for a, c in ((light, "light"), (dye, "DNA")))
        )
    return made  # type: ignore[return-value]


TARGET = TargetDescription(
    channel="DNA", normalised_range=(-1.0, 4.0), intensity_range=(100.0, 900.0), threshold=0.0, background=-0.5
)


def ours() -> Model:
    """A small model that was not trained."""
    torch.manual_seed(0)
    network = FNet(2, 1, 4, init="torch").eval()
    description = ModelDescription(
        network=FNetSettings(depth=1, mult_chan=4), input=InputDescription(axes="YX", grid=0.5), target=TARGET
    )
    return Model(description, network, "ours")


@pytest.mark.slow
def test_our_own_files_give_the_same_stain_when_they_are_taken_back(tmp_path: Path) -> None:
    model = ours()
    image = np.random.default_rng(0).normal(1000, 80, (30, 40)).astype(np.float32)
    expected = model.predict(image, voxel_size=(0.4, 0.4), settings=FLOAT32)
    export_onnx(model, tmp_path / "bare.onnx", bare=True)
    again = load_model(tmp_path / "bare.onnx")
    found = again.predict(image, voxel_size=(0.4, 0.4), settings=FLOAT32)
    assert found.channels == expected.channels
    np.testing.assert_allclose(found.data, expected.data, atol=0.02)
    # A file that normalises by itself does so on the grid, and is the same where the image has its voxels.
    export_onnx(model, tmp_path / "whole.onnx")
    expected = model.predict(image, voxel_size=(0.5, 0.5), settings=FLOAT32)
    found = load_model(tmp_path / "whole.onnx").predict(image, voxel_size=(0.5, 0.5), settings=FLOAT32)
    np.testing.assert_allclose(found.data, expected.data, atol=0.05)
    # A package with the same network, whatever else its rdf.yaml says.
    made = package(tmp_path, described([], []), (tmp_path / "bare.onnx").read_bytes())
    assert load_model(made).description.target == TARGET
    # It is cut into the same tiles, of which the whole file, which needs all of the image, knows nothing.
    tiles = PredictionSettings(precision="float32", tile=(16, 24))
    np.testing.assert_allclose(
        load_model(made).predict(image, voxel_size=(0.5, 0.5), settings=tiles).data,
        model.predict(image, voxel_size=(0.5, 0.5), settings=tiles).data,
        atol=0.02,
    )
    assert again.networks[0].reach == model.networks[0].reach
    assert again.networks[0].memory_width == model.networks[0].memory_width
    assert load_model(tmp_path / "whole.onnx").networks[0].whole
    # All of them have the same scores, in processes of their own, too.
    sources = {"ours": model, "bare": tmp_path / "bare.onnx", "whole": tmp_path / "whole.onnx", "package": made}
    scores = evaluate(pairs_of(tmp_path), sources, tmp_path / "judged", QUICK, workers=2).scores
    of = {name: rows.drop(columns="method").reset_index(drop=True) for name, rows in scores.groupby("method")}
    assert of["ours"]["psnr"].notna().all()
    for name in ("bare", "whole", "package"):
        np.testing.assert_allclose(of[name].select_dtypes("number"), of["ours"].select_dtypes("number"), rtol=1e-3)


@pytest.mark.slow
def test_a_network_that_sees_its_whole_tile_gets_tiles_as_in_training_when_taken_back(tmp_path: Path) -> None:
    settings = Pix2PixSettings(width=2, blocks=1)
    torch.manual_seed(0)
    network = settings.build(2).eval()
    description = ModelDescription(
        network=settings, input=InputDescription(axes="YX", grid=0.5), target=TARGET, training={"patch": (128, 128)}
    )
    model = Model(description, network, "ours")
    again = load_model(export_onnx(model, tmp_path / "bare.onnx", bare=True))
    image = np.random.default_rng(0).normal(1000, 80, (200, 180)).astype(np.float32)
    expected, found = (one.predict(image, voxel_size=(0.5, 0.5), settings=FLOAT32).data for one in (model, again))
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_a_package_of_somebody_else_stains(tmp_path: Path) -> None:
    before = [{"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}, {"id": "zero_mean_unit_variance", "kwargs": {}}]
    after = [{"id": "scale_linear", "kwargs": {"gain": 10.0, "offset": 7.0}}]
    path = package(tmp_path, described(before, after), twice(tmp_path).read_bytes())
    model = load_model(path)
    image = np.random.default_rng(0).normal(500, 30, (20, 22)).astype(np.float32)
    stain = model.predict(image, voxel_size=(0.5, 0.5))
    assert stain.channels == ("dna (virtual)",)
    np.testing.assert_allclose(stain.data, 7 + 20 * (image - image.mean()) / image.std(), rtol=1e-4, atol=1e-3)
    with pytest.raises(SpotlightError, match="was trained on 0.5 x 0.5"):
        model.predict(image, voxel_size=(0.1, 0.1))


def test_a_plain_file_needs_a_description_beside_it(tmp_path: Path) -> None:
    path = twice(tmp_path, 3)
    with pytest.raises(SpotlightError, match=r"Write it down in twice\.yaml"):
        load_model(path)
    target = {"channel": "DNA", "normalised_range": [0, 1], "intensity_range": [0, 1]}
    stated = {"input": {"axes": "ZYX", "grid": "native", "normalisation": "none"}, "target": target}
    (tmp_path / "twice.yaml").write_text(yaml.safe_dump(stated))
    model = load_model(path)
    image = np.random.default_rng(0).normal(size=(3, 9, 11)).astype(np.float32)
    np.testing.assert_allclose(model.predict(image).data, 2 * image, rtol=1e-6)
    assert model.networks[0].whole
    (tmp_path / "twice.yaml").write_text(yaml.safe_dump(stated | {"reach": 2}))
    assert load_model(path).networks[0].reach == 2
    (tmp_path / "twice.yaml").write_text(yaml.safe_dump(stated | {"reach": "far"}))
    with pytest.raises(SpotlightError, match="reach must be a number of voxels"):
        load_model(path)
    assert (
        model.digest != Model(model.description.model_copy(update={"network": FNetSettings()}), model.networks).digest
    )
    (tmp_path / "twice.yaml").write_text(yaml.safe_dump(stated | {"further_targets": [target]}))
    with pytest.raises(SpotlightError, match="2 stains and 1 input channels, but has 3, 1 and 1"):
        load_model(path)


def test_a_network_goes_to_another_process(tmp_path: Path) -> None:
    model = load_model(package(tmp_path, described([], []), twice(tmp_path).read_bytes()))
    again: Model = pickle.loads(pickle.dumps(model))
    image = np.random.default_rng(0).normal(500, 30, (20, 22)).astype(np.float32)
    assert again.digest == model.digest
    np.testing.assert_array_equal(*(m.predict(image, voxel_size=(0.5, 0.5)).data for m in (model, again)))


def test_a_package_states_how_far_it_sees_and_its_voxels_in_any_unit(tmp_path: Path) -> None:
    values = described([], [{"id": "scale_linear", "kwargs": {"gain": [10.0], "offset": 7}}])
    for axis in values["outputs"][0]["axes"][2:]:
        axis["halo"] = 5 + (axis["id"] == "x")
    for axis in values["inputs"][0]["axes"][2:]:
        axis |= {"unit": "nanometer", "scale": 500}
    model = load_model(package(tmp_path, values, twice(tmp_path).read_bytes()))
    assert model.description.input.voxel_size == ((0.5, 0.5), (0.5, 0.5))
    assert model.networks[0].reach == 6
    image = np.random.default_rng(0).normal(500, 30, (70, 64)).astype(np.float32)
    exact = PredictionSettings(tile=(32, 32), overlap="exact")
    found, facts = model.stain(model.accept(Stack(image, "YX", (0.5, 0.5))), exact)
    assert max(facts["tile"]) == 32
    np.testing.assert_allclose(found.data, 7 + 20 * image, rtol=1e-5)


def test_a_package_of_several_channels_normalises_each(tmp_path: Path) -> None:
    step = {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["y", "x"]}}
    values = described([step], [])
    for tensor in (values["inputs"][0], values["outputs"][0]):
        tensor["axes"][1] = {"type": "channel", "channel_names": ["phase", "dic"]}
    model = load_model(package(tmp_path, values, twice(tmp_path, 2, 2).read_bytes()))
    image = np.random.default_rng(0).normal(500, 30, (2, 20, 22)).astype(np.float32)
    image[1] *= 3
    found = model.predict(image, voxel_size=(0.5, 0.5)).data
    mean, spread = image.mean((1, 2), keepdims=True), image.std((1, 2), keepdims=True)
    np.testing.assert_allclose(found, 2 * (image - mean) / spread, atol=1e-4)
    step["kwargs"] = {}
    with pytest.raises(SpotlightError, match="needs the steps zero_mean_unit_variance"):  # of both together
        load_model(package(tmp_path, values, twice(tmp_path, 2, 2).read_bytes()))


def test_stains_without_intensities_have_no_scores_of_intensities(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, pairs = package(tmp_path, described([], []), twice(tmp_path).read_bytes()), pairs_of(tmp_path)
    assert not load_model(path).description.target.calibrated
    alone = evaluate(pairs, path, tmp_path / "alone", QUICK).scores
    assert "no PSNR, NRMSE and SSIM" in caplog.text
    of_intensities = ["psnr", "psnr_foreground", "nrmse", "ssim"]
    assert alone[of_intensities].isna().all(axis=None)
    stained = alone[alone["method"] != "target"]
    assert stained[["pearson", "psnr_scale_invariant", "spectral_pearson", "mean_ap"]].notna().all(axis=None)
    # Beside a model that knows intensities, whichever comes first, that one says what PSNR refers to.
    both = evaluate(pairs, {"package": path, "ours": ours()}, tmp_path / "both", QUICK).scores.set_index("method")
    only = evaluate(pairs, {"ours": ours()}, tmp_path / "only", QUICK).scores.set_index("method")
    np.testing.assert_array_equal(both.loc["ours", of_intensities], only.loc["ours", of_intensities])
    assert both.loc["package", of_intensities].isna().all(axis=None)
    # A package with intensities does not say which its targets had.
    values = described([], [{"id": "scale_linear", "kwargs": {"gain": 10.0}}])
    (tmp_path / "other").mkdir()
    other = package(tmp_path / "other", values, twice(tmp_path).read_bytes())
    with pytest.raises(SpotlightError, match="packages and stains of other tools do not say"):
        evaluate(pairs, other, tmp_path / "unknown", QUICK)
    ranged = QUICK.model_copy(update={"data_range": (0.0, 800.0)})
    assert evaluate(pairs, other, tmp_path / "unknown", ranged).scores["psnr"].notna().any()


def test_voxels_of_another_size_are_judged_where_that_is_asked_for(tmp_path: Path) -> None:
    values = described([], [])
    for axis in values["inputs"][0]["axes"][2:]:
        axis["scale"] = 0.2
    path, pairs = package(tmp_path, values, twice(tmp_path).read_bytes()), pairs_of(tmp_path)
    with pytest.raises(SpotlightError, match=r"or accept it with any_voxel_size \(--any-voxel-size\)"):
        evaluate(pairs, path, tmp_path / "judged", QUICK)
    assert not list((tmp_path / "judged").glob("*/*"))  # refused before the target is segmented
    asked = QUICK.model_copy(update={"any_voxel_size": True})
    assert len(evaluate(pairs, path, tmp_path / "judged", asked).scores) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["inputs"][0]["axes"].reverse(), "not one of format 0.5"),
        (lambda d: d["inputs"][0]["axes"].insert(2, d["inputs"][0]["axes"].pop()), r"axes"),
        (
            lambda d: d["inputs"][0].update(
                preprocessing=[{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["x"]}}]
            ),
            "needs the steps zero_mean_unit_variance",
        ),
        (
            lambda d: d["outputs"][0].update(postprocessing=[{"id": "scale_linear", "kwargs": {"gain": [1, 2, 3]}}]),
            "scale_linear has other numbers",
        ),
        (
            lambda d: d["outputs"][0].update(postprocessing=[{"id": "scale_linear", "kwargs": {"gain": -1}}]),
            "the first value must be less",
        ),
        (lambda d: d["inputs"][0].update(preprocessing=[{"id": "scale_range"}]), "needs the steps scale_range"),
        (lambda d: d["outputs"][0].update(postprocessing=[{"id": "sigmoid"}]), "needs the steps sigmoid"),
        (lambda d: d["weights"].update(onnx={"source": "other.onnx"}), "has no ONNX weights"),
        (lambda d: d["inputs"].append(d["inputs"][0]), "not one of format 0.5"),
        (lambda d: d.update(inputs=[{"axes": "bcyx"}]), "not one of format 0.5"),
    ],
)
def test_packages_that_cannot_be_used(tmp_path: Path, change: Any, said: str) -> None:
    values = described([], [])
    change(values)
    with pytest.raises(SpotlightError, match=said):
        load_model(package(tmp_path, values, twice(tmp_path).read_bytes()))


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no")
    (tmp_path / "a.zip").write_bytes(b"no")
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as file:
        file.writestr("readme.txt", "nothing")
    (tmp_path / "b.zip").write_bytes(empty.getvalue())
    for name, said in (("a.onnx", "as an ONNX file"), ("a.zip", "as a package"), ("b.zip", "no rdf.yaml")):
        with pytest.raises(SpotlightError, match=said):
            load_model(tmp_path / name)
    with pytest.raises(SpotlightError, match="fixed number of channels"):
        load_model(twice(tmp_path, 2, "c"))
