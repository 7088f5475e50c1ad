"""Tiling: an identity comes back whole, weights sum to one, and an independent sliding window agrees."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from scipy import signal

from spotlight.tiles import Blend, Blended, Tiling, apply_tiled, axis_weights, fit_tile, tile_starts


@st.composite
def tilings(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]:
    dims = draw(st.integers(1, 3))
    multiple = draw(st.sampled_from([1, 2, 4, 8]))
    shape = tuple(draw(st.integers(1, 40)) for _ in range(dims))
    tile = tuple(draw(st.integers(1, 24)) for _ in range(dims))
    overlap = tuple(draw(st.integers(0, t - 1)) for t in tile)
    return shape, tile, overlap, multiple


@settings(max_examples=200)
@given(tilings())
@pytest.mark.slow
def test_an_identity_returns_its_input(tiling: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]) -> None:
    shape, tile, overlap, multiple = tiling
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    def identity(values: NDArray[np.float32]) -> NDArray[np.float32]:
        assert all(n % multiple == 0 for n in values.shape)
        return values

    result = apply_tiled(identity, array, tile, overlap, multiple)
    assert result.shape == array.shape
    np.testing.assert_allclose(result, array, rtol=2e-6, atol=4e-6)


@given(st.integers(1, 300), st.integers(1, 80), st.data())
def test_tiles_cover_everything_and_overlap_enough(length: int, tile: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, tile - 1))
    starts = tile_starts(length, tile, overlap)
    if tile >= length:
        assert starts == [0]
        return
    assert starts[0] == 0
    assert starts[-1] == length - tile
    gaps = np.diff(starts)
    assert gaps.max() <= tile - overlap
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("shape", [(28, 28), (12, 28, 24)])
def test_agrees_with_monai(shape: tuple[int, ...]) -> None:
    """Two tiles along each axis: there MONAI's grid is ours, and the weights can be made the same."""
    dims = len(shape)
    torch.manual_seed(0)
    conv = (torch.nn.Conv2d if dims == 2 else torch.nn.Conv3d)(1, 1, 3, padding=1)
    array = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    tile = tuple(8 if n == 12 else 16 for n in shape)
    overlap = tuple(2 * t - n for n, t in zip(shape, tile, strict=True))

    def run(values: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            return conv(torch.from_numpy(values)[None, None])[0, 0].numpy()

    ours = apply_tiled(run, array, tile, overlap)
    # MONAI weighs every window alike and divides by the sum; a ramp on both sides gives our blend.
    weights = np.ones(tile, np.float32)
    for axis in range(dims):
        ramp = np.minimum(1, (np.arange(tile[axis], dtype=np.float32) + 0.5) / overlap[axis])
        along = np.minimum(ramp, ramp[::-1])
        weights = weights * along.reshape([-1 if a == axis else 1 for a in range(dims)])
    with torch.no_grad():
        theirs = sliding_window_inference(
            torch.from_numpy(array)[None, None],
            tile,
            1,
            conv,
            overlap=tuple(o / t for o, t in zip(overlap, tile, strict=True)),
            roi_weight_map=torch.from_numpy(weights),
        )
    np.testing.assert_allclose(ours, theirs[0, 0].numpy(), atol=1e-5)


@pytest.mark.parametrize("overlap", [0.5, 0.75])
def test_gaussian_weights_are_those_of_monai(overlap: float) -> None:
    """Where both cut alike, in steps of a half and a quarter of the tile.

    MONAI's own Gaussian is lifted to 0.001 in the corners of a tile, so it is given SciPy's.
    """
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(1, 1, 5, padding=2)
    array = np.random.default_rng(1).normal(size=(60, 40)).astype(np.float32)
    step = round(20 * (1 - overlap))

    def run(values: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            return conv(torch.from_numpy(values)[None, None])[0].numpy()

    tiling = Tiling.of((60, 40), (20, 20), (20 - step, 20 - step), 1, "gaussian")
    assert [start for start, _ in tiling.axes[0]] == list(range(0, 41, step))
    layers = [np.empty((1, *tiling.layer_shape), np.float32) for _ in range(tiling.layers)]
    for number, layer in enumerate(layers):
        tiling.compute(number, run, array, layer)
    bell = signal.windows.gaussian(20, 20 / 8)
    with torch.no_grad():
        theirs = sliding_window_inference(
            torch.from_numpy(array)[None, None],
            (20, 20),
            4,
            conv,
            overlap=overlap,
            roi_weight_map=torch.from_numpy(np.outer(bell, bell)),
        )
    np.testing.assert_allclose(Blended(tiling, layers)[()], theirs[0, 0].numpy(), atol=1e-5)


def test_the_next_tile_is_read_while_the_function_works() -> None:
    """Each call but the last waits until the next tile has been asked for; without overlap it would wait in vain."""
    reads: list[int] = []
    asked = threading.Condition()

    class Watched:
        ndim = 1
        values = np.arange(40, dtype=np.float32)

        def __getitem__(self, index: tuple[slice, ...]) -> NDArray[np.float32]:
            with asked:
                reads.append(index[0].start)
                asked.notify_all()
            return self.values[index]

    tiling = Tiling.of((40,), (40,), (0,), 1)
    tiling = replace(tiling, tile=(10,), axes=[[(s, np.ones(10, np.float32)) for s in (0, 10, 20, 30)]], along=1)
    calls = 0

    def slow(tile: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal calls
        calls += 1
        with asked:
            assert calls == 4 or asked.wait_for(lambda: len(reads) > calls, timeout=20)
        return tile[None]

    out = np.empty((1, 40), np.float32)
    tiling.compute(0, slow, Watched(), out)
    np.testing.assert_array_equal(out[0], np.arange(40))


BLENDS = st.sampled_from(["linear", "gaussian", "exact"])


@given(st.integers(1, 60), st.integers(1, 24), st.sampled_from([1, 4, 8]), BLENDS, st.data())
def test_weights_sum_to_one(blocks: int, tile: int, multiple: int, blend: Blend, data: st.DataObject) -> None:
    length, overlap = blocks * multiple, data.draw(st.integers(0, tile - 1))
    edge = fit_tile(length, tile, overlap, multiple)
    total = np.zeros(length)
    for start, weight in axis_weights(length, edge, overlap, multiple, blend):
        assert start % multiple == 0
        total[start : start + edge] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_weights_fall_towards_a_neighbour_only() -> None:
    (first, a), (second, b) = axis_weights(8, 6, 4, 1, "linear")
    assert (first, second) == (0, 2)
    assert a.tolist() == [1, 1, 0.875, 0.625, 0.375, 0.125]
    assert b.tolist() == a.tolist()[::-1]


def test_tiles_are_no_larger_than_needed() -> None:
    """The F-net grid of a 65x624x924 stack: its planes stay together, and tiles shrink to their even spread."""
    assert [fit_tile(n, t, t // 4, 16) for n, t in ((80, 96), (240, 192), (352, 192))] == [80, 144, 160]
    assert fit_tile(100, 30, 10, 1) == 28


@given(tilings(), st.data())
def test_regions_of_blended_layers_are_those_of_the_whole(
    tiling: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int], data: st.DataObject
) -> None:
    shape, tile, overlap, multiple = tiling
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    cut = Tiling.of(shape, tile, overlap, multiple)
    layers = [np.full((2, *cut.layer_shape), np.nan, np.float32) for _ in range(cut.layers)]
    done = []
    for number, layer in enumerate(layers):
        cut.compute(number, lambda values: np.stack([values, 2 * values]), array, layer, lambda: done.append(1))
    assert len(done) == cut.tiles
    double = Blended(cut, layers, which=1)
    region = tuple(slice(*sorted((data.draw(st.integers(0, n - 1)), data.draw(st.integers(1, n))))) for n in shape)
    np.testing.assert_allclose(double[region], 2 * array[region], rtol=2e-6, atol=8e-6)


def test_exact_tiles_take_every_value_from_one_tile() -> None:
    for length, tile, overlap in ((100, 40, 16), (97, 50, 49), (64, 24, 8)):
        places = axis_weights(length, tile, overlap, 1, "exact")
        owners = np.zeros(length)
        for start, weight in places:
            assert set(weight) <= {0.0, 1.0}
            owned = np.flatnonzero(weight)
            assert owned[0] >= overlap // 2 or start == 0
            assert tile - 1 - owned[-1] >= overlap // 2 - 1 or start + tile == length
            owners[start : start + tile] += weight
        assert (owners == 1).all()
