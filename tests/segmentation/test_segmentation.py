"""Segmentation and measurement of bodies whose size and shape are known."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from conftest import ellipsoid, real_data
from spotlight.errors import SpotlightError
from spotlight.images import Stack, read
from spotlight.metrics import score_instances
from spotlight.profiles import FEATURES, measure
from spotlight.segmentation import SegmentationSettings, clean_truth, find_instances, segment, split_touching
from spotlight.segmentation.watershed import trim_bodies
from spotlight.simulation.phantom import CellSettings, make_phantom

SPACING = (0.5, 0.25, 0.25)


@pytest.fixture(scope="module")
def cells() -> tuple[Stack, Stack]:
    """Two touching nuclei and one alone, one cut by the border, and one speck; image and truth."""
    shape = (40, 160, 160)
    bodies = [
        ((10, 12, 12), (3.5, 4.5, 4.5)),
        ((10, 12, 20.2), (3.5, 4.5, 4.5)),
        ((10, 28, 12), (4.0, 4.0, 5.5)),
        ((10, 28, 39), (3.5, 4.5, 4.5)),
        ((10, 5, 33), (1.0, 1.0, 1.0)),
    ]
    truth = np.zeros(shape, np.uint16)
    for number, (center, axes) in enumerate(bodies, start=1):
        truth[ellipsoid(shape, center, axes, SPACING) & (truth == 0)] = number
    rng = np.random.default_rng(0)
    image = rng.normal(100 + 100 * (truth > 0), 8).astype(np.float32)
    return Stack(image, "ZYX", SPACING), Stack(truth, "ZYX", SPACING)


def test_touching_nuclei_are_split_and_debris_removed(cells: tuple[Stack, Stack]) -> None:
    image, truth = cells
    labels = segment(image)
    assert labels.shape == image.shape
    assert labels.voxel_size == SPACING
    assert np.unique(labels.data).tolist() == [0, 1, 2, 3]
    clean = clean_truth(truth)
    assert clean.data.max() == 3
    scores = score_instances(clean.data, labels.data)
    assert scores.average_precision[0.8] == 1


def test_the_working_grid_does_not_change_what_is_found(cells: tuple[Stack, Stack]) -> None:
    image, truth = cells
    for grid in (None, 0.4):
        labels = segment(image, SegmentationSettings(voxel_um=grid))
        assert score_instances(clean_truth(truth).data, labels.data).average_precision[0.8] == 1


def test_a_fixed_threshold_is_taken_in_the_images_units(cells: tuple[Stack, Stack]) -> None:
    image, truth = cells
    labels = segment(image, SegmentationSettings(threshold="fixed", value=150, voxel_um=None, clear_border=False))
    inside = truth.data > 0
    assert (labels.data[inside & (truth.data < 5)] > 0).mean() > 0.97
    with pytest.raises(SpotlightError, match="fixed"):
        SegmentationSettings.parse({"value": 3.0}, "test")


def test_a_threshold_of_each_body_gives_bright_and_dim_balls_their_size_despite_blur() -> None:
    truth = np.zeros((60, 60, 160), np.int32)
    image = np.full(truth.shape, 10.0)
    for number, height in enumerate((40.0, 100.0, 300.0), start=1):
        ball = ellipsoid(truth.shape, (30, 30, 50 * number - 20), (12, 12, 12), (1, 1, 1))
        truth[ball], image[ball] = number, 10 + height
    blurred = ndimage.gaussian_filter(image, (3, 1, 1)).astype(np.float32)
    loose = split_touching(blurred > 20, (1, 1, 1), SegmentationSettings(seed_distance_um=10))
    sizes = np.bincount(truth.ravel())[1:]
    assert np.all(np.bincount(loose.ravel())[1:] > 1.08 * sizes)
    trimmed = trim_bodies(loose, blurred, 0.5)
    assert np.bincount(trimmed.ravel())[1:] == pytest.approx(sizes, rel=0.04)
    assert trim_bodies(loose, blurred, 0) is loose
    assert not trim_bodies(np.zeros_like(loose), blurred, 0.5).any()


def test_the_true_dye_of_crowded_nuclei_is_segmented_almost_perfectly_on_a_fine_grid() -> None:
    phantom = make_phantom((40, 110, 110), 0.29, 2.0, CellSettings(), np.random.default_rng(3))
    dye, labels = Stack(phantom.dye, "ZYX", (0.29,) * 3), Stack(phantom.labels, "ZYX", (0.29,) * 3)
    settings = {"min_size": 120.0, "max_size": 850.0, "own_threshold": 0.0}  # no microscope blurs the dye
    fine = SegmentationSettings(**settings, voxel_um=0.29, median_px=1, otsu_factor=0.3)
    coarse = SegmentationSettings(**settings)
    truth = clean_truth(labels, fine).data
    assert score_instances(truth, segment(dye, fine).data).mean_average_precision > 0.95
    assert score_instances(truth, segment(dye, coarse).data).mean_average_precision < 0.9


def test_two_dimensions() -> None:
    shape = (200, 200)
    truth = np.zeros(shape, np.uint16)
    for number, center in enumerate([(40, 40), (40, 69), (120, 100)], start=1):
        truth[ellipsoid(shape, center, (16, 16), (1, 1)) & (truth == 0)] = number
    image = np.random.default_rng(0).normal(50 + 100 * (truth > 0), 5)
    settings = SegmentationSettings(unit="px", seed_distance_um=8, min_size=100, max_size=2000)
    labels = segment(Stack(image, "YX"), settings)
    assert score_instances(truth, labels.data).average_precision[0.8] == 1


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_nothing_to_find(value: float) -> None:
    labels = segment(Stack(np.full((20, 60, 60), value), "ZYX", SPACING))
    assert labels.data.dtype == np.int32
    assert not labels.data.any()
    assert measure(labels).empty


def test_bad_input(cells: tuple[Stack, Stack]) -> None:
    with pytest.raises(SpotlightError, match="whole numbers"):
        clean_truth(Stack(np.full((20, 20), 0.5), "YX", (1, 1)))
    with pytest.raises(SpotlightError, match="NaN or infinite"):
        clean_truth(Stack(np.full((20, 20), np.nan), "YX", (1, 1)))
    with pytest.raises(SpotlightError, match="NaN or infinite"):
        segment(Stack(np.where(np.eye(20) > 0, np.inf, 3.0), "YX", (1, 1)))
    with pytest.raises(SpotlightError, match="negative"):
        clean_truth(Stack(np.full((20, 20), -1), "YX", (1, 1)))
    with pytest.raises(SpotlightError, match="whole numbers"):
        measure(cells[0])
    with pytest.raises(SpotlightError, match="shape"):
        measure(cells[1], Stack(np.zeros((3, 4, 5)), "ZYX"))


# --- nuclei and noise ------------------------------------------------------------------------------------------------


def noise(kind: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    rng = np.random.default_rng(1)
    made = {
        "gaussian": lambda: rng.normal(100, 5, shape),
        "poisson": lambda: rng.poisson(100, shape),
        "few photons": lambda: rng.poisson(0.5, shape),
        "uniform": lambda: rng.integers(0, 256, shape),
        "skewed": lambda: rng.gamma(1, 50, shape),
        "blurred": lambda: 100 + 20 * ndimage.gaussian_filter(rng.normal(size=shape), 1),
        "hot pixels": lambda: rng.normal(100, 5, shape) + 500 * (rng.random(shape) < 1e-4),
        "tilted": lambda: rng.normal(100, 5, shape) + np.linspace(0, 50, shape[-1]),
    }
    return np.asarray(made[kind](), float)


KINDS = ("gaussian", "poisson", "few photons", "uniform", "skewed", "blurred", "hot pixels", "tilted")


@pytest.mark.parametrize("clip", [0.015, 0.0])
@pytest.mark.parametrize("kind", KINDS)
def test_noise_has_no_nuclei(kind: str, clip: float, caplog: pytest.LogCaptureFixture) -> None:
    settings = SegmentationSettings(clahe_clip=clip, own_threshold=0)
    found = 0
    for shape, axes in (((24, 90, 90), "ZYX"), ((300, 300), "YX")):
        image = Stack(noise(kind, shape), axes, SPACING[-len(shape) :])
        without = segment(image, settings.model_copy(update={"least_contrast": 0.0})).data.max()
        caplog.clear()
        assert segment(image, settings).data.max() == 0
        assert ("nothing stands out" in caplog.text) == (without > 0)
        found += without
    assert found > 0 or kind in ("tilted", "few photons")  # so that there was something to refuse


@pytest.mark.parametrize(("rise", "count"), [(2, 4), (1, 6), (50, 1), (50, 6)])
def test_nuclei_in_noise_are_found(rise: float, count: int, caplog: pytest.LogCaptureFixture) -> None:
    shape = (28, 110, 110)
    places = [(y, x) for y in (5.0, 13.7, 22.4) for x in (6.0, 20.0)][:count]
    bodies = sum(ellipsoid(shape, (7, y, x), (4, 4, 4), SPACING) for y, x in places)
    image = np.random.default_rng(0).normal(100 + 5 * rise * np.asarray(bodies), 5)
    found = find_instances(Stack(image, "ZYX", SPACING), SegmentationSettings(clahe_clip=0))
    assert found.labels.data.max() == count == len(found.contrast)
    assert found.contrast.min() > 4
    assert not found.doubts


def test_nuclei_of_a_crowded_hazy_field_stay() -> None:
    dna = read(real_data("allen_dna_3d/brightfield_dna.ome.tif")).channel("DNA")
    found = find_instances(dna)
    assert len(found.contrast) >= 5
    assert found.faint == 0


# --- without a voxel size --------------------------------------------------------------------------------------------


def test_without_a_voxel_size_the_nuclei_tell_the_scale(caplog: pytest.LogCaptureFixture) -> None:
    shape = (28, 110, 110)
    places = [(y, x) for y in (5.0, 13.7, 22.4) for x in (6.0, 20.0)]
    bodies = [ellipsoid(shape, (7, y, x), (4, 4, 4), SPACING) for y, x in places]
    image = np.random.default_rng(0).normal(100 + 200 * sum(body.astype(float) for body in bodies), 5)
    known, unknown = Stack(image, "ZYX", SPACING), Stack(image, "ZYX")
    found = find_instances(unknown)
    assert len(found.contrast) == 6
    assert found.scale == pytest.approx((0.56, 0.28, 0.28), rel=0.08)
    assert score_instances(segment(known).data, found.labels.data).average_precision[0.8] == 1
    assert found.labels.voxel_size is None
    assert "no voxel size is stated" in found.doubts[0]
    assert "assumed_voxel_size" in found.to_yaml()
    truth = Stack(sum(number * body for number, body in enumerate(bodies, 1)).astype(np.uint8), "ZYX")
    assert clean_truth(truth).data.max() == 6
    assert clean_truth(truth, scale=tuple(4 * s for s in SPACING)).data.max() == 0  # so large are no nuclei
    # In pixels nothing is assumed.
    pixels = SegmentationSettings(unit="px", min_size=2000, max_size=20_000, seed_distance_um=10, max_hole=50)
    assert find_instances(unknown, pixels).scale is None
    assert segment(unknown, pixels).data.max() == segment(known, pixels).data.max() == 6


def test_noise_without_a_voxel_size_has_no_scale() -> None:
    for kind in ("gaussian", "poisson", "uniform"):
        for shape, axes in (((16, 60, 60), "ZYX"), ((120, 120), "YX")):
            found = find_instances(Stack(noise(kind, shape), axes))
            assert found.labels.data.max() == 0
            assert found.doubts


@pytest.mark.slow
def test_real_nuclei_without_a_voxel_size() -> None:
    """As many as a plain threshold and watershed in pixels: 155 that touch no border."""
    stack = read(real_data("phase_nuclei_2d/s10.ome.tif")).channel("Nuclei")
    assert stack.voxel_size is None
    assert len(find_instances(stack).contrast) == pytest.approx(155, abs=8)


# --- measurement -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", [(0.2, 0.2, 0.2), (0.4, 0.2, 0.2)])
def test_an_ellipsoid_has_the_size_it_was_made_with(spacing: tuple[float, ...]) -> None:
    a, b, c = axes = (3.0, 4.0, 5.0)
    shape = tuple(round(2.4 * r / s) for r, s in zip(axes, spacing, strict=True))
    body = ellipsoid(shape, tuple(1.2 * r for r in axes), axes, spacing)
    (row,) = measure(Stack(body.astype(np.uint8), "ZYX", spacing)).to_dict("records")
    p = 1.6075
    surface = 4 * np.pi * (((a * b) ** p + (a * c) ** p + (b * c) ** p) / 3) ** (1 / p)
    volume = 4 / 3 * np.pi * a * b * c
    assert row["volume"] == pytest.approx(volume, rel=0.01)
    assert row["surface"] == pytest.approx(surface, rel=0.03)
    assert row["sphericity"] == pytest.approx(np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / surface, rel=0.03)
    assert row["height"] == pytest.approx(2 * a, rel=0.01)
    assert row["width"] == pytest.approx(2 * np.sqrt(b * c), rel=0.01)
    assert row["elongation"] == pytest.approx(a / np.sqrt(b * c), rel=0.01)
    assert row["long_axis"] == pytest.approx(2 * c, rel=0.01)
    assert row["short_axis"] == pytest.approx(2 * a, rel=0.01)
    assert row["solidity"] == pytest.approx(1, abs=0.03)
    assert (row["z"], row["y"], row["x"]) == pytest.approx([1.2 * r for r in axes], abs=0.02)


def test_a_disk_has_the_size_it_was_made_with() -> None:
    body = ellipsoid((120, 120), (15.0, 15.0), (12.0, 8.0), (0.25, 0.25))
    (row,) = measure(Stack(body.astype(np.uint8), "YX", (0.25, 0.25))).to_dict("records")
    assert row["area"] == pytest.approx(np.pi * 96, rel=0.01)
    assert row["long_axis"] == pytest.approx(24, rel=0.01)
    assert row["short_axis"] == pytest.approx(16, rel=0.01)
    assert row["eccentricity"] == pytest.approx(np.sqrt(1 - (8 / 12) ** 2), rel=0.02)
    assert row["perimeter"] == pytest.approx(63.46, rel=0.03)


def test_gaps_in_the_numbering_and_intensity() -> None:
    labels = np.zeros((10, 20, 20), np.int64)
    labels[2:6, 2:8, 2:8] = 5
    labels[2:6, 12:18, 2:8] = 9
    image = np.where(labels == 9, 7.0, 3.0)
    table = measure(Stack(labels, "ZYX", (1, 1, 1)), Stack(image, "ZYX", (1, 1, 1)))
    assert table["label"].tolist() == [5, 9]
    assert table["mean_intensity"].tolist() == [3, 7]
    assert set(FEATURES[3]) <= set(table.columns)
    assert table["volume"].tolist() == [144, 144]


@pytest.mark.slow
def test_real_nuclei_are_found() -> None:
    """The mouse blastocyst: about as many nuclei as its curators found, most of them matched."""
    image = read(real_data("blastocyst_nuclei_3d/dapi.ome.tif"))
    truth = read(real_data("blastocyst_nuclei_3d/nuclei_labels.ome.tif"))
    settings = SegmentationSettings(voxel_um=0.7, min_size=80, max_size=4000, clahe_clip=0, clear_border=False)
    labels = segment(image, settings)
    scores = score_instances(truth.data, labels.data)
    assert scores.true_count == 61
    assert scores.average_precision[0.5] > 0.4


def test_rings_become_disks_in_two_dimensions() -> None:
    y, x = np.mgrid[:120, :120]
    radius = np.hypot(y - 60, x - 60)
    image = np.where((radius < 30) & (radius > 2.5), 100.0, 0.0)
    found = segment(Stack(image, "YX", (0.5, 0.5)), SegmentationSettings(min_size=10, max_size=2000, max_hole=20))
    assert found.data.max() == 1
    assert found.data[60, 60] == 1


def test_thin_labels_are_measured() -> None:
    labels = np.zeros((6, 20, 20), np.uint8)
    labels[2, 4:12, 4:12] = 1
    labels[4, 15, 15] = 2
    labels[:, 18:, 18:] = 3
    table = measure(Stack(labels, "ZYX", (1, 1, 1)))
    assert table["label"].tolist() == [1, 2, 3]
    assert (table["volume"] == [64, 1, 24]).all()
    assert np.isfinite(table["surface"]).all()


def test_a_stack_narrower_than_the_equalisations_window() -> None:
    rng = np.random.default_rng(0)
    for shape in ((3, 64, 64), (30, 9, 64), (1, 40, 40)):
        labels = segment(Stack(rng.normal(100, 5, shape), "ZYX", (0.58,) * 3))
        assert labels.shape == shape


def test_a_threshold_below_everything() -> None:
    settings = SegmentationSettings(threshold="fixed", value=1.0, clear_border=False, max_size=1e9, min_size=0)
    labels = segment(Stack(np.full((12, 30, 30), 5.0), "ZYX", SPACING), settings)
    assert labels.data.min() == 1


def test_curated_labels_of_any_type_and_with_gaps(cells: tuple[Stack, Stack]) -> None:
    truth = cells[1]
    expected = clean_truth(truth).data
    for data in (truth.data * 7.0, truth.data.astype(np.int64) * 2**40, truth.data.astype(np.uint64)):
        assert (clean_truth(Stack(data, "ZYX", SPACING)).data == expected).all()
    only = clean_truth(Stack(truth.data == 3, "ZYX", SPACING)).data
    assert (only == (expected == 3)).all()


def test_labels_that_leave_no_background() -> None:
    full = Stack(np.ones((12, 30, 30), np.uint8), "ZYX", SPACING)
    assert not clean_truth(full).data.any()  # it touches the border
    assert clean_truth(full, SegmentationSettings(clear_border=False, max_size=1e9)).data.all()
