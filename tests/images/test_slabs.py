"""Working slab by slab gives what working on the whole gives, and never asks for more than a slab."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from scipy import ndimage

from spotlight.errors import SpotlightError
from spotlight.foreground import ForegroundSettings
from spotlight.images import Stack, read, resample
from spotlight.images.lazy import LazyArray
from spotlight.images.normalise import mean_and_std, prepare_input, zeros_are_padding
from spotlight.images.resample import Resampled, resample_slabs
from spotlight.images.scaling import input_scale
from spotlight.images.slabs import slabs
from spotlight.pairs import Pair, PreparationSettings, prepare_pair, prepare_pairs

SIZE = "spotlight.images.slabs.SLAB_VOXELS"


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    rng = np.random.default_rng(0)
    bright = ndimage.gaussian_filter(rng.normal(size=(37, 40, 44)), 3) > 0.02
    data = np.stack([rng.normal(500, 50, bright.shape), rng.normal(100 + 100 * bright, 10)]).astype(np.uint16)
    Stack(data, "CZYX", (0.4, 0.2, 0.2), ("BF", "DNA")).save(tmp_path / "a.ome.zarr")
    Stack(ndimage.binary_dilation(bright).astype(np.uint8), "ZYX", (0.4, 0.2, 0.2)).save(tmp_path / "mask.ome.zarr")
    return Pair("a", *[tmp_path / "a.ome.zarr"] * 2, input_channel="BF", target_channel="DNA")


def same(a: Any, b: Any) -> None:
    for name, value in asdict(a).items():
        if name in ("input", "target"):
            np.testing.assert_allclose(value, getattr(b, name), rtol=1e-6, atol=3e-6)
        elif name == "mask":
            assert np.mean(value != getattr(b, name)) < 1e-4
        elif name == "foreground":
            assert value["threshold"] == pytest.approx(b.foreground.threshold, rel=1e-6)
            assert value["fraction"] == b.foreground.fraction
        else:
            assert value == pytest.approx(getattr(b, name)), name


@pytest.mark.parametrize("method", ["otsu", "yen", "li", "triangle"])
@pytest.mark.parametrize("median", [1, 3])
def test_preparation(pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: Any, median: int) -> None:
    rule = ForegroundSettings(method=method, median_px=3, gaussian_px=1.5)
    settings = PreparationSettings(grid=0.3, foreground=rule, mask_median_px=median)
    whole = prepare_pair(pair, settings)
    monkeypatch.setattr(SIZE, 40 * 44 * 4)
    same(prepare_pair(pair, settings), whole)
    (cached,) = prepare_pairs([pair], settings, tmp_path / "cache")
    same(cached, whole)
    assert {file.name for file in (tmp_path / "cache").glob("*/*")} == {
        "facts.json",
        "input.npy",
        "mask.npy",
        "target.npy",
    }


def test_preparation_with_the_users_mask_and_padding(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = read(pair.input)
    stack.data[:, :, :6] = 0
    stack.save(pair.input)
    settings = PreparationSettings(grid=0.3, foreground=ForegroundSettings(gaussian_px=1))
    masked = replace(pair, foreground=pair.input.with_name("mask.ome.zarr"))
    plain, own = prepare_pair(pair, settings), prepare_pair(masked, settings)
    assert own.foreground.fraction != plain.foreground.fraction
    monkeypatch.setattr(SIZE, 40 * 44 * 5)
    same(prepare_pair(pair, settings), plain)
    same(prepare_pair(masked, settings), own)


class Watched:
    """A file whose regions are counted."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.most = array, array.shape, array.dtype, 0

    def __getitem__(self, index: tuple[int | slice, ...]) -> Any:
        part = self.array[index]
        self.most = max(self.most, part.size)
        return part


SHAPES = [(40, 150, 17), (61, 150, 33), (40, 320, 40), (9, 61, 11), (70, 190, 33), (1, 150, 90), (40, 1, 33)]


def zoomed(image: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    """SciPy's splines, in float64."""
    factors = [new / old for new, old in zip(shape, image.shape, strict=True)]
    return ndimage.zoom(image.astype(np.float64), factors, order=order, mode="nearest")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", [0, 3])
def test_resampling(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], order: Literal[0, 3]) -> None:
    image = np.random.default_rng(1).normal(size=(40, 150, 33)).astype(np.float32)
    source = Watched(image)
    monkeypatch.setattr(SIZE, 33 * 64 * 5)
    found = resample_slabs(LazyArray.of(source), shape, "x", lambda part: 2 * part, order=order)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 2 * zoomed(image, shape, order), atol=6e-6)
    assert source.most < image.size  # in slabs, or in bands


@pytest.mark.parametrize("shape", [*SHAPES, (40, 150, 33)])
@pytest.mark.parametrize("order", [0, 3])
def test_a_region_is_resampled_as_in_the_whole(shape: tuple[int, ...], order: Literal[0, 3]) -> None:
    rng = np.random.default_rng(2)
    image = rng.normal(size=(40, 150, 33)).astype(np.float32)
    whole, source = resample(image, shape, order), Watched(image)
    resampled = Resampled(LazyArray.of(source), shape, order=order)
    for _ in range(20):
        ends = [np.sort(rng.integers(0, n + 1, 2)) for n in shape]
        region = tuple(slice(int(a), max(int(a) + 1, int(b))) for a, b in ends)
        region = tuple(slice(r.start - (r.stop > n), min(r.stop, n)) for r, n in zip(region, shape, strict=True))
        np.testing.assert_allclose(resampled[region], whole[region], atol=2e-6)
    np.testing.assert_array_equal(resampled[0, :, -1:], resampled[0:1, :, shape[2] - 1 : shape[2]][0])
    source.most = 0
    resampled[0:1, 0:1, 0:1]
    assert source.most <= 17**3  # a region of the result needs no more than a region of the source


def test_two_dimensions_and_masks() -> None:
    image = np.random.default_rng(3).normal(size=(50, 41)).astype(np.float32)
    np.testing.assert_allclose(
        resample_slabs(image, (33, 90), "x", lambda part: part), zoomed(image, (33, 90), 3), atol=3e-6
    )
    mask = resample_slabs(image, (33, 90), "x", lambda part: part > 0, order=0)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, zoomed(image > 0, (33, 90), 0) > 0)


def test_statistics_keep_their_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(2).normal(1e6, 0.5, (30, 20, 20))
    image[:, :3] = 0
    monkeypatch.setattr(SIZE, 20 * 20 * 4)
    mean, std = mean_and_std(image, padded=True)
    values = image[image != 0]
    assert mean == pytest.approx(values.mean(), rel=1e-14)
    assert std == pytest.approx(values.std(), rel=1e-9)
    assert zeros_are_padding(image)
    with pytest.raises(SpotlightError, match="is constant"):
        mean_and_std(np.zeros((30, 20, 20)), padded=True)


def test_slabs_cover_an_array_once() -> None:
    for length in (1, 7, 64):
        parts = list(slabs((length, 2**14, 2**9), halo=3))  # four planes a slab
        covered = [n for part in parts for n in range(part.inner.start, part.inner.stop)]
        assert covered == list(range(length))
        for part in parts:
            outer = range(length)[part.outer]
            assert list(outer)[part.crop] == list(range(part.inner.start, part.inner.stop))
            assert outer[0] == max(0, part.inner.start - 3)
            assert outer[-1] == min(length, part.inner.stop + 3) - 1


def test_no_more_than_a_slab_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Watched(np.random.default_rng(3).normal(size=(50, 20, 20)).astype(np.float32))
    monkeypatch.setattr(SIZE, 20 * 20 * 4)
    stack = Stack(LazyArray.of(source), "ZYX", (0.3, 0.3, 0.3))
    stack.load_if_small()
    stack.require_finite()
    prepared = prepare_input(stack, 0.2, input_scale(stack, "mean/std"))
    assert prepared.shape == (75, 30, 30)
    assert 20 * 20 <= source.most <= 20 * 20 * 4
    assert "data" not in vars(stack)


def test_nan_is_found_in_a_late_slab(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((50, 20, 20), np.float32)
    image[41, 3, 5] = image[44, 0, 0] = np.nan
    monkeypatch.setattr(SIZE, 20 * 20 * 4)
    with pytest.raises(
        SpotlightError, match=r"2 values are NaN or infinite, or beyond ±1e\+18, the first at ZYX index \(41, 3, 5\)"
    ):
        Stack(image, "ZYX").require_finite()
