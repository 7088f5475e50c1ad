"""Metrics against published values, hand-worked numbers and the cubic library."""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio

from conftest import real_data
from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.metrics import compare_nuclei, profile_distance, profile_error, score_instances, score_pixels
from spotlight.profiles import measure


def test_published_values_of_a_real_prediction() -> None:
    with np.load(real_data("metric_parity/er_prediction_pair.npz")) as pair:
        target, stain = (pair[name].astype(np.float64) for name in ("target", "pred"))
        expected = {name: float(pair[f"expected_{name}"]) for name in ("pcc", "psnr")}
    # The published PSNR scales each image to its own range first.
    unit = [(x - x.min()) / (x.max() - x.min()) for x in (target, stain)]
    scores = score_pixels(unit[0], unit[1], np.ones(target.shape, bool), 1.0)
    assert scores["pearson"] == pytest.approx(expected["pcc"], abs=1e-5)
    assert scores["psnr"] == pytest.approx(expected["psnr"], abs=1e-4)
    assert scores["pearson_foreground"] == scores["pearson"]


def test_foreground_scores_see_the_foreground_only() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(size=(6, 20, 20))
    mask = target > 0.5
    stain = np.where(mask, target + 0.1, rng.normal(size=target.shape))
    scores = score_pixels(target, stain, mask, 4.0)
    assert scores["psnr_foreground"] == pytest.approx(20 * np.log10(4 / 0.1))
    assert scores["pearson_foreground"] == pytest.approx(1)
    assert scores["psnr"] == pytest.approx(peak_signal_noise_ratio(target, stain, data_range=4.0))


def test_pixel_scores_at_the_edges() -> None:
    flat, ramp = np.ones((4, 4)), np.arange(16.0).reshape(4, 4)
    nothing = np.zeros((4, 4), bool)
    scores = score_pixels(ramp, flat, nothing, 15.0)
    assert np.isnan(scores["pearson"])
    assert np.isnan(scores["psnr_foreground"])
    assert np.isnan(scores["pearson_foreground"])
    assert score_pixels(ramp, ramp, ~nothing, 15.0)["psnr"] == np.inf
    with pytest.raises(SpotlightError, match="one shape"):
        score_pixels(ramp, flat[:2], nothing, 1.0)


def rows(*spans: tuple[int, int, int]) -> NDArray[np.int64]:
    """A line of 40 voxels with labels on the given spans."""
    line = np.zeros((1, 40), np.int64)
    for start, stop, label in spans:
        line[0, start:stop] = label
    return line


def test_average_precision_by_hand() -> None:
    truth = rows((0, 10, 1), (10, 20, 2), (30, 40, 3))
    # 1: overlap 9 of union 11; 2: overlap 6 of union 10; a false one; 3 is missed.
    found = rows((1, 11, 4), (14, 20, 7), (22, 28, 9))
    scores = score_instances(truth, found)
    assert (scores.true_count, scores.predicted_count) == (3, 3)
    assert scores.average_precision[0.5] == pytest.approx(2 / 4)
    assert scores.average_precision[0.6] == pytest.approx(2 / 4)
    assert scores.average_precision[0.65] == pytest.approx(1 / 5)
    assert scores.average_precision[0.8] == pytest.approx(1 / 5)
    assert scores.average_precision[0.85] == 0
    assert scores.matches.tolist() == [[1, 4], [2, 7]]
    assert scores.mean_average_precision == pytest.approx((3 * 0.5 + 4 * 0.2) / 10, abs=0.031)


def test_instances_missing_on_one_side_or_both() -> None:
    empty, one = rows(), rows((3, 9, 2))
    assert set(score_instances(one, empty).average_precision.values()) == {0.0}
    assert set(score_instances(empty, one).average_precision.values()) == {0.0}
    assert all(np.isnan(v) for v in score_instances(empty, empty).average_precision.values())
    assert set(score_instances(one, one).average_precision.values()) == {1.0}
    with pytest.raises(SpotlightError, match="one shape"):
        score_instances(one, one[:, :20])


def test_renumbering_instances_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 6, (4, 12, 12)).repeat(3, 1).repeat(3, 2)
    found = np.roll(truth, 2, axis=2)
    names = np.array([0, 40, 7, 300, 2, 9])
    a, b = score_instances(truth, found), score_instances(names[truth], names[::-1][5 - found])
    assert a.average_precision == b.average_precision


def boxes(*sizes: tuple[int, int, int]) -> Stack:
    """A row of boxes with the given edges."""
    data = np.zeros((30, 30, 30 * len(sizes)), np.int32)
    for number, size in enumerate(sizes):
        start = 30 * number + 4
        data[4 : 4 + size[0], 4 : 4 + size[1], start : start + size[2]] = number + 1
    return Stack(data, "ZYX", (1.0, 1.0, 1.0))


def test_matched_nuclei_side_by_side() -> None:
    true, found = measure(boxes((8, 8, 8), (10, 8, 8))), measure(boxes((12, 8, 8), (10, 8, 8)))
    table = compare_nuclei(true, found, np.array([[1, 1], [2, 2]]), ["volume", "elongation"])
    assert table["volume_error"].tolist() == pytest.approx([0.5, 0.0])
    assert table["elongation_error"].iloc[0] == pytest.approx(0.5, rel=0.02)
    assert table["volume_true"].tolist() == [512, 640]
    assert compare_nuclei(true, found, np.zeros((0, 2), int), ["volume"]).empty


def test_profile_distance_agrees_with_cubic() -> None:
    from cubic.metrics.feature import cosine_median

    true, found = boxes((8, 9, 10), (10, 8, 12), (9, 9, 9)), boxes((12, 8, 8), (10, 13, 8), (9, 7, 9))
    names = ["area", "extent", "axis_major_length"]
    ranges = {"area": (400.0, 1200.0), "extent": (0.0, 1.0), "axis_major_length": (5.0, 20.0)}
    from cubic.feature.voxel import regionprops_table

    tables = [pd.DataFrame(regionprops_table(s.data, properties=names)) for s in (true, found)]
    expected = cosine_median(true.data, found.data, names, feature_ranges=ranges)
    assert profile_distance(tables[0], tables[1], ranges) == pytest.approx(float(expected), abs=1e-9)


def test_profile_distance_of_the_same_and_of_nothing() -> None:
    table = measure(boxes((8, 9, 10), (10, 8, 12)))
    ranges = {"volume": (0.0, 2000.0), "sphericity": (0.0, 1.0)}
    assert profile_distance(table, table, ranges) == pytest.approx(0, abs=1e-12)
    assert np.isnan(profile_distance(table, table.iloc[:0], ranges))
    assert np.isnan(profile_error(table.iloc[:0], table, ranges))


def test_profile_error_by_hand() -> None:
    true = pd.DataFrame({"volume": [100.0, 200, 300], "sphericity": [0.8, 0.8, 0.8]})
    found = pd.DataFrame({"volume": [240.0, 260, 250], "sphericity": [0.7, 0.7, 0.8]})
    ranges = {"volume": (0.0, 500.0), "sphericity": (0.0, 1.0)}
    assert profile_error(true, found, ranges) == pytest.approx((50 / 500 + 0.1) / 2)
    # The same direction at twice the size: a distance of nothing, an error of something.
    double = pd.DataFrame({"volume": [400.0], "sphericity": [1.6]})
    assert profile_distance(true, double, ranges) == pytest.approx(0, abs=1e-12)
    assert profile_error(true, double, ranges) == pytest.approx((200 / 500 + 0.8) / 2)
