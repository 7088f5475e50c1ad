"""Fourier shell and ring correlation against cubic, hand-made images and published values."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from conftest import real_data
from spotlight.errors import SpotlightError
from spotlight.metrics import (
    TWO_IMAGES,
    ResolutionCurve,
    ResolutionSettings,
    fourier_ring,
    fourier_ring_of_two,
    fourier_shell,
    fourier_shell_of_two,
)
from spotlight.metrics.crossing import NARROW, REACH, find_sharp_crossing, window_blur
from spotlight.metrics.resolution import calibration
from spotlight.metrics.shells import Sector, Sums, correlate, halves

CONES = ResolutionSettings(sectors="cone", exclude_deg=0, threshold=0.143)
"""As cubic's faster way, in cubic's rounding of 1/7."""


def blurred_noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Texture, blurred, with noise of its own."""
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.normal(size=shape), [2, 1, 1][-len(shape) :])
    return (100 + texture / texture.std() + 1.5 * rng.normal(size=shape)).astype(np.float32)


def band_limited(shape: tuple[int, ...], spacing: tuple[float, ...], limit: float, seed: int) -> NDArray[np.float64]:
    """White noise without the frequencies above a limit in cycles/µm, periodic."""
    spectrum = np.fft.fftn(np.random.default_rng(seed).normal(size=shape))
    axes = np.meshgrid(*(np.fft.fftfreq(n, s) for n, s in zip(shape, spacing, strict=True)), indexing="ij")
    spectrum[sum(np.square(axis) for axis in axes) > limit**2] = 0
    image = np.fft.ifftn(spectrum).real
    return image / image.std()


# Shapes whose halves have even sides, and where no frequency lies on the edge of two shells.
@pytest.mark.parametrize("shape", [(96, 96, 96), (33, 61, 96)])
def test_one_image_agrees_with_cubic(shape: tuple[int, ...]) -> None:
    from cubic.metrics.spectral.frc import _fsc_hist_compute, calculate_sectioned_fsc

    image, spacing = blurred_noise(*shape), (0.29, 0.29, 0.29)
    found = fourier_shell(image, spacing, CONES)
    expected = _fsc_hist_compute(
        image,
        None,
        bin_delta=5,
        angle_delta=15,
        spacing_list=list(spacing),
        exclude_axis_angle=0,
        use_max_nyquist=False,
        zero_padding=True,
        average=False,
    )
    for name, angle in (("xy", 82), ("z", 8)):
        # In cubic's last shell are also all finer frequencies.
        assert found[name].correlation[:-1] == pytest.approx(expected[angle].correlation["correlation"][:-1], abs=1e-5)
    # cubic's wedges count the line along X to Z; the paper's software counted it to XY, and so do we.
    limit, width = 0.5 / 0.58, math.tan(math.radians(7.5)) ** 2
    shell = 5 / (48 * 0.58)
    sectors = {
        "90": Sector(limit, shell, lambda z, y, x: z < width * y),
        "0": Sector(limit, shell, lambda z, y, x: y <= width * z),
    }
    first, second = next(halves(image - image.mean(), (96, 96, 96), "hamming"))
    curves = correlate(first, second, (48, 48, 48), (0.58, 0.58, 0.58), sectors)
    wedges = dict(calculate_sectioned_fsc(image, spacing=spacing, bin_delta=5, extract_angle_delta=0))
    for angle, sums in curves.items():
        assert np.abs(sums.correlation[:-1]) == pytest.approx(wedges[angle].correlation["correlation"][:-1], abs=1e-5)
        assert sums.centres / limit == pytest.approx(wedges[angle].correlation["frequency"], abs=1e-6)
    ours = fourier_shell(image, spacing, ResolutionSettings(threshold=0.143, exclude_deg=0))
    for name, angle in (("xy", "90"), ("z", "0")):
        assert ours[name].correlation == pytest.approx(curves[angle].correlation, abs=0.05)


@pytest.mark.parametrize("noise", [1.0, 1.4])
def test_resolution_of_one_image_agrees_with_cubic(noise: float) -> None:
    from cubic.metrics.spectral.frc import calculate_frc

    rng = np.random.default_rng(3)
    texture = ndimage.gaussian_filter(rng.normal(size=(188, 188)), 1.5)
    image = texture / texture.std() + noise * rng.normal(size=texture.shape)
    expected = calculate_frc(image, bin_delta=5, backend="hist", curve_fit_type="spline", threshold_value=1 / 7)
    found = fourier_ring(image, (0.2, 0.2))
    assert found.correlation[:-1] == pytest.approx(expected.correlation["correlation"][:-1], abs=1e-5)
    # cubic's search for the crossing ends within 1e-4 of it.
    assert found.resolution == pytest.approx(0.2 * float(expected.resolution["resolution"]), rel=1e-3)
    assert found.reason == ""


def test_calibration_by_hand() -> None:
    # 0.95988146 e^(13.90441896 x 0.02020892) + 0.55146136
    assert calibration(1.0) == pytest.approx(1.8228, abs=1e-3)
    assert calibration(0.0) == pytest.approx(0.55146, abs=1e-5)


@pytest.mark.parametrize("spacing", [(0.2, 0.2, 0.2), (0.5, 0.2, 0.2)])
def test_two_images_agree_up_to_a_known_frequency(spacing: tuple[float, float, float]) -> None:
    shape, limit = (60, 120, 120), 0.6
    common = band_limited(shape, spacing, limit, seed=0)
    rng = np.random.default_rng(1)
    first, second = (common + 0.3 * rng.normal(size=shape) for _ in range(2))
    for name, curve in fourier_shell_of_two(first, second, spacing).items():
        width = curve.frequency[1] - curve.frequency[0]
        assert abs(1 / curve.resolution - limit) < 1.5 * width, name
        assert curve.correlation[curve.frequency < limit - width].min() > 0.7
        assert curve.correlation[curve.frequency > limit + width].max() < 0.3
    plane = fourier_ring_of_two(first, second, spacing)
    assert 1 / plane.resolution == pytest.approx(limit, abs=0.3)


CUT = [
    ((256, 256), (0.2, 0.2), 0.4),
    ((256, 256), (0.2, 0.2), 0.9),
    ((200, 300), (0.2, 0.3), 0.6),
    ((48, 96, 96), (0.2, 0.2, 0.2), 0.9),
    ((40, 100, 100), (0.5, 0.2, 0.2), 0.6),
    ((24, 128, 128), (0.29, 0.11, 0.11), 1.2),
]
"""Shapes, voxel sizes and limits of images that were cut from larger ones, so that they are not periodic."""


@pytest.mark.parametrize(("shape", "spacing", "limit"), CUT)
@pytest.mark.parametrize("noise", [0.3, 2.0])
def test_a_known_band_limit_is_read_to_about_a_step_of_frequency(
    shape: tuple[int, ...], spacing: tuple[float, ...], limit: float, noise: float
) -> None:
    larger = tuple(int(1.3 * n) // 2 * 2 for n in shape)
    common = band_limited(larger, spacing, limit, seed=0)[tuple(slice(n) for n in shape)]
    rng = np.random.default_rng(1)
    pair = [common + noise * rng.normal(size=shape) for _ in range(2)]

    def read(settings: ResolutionSettings) -> dict[str, ResolutionCurve]:
        if len(shape) == 3:
            return fourier_shell_of_two(*pair, spacing, settings)
        return {"xy": fourier_ring_of_two(*pair, spacing, settings)}

    wide = read(TWO_IMAGES.model_copy(update={"sharp": False}))
    for name, curve in read(TWO_IMAGES).items():
        steps = [1 / (n * size) for n, size in zip(shape, spacing, strict=True)]
        step = steps[0] if name == "z" else max(steps[-2:])
        beyond = (1 / curve.resolution - limit) / step
        # Along Z few frequencies lie in a shell.
        assert -0.2 < beyond < (2.6 if name == "z" else 1.1), name
        # Shells of five steps alone read the same images farther off.
        assert 1 / wide[name].resolution - limit > 1.4 * (1 / curve.resolution - limit)


def test_one_image_reads_a_band_limit_too_fine_as_published() -> None:
    shape, spacing, limit = (256, 256), (0.2, 0.2), 0.6
    image = band_limited((332, 332), spacing, limit, seed=0)[:256, :256]
    noisy = image + np.random.default_rng(1).normal(size=shape)
    # docs/metrics.md states it: wide shells, a window that keeps the borders, a calibration made for smooth spectra.
    assert 1.2 < 1 / fourier_ring(noisy, spacing).resolution / limit < 1.35


def test_a_window_blurs_by_what_it_is() -> None:
    blur = window_blur(np.ones(64, np.float32))
    assert blur.sum() == pytest.approx(1)
    assert blur == pytest.approx(blur[::-1])
    hann = window_blur(np.hanning(66)[1:-1].astype(np.float32))
    # Hann's main lobe is twice as wide, and nothing lies beyond it.
    assert hann[REACH] < blur[REACH]
    assert hann[0] < 1e-4 < blur[0]


def test_what_the_borders_cut_is_no_detail() -> None:
    rng = np.random.default_rng(0)
    sigma, noise, crop = 3.0, 0.02, tuple(slice(15, -15) for _ in range(3))
    common = ndimage.gaussian_filter(rng.normal(size=(94, 158, 158)), sigma, mode="wrap")[crop]
    images = [common + noise * rng.normal(size=common.shape) for _ in range(2)]
    # White noise, blurred, has the power exp(-4 π² σ² f²); with that of the noise, FSC = S / (S + N).
    known = math.sqrt(math.log(6 / noise**2)) / (2 * math.pi * sigma)
    found = fourier_shell_of_two(*images, (1, 1, 1))
    for curve in found.values():
        assert 1 / curve.resolution == pytest.approx(known, abs=0.4 * (curve.frequency[1] - curve.frequency[0]))
    weak = fourier_shell_of_two(*images, (1, 1, 1), TWO_IMAGES.model_copy(update={"window": "hamming", "sharp": False}))
    assert weak["xy"].resolution < 0.9 * found["xy"].resolution


@pytest.mark.parametrize("settings", [CONES, ResolutionSettings(window="hann")])
def test_zeros_around_an_image_are_never_made_but_counted(settings: ResolutionSettings) -> None:
    for shape in ((20, 47, 64), (23, 64, 50), (22, 33, 64)):
        image = blurred_noise(*shape)
        before = [(64 - n) // 2 for n in shape]
        cube = np.pad(image - image.mean(dtype=float), [(b, 64 - n - b) for b, n in zip(before, shape, strict=True)])
        bare = settings.model_copy(update={"zero_padding": False, "subtract_mean": False})
        for name, curve in fourier_shell(cube, (1, 1, 1), bare).items():
            assert fourier_shell(image, (1, 1, 1), settings)[name].correlation == pytest.approx(
                curve.correlation, abs=1e-4
            )


def test_voxels_that_are_no_cubes_are_padded_to_a_cube_in_micrometres() -> None:
    spacing, limit = (0.5, 0.25, 0.25), 0.6
    image = band_limited((48, 96, 96), spacing, limit, 0) + 0.5 * np.random.default_rng(2).normal(size=(48, 96, 96))
    curves = fourier_shell(image, spacing, CONES)
    # The halves have voxels of 1 µm along Z and 0.5 µm across: Nyquist frequencies of 0.5 and 1 in five-step shells.
    assert curves["xy"].frequency == pytest.approx(np.array([0.1, 0.3, 0.5, 0.7, 0.9]))
    assert curves["z"].frequency == pytest.approx(np.array([1, 3, 5]) / 12)
    crossing = 1 / (2 * curves["xy"].resolution * calibration(limit / 1))
    assert crossing == pytest.approx(limit, abs=0.1)


def test_published_resolution_of_a_real_prediction() -> None:
    from cubic.metrics import fsc_resolution

    with np.load(real_data("metric_parity/er_prediction_pair.npz")) as pair:
        target, stain = pair["target"], pair["pred"]
        published = float(pair["expected_xy_fsc_resolution"])
    spacing = (0.29, 0.108, 0.108)
    assert fsc_resolution(target, stain, spacing=spacing)["xy"] == pytest.approx(published, rel=1e-6)
    # That is 2 x 0.108 µm over a share of the Nyquist frequency of Z, 1 / (2 x 0.29 µm), as if it were that of XY.
    crossing = 2 * 0.108 / published / (2 * 0.29)
    fine = TWO_IMAGES.model_copy(update={"bin_px": 1, "threshold": 0.143, "window": "hamming", "sharp": False})
    found = fourier_shell_of_two(target, stain, spacing, fine)["xy"]
    # A smoothing spline there, a straight line between two shells here.
    assert found.resolution == pytest.approx(1 / crossing, rel=0.06)


def test_an_offset_changes_nothing_once_the_mean_is_subtracted() -> None:
    image = blurred_noise(20, 64, 64)
    kept = ResolutionSettings(subtract_mean=False)
    for name in ("xy", "z"):
        near, far = (fourier_shell(image + offset, (1, 1, 1))[name].correlation for offset in (0, 500))
        assert near == pytest.approx(far, abs=1e-3)
    # Otherwise the border of the padded image is what the halves have in common.
    without, with_offset = (fourier_shell(image + o, (1, 1, 1), kept)["z"].correlation for o in (-100, 500))
    assert with_offset.mean() > without.mean() + 0.2


def test_why_there_is_no_resolution() -> None:
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(40, 80, 80)), 1)
    for curve in fourier_shell(smooth, (1, 1, 1)).values():
        assert math.isnan(curve.resolution)
        assert "stays above 0.143" in curve.reason
        assert "no noise" in curve.reason
    others = [rng.normal(size=(40, 80, 80)) for _ in range(2)]
    assert "below 0.143 from the coarsest detail on" in fourier_shell_of_two(*others, (1, 1, 1))["xy"].reason
    flat = np.full((20, 20, 20), 0.1, np.float32)
    for curve in (*fourier_shell(flat, (1, 1, 1)).values(), *fourier_shell_of_two(flat, flat, (1, 1, 1)).values()):
        assert "constant or too small" in curve.reason
        assert len(curve.correlation) == 0
    assert "holds 1 shells only" in fourier_shell(smooth[:9, :9, :9], (1, 1, 1), CONES)["xy"].reason


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 64, 64), (3, 64, 64), (5, 6, 64), (64, 5, 64)])
@pytest.mark.parametrize("padding", [True, False])
def test_thin_images_end_in_curves_or_reasons(shape: tuple[int, ...], padding: bool) -> None:
    image = np.random.default_rng(0).normal(size=shape)
    settings = ResolutionSettings(zero_padding=padding)
    spacing = (0.3, 0.1, 0.1)
    curves = [
        *fourier_shell(image, spacing, settings).values(),
        *fourier_shell_of_two(image, image[::-1], spacing, settings).values(),
        fourier_ring(image, spacing, settings),
        fourier_ring_of_two(image, image, spacing, settings),
    ]
    assert all(math.isfinite(curve.resolution) or curve.reason for curve in curves)


def test_rings_of_planes() -> None:
    stack = np.stack([blurred_noise(96, 96, seed=seed) for seed in range(4)])
    singles = [fourier_ring(plane, (0.2, 0.2)) for plane in stack]
    whole = fourier_ring(stack, (0.5, 0.2, 0.2))
    assert whole.each.tolist() == [single.resolution for single in singles]
    assert whole.resolution == pytest.approx(np.mean(whole.each))
    assert whole.correlation == pytest.approx(np.mean([single.correlation for single in singles], axis=0))
    assert fourier_ring(stack, (0.5, 0.2, 0.2), only=[2]).resolution == singles[2].resolution
    stack[1] = 5
    partly = fourier_ring(stack, (0.5, 0.2, 0.2))
    assert math.isnan(partly.each[1])
    assert partly.resolution == pytest.approx(np.mean(whole.each[[0, 2, 3]]))
    assert partly.reason.startswith("1 of 4 planes have none: the image is constant")
    two = fourier_ring_of_two(stack, stack + blurred_noise(4, 96, 96), (0.5, 0.2, 0.2), only=[0, 3])
    assert len(two.each) == 2


def test_what_has_no_shells_or_rings() -> None:
    plane, stack = np.eye(16), np.zeros((8, 16, 16))
    with pytest.raises(SpotlightError, match="has rings, not shells; use fourier_ring"):
        fourier_shell(plane, (1, 1))
    with pytest.raises(SpotlightError, match="has rings, not shells"):
        fourier_shell_of_two(plane, plane, (1, 1))
    for wrong in ((1, 1), (1, 1, 0), (1, 1, math.nan)):
        with pytest.raises(SpotlightError, match="spacing must be 3 positive numbers"):
            fourier_shell(stack, wrong)
    with pytest.raises(SpotlightError, match="has 1 voxels that are NaN"):
        fourier_ring(np.where(np.arange(256).reshape(16, 16) == 5, np.nan, plane), (1, 1))
    with pytest.raises(SpotlightError, match=r"planes to measure are \[9\]; the image has planes 0 to 7"):
        fourier_ring(stack, (1, 1, 1), only=[9])
    with pytest.raises(SpotlightError, match="must have one shape"):
        fourier_shell_of_two(stack, stack[1:], (1, 1, 1))


def test_no_resolution_is_coarser_than_the_field() -> None:
    def sums(width: float, correlation: list[float]) -> Sums:
        ones = np.ones(len(correlation))
        return Sums(width, np.array(correlation), ones, ones, 100 * ones)

    field = 30.0
    narrow, blur = sums(NARROW / field, [0.0] * 40), np.eye(1, 2 * REACH + 1, REACH)[0]
    crossing, reason = find_sharp_crossing(sums(0.17, [0.3, 0.08, 0.0, 0.0]), narrow, blur, 0.143)
    assert np.isnan(crossing)
    assert reason == "the correlation is below 0.143 from details of the field's own width on"
