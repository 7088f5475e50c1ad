"""Masks: hand-worked examples, brute force, panoptica's numbers, and what has no value."""

import itertools
import time

import numpy as np
import pytest
from scipy import ndimage

from mask_pairs import FOUND, PANOPTICA, TRUTH, random_pair
from spotlight import SpotlightError
from spotlight.metrics import (
    betti_errors,
    betti_numbers,
    cl_dice,
    component_f1,
    describe,
    length_error,
    mask_dice,
    panoptic_dice,
)
from spotlight.metrics.topology import cubic, skeleton


def test_spots_by_hand() -> None:
    """Three cubes of 8; found are one exactly, half of another, and one elsewhere: IoU 1 and 0.5."""
    assert mask_dice(TRUTH, FOUND) == pytest.approx(24 / 44)
    assert panoptic_dice(TRUTH, FOUND) == pytest.approx(4 / 6 * (1 + 2 / 3) / 2)
    assert panoptic_dice(TRUTH, FOUND, threshold=0.5) == pytest.approx(4 / 6 * (1 + 2 / 3) / 2)  # at least, not above
    assert panoptic_dice(TRUTH, FOUND, threshold=0.51) == pytest.approx(2 / 6)
    assert component_f1(TRUTH, FOUND) == pytest.approx(4 / 6)
    assert betti_errors(TRUTH, FOUND) == (0, 0, 0)  # one is missed and one is invented
    assert betti_numbers(TRUTH) == (3, 0, 0)


def test_loops_and_cavities_by_hand() -> None:
    ring = np.zeros((3, 7, 7), bool)
    ring[1, 1:6, 1:6] = True
    ring[1, 2:5, 2:5] = False
    cut = ring.copy()
    cut[1, 1, 3] = False
    assert betti_numbers(ring) == betti_numbers(ring[1]) == (1, 1, 0)
    assert betti_errors(ring, cut) == (0, 1, 0)
    assert mask_dice(ring, cut) == pytest.approx(30 / 31)
    box = np.ones((5, 5, 5), bool)
    box[1:4, 1:4, 1:4] = False
    assert betti_numbers(box) == (1, 0, 1)
    corner = np.zeros((4, 4, 4), bool)
    corner[:2, :2, :2] = corner[2:, 2:, 2:] = True
    assert betti_numbers(corner) == (1, 0, 0)
    assert betti_numbers(np.zeros((2, 2, 2), bool)) == (0, 0, 0)


def test_centrelines_by_hand() -> None:
    row = np.zeros((5, 7, 14), bool)
    row[2, 3, 2:12] = True
    found = row.copy()
    found[2, 3, [5, 6]] = False
    found[2, 4, [7, 8]] = True  # beside the row; two of the row's own voxels under them are thinned away
    assert np.count_nonzero(skeleton(found)) == 8
    assert np.count_nonzero(skeleton(found) & row) == 6
    assert cl_dice(row, found) == pytest.approx(2 * 0.8 * 0.75 / 1.55)
    assert mask_dice(row, found) == pytest.approx(16 / 20)
    assert betti_errors(row, found) == (1, 0, 0)
    tube = np.zeros((7, 7, 25), bool)
    tube[2:5, 2:5, 2:23] = True
    gap = tube.copy()
    gap[:, :, 10:13] = False
    assert mask_dice(tube, gap) == pytest.approx(12 / 13)
    assert cl_dice(tube, gap) == pytest.approx(2 * (16 / 19) / (1 + 16 / 19))
    assert betti_errors(tube, gap) == (1, 0, 0)


@pytest.mark.parametrize(("seed", "golden"), list(enumerate(PANOPTICA)))
def test_panoptica_finds_the_same(seed: int, golden: tuple[int, int, float, float]) -> None:
    truth, mask = random_pair(seed)
    assert (truth.sum(), mask.sum()) == golden[:2]
    assert panoptic_dice(truth, mask) == pytest.approx(golden[2], rel=1e-9)
    assert cl_dice(truth, mask, whole=False) == pytest.approx(golden[3], rel=1e-6)


def rank(rows: list[int]) -> int:
    """Rank over the numbers 0 and 1, of rows that are bits."""
    rows, found = list(rows), 0
    while rows:
        pivot = rows.pop()
        if pivot:
            found += 1
            low = pivot & -pivot
            rows = [row ^ pivot if row & low else row for row in rows]
    return found


def homology(mask: np.ndarray) -> tuple[int, int, int]:
    """Betti numbers of the union of closed cubes, from the ranks of its boundary maps."""
    cells: list[set[tuple[int, ...]]] = [set() for _ in range(4)]
    for voxel in np.argwhere(mask):
        for offset in itertools.product((-1, 0, 1), repeat=3):
            cells[3 - sum(map(abs, offset))].add(tuple(int(c) for c in 2 * voxel + 1 + offset))
    ranks = [0]
    for k in (1, 2, 3):
        sides = {cell: n for n, cell in enumerate(sorted(cells[k - 1]))}
        rows = [
            sum(
                1 << sides[tuple(c + step * (a == axis) for a, c in enumerate(cell))]
                for axis, step in itertools.product([a for a in range(3) if cell[a] % 2], (-1, 1))
            )
            for cell in cells[k]
        ]
        ranks.append(rank(rows))
    ranks.append(0)
    # b_k = dimension of the cycles minus that of the boundaries
    b0, b1, b2 = (len(cells[k]) - ranks[k] - ranks[k + 1] for k in range(3))
    return b0, b1, b2


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_betti_numbers_are_those_of_homology(share: float) -> None:
    rng = np.random.default_rng(round(10 * share))
    seen = set()
    for _ in range(6):
        mask = rng.random((3, 4, 4)) < share
        assert betti_numbers(mask) == homology(mask)
        seen.add(betti_numbers(mask))
    assert len(seen) > 1
    if share == 0.9:
        assert any(b2 for _, _, b2 in seen)


def test_dice_and_f1_are_what_counting_gives() -> None:
    for seed in range(5):
        truth, mask = random_pair(seed)
        both = sum(1 for a, b in zip(truth.flat, mask.flat, strict=True) if a and b)
        assert mask_dice(truth, mask) == pytest.approx(2 * both / (truth.sum() + mask.sum()))
        parts = [ndimage.label(one, np.ones((3, 3, 3)))[0] for one in (truth, mask)]
        hits = sum(
            np.count_nonzero((parts[0] == a) & (parts[1] == b)) / np.count_nonzero((parts[0] == a) | (parts[1] == b))
            >= 0.4
            for a, b in {(a, b) for a, b in zip(parts[0].flat, parts[1].flat, strict=True) if a and b}
        )
        # Above 1/2 matches are unique; at 0.4 a tie needs touching boxes, which these seeds lack.
        assert component_f1(truth, mask, 0.4) == pytest.approx(2 * hits / (parts[0].max() + parts[1].max()))


@pytest.mark.parametrize("swap", [False, True])
def test_empty_masks(swap: bool) -> None:
    some, none = np.ones((3, 3, 3), bool), np.zeros((3, 3, 3), bool)
    pair = (none, some) if swap else (some, none)
    assert mask_dice(*pair) == cl_dice(*pair) == panoptic_dice(*pair) == component_f1(*pair) == 0
    assert mask_dice(none, none) == cl_dice(none, none) == 1
    assert np.isnan([panoptic_dice(none, none), component_f1(none, none), length_error(none, some)]).all()
    assert length_error(some, none) == -1
    assert betti_errors(*pair) == (1, 0, 0)


def test_every_component_keeps_a_centreline() -> None:
    for shape in ((2, 2, 2), (2, 2, 20), (4, 4, 20), (6, 6, 6)):
        rod = np.pad(np.ones(shape, bool), 2)
        assert not skeleton(rod, whole=False).any()  # what scikit-image gives
        assert skeleton(rod).sum() >= shape[2] - 4
        assert cl_dice(rod, rod) == 1
        assert np.isnan(cl_dice(rod, rod, whole=False))
    rng = np.random.default_rng(0)
    for share in rng.random(60):
        mask = rng.random((5, 5, 5)) < share
        line = skeleton(mask)
        assert not (line & ~mask).any()
        assert ndimage.label(line, np.ones((3, 3, 3)))[1] == betti_numbers(mask)[0]


def test_coarse_axes_count_as_much_as_fine_ones() -> None:
    """A line of 20 µm along Z and one of 20 µm along X; of the latter, half is found."""
    truth = np.zeros((4, 24, 24), bool)
    truth[:, 2, 2] = True
    truth[0, 20, 2:22] = True
    found = truth.copy()
    found[0, 20, 12:] = False
    assert cubic(truth, (5, 1, 1)).shape == (20, 24, 24)
    assert cl_dice(truth, found) == pytest.approx(2 * (14 / 24) / (1 + 14 / 24))
    assert cl_dice(truth, found, (5, 1, 1)) == pytest.approx(2 * 0.75 / 1.75, abs=0.03)
    assert length_error(truth, found, (5, 1, 1)) == pytest.approx(-0.25, abs=0.03)


def test_what_is_no_mask_is_refused() -> None:
    mask = np.zeros((2, 3, 4), np.uint8)
    for wrong, why in (
        (mask[0], r"must have one shape"),
        (mask + 2, r"the mask must hold booleans, or 0 and 1. Received: uint8 with other values"),
        (mask + 0.5, r"Compare labels or probabilities with a threshold"),
    ):
        for score in (mask_dice, panoptic_dice, component_f1, cl_dice, betti_errors, length_error):
            with pytest.raises(SpotlightError, match=why):
                score(mask, wrong)
    with pytest.raises(SpotlightError, match=r"axes YX or ZYX. Received: shape \(3,\)"):
        betti_numbers(np.zeros(3))
    with pytest.raises(SpotlightError, match="above 0 and at most 1"):
        panoptic_dice(mask, mask, 0)
    with pytest.raises(SpotlightError, match="3 positive numbers"):
        cl_dice(mask, mask, (1, 0, 1))


def test_columns_of_several_structures_have_titles() -> None:
    assert describe("cl_dice").full_title == "clDice"
    assert describe("cl_dice_vessels").full_title == "clDice, Vessels"


@pytest.mark.slow
def test_a_patch_takes_less_than_a_second() -> None:
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.standard_normal((96, 96, 96), np.float32), 2.5)
    truth, mask = smooth > np.quantile(smooth, 0.93), np.roll(smooth, 1, 0) > np.quantile(smooth, 0.94)
    for score in (mask_dice, panoptic_dice, component_f1, cl_dice, betti_errors, length_error):
        start = time.process_time()
        score(truth, mask)
        assert time.process_time() - start < 1, score.__name__
