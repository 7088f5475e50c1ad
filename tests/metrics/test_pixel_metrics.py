"""Scores of intensity against cubic, scikit-image and published values, and where they are not defined."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from conftest import real_data
from spotlight.errors import SpotlightError
from spotlight.metrics import (
    PIXEL_SCORES,
    MicroMS3IM,
    fit_micro_ms3im,
    microssim,
    score_micro_ms3im,
    score_pixels,
    spectral_pearson,
    structural_similarity,
)

Images = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]


def images(*shape: int, seed: int = 0) -> Images:
    """Bright blobs over an offset with noise, a blurred and dimmer copy, and the foreground, away from the border."""
    rng = np.random.default_rng(seed)
    truth = ndimage.gaussian_filter(rng.random(shape), [2 if n < 100 else 5 for n in shape])
    truth = (truth - truth.min()) / np.ptp(truth)
    target = 100 + 1000 * truth + rng.normal(0, 15, shape)
    stain = 50 + 700 * ndimage.gaussian_filter(truth, 1) + rng.normal(0, 5, shape)
    mask = np.zeros(shape, bool)
    inner = tuple(slice(4, -4) for _ in shape)
    mask[inner] = ndimage.binary_dilation(truth > np.quantile(truth, 0.8), iterations=3)[inner]
    return target.astype(np.float32), stain.astype(np.float32), mask


def test_published_values_of_a_real_prediction() -> None:
    with np.load(real_data("metric_parity/er_prediction_pair.npz")) as pair:
        target, stain = (pair[name].astype(np.float64) for name in ("target", "pred"))
        expected = {name: float(pair[f"expected_{name}"]) for name in ("pcc", "nrmse", "psnr", "spectral_pcc")}
    # The publishers scale each image to its own range first.
    unit = [(x - x.min()) / (x.max() - x.min()) for x in (target, stain)]
    scores = score_pixels(unit[0], unit[1], np.ones(target.shape, bool), 1.0, (0.29, 0.108, 0.108))
    assert scores["pearson"] == pytest.approx(expected["pcc"], abs=1e-5)
    assert scores["nrmse"] == pytest.approx(expected["nrmse"], abs=1e-5)
    assert scores["psnr"] == pytest.approx(expected["psnr"], abs=1e-5)
    # In single precision, and with other rounding of frequencies on the edges of shells.
    assert scores["spectral_pearson"] == pytest.approx(expected["spectral_pcc"], abs=1e-5)


@pytest.mark.parametrize("shape", [(23, 41, 47), (61, 83)])
def test_scores_agree_with_cubic_and_scikit_image(shape: tuple[int, ...]) -> None:
    from cubic.metrics import nrmse, pcc, psnr, spectral_pcc
    from skimage.metrics import structural_similarity as reference

    target, stain, mask = images(*shape)
    spacing = (0.31, 0.17, 0.17)[-len(shape) :]
    scores = score_pixels(target, stain, mask, 900.0, spacing)
    assert set(scores) == {f"{name}{suffix}" for name in PIXEL_SCORES for suffix in ("", "_foreground")}
    for suffix, inside in (("", None), ("_foreground", mask)):
        pair = (target.astype(float), stain.astype(float))
        expected = {
            "psnr": psnr(*pair, data_range=900.0, mask=inside),
            "psnr_scale_invariant": psnr(*pair, scale_invariant=True, mask=inside),
            "nrmse": nrmse(*pair, normalization="min-max", mask=inside),
            "pearson": pcc(*pair, mask=inside),
        }
        for name, value in expected.items():
            assert scores[f"{name}{suffix}"] == pytest.approx(float(value), abs=2e-6), name + suffix
    mean, similarity = reference(target.astype(float), stain.astype(float), data_range=900.0, full=True)
    assert scores["ssim"] == pytest.approx(mean, abs=2e-6)
    assert scores["ssim_foreground"] == pytest.approx(similarity[mask].mean(), abs=2e-6)
    expected_whole = spectral_pcc(stain, target, spacing=spacing)
    # Some frequencies lie on the edge of two shells, where rounding decides: cubic's own value changes as much.
    assert scores["spectral_pearson"] == pytest.approx(expected_whole, abs=5e-4)


def test_a_full_mask_is_the_whole_image() -> None:
    target, stain, mask = images(12, 40, 50)
    scores = score_pixels(target, stain, np.ones_like(mask), 900.0)
    for name in PIXEL_SCORES:
        assert scores[f"{name}_foreground"] == pytest.approx(scores[name], rel=1e-6)


def test_what_lies_outside_the_mask_changes_nothing_inside() -> None:
    target, stain, mask = images(20, 40, 50)
    other = np.where(mask, stain, 5 * stain[::-1])
    before, after = (score_pixels(target, s, mask, 900.0) for s in (stain, other))
    for name in PIXEL_SCORES:
        assert before[name] != after[name]
        # The window of SSIM reaches over the outline.
        if name != "ssim":
            assert before[f"{name}_foreground"] == pytest.approx(after[f"{name}_foreground"], rel=1e-5)


def test_offset_and_scale_of_the_stain() -> None:
    target, stain, mask = images(20, 40, 50)
    before, after = (score_pixels(target, s, mask, 900.0) for s in (stain, 3 * stain + 200))
    for name in ("psnr_scale_invariant", "pearson", "spectral_pearson"):
        for suffix in ("", "_foreground"):
            assert before[name + suffix] == pytest.approx(after[name + suffix], rel=1e-5)
    assert score_pixels(target, 2 * target + 1, mask, 900.0)["psnr_scale_invariant"] == math.inf
    assert score_pixels(target, target, mask, 900.0)["psnr_foreground"] == math.inf


def test_noise_that_no_stain_can_predict_costs_little_in_the_spectrum() -> None:
    target, stain, mask = images(16, 64, 64)
    noisy = target + np.random.default_rng(1).normal(0, 200, target.shape)
    scores = score_pixels(noisy, stain, mask, 900.0)
    assert scores["pearson"] < 0.75
    assert scores["spectral_pearson"] > 0.95


def test_similarity_is_exact_on_a_camera_offset() -> None:
    from skimage.metrics import structural_similarity as reference

    target, stain, _ = images(12, 40, 50)
    raw = (target / 30 + 60_000).astype(np.uint16), (stain / 30 + 60_000).astype(np.uint16)
    expected = reference(raw[0].astype(float), raw[1].astype(float), data_range=40.0)
    assert structural_similarity(*raw, data_range=40.0)[0] == pytest.approx(expected, abs=1e-5)


def test_scores_that_are_not_defined() -> None:
    target, stain, mask = images(20, 40, 50)
    empty = score_pixels(target, stain, np.zeros_like(mask), 900.0)
    assert all(math.isnan(empty[f"{name}_foreground"]) for name in PIXEL_SCORES)
    assert all(math.isfinite(empty[name]) for name in PIXEL_SCORES)
    # A constant that single precision and means round.
    flat = score_pixels(target, np.full_like(stain, 0.1), mask, 900.0)
    assert {name for name, value in flat.items() if math.isnan(value)} == {
        f"{name}{suffix}"
        for name in ("psnr_scale_invariant", "pearson", "spectral_pearson")
        for suffix in ("", "_foreground")
    }
    dark = score_pixels(np.full_like(target, 0.1), stain, mask, 900.0)
    assert math.isnan(dark["nrmse"])
    assert math.isfinite(dark["psnr"])
    thin = score_pixels(target[:6], stain[:6], mask[:6], 900.0)
    assert [name for name, value in thin.items() if math.isnan(value)] == ["ssim", "ssim_foreground"]
    one = score_pixels(target[:1], stain[:1], np.ones((1, 40, 50), bool), 900.0)
    plane = score_pixels(target[0], stain[0], np.ones((40, 50), bool), 900.0)
    assert one["spectral_pearson"] == pytest.approx(plane["spectral_pearson"])
    assert math.isfinite(plane["ssim"])
    voxel = np.zeros_like(mask)
    voxel[5, 5, 5] = True
    lone = score_pixels(target, stain, voxel, 900.0)
    assert {name for name, value in lone.items() if math.isfinite(value) and "_foreground" in name} == {
        "psnr_foreground",
        "ssim_foreground",
    }
    assert math.isnan(score_pixels(target, stain, np.roll(voxel, -3, 2), 900.0)["ssim_foreground"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stain": np.zeros((8, 9))}, "must have one shape"),
        ({"mask": np.ones((8, 9), bool)}, "must have one shape"),
        ({"mask": np.ones((8, 8), np.uint8)}, "must hold booleans, not uint8"),
        ({"target": np.full((8, 8), np.nan)}, "target has 64 voxels that are NaN"),
        ({"stain": np.full((8, 8), np.inf)}, "stain has 64 voxels that are NaN or infinite"),
        ({"stain": np.zeros((8, 8), complex)}, "must hold real numbers"),
        ({"data_range": 0.0}, "data_range must be a positive number, not 0.0"),
        ({"data_range": math.nan}, "data_range must be a positive number"),
    ],
)
def test_images_that_cannot_be_compared(change: dict[str, object], message: str) -> None:
    good = {"target": np.eye(8), "stain": np.eye(8), "mask": np.eye(8, dtype=bool), "data_range": 1.0}
    score_pixels(**good)
    with pytest.raises(SpotlightError, match=message):
        score_pixels(**(good | change))


def test_axes_that_no_image_has() -> None:
    for shape in ((4,), (0, 4, 4), (1, 2, 8, 8)):
        with pytest.raises(SpotlightError, match="must be an image of axes YX or ZYX"):
            spectral_pearson(np.zeros(shape), np.zeros(shape))


@pytest.fixture(scope="module")
def pairs() -> list[Images]:
    """Three stacks whose planes grow dimmer, so that their ranges differ."""
    stacks = []
    for seed in range(3):
        target, stain, mask = images(3, 190, 180, seed=seed)
        dimmer = np.array([1, 0.7, 0.4], np.float32)[:, np.newaxis, np.newaxis]
        stacks.append((dimmer * target, dimmer * stain, mask))
    return stacks


def fitted(pairs: list[Images], stabilisers: str = "last") -> MicroMS3IM:
    targets, stains, _ = zip(*pairs, strict=True)
    return fit_micro_ms3im(iter(targets), iter(stains), stabilisers=stabilisers)


def test_micro_ms3im_agrees_with_cubic(pairs: list[Images]) -> None:
    from cubic.metrics import MicroMS3IM as Reference

    fit = fitted(pairs)
    reference = Reference().fit(*(np.concatenate([pair[i] for pair in pairs]) for i in (0, 1)))
    expected = reference.get_parameters()
    assert fit.target_offset == pytest.approx(expected["offset_gt"])
    assert fit.stain_offset == pytest.approx(expected["offset_pred"])
    assert fit.peak == pytest.approx(expected["max_val"])
    assert fit.factor == pytest.approx(expected["ri_factor"], rel=1e-4)
    assert MicroMS3IM(**asdict(fit)) == fit
    for target, stain, _ in pairs:
        scores = score_micro_ms3im(fit, target, stain)
        planes = [reference.score(t, s) for t, s in zip(target, stain, strict=True)]
        assert scores == {"micro_ms3im": pytest.approx(np.mean(planes), abs=1e-5)}
        assert score_micro_ms3im(fit, target[0], stain[0])["micro_ms3im"] == pytest.approx(planes[0], abs=1e-5)


def test_micro_ms3im_of_the_foreground(pairs: list[Images]) -> None:
    fit = fitted(pairs)
    target, stain, mask = pairs[0]
    whole = score_micro_ms3im(fit, target, stain, np.ones_like(mask))
    assert whole["micro_ms3im_foreground"] == pytest.approx(whole["micro_ms3im"], abs=1e-6)
    left = np.zeros_like(mask)
    left[..., :60] = True
    noise = np.random.default_rng(0).normal(0, 60, stain.shape).astype(np.float32)
    clean, inside, outside = (
        score_micro_ms3im(fit, target, stain + where * noise, left)["micro_ms3im_foreground"]
        for where in (0, left, ~left)
    )
    assert inside < outside - 0.1
    assert outside == pytest.approx(clean, abs=0.02)
    # A plane without foreground does not count.
    one = left.copy()
    one[1:] = False
    assert score_micro_ms3im(fit, target, stain, one)["micro_ms3im_foreground"] == pytest.approx(
        score_micro_ms3im(fit, target[:1], stain[:1], one[:1])["micro_ms3im_foreground"]
    )
    assert math.isnan(score_micro_ms3im(fit, target, stain, np.zeros_like(mask))["micro_ms3im_foreground"])


def test_the_order_of_stacks_matters_to_the_reference_alone(pairs: list[Images]) -> None:
    backwards = [tuple(image[::-1] for image in pair) for pair in pairs[::-1]]
    assert fitted(pairs, "own").factor == pytest.approx(fitted(backwards, "own").factor, rel=1e-6)
    assert abs(fitted(pairs).factor / fitted(backwards).factor - 1) > 1e-3


def test_micro_ms3im_knows_no_offset_or_scale_of_the_stain(pairs: list[Images]) -> None:
    target, stain, _ = pairs[0]
    moved = 5 * stain + 300
    scores = [score_micro_ms3im(fit_micro_ms3im([target], [s]), target, s)["micro_ms3im"] for s in (stain, moved)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_a_part_of_the_windows_gives_nearly_the_same_fit(pairs: list[Images], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted(pairs)
    monkeypatch.setattr(microssim, "WINDOWS_PER_STACK", 5_000)
    monkeypatch.setattr(microssim, "VALUES_PER_STACK", 20_000)
    part = fitted(pairs)
    assert part.factor != whole.factor
    assert part.factor == pytest.approx(whole.factor, rel=0.02)
    assert part.target_offset == pytest.approx(whole.target_offset, rel=0.02)


def test_micro_ms3im_where_it_is_not_defined(pairs: list[Images]) -> None:
    fit = fitted(pairs)
    target, stain, mask = pairs[0]
    blank = target.copy()
    blank[1] = 7
    assert score_micro_ms3im(fit, blank, stain)["micro_ms3im"] == pytest.approx(
        score_micro_ms3im(fit, target[::2], stain[::2])["micro_ms3im"]
    )
    nothing = {"micro_ms3im": pytest.approx(math.nan, nan_ok=True)}
    assert score_micro_ms3im(fit, blank[1], stain[1]) == nothing
    assert score_micro_ms3im(fit, target[:, :175], stain[:, :175]) == nothing
    assert score_micro_ms3im(replace(fit, factor=math.nan), target, stain) == nothing
    flat = fit_micro_ms3im([np.full((2, 20, 20), 0.1)], [np.ones((2, 20, 20))])
    assert (math.isnan(flat.factor), flat.reason) == (True, "no target rises above its background")
    small = fit_micro_ms3im([target[:, :5]], [stain[:, :5]])
    assert (math.isnan(small.factor), "7 pixels" in small.reason) == (True, True)
    faint = fit_micro_ms3im([target], [1e-9 * stain.astype(float)])
    assert (math.isnan(faint.factor), "between 1e-06 and 1e+06" in faint.reason) == (True, True)
    assert fit_micro_ms3im([target], [np.zeros_like(stain)]).factor == 1
    with pytest.raises(SpotlightError, match="no stacks to fit"):
        fit_micro_ms3im([], [])
    with pytest.raises(SpotlightError, match="as many stains as targets"):
        fit_micro_ms3im([target], [])
    with pytest.raises(SpotlightError, match="must have one shape"):
        score_micro_ms3im(fit, target, stain, mask[:1])
