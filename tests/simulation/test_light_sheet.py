"""Simulated cleared tissue: geometry that can be counted, optics that can be checked, and files that continue."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from command_line import run_command
from spotlight import SpotlightError
from spotlight.images import read
from spotlight.simulation import (
    MICROSCOPES,
    STRUCTURES,
    LightSheetSettings,
    SheetSettings,
    TissueSettings,
    simulate_light_sheet,
    simulate_light_sheet_field,
)
from spotlight.simulation.sheet import image_of
from spotlight.simulation.tissue import Tissue, make_tissue
from spotlight.simulation.tubes import Curves, capillaries, draw_tubes, vessel_tree, walk

SMALL = LightSheetSettings(shape=(12, 32, 32))
STILL = SheetSettings(
    voxel_um=(2, 2, 2),
    lateral_fwhm_um=(8, 8),
    sheet_fwhm_um=(8, 8),
    rayleigh_um=(1e6, 1e6),
    excitation_length_um=(1e9, 1e9),
    emission_length_um=(1e9, 1e9),
    shadows_per_mm2=(0, 0),
    flicker=(0, 0),
    haze=(0, 0),
    photons=(1e4, 1e4),
    gain=(1, 1),
    read_noise=0,
    offset=0,
)
"""A microscope without anything that varies."""


@pytest.mark.parametrize("structure", STRUCTURES)
def test_every_structure_is_there_and_brighter_than_its_surroundings(structure: str) -> None:
    field = simulate_light_sheet_field(structure, SMALL, seed=3)
    assert field.mask.data.dtype == np.uint8
    assert field.input.data.dtype == np.uint16
    assert field.input.voxel_size == field.mask.voxel_size == (5, 2, 2)
    assert field.mask.channels == (structure,)
    mask = field.mask.data == 1
    assert 0 < mask.mean() < 0.4
    near = ndimage.binary_dilation(mask, iterations=5) & ~ndimage.binary_dilation(mask)
    assert field.input.data[mask].mean() > field.input.data[near].mean()


def test_tubes_are_as_wide_and_as_long_as_they_say() -> None:
    line = np.stack([np.full(200, 20.0), np.full(200, 21.0), np.linspace(10, 40, 200)], 1)
    drawn = draw_tubes(Curves(line, np.full(200, 6.2), np.zeros(200, int)), np.full(200, 2.0), (20, 40, 50), (2, 1, 1))
    assert set(np.unique(drawn)) == {0, 2}
    z, y, x = np.meshgrid(np.arange(0, 40, 2), np.arange(40), np.arange(50), indexing="ij")
    distance = np.sqrt((z - 20) ** 2 + (y - 21) ** 2 + np.maximum(np.abs(x - 25) - 15, 0) ** 2)
    np.testing.assert_array_equal(drawn > 0, distance <= 6.2)
    thin = draw_tubes(Curves(line, np.full(200, 0.1), np.zeros(200, int)), np.ones(200), (20, 40, 50), (2, 1, 1))
    assert np.count_nonzero(thin) == 31  # no gap, although no voxel centre lies within


def test_walks_lose_their_direction_over_the_persistence_length() -> None:
    rng = np.random.default_rng(0)
    agreement = []
    for _ in range(300):
        steps = np.diff(walk(np.zeros(3), np.array([0.0, 0, 1]), 20, 20, 0.5, rng), axis=0)
        np.testing.assert_allclose(np.linalg.norm(steps, axis=1), 0.5)
        agreement.append(steps[-1, 2] / 0.5)
    assert np.mean(agreement) == pytest.approx(np.exp(-1), abs=0.1)


def test_vessels_branch_by_murrays_law_and_capillaries_have_their_length() -> None:
    rng = np.random.default_rng(1)
    tree = vessel_tree((200, 200, 200), 10, 3, 3.0, 100, 1.0, rng)
    radii = [radius[0] for _, radius in tree]
    root, children = radii[0], [r for p, r in ((p, r[0]) for p, r in tree[1:]) if np.allclose(p[0], tree[0][0][-1])]
    assert len(children) == 2
    assert sum(r**3 for r in children) == pytest.approx(root**3)
    assert min(radii) >= 3
    inside = length = 0.0
    for points, _ in capillaries((300, 300, 300), 900, 2, 1.0, rng):
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        inside = ((points[1:] > 0) & (points[1:] < 300)).all(1)
        length += steps[inside].sum()
    assert length / 300**3 * 1e6 == pytest.approx(900, rel=0.35)


def test_nuclei_do_not_touch_and_have_their_size_and_number() -> None:
    settings = TissueSettings(nuclei_per_mm3=(40000, 40000), nucleus_radius_um=(5, 5))
    tissue = make_tissue("nuclei", (48, 48, 48), (2, 2, 2), settings, np.random.default_rng(2))
    numbers, count = ndimage.label(tissue.mask, np.ones((3, 3, 3)))
    assert count == pytest.approx(40000 * 96**3 * 1e-9, rel=0.35)
    sizes = np.bincount(numbers.ravel())[1:] * 8
    assert np.median(sizes) == pytest.approx(4 / 3 * np.pi * 125, rel=0.35)
    assert not tissue.dye[~tissue.mask].any()


def point(shape: tuple[int, int, int], where: tuple[int, int, int]) -> Tissue:
    dye = np.zeros(shape, np.float32)
    dye[where] = 60
    return Tissue(dye > 0, dye, np.full(shape, 1, np.float32))


def width(profile: np.ndarray) -> float:
    """Full width at half maximum over the background, in voxels."""
    height = profile - np.median(profile)
    top = int(height.argmax())
    half = height[top] / 2
    right = top + int(np.argmax(height[top:] < half))
    left = top - int(np.argmax(height[top::-1] < half))
    ends = [
        inner + (outer - inner) * (height[inner] - half) / (height[inner] - height[outer])
        for inner, outer in ((right - 1, right), (left + 1, left))
    ]
    return float(ends[0] - ends[1])


def test_a_point_is_as_wide_as_the_sheet_and_the_optics() -> None:
    image = image_of(point((25, 25, 25), (12, 12, 12)), 1, STILL, np.random.default_rng(0)).astype(float)
    assert width(image[:, 12, 12]) == pytest.approx(8 / 2, rel=0.06)
    assert width(image[12, :, 12]) == pytest.approx(8 / 2, rel=0.06)
    assert width(image[12, 12]) == pytest.approx(8 / 2, rel=0.06)
    assert np.unravel_index(image.argmax(), image.shape) == (12, 12, 12)


def test_the_sheet_widens_away_from_its_waist() -> None:
    settings = STILL.model_copy(update={"rayleigh_um": (30, 30), "waist_um": (0, 0)})
    wide = []
    for x in (0, 30):
        tissue = point((41, 15, 31), (20, 7, x))
        images = [image_of(tissue, 1, settings, np.random.default_rng(seed)).astype(float) for seed in range(6)]
        wide += [[width(i[:, 7, x]) for i in images]]
    # At 60 µm, two Rayleigh lengths from the waist, the sheet is √5 times as thick, from whichever side it comes.
    near, far = np.minimum(*wide), np.maximum(*wide)
    assert near.mean() == pytest.approx(4, rel=0.1)
    assert far.mean() == pytest.approx(4 * np.sqrt(5), rel=0.15)


def test_shadows_are_stripes_along_x() -> None:
    tissue = Tissue(
        np.zeros((12, 60, 60), bool), *np.stack([np.zeros((12, 60, 60)), np.ones((12, 60, 60))]).astype("f4")
    )
    settings = STILL.model_copy(update={"shadows_per_mm2": (5000, 5000), "shadow_depth": (0.3, 0.3)})
    image = image_of(tissue, 1, settings, np.random.default_rng(1)).astype(float)[6]
    image = ndimage.gaussian_filter(image, 1)
    assert np.abs(np.diff(image, axis=0)).mean() > 2 * np.abs(np.diff(image, axis=1)).mean()
    calm = image_of(tissue, 1, STILL, np.random.default_rng(1))
    assert calm.mean() == pytest.approx(1e4, rel=0.01)
    assert calm.std() == pytest.approx(1e2, rel=0.05)  # photons alone


def test_a_data_set_has_a_manifest_and_continues(tmp_path: Path) -> None:
    small = LightSheetSettings(shape=(8, 24, 24), structures=("spots", "vessels"))
    manifest = simulate_light_sheet(tmp_path, {"train": 3, "test": 1}, small, seed=2)
    table = pd.read_csv(manifest, keep_default_na=False)
    assert list(table.columns) == ["input", "mask:spots", "mask:vessels", "split"]
    assert list(table["split"]) == ["train"] * 3 + ["test"]
    assert list(table["mask:vessels"] != "") == [False, True, False, False]
    assert list(table["mask:spots"] != "") == [True, False, True, True]
    first = simulate_light_sheet_field("vessels", small, seed=20_001)
    np.testing.assert_array_equal(read(tmp_path / table["input"][1]).data, first.input.data)
    np.testing.assert_array_equal(read(tmp_path / table["mask:vessels"][1]).data, first.mask.data)
    other = simulate_light_sheet_field("vessels", small, seed=20_002)
    assert not np.array_equal(first.mask.data, other.mask.data)
    before = (tmp_path / table["input"][0]).stat().st_mtime_ns
    (tmp_path / table["input"][1]).unlink()
    simulate_light_sheet(tmp_path, {"train": 3, "test": 1}, small, seed=2)
    assert (tmp_path / table["input"][1]).exists()
    assert (tmp_path / table["input"][0]).stat().st_mtime_ns == before
    with pytest.raises(SpotlightError, match="holds fields of another seed or other settings"):
        simulate_light_sheet(tmp_path, {"train": 3}, small, seed=3)


def test_the_command_takes_a_microscope_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("shape: [8, 16, 16]\nmicroscope: cleared-12x\nstructures: [plaques]\n")
    options = ["--train", "1", "--val", "0", "--test", "0", "--settings", tmp_path / "s.yaml", "--to", tmp_path / "d"]
    result = run_command("simulate", "--layout", "light-sheet", *options)
    assert result.returncode == 0, result.stderr
    assert read(tmp_path / "d" / "field-00.ome.tif").voxel_size == MICROSCOPES["cleared-12x"].voxel_um
    refused = run_command("simulate", "--layout", "light-sheet", "--complete", "test", "--to", tmp_path / "e")
    assert refused.returncode == 2
    assert "--complete does not apply to light-sheet" in refused.stderr


def test_bad_settings_are_refused() -> None:
    with pytest.raises(SpotlightError, match="a microscope is one of cleared-2x, cleared-12x, or settings"):
        LightSheetSettings.parse({"microscope": "cleared-3x"}, "x")
    with pytest.raises(SpotlightError, match="a range is two numbers of at least 0, the smaller one first"):
        LightSheetSettings.parse({"tissue": {"texture": [0.2, 0.1]}}, "x")
    with pytest.raises(SpotlightError, match="unknown setting 'microscope.hase'; did you mean 'haze'"):
        LightSheetSettings.parse({"microscope": {"hase": [0, 1]}}, "x")
    with pytest.raises(SpotlightError, match="must be one of vessels, spots.*Received: 'axons'"):
        simulate_light_sheet_field("axons")  # type: ignore[arg-type]
    assert LightSheetSettings.parse({"microscope": "cleared-12x"}, "x").microscope.voxel_um == (2, 1, 1)
