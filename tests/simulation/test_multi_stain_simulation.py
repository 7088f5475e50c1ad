"""Simulated sets in the layout of Light My Cells: optics as theory has them, cells where they are said to be."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage.registration import phase_cross_correlation
from typer.testing import CliRunner

from spotlight.cli import app
from spotlight.errors import SpotlightError
from spotlight.images import read
from spotlight.pairs import read_manifest
from spotlight.pairs.importers import read_light_my_cells
from spotlight.simulation import (
    CHALLENGE_STUDIES,
    MILD_STUDIES,
    AdherentCellSettings,
    BrightfieldSettings,
    DICSettings,
    LightMyCellsSettings,
    MultiStainField,
    OrganellePhantom,
    PhaseContrastSettings,
    StudySettings,
    WidefieldSettings,
    dic,
    make_organelles,
    phase_contrast,
    simulate_light_my_cells,
    simulate_multi_stain_field,
    widefield,
)
from spotlight.simulation.lightmycells import focal_heights, study_settings
from spotlight.simulation.optics import focus_series
from spotlight.simulation.organelles import STAINS
from spotlight.simulation.studies import plan_fields

MEDIUM = 1.337
VOXEL = (0.5, 0.2)
FOCUS = np.array([0.0])
BRIGHTFIELD = BrightfieldSettings(wavelength_um=0.55, bandwidth_um=0, objective_na=0.8, source_points=13)
PHASE = PhaseContrastSettings(bandwidth_um=0, source_points=16)
DIC = DICSettings(bandwidth_um=0, source_points=13, condenser_na=0.4)

FEW = LightMyCellsSettings(
    shape=(48, 40),
    planes=2,
    focus_planes=(0, 1),
    slices=10,
    cells=AdherentCellSettings(microtubules_per_cell=20, mitochondria_per_cell=10),
    brightfield=BrightfieldSettings(source_points=2),
    phase=PhaseContrastSettings(source_points=2),
    dic=DICSettings(source_points=2),
    studies=MILD_STUDIES,
)
"""Settings under which a field takes a fraction of a second."""


@pytest.fixture(scope="module")
def field() -> MultiStainField:
    return simulate_multi_stain_field(LightMyCellsSettings(shape=(160, 160)), "phase", focus=2, seed=11)


def thin_object(phase: np.ndarray) -> np.ndarray:
    """A refractive index of one slice that delays green light by a phase in radians, (1, Y, X)."""
    return (MEDIUM + phase[None] * 0.55 / (2 * np.pi * VOXEL[0])).astype(np.float32)


def bump(sigma_um: float, height: float, side: int = 160) -> np.ndarray:
    y, x = (np.indices((side, side)) - side // 2) * VOXEL[1]
    return np.asarray(height * np.exp(-(y**2 + x**2) / (2 * sigma_um**2)))


def in_focus(index: np.ndarray, optics: BrightfieldSettings, height: float = 0.0) -> np.ndarray:
    """The image at a height over the middle of the first slice, less its background of 1."""
    form: dict[type, Callable[..., np.ndarray]] = {PhaseContrastSettings: phase_contrast, DICSettings: dic}
    make = form.get(type(optics), focus_series)
    return make(index, MEDIUM, VOXEL, FOCUS + height, optics, np.random.default_rng(0))[0].astype(float) - 1


@pytest.mark.parametrize("optics", [BRIGHTFIELD, PHASE, DIC])
def test_an_empty_field_is_uniformly_bright(optics: BrightfieldSettings) -> None:
    empty = np.full((3, 40, 40), MEDIUM, np.float32)
    np.testing.assert_allclose(in_focus(empty, optics), 0, atol=1e-4)


def test_a_phase_object_in_brightfield_is_seen_only_out_of_focus() -> None:
    index = thin_object(bump(0.6, 0.1))
    sharp, below, above = (in_focus(index, BRIGHTFIELD, height)[80, 80] for height in (0.0, -1.5, 1.5))
    assert abs(sharp) < 0.1 * min(abs(below), abs(above))
    assert below < 0 < above  # a dense bump gathers the light above it, like a lens
    assert below == pytest.approx(-above, rel=0.3)


def weak_phase_contrast(phase: np.ndarray, optics: PhaseContrastSettings) -> np.ndarray:
    """Zernike's first order, over an even ring: d = exp(-i pi/2) + i phi / sqrt(t), of which the pupil passes a part.

    Scattered light in the ring is advanced like the direct light, so that it does not interfere; it makes the halo.
    """
    image = np.zeros(phase.shape)
    ky, kx = np.meshgrid(*[np.fft.fftfreq(n, VOXEL[1]) for n in phase.shape], indexing="ij")
    aperture = (optics.inner_na + optics.condenser_na) / 2 / optics.wavelength_um
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    for angle in angles:
        na = np.hypot(ky + aperture * np.sin(angle), kx + aperture * np.cos(angle)) * optics.wavelength_um
        ring = (na > optics.inner_na - optics.ring_margin_na) & (na < optics.condenser_na + optics.ring_margin_na)
        passed = np.where(ring, -1j, 1 / np.sqrt(optics.ring_transmission)) * (na <= optics.objective_na)
        image += 2 * np.real(np.conj(-1j) * np.fft.ifft2(1j * np.fft.fft2(phase) * passed)) / len(angles)
    return image


@pytest.mark.parametrize("transmission", [1.0, 0.25])
def test_phase_contrast_turns_phase_to_darkness_and_makes_a_halo(transmission: float) -> None:
    optics = PHASE.model_copy(update={"ring_transmission": transmission})
    phase = bump(0.8, 0.02)
    image = in_focus(thin_object(phase), optics)
    expected = weak_phase_contrast(phase, optics)
    assert np.abs(image - expected).max() < 0.05 * np.abs(expected).max()
    radius = np.hypot(*(np.indices(image.shape) - 80)) * VOXEL[1]
    # Without a ring of any width it would be -2 phi / sqrt(t).
    assert -2 * 0.02 / np.sqrt(transmission) < image[80, 80] < -1.2 * 0.02 / np.sqrt(transmission)
    assert image[(radius > 2.5) & (radius < 5)].mean() > 0.02 * abs(image[80, 80])
    assert image[radius < 0.8].max() < 0
    assert in_focus(thin_object(-phase), optics)[80, 80] > 0


@pytest.mark.parametrize("bias", [0.25 * np.pi, 0.5 * np.pi])
def test_dic_is_the_interference_of_two_sheared_copies(bias: float) -> None:
    """Where the phase changes slowly, intensity is sin²((b - s grad phi) / 2) / sin²(b / 2)."""
    optics = DIC.model_copy(update={"shear_deg": 0.0, "bias": bias})
    phase = bump(2.0, 0.5)
    image = in_focus(thin_object(phase), optics)
    gradient = np.gradient(phase, VOXEL[1], axis=1)
    expected = np.sin((bias - optics.shear_um * gradient) / 2) ** 2 / np.sin(bias / 2) ** 2 - 1
    assert np.abs(image - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("angle", [0.0, 45.0, 90.0])
def test_dic_has_a_shadow_along_the_shear_axis(angle: float) -> None:
    optics = DIC.model_copy(update={"shear_deg": angle, "bias": 0.5 * np.pi})
    image = in_focus(thin_object(bump(1.0, 0.05)), optics)
    centred = image[1:, 1:]  # the bump is in the middle of an odd number of pixels
    strongest = np.abs(centred).max()
    assert np.abs(centred + centred[::-1, ::-1]).max() < 0.05 * strongest
    y, x = np.indices(image.shape) - 80
    along = x * np.cos(np.deg2rad(angle)) + y * np.sin(np.deg2rad(angle))
    across = y * np.cos(np.deg2rad(angle)) - x * np.sin(np.deg2rad(angle))
    near = np.hypot(along, across) * VOXEL[1] < 3
    assert np.abs(image[near & (np.abs(along) < 0.5)]).max() < 0.1 * strongest
    assert image[near & (along > 2)].mean() > 0 > image[near & (along < -2)].mean()


def test_dic_without_condenser_prism_would_not_agree_in_bias() -> None:
    """Tilted light has the same background as straight light: the prism's shear is taken from every source point."""
    empty = np.full((1, 64, 64), MEDIUM, np.float32)
    tilted = DIC.model_copy(update={"condenser_na": 0.9, "source_points": 7})
    np.testing.assert_allclose(in_focus(empty, tilted), 0, atol=1e-4)


def test_an_annulus_must_fit_the_objective() -> None:
    with pytest.raises(ValueError, match="inner_na < condenser_na <= objective_na"):
        PhaseContrastSettings(condenser_na=0.8)
    with pytest.raises(SpotlightError, match=r"focus_planes must be two of the planes 0 to 6.* Received: 3, 7"):
        LightMyCellsSettings.parse({"focus_planes": [3, 7]}, "x.yaml")


def test_widefield_keeps_light_and_is_sharpest_in_focus() -> None:
    dye = np.zeros((8, 64, 64), np.float32)
    dye[3, 30, 33] = 40.0
    optics = WidefieldSettings(background_photons=0)
    images = [widefield(dye, VOXEL, height, 0.52, optics) for height in (0.75, 1.25, 1.75, 2.25, 2.75)]
    peaks = [image.max() for image in images]
    assert np.argmax(peaks) == 2  # the middle of the fourth slice
    assert np.unravel_index(images[2].argmax(), images[2].shape) == (30, 33)
    assert images[2].sum() == pytest.approx(40 * VOXEL[0] * optics.photons, rel=0.03)
    # Half the width of an Airy disk at half its height is 0.257 wavelengths over the aperture.
    far = ((np.indices(images[2].shape) - np.array([30, 33])[:, None, None]) ** 2).sum(0) ** 0.5 * VOXEL[1]
    half = 0.257 * 0.52 / optics.objective_na
    assert images[2][far < half].min() > 0.5 * peaks[2] > images[2][far > half + VOXEL[1]].max()


def test_organelles_are_where_cells_have_them() -> None:
    settings = AdherentCellSettings()
    phantom = make_organelles((12, 200, 200), VOXEL, settings, np.random.default_rng(3))
    inside, nuclei = phantom.cells > 0, phantom.nuclei > 0
    assert 2 <= len(np.unique(phantom.cells)) - 1 <= 6
    assert (phantom.cells[nuclei] == phantom.nuclei[nuclei]).all()
    for number in np.unique(phantom.nuclei)[1:]:
        assert ndimage.label(phantom.nuclei == number)[1] == 1
    seen = {name: dye.sum(0) for name, dye in phantom.dyes.items()}
    for name, dye in seen.items():
        assert dye[~ndimage.binary_dilation(inside, iterations=4)].max() < 0.02 * dye.max(), name
    assert seen["Nucleus"][nuclei].mean() > 20 * seen["Nucleus"][inside & ~nuclei].mean()
    assert phantom.dyes["Mitochondria"][:, ndimage.binary_erosion(nuclei, iterations=4)].max() < 0.1
    # Mitochondria gather around nuclei, actin at the edge.
    to_nucleus = ndimage.distance_transform_edt(~nuclei) * VOXEL[1]
    to_edge = ndimage.distance_transform_edt(inside) * VOXEL[1]
    body = inside & ~nuclei & (to_edge > 1.5)
    crowd = seen["Mitochondria"]
    assert crowd[body & (to_nucleus < 4)].mean() > 2 * crowd[body & (to_nucleus > 9)].mean()
    density = [phantom.dyes["Actin"][0][inside & where].mean() for where in (to_edge < 0.8, to_edge > 2)]
    assert density[0] > 1.5 * density[1]
    assert MEDIUM - 0.02 < phantom.index.min() < phantom.index.max() < 1.46


def test_mitochondria_stand_out_in_refractive_index_and_filaments_hardly() -> None:
    def phantom(**changed: float) -> OrganellePhantom:
        settings = AdherentCellSettings(brightness_variation=0, **changed)
        return make_organelles((12, 100, 100), VOXEL, settings, np.random.default_rng(3))

    plain = phantom()
    for stain, name, least, most in (
        ("Mitochondria", "mitochondrion_index", 0.02, 0.035),
        ("Tubulin", "microtubule_index", 0.0005, 0.003),
        ("Actin", "actin_index", 0.002, 0.006),
    ):
        share = plain.index - phantom(**{name: 0.0}).index
        assert least < share.max() < most
        assert np.corrcoef(share.ravel(), plain.dyes[stain].ravel())[0, 1] > 0.85, stain


def test_targets_and_transmitted_light_lie_where_the_phantom_says(field: MultiStainField) -> None:
    truth = {name: ndimage.gaussian_filter(dye[:6].sum(0), 1.2) for name, dye in field.phantom.dyes.items()}
    for name, target in field.targets.items():
        fits = {other: np.corrcoef(target.ravel(), seen.ravel())[0, 1] for other, seen in truth.items()}
        assert max(fits, key=lambda other: fits[other]) == name
        assert fits[name] > 0.9
        shift, *_ = phase_cross_correlation(truth[name], target, upsample_factor=10)
        assert np.abs(shift).max() <= 0.5, name
    # In positive phase contrast, dense structures are dark at their own place.
    path = (field.phantom.index - MEDIUM).sum(0)
    fine = path - ndimage.gaussian_filter(path, 5)
    light = field.planes[2].astype(float)
    assert np.corrcoef(fine.ravel(), (light - ndimage.gaussian_filter(light, 5)).ravel())[0, 1] < -0.5
    shift, *_ = phase_cross_correlation(-fine, light - ndimage.gaussian_filter(light, 5), upsample_factor=10)
    assert np.abs(shift).max() <= 1


def test_modality_and_focus_change_nothing_but_transmitted_light() -> None:
    a, again = (simulate_multi_stain_field(FEW, "phase", 0, seed=4) for _ in range(2))
    np.testing.assert_array_equal(a.planes, again.planes)
    b, c = simulate_multi_stain_field(FEW, "dic", 0, seed=4), simulate_multi_stain_field(FEW, "phase", 1, seed=4)
    other = simulate_multi_stain_field(FEW, "phase", 0, seed=5)
    for stain in STAINS:
        np.testing.assert_array_equal(a.targets[stain], b.targets[stain])
        np.testing.assert_array_equal(a.targets[stain], c.targets[stain])
        assert not np.array_equal(a.targets[stain], other.targets[stain])
    assert not np.array_equal(a.planes, b.planes)
    # The same heights, seen from a series that begins a plane lower: noise aside.
    assert np.corrcoef(a.planes[0].ravel(), c.planes[1].ravel())[0, 1] > 0.95
    with pytest.raises(SpotlightError, match="the modality must be one of brightfield, phase, dic"):
        simulate_multi_stain_field(FEW, "PC")


def test_the_plane_in_focus_is_where_the_targets_are() -> None:
    """A field's planes are those formed of its cells at their heights over the coverslip, less half a slice."""
    settings = FEW.model_copy(update={"shading": 0.0, "planes": 3, "focus_um": 1.0, "z_step_um": 0.4})
    np.testing.assert_allclose(focal_heights(settings, 1), [0.6, 1.0, 1.4])
    optics = BrightfieldSettings(source_points=1, condenser_na=0.01, bandwidth_um=0, photons=5e3, read_noise=0)
    settings = settings.model_copy(update={"brightfield": optics, "shape": (96, 96), "cells": AdherentCellSettings()})
    field = simulate_multi_stain_field(settings, "brightfield", 1, seed=7)
    inner = (slice(20, -20), slice(20, -20))  # light from beyond the field is not in the cut phantom
    found = []
    for height in np.arange(0.0, 2.1, 0.2):
        light = focus_series(field.phantom.index, MEDIUM, VOXEL, FOCUS + height, optics, np.random.default_rng(0))[0]
        found.append(np.corrcoef(light[inner].ravel(), field.planes[1][inner].ravel())[0, 1])
    # The middle of the first slice is 0.25 µm high.
    assert 0.2 * np.argmax(found) == pytest.approx(1.0 - 0.25, abs=0.15)
    assert max(found) > 0.95


def test_stains_are_missing_as_often_as_in_the_challenge() -> None:
    planned = plan_fields({"train": 2574}, CHALLENGE_STUDIES, (1, 5), complete=(), seed=0)
    found = Counter(stain for field in planned for stain in field.stains)
    assert found == {"Nucleus": 2533, "Mitochondria": 1816, "Tubulin": 223, "Actin": 27}
    assert Counter(field.modality for field in planned) == {"brightfield": 1987, "phase": 301, "dic": 286}
    assert not any("Actin" in field.stains for field in planned if field.modality == "dic")
    assert {field.focus for field in planned} == {1, 2, 3, 4, 5}
    assert sorted(field.number for field in planned) == list(range(1, 2575))


@pytest.mark.parametrize("studies", [CHALLENGE_STUDIES, MILD_STUDIES])
@pytest.mark.parametrize("seed", range(5))
def test_training_shows_every_modality_and_stain(studies: tuple[StudySettings, ...], seed: int) -> None:
    counts = {"train": 24, "val": 3, "test": 6}
    planned = plan_fields(counts, studies, (0, 6), complete=(), seed=seed)
    assert Counter(field.split for field in planned) == counts
    assert all(field.stains for field in planned)
    train = [field for field in planned if field.split == "train"]
    assert {stain for field in train for stain in field.stains} == set(STAINS)
    for split in counts:
        assert {field.modality for field in planned if field.split == split} == {"brightfield", "phase", "dic"}
    for field in planned:
        study = studies[field.study - 1]
        assert study.modality == field.modality
        assert all(study.shares[stain] > 0 for stain in field.stains)
    held_out = plan_fields(counts, studies, (0, 6), complete={"test"}, seed=seed)
    assert all(field.stains == STAINS for field in held_out if field.split == "test")
    assert [field for field in held_out if field.split != "test"] == [f for f in planned if f.split != "test"]
    full = plan_fields(counts, studies, (0, 6), complete=set(counts), seed=seed)
    assert all(field.stains == STAINS for field in full)
    assert [(f.number, f.study, f.split, f.focus) for f in full] == [
        (f.number, f.study, f.split, f.focus) for f in planned
    ]


def test_few_fields_cannot_show_everything() -> None:
    with pytest.raises(SpotlightError, match="needs 3 training fields to include every modality .* Received: 2"):
        plan_fields({"train": 2}, CHALLENGE_STUDIES, (1, 5), complete=(), seed=0)
    assert len(plan_fields({"train": 2}, CHALLENGE_STUDIES, (1, 5), complete={"train"}, seed=0)) == 2
    assert len(plan_fields({"test": 1}, CHALLENGE_STUDIES, (1, 5), complete=(), seed=0)) == 1


def test_studies_differ_and_stay_what_they_are() -> None:
    settings = LightMyCellsSettings()
    assert study_settings(settings, 3) == study_settings(settings, 3)
    a, b = study_settings(settings, 3), study_settings(settings, 4)
    assert a.phase.photons != b.phase.photons
    assert a.cells.cell_area_um2 != b.cells.cell_area_um2
    assert a.dic.shear_deg != b.dic.shear_deg
    assert study_settings(settings.model_copy(update={"variation": 0.0}), 3).phase == settings.phase
    assert LightMyCellsSettings.parse(a.model_dump(mode="json"), "a study") == a  # within what is allowed


class Interrupted(Exception):
    """What stops a simulation halfway."""


@pytest.mark.slow
def test_sets_are_read_by_the_importer_and_go_on_after_an_interruption(tmp_path: Path) -> None:
    counts = {"train": 3, "val": 1, "test": 2}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    manifest = simulate_light_my_cells(whole, counts, FEW, seed=2, workers=2)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        simulate_light_my_cells(broken, counts, FEW, seed=2, progress=stop)
    assert not (broken / "pairs.csv").exists()
    files = {file: file.stat().st_mtime_ns for file in broken.rglob("*.tiff")}
    lost = next(iter(files))
    lost.unlink()
    del files[lost]
    simulate_light_my_cells(broken, counts, FEW, seed=2)
    kept = [file for file, time in files.items() if file.stat().st_mtime_ns == time]
    assert 0 < len(kept) < len(files)  # the field that lost a file was made again, the other was not
    for file in sorted(whole.rglob("*.tiff")):
        np.testing.assert_array_equal(read(file).data, read(broken / file.relative_to(whole)).data)
    for name in ("pairs.csv", "focus.csv", "simulation.yaml"):
        assert (whole / name).read_text() == (broken / name).read_text()

    pairs = read_manifest(manifest, every_target=True)
    found = read_light_my_cells(whole)
    assert {(p.input.resolve(), p.target.resolve(), p.target_name) for p in pairs} == {
        (p.input.resolve(), p.target.resolve(), p.target_name) for p in found
    }
    assert Counter(p.split for p in {p.group: p for p in pairs}.values()) == counts
    image, target = pairs[0].read_both()
    assert (image.axes, image.shape, image.voxel_size, image.dtype) == ("YX", (48, 40), (0.2, 0.2), np.uint16)
    assert image.channels[0] in ("BF", "PC", "DIC")
    assert f"_{image.channels[0]}_z" in pairs[0].input.name
    assert target.channels == (pairs[0].target_name,)

    focus = pd.read_csv(whole / "focus.csv").set_index("fov")
    rows = pd.read_csv(manifest)
    assert len(rows) == 6 * FEW.planes
    for row in rows.to_dict("records"):
        fov, plane = int(row["group"].split("/")[1]), int(row["input"].split("_z")[1].split(".")[0])
        assert row["focus_offset"] == plane - focus.loc[fov, "focus_plane"]
        assert row["modality"] == focus.loc[fov, "modality"]
        there = [stain for stain in STAINS if row.get(f"target:{stain}", "absent") != "absent"]
        assert there == focus.loc[fov, "stains"].split()
        study = whole / f"Study_{focus.loc[fov, 'study']}"
        assert there == [stain for stain in STAINS if (study / f"image_{fov}_{stain}.ome.tiff").exists()]


def test_a_folder_of_other_fields_is_refused(tmp_path: Path) -> None:
    one = FEW.model_copy(update={"studies": MILD_STUDIES[:1]})
    simulate_light_my_cells(tmp_path, {"test": 1}, one, complete=True)
    for counts, settings, seed, complete in (
        ({"test": 2}, one, 0, True),
        ({"test": 1}, FEW, 0, True),
        ({"test": 1}, one, 1, True),
        ({"test": 1}, one, 0, False),
    ):
        with pytest.raises(SpotlightError, match="holds fields of another seed or other settings"):
            simulate_light_my_cells(tmp_path, counts, settings, seed, complete=complete)
    for wrong in ({}, {"test": 0}, {"train": -1, "test": 2}, {"all": 3}):
        with pytest.raises(SpotlightError, match="at least one field for train, val or test"):
            simulate_light_my_cells(tmp_path / "none", wrong, one)
    with pytest.raises(SpotlightError, match="complete must name splits \\(train, val, test\\). Received: tset"):
        simulate_light_my_cells(tmp_path / "none", {"test": 1}, one, complete={"tset"})
    assert not (tmp_path / "none").exists()


def test_from_the_command_line(tmp_path: Path) -> None:
    settings = tmp_path / "few.yaml"
    settings.write_text(FEW.to_yaml())
    asked = ["simulate", "--layout", "light-my-cells", "--settings", str(settings), "--complete", "test"]
    numbers = ["--train", "0", "--val", "0", "--test", "1", "--to", str(tmp_path / "set")]
    result = CliRunner().invoke(app, [*asked, *numbers])
    assert result.exit_code == 0, result.output
    assert {file.name.split("_")[2].split(".")[0] for file in (tmp_path / "set").rglob("*.tiff")} >= set(STAINS)
    refused = CliRunner().invoke(app, ["simulate", "--complete", "test", "--to", str(tmp_path / "stacks")])
    assert isinstance(refused.exception, SpotlightError)
    assert "--complete does not apply to stacks" in str(refused.exception)
