"""The steps before and after a segmentation against the libraries that do the same more slowly."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage import exposure, feature, measure, transform

from spotlight.images import Stack
from spotlight.images.median import median
from spotlight.segmentation import SegmentationSettings, clean_labels, resize_labels, split_touching
from spotlight.segmentation.cleaning import renumber
from spotlight.segmentation.equalisation import equalise
from spotlight.segmentation.preparation import prepare, shrink
from spotlight.segmentation.watershed import find_peaks


def scene(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Smooth bright bodies of unequal brightness and noise, from 0 to 1."""
    rng = np.random.default_rng(seed)
    bodies = ndimage.gaussian_filter(rng.standard_normal(shape), 4) * 40
    image = np.maximum(bodies, 0) * np.linspace(0.3, 1, shape[-1]) + rng.uniform(0, 0.2, shape)
    low, high = np.percentile(image, [0.1, 99.9])
    return np.clip((image - low) / (high - low), 0, 1).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "tile"), [((33, 91, 122), (16, 30, 24)), ((24, 60, 50), (12, 20, 10)), ((201, 304), (67, 60))]
)
@pytest.mark.parametrize("clip", [0.003, 0.015, 0.2])
def test_equalisation_agrees_with_scikit_image(shape: tuple[int, ...], tile: tuple[int, ...], clip: float) -> None:
    image = scene(shape)
    expected = exposure.equalize_adapthist(image, tile, clip_limit=clip)
    difference = np.abs(equalise(image, tile, clip) - expected)
    # scikit-image gives what is left of the clipped part to bright bins first, and rounds once more, so that single
    # voxels are in the next bin.
    assert np.percentile(difference, 99.9) < 0.025
    assert difference.mean() < 0.0015
    if clip > 0.01:
        assert np.abs(expected - image).mean() > 0.02


@pytest.mark.parametrize(
    ("old", "new"),
    [((20, 64, 90), (11, 30, 40)), ((10, 40, 30), (20, 15, 30)), ((1, 30, 31), (1, 7, 9)), ((70, 60), (24, 51))],
)
def test_the_working_grid_agrees_with_scikit_image(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    image = scene(old)
    expected = transform.resize(image, new, order=3, mode="edge", anti_aliasing=True)
    assert shrink(image, new) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("window", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(7, 20, 31), (40, 33), (2, 9, 3)])
def test_the_median_agrees_with_scipy(shape: tuple[int, ...], window: int) -> None:
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    assert (median(image, window) == ndimage.median_filter(image, window)).all()


def test_prepared_intensities_can_stay_as_they_are() -> None:
    image = Stack(scene((8, 30, 30)) * 500 + 100, "ZYX", (0.5, 0.5, 0.5))
    plain = SegmentationSettings(median_px=1)
    assert (prepare(image, image.shape, plain, contrast=False) == image.data).all()
    assert prepare(image, image.shape, plain).max() <= 1


def test_peaks_agree_with_scikit_image() -> None:
    rng = np.random.default_rng(1)
    mask = ndimage.gaussian_filter(rng.standard_normal((30, 80, 90)), 3) > 0.01
    height = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 0.8)
    radius = [3, 4, 4]
    grid = np.ogrid[tuple(slice(-r, r + 1) for r in radius)]
    footprint = sum((g / r) ** 2 for g, r in zip(grid, radius, strict=True)) <= 1
    expected = feature.peak_local_max(height, footprint=footprint, labels=measure.label(mask), exclude_border=False)
    assert len(expected) > 40
    found = np.transpose(find_peaks(height, mask, radius))
    ours, theirs = set(map(tuple, found)), set(map(tuple, expected))
    assert ours <= theirs
    for tie in theirs - ours:
        near = [p for p in ours if (((np.subtract(p, tie)) / radius) ** 2).sum() <= 1]
        assert height[tie] in [height[p] for p in near]
    heights = height[tuple(found.T)]
    assert (np.diff(heights) <= 0).all()


def test_a_body_with_two_equally_high_middles_is_one() -> None:
    mask = np.zeros((20, 40, 40), bool)
    mask[4:14, 10:20, 10:26] = True
    labels = split_touching(mask, (1.0, 1.0, 1.0), SegmentationSettings(seed_smoothing_um=0, seed_distance_um=4))
    assert labels.max() == 1
    assert (labels[mask] == 1).all()


def test_labels_grow_as_interpolation_says() -> None:
    small = np.zeros((8, 12, 12), np.int32)
    small[2:6, 3:9, 3:9] = 7
    small[3:5, 5:7, 5:7] = 0
    large = resize_labels(small, (20, 24, 31))
    mask = (small == 7).astype(float)
    places = [(np.arange(n) + 0.5) * m / n - 0.5 for n, m in zip(large.shape, small.shape, strict=True)]
    value = ndimage.map_coordinates(mask, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")
    sure = np.abs(value - 0.5) > 1e-5
    assert ((large == 7) == (value >= 0.5))[sure].all()


def test_only_enclosed_background_is_filled() -> None:
    labels = np.zeros((9, 20, 20), np.int32)
    labels[1:8, 2:11, 2:11] = 4
    labels[3:5, 4:6, 4:6] = 0  # a hole of 8 voxels
    labels[3:6, 7:10, 7:10] = 0  # one of 27 ...
    labels[4, 8, 8] = 9  # ... with another instance in it
    labels[1:8, 6, 2:4] = 0  # a notch
    settings = SegmentationSettings(min_size=0, max_size=1e9, max_hole=10, clear_border=False)
    clean = clean_labels(labels, (1.0, 1.0, 1.0), settings)
    assert (clean[3:5, 4:6, 4:6] == 1).all()
    assert (clean[1:8, 6, 2:4] == 0).all()
    assert clean[4, 8, 8] == 2
    assert (clean[3:6, 7:10, 7:10] == 0).sum() == 26
    larger = clean_labels(labels, (1.0, 1.0, 1.0), settings.model_copy(update={"max_hole": 26.0}))
    assert (larger[3:6, 7:10, 7:10] == 1).sum() == 26


def test_numbers_without_gaps() -> None:
    labels = np.array([[0, 5, 5], [2**40, 0, 9]])
    assert renumber(labels).tolist() == [[0, 1, 1], [3, 0, 2]]
    assert renumber(np.array([[3, 1], [3, 3]])).tolist() == [[2, 1], [2, 2]]
    assert renumber(np.array([[2**40]])).tolist() == [[1]]
