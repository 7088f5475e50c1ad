"""Binned images are told so, and the command that the message offers makes a pair of them."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from typer.testing import CliRunner

from spotlight import SpotlightError
from spotlight.cli import app
from spotlight.images import Stack, resample_like
from spotlight.images.same_field import binning, same_field_remedy
from spotlight.pairs import Pair

FINE = (0.3, 0.1, 0.1)
COARSE = (0.3, 0.2, 0.2)


def blobs(height: int = 64, width: int = 64) -> NDArray[np.float32]:
    noise = np.random.default_rng(0).normal(size=(4, height, width))
    smooth = ndimage.gaussian_filter(noise, (0, 5, 5))
    return (1000 + 3000 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def binned(image: NDArray[np.float32], factor: int = 2) -> NDArray[np.float32]:
    height, width = (n // factor for n in image.shape[1:])
    kept = image[:, : height * factor, : width * factor]
    return kept.reshape(len(image), height, factor, width, factor).mean((2, 4))


@pytest.mark.parametrize(
    ("fine", "coarse", "factor"),
    [
        ((8, 64, 64), (8, 32, 32), 2),
        ((65, 67), (32, 33), 2),
        ((1024, 1344), (256, 336), 4),
        ((8, 64, 64), (4, 32, 32), 1),
        ((64, 64), (32, 64), 1),
        ((64, 64), (48, 48), 1),
        ((64, 64), (4, 4), 1),
        ((32, 32), (64, 64), 1),
        ((64, 64), (64, 64), 1),
    ],
)
def test_binning_is_known_by_the_shapes(fine: tuple[int, ...], coarse: tuple[int, ...], factor: int) -> None:
    assert binning(fine, coarse) == factor


def test_a_fine_image_becomes_what_a_binned_camera_sees() -> None:
    image = blobs(66, 65)
    like = Stack(binned(image), "ZYX", COARSE)
    found = resample_like(Stack(image, "ZYX", FINE), like)
    np.testing.assert_allclose(found.data, like.data, rtol=1e-6)
    assert found.voxel_size == COARSE
    whole = resample_like(Stack(np.rint(image).astype(np.uint16), "ZYX", FINE), like)
    assert whole.dtype == np.uint16
    assert np.abs(whole.data - like.data).max() <= 1


def test_a_binned_image_lies_where_the_fine_one_does() -> None:
    image = blobs()
    back = resample_like(Stack(binned(image), "ZYX", COARSE), Stack(image, "ZYX", FINE))
    np.testing.assert_allclose(back.data[:, 4:-4, 4:-4], image[:, 4:-4, 4:-4], atol=20)  # of 3000
    ramp = np.broadcast_to(np.arange(64.0), (4, 64, 64)).astype(np.float32)
    again = resample_like(Stack(binned(ramp), "ZYX", COARSE), Stack(ramp, "ZYX", FINE)).data
    np.testing.assert_allclose(again[:, :, 8:-8], ramp[:, :, 8:-8], atol=1e-2)  # no shift of half a pixel


def test_steps_that_are_no_whole_numbers_and_planes() -> None:
    z, y, x = np.meshgrid(*(np.arange(n) for n in (20, 60, 60)), indexing="ij")
    image = (z * 3.0 + y * 2.0 + x).astype(np.float32)
    like = Stack(np.zeros((10, 40, 40), np.uint8), "ZYX", (0.4, 0.15, 0.15))
    found = resample_like(Stack(np.stack([image, -image]), "CZYX", (0.2, 0.1, 0.1), ("a", "b")), like)
    assert (found.shape, found.channels) == ((2, 10, 40, 40), ("a", "b"))
    z, y, x = np.meshgrid(
        np.arange(10) * 2 + 0.5, np.arange(40) * 1.5 + 0.25, np.arange(40) * 1.5 + 0.25, indexing="ij"
    )
    inside = (slice(2, -2), slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(found.data[0][inside], (z * 3 + y * 2 + x)[inside], atol=1e-2)
    np.testing.assert_allclose(found.data[1], -found.data[0], atol=1e-3)


def test_labels_stay_whole() -> None:
    labels = np.kron(np.arange(16).reshape(1, 4, 4), np.ones((3, 8, 8))).astype(np.int32)
    small = labels[:, ::2, ::2]
    assert (resample_like(Stack(small, "ZYX", COARSE), Stack(labels, "ZYX", FINE), labels=True).data == labels).all()
    assert (resample_like(Stack(labels, "ZYX", FINE), Stack(small, "ZYX", COARSE), labels=True).data == small).all()


@pytest.mark.parametrize("size", [(COARSE, FINE), (None, None), (FINE, FINE), ((0.3, 0.195, 0.195), FINE)])
@pytest.mark.parametrize("which", ["target", "input", "labels"])
def test_the_offer_works(
    tmp_path: Path, which: str, size: tuple[tuple[float, ...] | None, tuple[float, ...] | None]
) -> None:
    image = blobs()
    small = Stack(binned(image).astype(np.uint16), "ZYX", size[0], source="small")
    large = Stack(image.astype(np.uint16), "ZYX", size[1], source="large")
    files = {name: large.save(tmp_path / f"a {name}.ome.tif") for name in ("input", "target", "labels")}
    small.save(files[which])
    pair = Pair("a", files["input"], files["target"], labels=files["labels"])

    def read_all(pair: Pair) -> None:
        pair.read_labels(pair.read_both()[1])

    with pytest.raises(SpotlightError, match="binned 2x2") as refused:
        read_all(pair)
    command = re.search(r"spotlight (resample .*? --to) FOLDER", str(refused.value))
    assert command is not None
    assert ("--labels" in command[1]) == (which == "labels")
    done = CliRunner().invoke(app, [*shlex.split(command[1]), str(tmp_path / "new")])
    assert done.exit_code == 0, done.output
    # The second is brought to the grid of the first, or what has the wrong voxel size to that of the other.
    changed = "target" if which == "input" and size != (FINE, FINE) else which
    good = replace(pair, **{changed: tmp_path / "new" / files[changed].name})
    if changed != which:
        good = replace(good, labels=None)
    read_all(good)
    again = CliRunner().invoke(app, [*shlex.split(command[1]), str(tmp_path / "new")])
    assert "is there already" in str(again.exception or again.output)


def test_other_fields_are_not_resampled() -> None:
    large, small = Stack(blobs(), "ZYX", FINE), Stack(blobs()[:, :60, :60], "ZYX", FINE)
    assert same_field_remedy(large, small, mask=False) == ""
    with pytest.raises(SpotlightError, match="is not the field of"):
        resample_like(small, large)
    with pytest.raises(SpotlightError, match="no stated voxel size.*--voxel-size"):
        resample_like(replace(small, voxel_size=None), large)
    with pytest.raises(SpotlightError, match="is not the field of"):
        resample_like(large.plane(0), large)


def test_labels_that_say_so_are_never_averaged() -> None:
    values = np.zeros((2, 40, 40), np.int32)
    values[:, 5:10, 5:10], values[:, 10:15, 5:10] = 70, 3
    labels = Stack(values, "ZYX", (1, 0.58, 0.58), labels=True)
    like = Stack(np.zeros((2, 80, 80), np.uint8), "ZYX", (1, 0.29, 0.29))
    found = resample_like(labels, like)
    assert set(np.unique(found.data)) == {0, 3, 70}
    assert found.labels
