"""Colour cameras: the samples of a TIFF are channels, and their mean can be asked for wherever a channel is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from typer.testing import CliRunner

from spotlight import SpotlightError, load_model
from spotlight.cli import app
from spotlight.images import Stack, images_in, read, scenes
from spotlight.pairs import Pair, read_pairs
from spotlight.pairs.manifest import write_manifest
from spotlight.pairs.proposal import propose_pairs

COLOURS = ("red", "green", "blue")
STACK = np.random.default_rng(0).integers(0, 255, (2, 4, 24, 32, 3)).astype(np.uint8)
"""Channels, planes, rows, columns, samples."""

FILES: dict[str, tuple[NDArray[np.uint8], str, dict[str, Any]]] = {
    "plain.tif": (STACK[0, 0], "YXC", {}),
    "planar.tif": (np.moveaxis(STACK[0, 0], -1, 0), "CYX", {"planarconfig": "separate"}),
    "tiled.tif": (STACK[0, 0], "YXC", {"tile": (16, 16), "compression": "zlib"}),
    "plane.ome.tif": (STACK[0, 0], "YXC", {"ome": True, "metadata": {"axes": "YXS"}}),
    "stack.ome.tif": (STACK[0], "ZYXC", {"ome": True, "metadata": {"axes": "ZYXS"}}),
    "planar.ome.tif": (
        np.moveaxis(STACK[0], -1, 1),
        "ZCYX",
        {"ome": True, "metadata": {"axes": "ZSYX"}, "planarconfig": "separate"},
    ),
    "film.ome.tif": (STACK[0], "TYXC", {"ome": True, "metadata": {"axes": "TYXS"}}),
    "imagej.tif": (STACK[0], "ZYXC", {"imagej": True, "metadata": {"axes": "ZYXS"}}),
}


def write(path: Path, data: NDArray[Any], **how: Any) -> Path:
    tifffile.imwrite(path, data, photometric="rgb", **how)
    return path


@pytest.mark.parametrize("name", FILES)
def test_samples_are_channels_and_their_mean_is_luminance(tmp_path: Path, name: str) -> None:
    data, axes, how = FILES[name]
    path = write(tmp_path / name, data, **how)
    stack = read(path)
    assert stack.channels == COLOURS
    expected = data.transpose([axes.index(a) for a in stack.axes])
    np.testing.assert_array_equal(stack.data, expected)
    assert set(stack.axes) == set(axes)
    last = read(path, channel="blue")
    np.testing.assert_array_equal(last.data, expected.take(2, stack.axes.index("C")))
    gray = read(path, channel="luminance")
    assert (gray.channels, gray.axes) == (("luminance",), stack.axes.replace("C", ""))
    assert gray.dtype == gray.data.dtype == np.float32
    np.testing.assert_allclose(gray.data, expected.mean(stack.axes.index("C")), rtol=1e-6)
    by_hand = read(path, axes=axes, channel="luminance")
    np.testing.assert_array_equal(by_hand.data, gray.data)


def test_only_what_is_asked_for_is_averaged(tmp_path: Path) -> None:
    stack = read(write(tmp_path / "a.ome.tif", STACK[0], ome=True, metadata={"axes": "ZYXS"}), channel="luminance")
    corner = stack.crop((slice(1, 3), slice(4, 9), slice(0, 7)))
    expected = STACK[0, 1:3, 4:9, :7].mean(-1)
    np.testing.assert_allclose(corner.data, expected, rtol=1e-6)
    np.testing.assert_allclose(stack.plane(2).data, STACK[0, 2].mean(-1), rtol=1e-6)
    in_memory = Stack(np.moveaxis(STACK[0], -1, 0), "CZYX", channels=COLOURS).channel("luminance")
    np.testing.assert_allclose(in_memory.data, STACK[0].mean(-1), rtol=1e-6)
    back = read(stack.save(tmp_path / "gray.ome.tif"))
    assert back.channels == ("luminance",)
    np.testing.assert_array_equal(back.data, stack.data)


def test_several_channels_of_a_colour_camera(tmp_path: Path) -> None:
    axes = {"axes": "CYXS", "Channel": {"Name": ["BF", "Giemsa"]}}
    path = write(tmp_path / "a.ome.tif", STACK[:, 0], ome=True, metadata=axes)
    stack = read(path)
    assert stack.channels == ("BF red", "BF green", "BF blue", "Giemsa red", "Giemsa green", "Giemsa blue")
    np.testing.assert_array_equal(stack.data, np.moveaxis(STACK[:, 0], -1, 1).reshape(6, 24, 32))
    np.testing.assert_array_equal(read(path, channel="Giemsa green").data, STACK[1, 0, ..., 1])
    np.testing.assert_allclose(read(path, channel="Giemsa luminance").data, STACK[1, 0].mean(-1), rtol=1e-6)
    with pytest.raises(SpotlightError, match="or BF luminance, their mean; or Giemsa luminance"):
        read(path, channel="luminance")
    unnamed = read(write(tmp_path / "b.ome.tif", STACK[:, 0], ome=True, metadata={"axes": "CYXS"}))
    assert unnamed.channels[2:4] == ("0 blue", "1 red")


def test_alpha_is_no_light(tmp_path: Path) -> None:
    alpha = np.concatenate([STACK[0, 0], np.full((24, 32, 1), 255, np.uint8)], -1)
    path = write(tmp_path / "a.tif", alpha, extrasamples=["unassalpha"])
    assert read(path).channels == (*COLOURS, "alpha")
    np.testing.assert_allclose(read(path, channel="luminance").data, STACK[0, 0].mean(-1), rtol=1e-6)


def test_samples_that_are_not_said_to_be_colours_have_no_names(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0, 0], photometric="minisblack", planarconfig="contig", metadata=None)
    stack = read(path)
    assert (stack.axes, stack.channels, stack.shape) == ("CYX", (), (3, 24, 32))
    with pytest.raises(SpotlightError, match="no channel 'luminance'"):
        stack.channel("luminance")


def test_a_channel_that_is_called_luminance_is_itself() -> None:
    data = np.arange(4 * 6).reshape(4, 2, 3)
    stack = Stack(data, "CYX", channels=(*COLOURS, "luminance"))
    np.testing.assert_array_equal(stack.channel("luminance").data, data[3])


def test_what_can_be_asked_for_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", STACK[0, 0])
    with pytest.raises(SpotlightError, match="0: red, 1: green, 2: blue; or luminance, their mean"):
        read(path).channel()
    assert scenes(path)[0].load().all_channels == COLOURS
    assert images_in(path)[0].channels == COLOURS
    shown = CliRunner().invoke(app, ["info", str(path)], env={"COLUMNS": "200"}).output
    assert "or luminance, their mean" in " ".join(shown.split())
    assert "not stated (YXS)" not in shown


@pytest.mark.slow
def test_a_manifest_and_a_model_name_luminance(tmp_path: Path, model_folder: Path) -> None:
    light = np.random.default_rng(1).integers(50, 200, (32, 40, 40, 3)).astype(np.uint8)
    size = {f"PhysicalSize{axis}": 0.29 for axis in "ZYX"}
    path = write(tmp_path / "f_bf.ome.tif", light, ome=True, metadata={"axes": "ZYXS", **size})
    Stack(light.mean(-1).astype(np.uint16), "ZYX", (0.29,) * 3).save(tmp_path / "f_dna.ome.tif")
    manifest = write_manifest(
        [Pair("f", path, tmp_path / "f_dna.ome.tif", input_channel="luminance")], tmp_path / "m.csv"
    )
    image, _ = read_pairs(manifest)[0].read_both()
    np.testing.assert_allclose(image.data, light.mean(-1), rtol=1e-6)
    model = load_model(model_folder)
    stain = model.predict(path, channel="luminance")
    np.testing.assert_array_equal(stain.data, model.predict(image, channel="luminance").data)
    trained = model.description.input.model_copy(update={"channel": "luminance"})
    model.description = model.description.model_copy(update={"input": trained})
    np.testing.assert_array_equal(model.predict(path).data, stain.data)  # what it was trained on is found


def test_init_proposes_the_luminance_of_colour_inputs(tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path / f"f{number}_bf.tif", STACK[0, 0])
        tifffile.imwrite(tmp_path / f"f{number}_dna.tif", STACK[0, 0, ..., 0], photometric="minisblack")
    found = propose_pairs(tmp_path, axes=None, voxel_size=None)
    assert [(p.input.name, p.input_channel, p.target_channel) for p in found.pairs] == [
        (f"f{n}_bf.tif", "luminance", None) for n in range(2)
    ]
    assert any("luminance" in reason for reason in found.reasons)
    assert {p.input_channel for p in propose_pairs(tmp_path, input_channel="green").pairs} == {"green"}
    for file in tmp_path.glob("*_dna.tif"):
        file.unlink()
    both = propose_pairs(tmp_path, input_channel="red", target_channel="blue").pairs
    assert [(p.input, p.target) for p in both] == [(p.input, p.input) for p in both]
