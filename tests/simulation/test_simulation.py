"""Simulated cells: physics that can be checked, truth that is exact, and statistics like those of real stacks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from conftest import real_data
from spotlight.errors import SpotlightError
from spotlight.images import read
from spotlight.pairs import read_manifest
from spotlight.simulation import (
    AnyMicroscopeSettings,
    BrightfieldSettings,
    CellSettings,
    FluorescenceSettings,
    SimulatedField,
    SimulationSettings,
    brightfield,
    fluorescence,
    make_phantom,
    simulate_any_field,
    simulate_any_microscope,
    simulate_field,
    simulate_pairs,
)
from spotlight.simulation.optics import camera, fluorescence_psf

QUICK = BrightfieldSettings(source_points=7)


@pytest.fixture(scope="module")
def field() -> SimulatedField:
    return simulate_field(SimulationSettings(shape=(48, 128, 128), brightfield=QUICK), seed=1)


def test_a_seed_gives_the_same_field_and_another_seed_another() -> None:
    settings = SimulationSettings(shape=(24, 40, 40), brightfield=BrightfieldSettings(source_points=2))
    a, b, c = (simulate_field(settings, seed) for seed in (4, 4, 5))
    for name in ("input", "target", "labels", "dye"):
        np.testing.assert_array_equal(getattr(a, name).data, getattr(b, name).data)
    assert not np.array_equal(a.target.data, c.target.data)


def test_nuclei_are_whole_apart_and_filled_with_dye() -> None:
    cells = CellSettings()
    phantom = make_phantom((48, 128, 128), 0.29, 2.0, cells, np.random.default_rng(0))
    numbers = np.unique(phantom.labels)[1:]
    assert len(numbers) > 8
    for number in numbers:
        assert ndimage.label(phantom.labels == number)[1] == 1
    # No two nuclei touch.
    for shift in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        a, b = phantom.labels, np.roll(phantom.labels, shift, (0, 1, 2))
        inner = tuple(slice(1, None) if s else slice(None) for s in shift)
        a, b = a[inner], b[inner]
        assert not ((a != b) & (a > 0) & (b > 0)).any()
    nucleus = phantom.labels > 0
    assert phantom.dye[nucleus].mean() > 10 * phantom.dye[~nucleus].mean()
    assert phantom.index.min() > cells.medium_index - 0.02
    assert phantom.index.max() < 1.45
    assert 250 < np.median(np.bincount(phantom.labels.ravel())[1:]) * 0.29**3 < 500  # µm³


def test_an_empty_field_is_uniformly_bright() -> None:
    image = brightfield(np.full((8, 32, 32), 1.337, np.float32), 1.337, 0.29, QUICK, np.random.default_rng(0))
    np.testing.assert_allclose(image, 1, atol=1e-4)


def test_a_transparent_object_keeps_the_light_and_vanishes_in_focus() -> None:
    """A thin phase object is invisible where it is in focus and reverses its contrast across it."""
    index = np.full((41, 64, 64), 1.337, np.float32)
    grid = np.indices((64, 64)) - 32
    index[20] += 0.01 * np.exp(-(grid**2).sum(0) / (2 * 3.0**2))
    optics = BrightfieldSettings(source_points=13, bandwidth_um=0.0)
    image = brightfield(index, 1.337, 0.29, optics, np.random.default_rng(0))
    center = image[:, 32, 32] - 1
    focus = 21  # the wave leaves the slice at its upper face
    assert abs(center[focus]) < 0.2 * np.abs(center).max()
    assert center[focus - 8] * center[focus + 8] < 0
    assert image.mean() == pytest.approx(1, abs=1e-3)


def test_weak_objects_add_up() -> None:
    """For weak objects the contrast is linear in the refractive index."""
    base = np.full((16, 32, 32), 1.337, np.float32)
    bump = np.random.default_rng(0).normal(0, 2e-5, base.shape).astype(np.float32)

    def contrast(scale: float) -> np.ndarray:
        return brightfield(base + scale * bump, 1.337, 0.29, QUICK, np.random.default_rng(1)) - 1

    one, two = contrast(1), contrast(2)
    assert np.abs(two - 2 * one).max() < 0.05 * np.abs(two).max()


def test_point_spread_function() -> None:
    psf = fluorescence_psf(FluorescenceSettings(), 0.29)
    assert psf.sum() == pytest.approx(1, abs=1e-5)
    assert psf.min() >= 0
    middle = tuple(n // 2 for n in psf.shape)
    assert np.unravel_index(psf.argmax(), psf.shape) == middle
    np.testing.assert_allclose(psf, psf[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(psf, psf[:, :, ::-1], atol=1e-6)
    grid = np.indices(psf.shape) - np.reshape(middle, (3, 1, 1, 1))
    near = (np.abs(grid) <= 6).all(0)
    spread = [np.sqrt((psf * grid[axis] ** 2)[near].sum() / psf[near].sum()) for axis in range(3)]
    assert spread[0] > 1.5 * spread[1]  # elongated along the axis
    # The focused part narrows with the square of the aperture.
    wide = fluorescence_psf(FluorescenceSettings(objective_na=0.5, crosstalk=0), 0.29)
    sharp = fluorescence_psf(FluorescenceSettings(objective_na=1.0, crosstalk=0), 0.29)
    axial = [(p[:, p.shape[1] // 2, p.shape[2] // 2] > p.max() / 2).sum() for p in (wide, sharp)]
    assert 2.5 < axial[0] / axial[1] < 6


def test_fluorescence_conserves_light_and_camera_its_mean() -> None:
    dye = np.zeros((60, 60, 60), np.float32)
    dye[30, 30, 30] = 1000
    optics = FluorescenceSettings(background_photons=0)
    expected = fluorescence(dye, 0.29, optics)
    assert expected.sum() == pytest.approx(1000 * optics.photons, rel=1e-3)
    counts = camera(np.full((50, 50, 50), 9.0, np.float32), 2.0, 10.0, 100.0, np.random.default_rng(0))
    assert counts.mean() == pytest.approx(190, rel=5e-3)
    assert counts.std() == pytest.approx(10 * np.sqrt(9 + 4), rel=1e-2)


def test_the_target_is_hazy_and_elongated_and_the_truth_is_not(field: SimulatedField) -> None:
    smooth = ndimage.gaussian_filter(field.target.data.astype(float), 1)
    mask = smooth >= threshold_otsu(field.target.data)
    truth = field.labels.data > 0
    column = mask.sum(0)[truth.sum(0) > 12].mean() / truth.sum(0)[truth.sum(0) > 12].mean()
    assert column > 1.05
    above = ~truth & ndimage.binary_dilation(truth, iterations=12)
    assert field.target.data[above].mean() > field.target.data[:4].mean() + 10


def test_normalised_statistics_are_those_of_the_real_pair(field: SimulatedField) -> None:
    real = read(real_data("allen_dna_3d/brightfield_dna.ome.tif"))

    def statistics(target: np.ndarray, image: np.ndarray) -> np.ndarray:
        target, image = target.astype(float), image.astype(float)
        z = (target - threshold_otsu(target)) / target.std()
        f = (target - target.mean()) / target.std()
        return np.array(
            [
                (z >= 0).mean(),
                z[z >= 0].mean(),
                np.median(z[z < 0]),
                z[z < 0].std(),
                np.percentile(z, 99),
                (f[1:] * f[:-1]).mean(),
                (f[:, 1:] * f[:, :-1]).mean(),
                image.std() / (image - 100 * (image.min() > 50)).mean(),
            ]
        )

    truth = statistics(real.data[1], real.data[0])
    ours = statistics(field.target.data[8:40], field.input.data[8:40])
    np.testing.assert_allclose(ours, truth, rtol=0.25, atol=0.05)


@pytest.mark.slow
def test_data_sets_are_written_with_a_manifest_and_not_made_twice(tmp_path: Path) -> None:
    settings = SimulationSettings(shape=(24, 40, 48), brightfield=BrightfieldSettings(source_points=2))
    manifest = simulate_pairs(tmp_path, {"train": 1, "test": 1}, settings, seed=1, workers=2)
    pairs = read_manifest(manifest)
    assert [(p.name, p.split) for p in pairs] == [("field-00", "train"), ("field-01", "test")]
    image, target = pairs[0].read_both()
    assert (image.shape, image.voxel_size) == ((24, 40, 48), (0.29,) * 3)
    labels = pairs[0].read_labels(target)
    assert labels is not None
    assert labels.data.max() >= 1
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.tif")}
    simulate_pairs(tmp_path, {"train": 1, "test": 1}, settings, seed=1, workers=1)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.tif")} == before


@pytest.mark.slow
def test_a_folder_of_other_cells_is_refused(tmp_path: Path) -> None:
    settings = SimulationSettings(shape=(16, 32, 32), brightfield=BrightfieldSettings(source_points=3))
    simulate_pairs(tmp_path, {"train": 1}, settings, seed=1)
    record = tmp_path / "simulation.yaml"  # as if by a version that did not know one of the settings
    record.write_text(record.read_text().replace(f"coverslip_um: {settings.coverslip_um}\n", ""))
    simulate_pairs(tmp_path, {"train": 1}, settings, seed=1)
    with pytest.raises(SpotlightError, match="holds fields of another seed or other settings"):
        simulate_pairs(tmp_path, {"train": 1}, settings, seed=2)
    with pytest.raises(SpotlightError, match="Use another folder"):
        simulate_pairs(tmp_path, {"train": 1}, settings.model_copy(update={"coverslip_um": 1.0}), seed=1)
    with pytest.raises(SpotlightError, match="at least one field"):
        simulate_pairs(tmp_path / "none", {})
    # More of the same is welcome, and what is there stays.
    before = (tmp_path / "field-00.ome.tif").stat().st_mtime_ns
    simulate_pairs(tmp_path, {"train": 1, "test": 1}, settings, seed=1, workers=2)
    assert (tmp_path / "field-00.ome.tif").stat().st_mtime_ns == before
    assert (tmp_path / "field-01.ome.tif").exists()


def test_many_microscopes_differ_and_are_recorded(tmp_path: Path) -> None:
    settings = AnyMicroscopeSettings(shape=(16, 24, 24), source_points=3)
    counts = {"train": 2, "test": 1}
    table = pd.read_csv(simulate_any_microscope(tmp_path, counts, settings, seed=1))
    assert list(table["split"]) == ["train", "train", "test"]
    stacks = [read(tmp_path / name) for name in table["input"]]
    assert len({stack.voxel_size for stack in stacks}) == 3
    again = simulate_any_field(settings, 10_000)
    np.testing.assert_array_equal(again.input.data, stacks[0].channel("Brightfield").data)
    simulate_any_microscope(tmp_path, counts, settings, seed=1)  # what is recorded can be read
    with pytest.raises(SpotlightError, match="the smaller one first"):
        AnyMicroscopeSettings.parse({"cleft": [0.1, -0.1]}, "test")


def test_the_order_of_planes_and_the_side_of_the_light() -> None:
    settings = AnyMicroscopeSettings(shape=(16, 24, 24), source_points=3)
    plain, turned = (
        simulate_any_field(settings.model_copy(update={"reversed": share, "upright": 0}), 3) for share in (0, 1)
    )
    for name in ("input", "target", "labels", "dye"):
        np.testing.assert_array_equal(getattr(plain, name).data, getattr(turned, name).data[::-1])
    upright = simulate_any_field(settings.model_copy(update={"reversed": 0, "upright": 1}), 3)
    np.testing.assert_array_equal(plain.labels.data, upright.labels.data[::-1])
    assert not np.array_equal(plain.input.data, upright.input.data[::-1])
