"""ONNX files and packages of the Model Zoo as models: ours taken back, those of others, and what is refused."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from spotlight.errors import SpotlightError
from spotlight.export.onnx import export_onnx
from spotlight.model import InputDescription, ModelDescription, TargetDescription
from spotlight.networks import FNet, FNetSettings
from spotlight.prediction import PredictionSettings, load_model
from spotlight.prediction.stain import Model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FLOAT32 = PredictionSettings(precision="float32")


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


@pytest.mark.slow
def test_our_own_files_give_the_same_stain_when_they_are_taken_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = FNet(2, 1, 4, init="torch").eval()
    target = TargetDescription(
        channel="DNA", normalised_range=(-1.0, 4.0), intensity_range=(100.0, 900.0), threshold=0.0, background=-0.5
    )
    description = ModelDescription(
        network=FNetSettings(depth=1, mult_chan=4), input=InputDescription(axes="YX", grid=0.5), target=target
    )
    model = Model(description, network, "ours")
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
    assert load_model(made).description.target.intensity_range == (100.0, 900.0)


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
    assert (
        model.digest != Model(model.description.model_copy(update={"network": FNetSettings()}), model.networks).digest
    )
    (tmp_path / "twice.yaml").write_text(yaml.safe_dump(stated | {"further_targets": [target]}))
    with pytest.raises(SpotlightError, match="2 stains and 1 input channels, but has 3, 1 and 1"):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
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
