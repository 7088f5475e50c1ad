"""Matching of instances against hand-worked numbers, the cubic library, dense assignment, and faulty labels."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from spotlight.errors import SpotlightError
from spotlight.metrics import AP_THRESHOLDS, score_instances
from spotlight.metrics.instances import find_overlaps, match


def line(*spans: tuple[int, int, int], length: int = 60) -> NDArray[np.int64]:
    """A line of voxels with labels on the given spans."""
    voxels = np.zeros((1, length), np.int64)
    for start, stop, label in spans:
        voxels[0, start:stop] = label
    return voxels


def blobs(seed: int, count: int = 300) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Jittered boxes, and the same again with other jitter, some of them lost, split or merged."""
    rng = np.random.default_rng(seed)
    truth, found = np.zeros((2, 12, 160, 160), np.int32)
    for number in range(1, count + 1):
        z, y, x = np.array(np.unravel_index(number - 1, (2, 16, 16)))[:, None] * [[6], [10], [10]]
        for image in (truth, found):
            (a, b, c), (d, e, f) = rng.integers(0, 3, 3), rng.integers(4, 9, 3)
            image[z[0] + a : z[0] + min(d, 6), y[0] + b : y[0] + e, x[0] + c : x[0] + f + 4] = number
    found[found % 17 == 3] = 0
    found[(found % 11 == 5)] += 1
    return truth, np.unique(found, return_inverse=True)[1].reshape(found.shape).astype(np.int32)


@pytest.mark.parametrize("seed", [0, 1])
def test_counts_and_pairs_agree_with_cubic(seed: int) -> None:
    from cubic.metrics.average_precision import average_precision, compute_matches

    truth, found = blobs(seed, 512)
    thresholds = [0.1, 0.25, *AP_THRESHOLDS]
    matches, iou = compute_matches(truth, found, thresholds, return_iou=True)
    ap, tp, *_ = average_precision(truth, found, thresholds, matches)
    scores = score_instances(truth, found, thresholds=thresholds)
    assert 50 < tp[2] < 400
    assert list(scores.average_precision.values()) == pytest.approx(ap)
    assert list(scores.recall.values()) == pytest.approx(tp / truth.max())
    assert list(scores.precision.values()) == pytest.approx(tp / found.max())
    pairs = np.stack(matches[0.5], axis=1)
    assert scores.segmentation_quality == pytest.approx(iou[pairs[:, 0] - 1, pairs[:, 1] - 1].mean())


def test_panoptic_quality_by_hand() -> None:
    # Overlap 9 of 11, and 6 of 10; one true and one found have no partner. As panoptica 2.1.7 has it.
    truth = line((0, 10, 1), (10, 20, 2), (30, 40, 3))
    scores = score_instances(truth, line((1, 11, 4), (14, 20, 7), (22, 28, 9)))
    assert scores.segmentation_quality == pytest.approx((9 / 11 + 6 / 10) / 2)
    assert scores.recognition_quality == pytest.approx(2 / 3)
    assert scores.panoptic_quality == pytest.approx(0.4727272727)
    assert scores.precision[0.5] == scores.recall[0.5] == pytest.approx(2 / 3)
    assert scores.recall[0.65] == pytest.approx(1 / 3)
    assert (scores.splits, scores.merges) == (0, 0)


def test_splits_and_merges_by_hand() -> None:
    # 1 is found in two halves; 2 and 3 as one; 4 reaches over half of 5 as well, which has its own.
    truth = line((0, 10, 1), (12, 18, 2), (18, 24, 3), (30, 40, 4), (40, 50, 5))
    found = line((0, 5, 1), (5, 10, 2), (12, 24, 3), (30, 46, 4), (46, 50, 5))
    scores = score_instances(truth, found)
    assert (scores.splits, scores.merges) == (1, 2)
    # Seen from the other side, splits are merges.
    mirrored = score_instances(found, truth)
    assert (mirrored.splits, mirrored.merges) == (2, 1)


def test_half_and_half_is_matched_once() -> None:
    """At an IoU of just 0.5 two found instances may claim one true instance."""
    truth, found = line((0, 10, 1)), line((0, 5, 1), (5, 10, 2))
    scores = score_instances(truth, found)
    assert len(scores.matches) == 1
    assert scores.average_precision[0.5] == pytest.approx(1 / 2)
    assert scores.splits == 1


def test_the_most_pairs_win_before_the_best_pair() -> None:
    # Taking the best pair (2 with 5, IoU 5/11) would leave 1 and 6 alone.
    truth = line((0, 6, 1), (6, 14, 2))
    found = line((3, 11, 5), (11, 18, 6))
    overlaps = find_overlaps(truth, found)
    assert overlaps.iou == pytest.approx([3 / 11, 5 / 11, 3 / 12])
    pairs = match(overlaps, 0.2)
    assert overlaps.true[pairs].tolist() == [0, 1]
    assert overlaps.predicted[pairs].tolist() == [0, 1]


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.2, 0.4, 0.5, 0.55]))
def test_matching_is_exact(seed: int, threshold: float) -> None:
    """As good as an assignment over the dense matrix, however the instances overlap."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 7, rng.integers(4, 40)).repeat(rng.integers(1, 3))
    found = np.where(rng.uniform(size=truth.shape) < 0.6, np.roll(truth, 1), rng.integers(0, 7, truth.shape))
    overlaps = find_overlaps(truth, found)
    iou = np.zeros((len(overlaps.true_labels), len(overlaps.predicted_labels)))
    iou[overlaps.true, overlaps.predicted] = overlaps.iou
    gain = (iou >= threshold) * (1 + iou / (2 * max(*iou.shape, 1)))
    rows, columns = linear_sum_assignment(gain, maximize=True)
    best = iou[rows, columns][iou[rows, columns] >= threshold]
    mine = match(overlaps, threshold)
    assert len(set(overlaps.true[mine])) == len(set(overlaps.predicted[mine])) == len(mine) == len(best)
    assert overlaps.iou[mine].sum() == pytest.approx(best.sum())


def test_incomplete_truth_ignores_what_touches_no_curated_nucleus() -> None:
    truth = line((0, 10, 1), (20, 30, 2))
    found = line((0, 10, 1), (28, 38, 2), (40, 50, 3), (52, 58, 4))
    complete, incomplete = (score_instances(truth, found, complete=c) for c in (True, False))
    assert complete.average_precision[0.5] == pytest.approx(1 / 5)
    assert incomplete.average_precision[0.5] == pytest.approx(1 / 3)
    assert incomplete.precision[0.5] == pytest.approx(1 / 2)
    assert complete.recall == incomplete.recall
    assert (complete.predicted_count, complete.ignored_count) == (4, 0)
    assert (incomplete.predicted_count, incomplete.ignored_count) == (4, 2)


NAN = float("nan")


@pytest.mark.parametrize(
    ("truth", "found", "complete", "expected"),
    [
        # AP, precision, recall, PQ, SQ, RQ at 0.5
        ((), (), True, (NAN, NAN, NAN, NAN, NAN, NAN)),
        ((), ((3, 9, 2),), True, (0, 0, NAN, 0, NAN, 0)),
        ((), ((3, 9, 2),), False, (NAN, NAN, NAN, NAN, NAN, NAN)),
        (((3, 9, 2),), (), True, (0, NAN, 0, 0, NAN, 0)),
        (((3, 9, 2),), ((3, 9, 7),), True, (1, 1, 1, 1, 1, 1)),
        (((3, 9, 2),), ((20, 29, 7),), True, (0, 0, 0, 0, NAN, 0)),
        (((3, 9, 2),), ((20, 29, 7),), False, (0, NAN, 0, 0, NAN, 0)),
        (((0, 60, 1),), ((0, 60, 1),), True, (1, 1, 1, 1, 1, 1)),
    ],
)
def test_nothing_to_count_has_a_defined_value(truth: Any, found: Any, complete: bool, expected: Any) -> None:
    scores = score_instances(line(*truth), line(*found), complete=complete)
    assert (
        scores.average_precision[0.5],
        scores.precision[0.5],
        scores.recall[0.5],
        scores.panoptic_quality,
        scores.segmentation_quality,
        scores.recognition_quality,
    ) == pytest.approx(expected, nan_ok=True)
    assert scores.matches.shape == (int(expected[0] == 1), 2)
    assert (scores.splits, scores.merges) == (0, 0)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64, np.uint64, np.float32, ">i4"])
def test_labels_of_any_type_and_with_gaps(kind: Any) -> None:
    truth, found = line((0, 10, 3), (20, 30, 250)), line((1, 10, 200), (25, 33, 7))
    expected = score_instances(truth, found)
    scores = score_instances(truth.astype(kind), found.astype(kind))
    assert scores.average_precision == expected.average_precision
    assert scores.matches.tolist() == [[3, 200]]
    assert scores.matches.dtype == np.int64


def test_numbers_that_are_large_and_memory_that_is_not_in_order() -> None:
    truth, found = blobs(2)
    expected = score_instances(truth, found)
    scores = score_instances(truth.astype(np.int64) * 2**40, np.asfortranarray(found))
    assert scores.average_precision == expected.average_precision
    assert scores.matches[:, 0].tolist() == (expected.matches[:, 0] * 2**40).tolist()
    mask = truth > 0
    assert score_instances(mask, mask).true_count == 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, -3, 1]), r"^labels must be whole numbers.*Found: -3"),
        (np.array([0, 1.5, 1]), r"Found: 1\.5"),
        (np.array([0, np.nan, 1]), r"Found: nan"),
        (np.array([0, np.inf, 1]), r"Found: inf"),
        (np.array([0, 2**64 - 1, 1], np.uint64), r"Found: 18446744073709551615"),
        (np.array([0, 1, 1j]), r"Received: complex128"),
        (np.array([0, 1]), r"must have one shape"),
    ],
)
def test_faulty_labels_are_refused(labels: NDArray[Any], message: str) -> None:
    with pytest.raises(SpotlightError, match=message):
        score_instances(np.array([0, 1, 1]), labels)
    if labels.shape == (3,):
        with pytest.raises(SpotlightError, match="true labels must be"):
            score_instances(labels, np.array([0, 1, 1]))


@pytest.mark.parametrize("thresholds", [(), (0.0,), (0.5, 1.2), (float("nan"),)])
def test_thresholds_out_of_range_are_refused(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(SpotlightError, match="above 0 and at most 1"):
        score_instances(line(), line(), thresholds=thresholds)


def test_ten_thousand_nuclei() -> None:
    """Each is moved by one voxel of ten: the overlap is 9 of 11. A dense matrix would take 800 MB."""
    truth = np.zeros((100, 100, 12), np.int32)
    truth[..., :10] = np.arange(1, 10_001).reshape(100, 100, 1)
    scores = score_instances(truth, np.roll(truth, 1, axis=2))
    assert scores.true_count == scores.predicted_count == 10_000
    assert scores.recall[0.8] == 1
    assert scores.recall[0.85] == 0
    assert scores.segmentation_quality == pytest.approx(9 / 11)
    assert (scores.matches[:, 0] == scores.matches[:, 1]).all()
