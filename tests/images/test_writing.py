"""What is written is read back by others, whole, with its facts, and without holding it in memory."""

import logging
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from numpy.typing import NDArray
from skimage.transform import downscale_local_mean

from spotlight.errors import SpotlightError
from spotlight.images import Stack, read
from spotlight.images.blocks import halved
from spotlight.images.lazy import LazyArray

SIZE = (0.29, 0.108, 0.11)
FACTS: dict[str, Any] = {"voxel_size": SIZE, "channels": ("BF", "DNA (virtual)"), "colors": ("FFFFFF", "00FFFF")}


def noise(*shape: int, high: int = 60000) -> NDArray[np.uint16]:
    return np.random.default_rng(0).integers(0, high, shape).astype(np.uint16)


@pytest.mark.parametrize("ending", ["ome.tif", "ome.zarr"])
@pytest.mark.parametrize(
    ("axes", "shape"),
    [("YX", (30, 40)), ("ZYX", (18, 300, 280)), ("CZYX", (2, 5, 30, 1100)), ("TCZYX", (2, 2, 3, 9, 8))],
)
@pytest.mark.parametrize("kind", ["uint8", "uint16", "int32", "float32"])
def test_what_is_written_is_read_back(
    tmp_path: Path, ending: str, axes: str, shape: tuple[int, ...], kind: str
) -> None:
    channels = FACTS["channels"][: 2 if "C" in axes else 1]
    stack = Stack(noise(*shape).astype(kind), axes, SIZE[-len(axes.replace("T", "").replace("C", "")) :], channels)
    path = stack.save(tmp_path / f"a b.{ending}")
    back = read(path)
    assert (back.axes, back.channels, back.dtype) == (axes, channels, stack.dtype)
    assert back.voxel_size == pytest.approx(stack.voxel_size)
    np.testing.assert_array_equal(back.data, stack.data)
    assert list(tmp_path.iterdir()) == [path]


def test_an_ome_tiff_is_valid_and_says_all(tmp_path: Path) -> None:
    ome_types = pytest.importorskip("ome_types")
    stack = Stack(noise(2, 3, 1500, 700), "CZYX", **FACTS, origin="stained by model <a>")
    path = stack.save(tmp_path / "a.ome.tif")
    (image,) = ome_types.from_tiff(path, validate=False).images
    pixels = image.pixels
    assert (pixels.physical_size_z, pixels.physical_size_y, pixels.physical_size_x) == SIZE
    assert [(c.name, c.color.as_rgb_tuple()) for c in pixels.channels] == [
        ("BF", (255, 255, 255)),
        ("DNA (virtual)", (0, 255, 255)),
    ]
    assert image.description == "stained by model <a>"
    with tifffile.TiffFile(path) as tif:
        levels = tif.series[0].levels
        assert [level.shape for level in levels] == [(2, 3, 1500, 700), (2, 3, 750, 350)]
        expected = np.rint(downscale_local_mean(stack.data.astype(float), (1, 1, 2, 2)))
        np.testing.assert_allclose(levels[1].asarray(), expected, atol=1)
        assert tif.pages[0].is_tiled


@pytest.mark.slow
def test_an_ome_zarr_is_valid_and_others_read_it(tmp_path: Path) -> None:
    stack = Stack(noise(2, 18, 1500, 700), "CZYX", **FACTS, origin="stained by model <a>")
    path = stack.save(tmp_path / "a.ome.zarr")
    yaozarrs.validate_zarr_store(str(path))
    assert zarr.open_group(path).attrs["spotlight"] == {"origin": "stained by model <a>"}

    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    location = parse_url(str(path))
    assert location is not None
    (node,) = [node for node in Reader(location)() if node.data]
    assert [level.shape for level in node.data] == [(2, 18, 1500, 700), (2, 18, 750, 350)]
    np.testing.assert_array_equal(np.asarray(node.data[0]), stack.data)
    assert node.metadata["channel_names"] == ["BF", "DNA (virtual)"]
    first, second = node.metadata["coordinateTransformations"]
    assert first[0]["scale"] == [1, *SIZE]
    assert second[0]["scale"] == pytest.approx([1, SIZE[0], 2 * SIZE[1], 2 * SIZE[2]])
    assert second[1]["translation"] == pytest.approx([0, 0, SIZE[1] / 2, SIZE[2] / 2])
    window = zarr.open_group(path).attrs["ome"]["omero"]["channels"][0]["window"]
    assert (window["min"], window["max"]) == (stack.data.min(), stack.data.max())


def test_labels_are_never_averaged_and_stand_beside_their_image(tmp_path: Path) -> None:
    image = Stack(noise(3, 1100, 30), "ZYX", SIZE, ("DNA",))
    labels = Stack(noise(3, 1100, 30, high=50), "ZYX", SIZE, ("labels",), labels=True)
    image.save(tmp_path / "a.ome.zarr")
    for name in ("nuclei", "cells", "nuclei"):
        path = labels.save(tmp_path / "a.ome.zarr" / "labels" / name)
    yaozarrs.validate_zarr_store(str(tmp_path / "a.ome.zarr"))
    assert zarr.open_group(path.parent).attrs["ome"]["labels"] == ["nuclei", "cells"]
    back = read(path)
    assert back.labels
    np.testing.assert_array_equal(back.data, labels.data)
    np.testing.assert_array_equal(zarr.open_array(path / "1")[:], labels.data[:, ::2, ::2])
    np.testing.assert_array_equal(read(tmp_path / "a.ome.zarr").data, image.data)
    with pytest.raises(SpotlightError, match="only instance labels"):
        image.save(tmp_path / "a.ome.zarr" / "labels" / "x")
    with pytest.raises(SpotlightError, match=r"b\.ome\.zarr"):
        labels.save(tmp_path / "b.ome.zarr" / "labels" / "x")
    tiff = labels.save(tmp_path / "l.ome.tif")
    with tifffile.TiffFile(tiff) as tif:
        np.testing.assert_array_equal(tif.series[0].levels[1].asarray(), labels.data[:, ::2, ::2])


@pytest.mark.parametrize("labels", [False, True])
def test_levels_are_put_together_from_bands(tmp_path: Path, labels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spotlight.images.omezarr_writer.BAND_BYTES", 1)
    monkeypatch.setattr("spotlight.images.omezarr_writer.SHARDED_BYTES", 0)
    expected = noise(2, 2, 2101, 1290, high=250).astype(np.uint8)
    path = Stack(expected, "CZYX", SIZE, labels=labels).save(tmp_path / "a.ome.zarr")
    for level in range(3):
        array = zarr.open_array(path / str(level))
        assert (array.chunks, array.shards) == ((1, 2, 256, 256), (1, 2, 256, 1024))
        np.testing.assert_array_equal(array[:], expected)
        expected = halved(expected, labels)


def test_predictors_are_those_that_other_readers_know(tmp_path: Path) -> None:
    """Bio-Formats reads no predictor of real numbers, and ImageJ, which reads what is not tiled, overlooks any."""
    for kind, shape, predictor in (("uint16", (300, 300), 2), ("float32", (300, 300), 1), ("uint16", (200, 300), 1)):
        path = Stack(noise(*shape).astype(kind), "YX").save(tmp_path / "a.ome.tif")
        with tifffile.TiffFile(path) as tif:
            assert (tif.pages[0].predictor, tif.pages[0].compression) == (predictor, 8)  # type: ignore[union-attr]


def test_halving_keeps_large_whole_numbers() -> None:
    assert halved(np.full((2, 2), 2**32 - 1, np.uint32), False).tolist() == [[2**32 - 1]]


@pytest.mark.parametrize("shape", [(4, 6), (5, 7), (1, 3, 1), (150, 9)])
def test_halving_is_the_mean_of_what_is_there(shape: tuple[int, ...]) -> None:
    block = noise(*shape).astype(np.float32)
    height, width = shape[-2:]
    for y in range(-(-height // 2)):
        for x in range(-(-width // 2)):
            own = block[..., 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            np.testing.assert_allclose(halved(block, False)[..., y, x], own.mean((-2, -1)), rtol=1e-6)


@pytest.mark.parametrize("ending", ["ome.tif", "ome.zarr"])
def test_whole_numbers_are_rounded_and_clipped_and_it_is_said(
    tmp_path: Path, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    stack = Stack(np.array([[-3.0, 0.4, 0.6, 7e4]], np.float32), "YX", source="the stack")
    with caplog.at_level(logging.WARNING):
        back = read(stack.save(tmp_path / f"a.{ending}", "uint16"))
    assert back.data.tolist() == [[0, 0, 1, 65535]]
    assert "the stack: 50 % of the values were outside the range of uint16 and clipped" in caplog.text


class Slow:
    """A source of 400 MB that makes its values when they are asked for."""

    shape = (200, 1000, 1000)
    dtype = np.dtype(np.uint16)
    largest = 0

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[np.uint16]:
        lengths = [len(range(n)[i]) for i, n in zip(index, self.shape, strict=True)]
        Slow.largest = max(Slow.largest, int(np.prod(lengths)))
        z = np.arange(self.shape[0])[index[0]]
        return np.broadcast_to(z[:, None, None], lengths).astype(np.uint16)


@pytest.mark.parametrize("ending", ["ome.tif", "ome.zarr"])
@pytest.mark.slow
def test_memory_is_that_of_a_slab(tmp_path: Path, ending: str) -> None:
    stack = Stack(LazyArray.of(Slow()), "ZYX", SIZE)
    tracemalloc.start()
    path = stack.save(tmp_path / f"a.{ending}")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 80e6  # of 400 MB, and however large the stack is
    assert Slow.largest * 2 <= 16 * 2**20
    assert read(path).crop((slice(150, 151), slice(0, 1), slice(0, 1))).data.item() == 150


@pytest.mark.parametrize("ending", ["ome.tif", "ome.zarr", "plain.ome.tif"])
def test_memory_of_reading_is_that_of_the_region(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    data = noise(32, 700, 900)
    if ending.startswith("plain"):
        tifffile.imwrite(path, data, ome=True, metadata={"axes": "ZYX"}, photometric="minisblack")
    else:
        Stack(data, "ZYX", SIZE).save(path)
    region = (slice(0, 32), slice(90, 602), slice(90, 602))
    read(path).crop((slice(0, 1), slice(0, 1), slice(0, 1))).data  # noqa: B018
    tracemalloc.start()
    found = read(path).crop(region).data
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(found, data[region])
    assert peak < 1.5 * found.nbytes


@pytest.mark.parametrize("ending", ["ome.tif", "ome.zarr"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, ending: str) -> None:
    path = Stack(noise(4, 5), "YX").save(tmp_path / f"a.{ending}")

    class Broken(Slow):
        def __getitem__(self, index: tuple[Any, ...]) -> NDArray[np.uint16]:
            raise SpotlightError("the source broke")

    with pytest.raises(SpotlightError, match="the source broke"):
        Stack(LazyArray.of(Broken()), "ZYX").save(path)
    np.testing.assert_array_equal(read(path).data, noise(4, 5))
    assert list(tmp_path.iterdir()) == [path]
    Stack(noise(6, 7), "YX").save(path)
    assert read(path).shape == (6, 7)
    assert list(tmp_path.iterdir()) == [path]


def test_names_that_cannot_be(tmp_path: Path) -> None:
    stack = Stack(noise(4, 5), "YX")
    with pytest.raises(SpotlightError, match=r"end the name in \.ome\.tif or \.ome\.zarr"):
        stack.save(tmp_path / "a.png")
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "thesis.txt").write_text("years of work")
    with pytest.raises(SpotlightError, match="is not an OME-Zarr"):
        stack.save(tmp_path / "a.zarr")
    assert (tmp_path / "a.zarr" / "thesis.txt").exists()


def test_only_an_image_alone_is_overwritten(tmp_path: Path) -> None:
    image = Stack(noise(3, 8, 9), "ZYX")
    labels = Stack(noise(3, 8, 9), "ZYX", labels=True)
    image.save(tmp_path / "a.ome.zarr")
    labels.save(tmp_path / "a.ome.zarr" / "labels" / "mine")
    with pytest.raises(SpotlightError, match="not an OME-Zarr of one image alone"):
        image.save(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(read(tmp_path / "a.ome.zarr" / "labels" / "mine").data, labels.data)
    with pytest.raises(SpotlightError, match="do not fit the image"):
        Stack(noise(3, 8, 8), "ZYX", labels=True).save(tmp_path / "a.ome.zarr" / "labels" / "other")


def test_a_folder_named_labels_is_a_folder(tmp_path: Path) -> None:
    labels = Stack(noise(3, 8, 9), "ZYX", labels=True)
    assert read(labels.save(tmp_path / "labels" / "a.ome.zarr")).labels


def test_an_old_folder_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Stack(noise(4, 5), "YX").save(tmp_path / "a.ome.zarr")
    rename = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(SpotlightError, match="cannot be written"):
        Stack(noise(6, 7), "YX").save(path)
    np.testing.assert_array_equal(read(path).data, noise(4, 5))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
def test_values_that_are_no_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stack = Stack(np.array([[np.nan, 1.0, np.inf, 3.0]], np.float32), "YX", channels=("DNA",))
    path = stack.save(tmp_path / "a.ome.zarr")
    window = zarr.open_group(path).attrs["ome"]["omero"]["channels"][0]["window"]  # type: ignore[index,call-overload]
    assert (window["min"], window["max"]) == (1, 3)
    with caplog.at_level(logging.WARNING):
        assert read(stack.save(tmp_path / "a.ome.tif", "uint16")).data.tolist() == [[0, 1, 65535, 3]]
    assert "50 %" in caplog.text
