"""Patches: exact search for foreground, uniform and repeatable draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from spotlight.errors import SpotlightError
from spotlight.foreground import least_foreground_voxels
from spotlight.pairs.patches import PatchSampler, orient, patch_starts, window_sums


@given(npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7)), st.data())
def test_window_sums_count_as_a_loop_does(mask: np.ndarray, data: st.DataObject) -> None:
    window = tuple(data.draw(st.integers(1, n)) for n in mask.shape)
    sums = window_sums(mask, window)
    assert sums.shape == tuple(n - w + 1 for n, w in zip(mask.shape, window, strict=True))
    for start in np.ndindex(*sums.shape):
        box = tuple(slice(s, s + w) for s, w in zip(start, window, strict=True))
        assert sums[start] == mask[box].sum()


@given(npst.arrays(bool, (6, 7, 5)), st.integers(0, 9), st.integers(1, 40))
def test_starts_are_those_of_a_loop_whatever_the_slab(mask: np.ndarray, least: int, slab: int) -> None:
    patch = (3, 2, 4)
    with pytest.MonkeyPatch.context() as change:
        change.setattr("spotlight.images.slabs.SLAB_VOXELS", slab)
        starts = patch_starts(mask.shape, patch, mask, least)
    expected = [
        p
        for p in np.ndindex(4, 6, 2)
        if mask[tuple(slice(s, s + n) for s, n in zip(p, patch, strict=True))].sum() >= least
    ]
    assert [starts[n] for n in range(len(starts))] == expected


def test_starts_take_little_memory() -> None:
    mask = np.zeros((40, 300, 300), bool)
    mask[:, 100:200, 50:250] = True
    starts = patch_starts(mask.shape, (8, 64, 64), mask, 100)
    assert starts.firsts.nbytes + starts.counts.nbytes < 0.1 * mask.nbytes
    assert len(starts) > 1_000_000


def test_a_thousandth_of_the_published_patch() -> None:
    assert least_foreground_voxels((32, 64, 64), 0.001) == 132
    assert least_foreground_voxels((32, 64, 64), 0.0) == 0


def test_every_drawn_patch_has_enough_foreground() -> None:
    rng = np.random.default_rng(0)
    masks = [rng.uniform(size=(20, 30, 30)) < p for p in (0.0, 0.0004, 0.01)]
    patch, least = (8, 16, 16), 2
    starts = [patch_starts(m.shape, patch, m, least) for m in masks]
    assert len(starts[0]) == 0
    sampler = PatchSampler(starts, patch, seed=1)
    for step in range(50):
        for stack, _, start, orientation in sampler.draw(step, 4):
            assert stack in (1, 2)
            assert sampler.cut(masks[stack], start, orientation).sum() >= least


def test_stacks_and_positions_are_equally_likely() -> None:
    starts = [patch_starts((4, 4), (3, 3)), patch_starts((3, 12), (3, 3))]
    sampler = PatchSampler(starts, (3, 3), seed=0)
    drawn = [d for step in range(2000) for d in sampler.draw(step, 4)]
    first = [draw.start for draw in drawn if draw.stack == 0]
    assert len(first) / len(drawn) == pytest.approx(0.5, abs=0.02)
    counts = np.unique(first, axis=0, return_counts=True)[1]
    assert len(counts) == 4
    assert counts / counts.sum() == pytest.approx(np.full(4, 0.25), abs=0.025)


def test_a_step_gives_the_same_patches_whenever_it_is_drawn() -> None:
    starts = [patch_starts((20, 20), (8, 8))] * 3
    a, b = PatchSampler(starts, (8, 8), 5, augment=True), PatchSampler(starts, (8, 8), 5, augment=True)
    later = b.draw(7, 6)
    assert [a.draw(step, 6) for step in range(8)][7] == later
    assert a.draw(8, 6) != later
    assert PatchSampler(starts, (8, 8), 6, augment=True).draw(7, 6) != later


def test_orientations_are_the_eight_symmetries_of_the_square() -> None:
    array = np.arange(9).reshape(3, 3)
    turned = {orient(array, n).tobytes() for n in range(8)}
    assert len(turned) == 8
    assert np.array_equal(orient(array, 0), array)
    stack = np.random.default_rng(0).normal(size=(2, 4, 4))
    for n in range(8):
        assert np.array_equal(orient(stack, n)[1], orient(stack[1], n))


def test_a_patch_that_does_not_fit() -> None:
    with pytest.raises(SpotlightError, match=r"does not fit.*\(10, 64, 64\)"):
        patch_starts((10, 64, 64), (16, 32, 32))


def test_no_foreground_anywhere() -> None:
    with pytest.raises(SpotlightError, match="no stack has a patch"):
        PatchSampler([patch_starts((8, 8), (4, 4), np.zeros((8, 8), bool), 1)], (4, 4), 0)
