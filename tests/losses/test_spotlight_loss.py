"""The loss against an independent float64 version, closed-form values, and the properties it must have."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.losses import Batch, MseSettings, SpotlightLossSettings, build_loss, spotlight_loss, tunable_sigmoid
from spotlight.losses.spotlight import POLE_GUARD, soft_threshold

K = -0.95
READINGS = ("clamp", "affine", "literal")


def reference(
    prediction: NDArray[np.float64],
    target: NDArray[np.float64],
    mask: NDArray[np.float64],
    threshold: NDArray[np.float64],
    s: SpotlightLossSettings,
) -> float:
    """The loss written down again, sample by sample, voxel by voxel."""

    def sigma(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return (x - s.k * x) / (s.k - 2 * s.k * np.abs(x) + 1)

    groups = [slice(None)] if s.reduction == "batch" else [slice(i, i + 1) for i in range(len(prediction))]
    errors, dices, outside, fallback = [], [], [], []
    for g in groups:
        x, y, m = prediction[g], target[g], mask[g]
        t = threshold[g].reshape(-1, *[1] * (x.ndim - 1))
        p = {
            "clamp": lambda v: np.clip(sigma(v), 0, 1),
            "affine": lambda v: (sigma(np.clip(v, -1, 1)) + 1) / 2,
            "literal": sigma,
        }[s.reading](x - t)
        if (1 - m).sum():
            outside.append((np.maximum(x - t, 0) ** 2 * (1 - m)).sum() / (1 - m).sum())
        if m.sum() == 0:
            fallback.append(((y - x) ** 2).mean())
            continue
        errors.append((m * (y - x) ** 2).sum() / m.sum())
        below = p.sum() + m.sum() + 1e-6
        if s.reading == "literal":
            below = max(below, POLE_GUARD * m.sum() + 1e-6)
        dices.append(1 - 2 * (p * m).sum() / below)
    if s.empty == "mse":
        errors += fallback
    mean = lambda values: np.mean(values) if values else 0.0  # noqa: E731
    return float(s.weight * mean(errors) + (1 - s.weight) * mean(dices) + s.background * mean(outside))


def random_batch(seed: int, shape: tuple[int, ...] = (3, 1, 4, 6, 5)) -> tuple[NDArray[np.float64], ...]:
    rng = np.random.default_rng(seed)
    prediction, target = rng.normal(0, 1, shape), rng.normal(0, 1, shape)
    threshold = rng.normal(0, 0.3, shape[0])
    mask = (target >= threshold.reshape(-1, *[1] * (len(shape) - 1))).astype(float)
    return prediction, target, mask, threshold


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("reduction", ["sample", "batch"])
@pytest.mark.parametrize("shape", [(3, 1, 4, 6, 5), (2, 1, 8, 9)])
@pytest.mark.parametrize("background", [0.0, 0.5])
def test_agrees_with_an_independent_version(
    reading: str, reduction: str, shape: tuple[int, ...], background: float
) -> None:
    settings = SpotlightLossSettings(
        reading=reading,
        reduction=reduction,
        weight=0.3,
        k=-0.9,
        background=background,  # type: ignore[arg-type]
    )
    arrays = random_batch(1, shape)
    total = spotlight_loss(*map(torch.tensor, arrays), settings).total
    assert float(total) == pytest.approx(reference(*arrays, settings), rel=2e-6)


@pytest.mark.parametrize("empty", ["skip", "mse"])
def test_a_sample_without_foreground(empty: str) -> None:
    settings = SpotlightLossSettings(empty=empty)  # type: ignore[arg-type]
    prediction, target, mask, threshold = random_batch(2)
    mask[1] = 0
    total = spotlight_loss(*map(torch.tensor, (prediction, target, mask, threshold)), settings).total
    assert float(total) == pytest.approx(reference(prediction, target, mask, threshold, settings), rel=2e-6)


@pytest.mark.parametrize("reading", READINGS)
def test_nothing_but_background_gives_a_finite_loss_and_gradient(reading: str) -> None:
    prediction = torch.ones(2, 1, 4, 4, requires_grad=True)
    nothing = torch.zeros(2, 1, 4, 4)
    settings = SpotlightLossSettings(reading=reading)  # type: ignore[arg-type]
    total = spotlight_loss(prediction, nothing, nothing, torch.zeros(2), settings).total
    total.backward()
    assert total.item() == 0
    assert prediction.grad is not None
    assert torch.equal(prediction.grad, nothing)


@pytest.mark.parametrize("reading", READINGS)
def test_gradient_is_that_of_the_formula(reading: str) -> None:
    # gradcheck needs float64, in which the loss does not compute, so the slope is taken from the reference.
    settings = SpotlightLossSettings(reading=reading, background=0.4)  # type: ignore[arg-type]
    prediction, target, mask, threshold = random_batch(4, (2, 1, 3, 4))
    leaf = torch.tensor(prediction, requires_grad=True)
    spotlight_loss(leaf, *map(torch.tensor, (target, mask, threshold)), settings).total.backward()
    assert leaf.grad is not None
    for index in np.ndindex(*prediction.shape):
        step = np.zeros_like(prediction)
        step[index] = 1e-6
        up = reference(prediction + step, target, mask, threshold, settings)
        down = reference(prediction - step, target, mask, threshold, settings)
        assert float(leaf.grad[index]) == pytest.approx((up - down) / 2e-6, rel=1e-3, abs=1e-5)


def test_gradcheck_of_the_soft_threshold() -> None:
    x = torch.tensor([-2.0, -0.7, -0.2, -0.03, 0.02, 0.3, 0.8, 1.7], dtype=torch.float64, requires_grad=True)
    for reading in READINGS:
        assert torch.autograd.gradcheck(lambda v, r=reading: soft_threshold(v, K, r), (x,))


@pytest.mark.parametrize(
    ("x", "value"), [(0, 0), (0.025, 0.5), (1, 1), (2, 1.0130), (3, 1.0174), (8, 1.0230), (-1, -1), (1e9, 1.02632)]
)
def test_values_of_the_sigmoid(x: float, value: float) -> None:
    assert float(tunable_sigmoid(torch.tensor(x, dtype=torch.float64), K)) == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize(("x", "slope"), [(0, 39), (0.01, 20.5), (0.05, 4.64), (0.1, 1.69), (1, 0.0256), (2, 0.0066)])
def test_slopes_of_the_sigmoid(x: float, slope: float) -> None:
    point = torch.tensor(float(x), dtype=torch.float64, requires_grad=True)
    # At 0 the derivative of |x| is 0 by convention, which leaves the true slope.
    tunable_sigmoid(point, K).backward()
    assert point.grad is not None
    assert float(point.grad) == pytest.approx(slope, rel=5e-3)


@pytest.mark.parametrize(("fraction", "dice"), [(0.1, 1.29), (0.2, 2.0), (0.41, -2.5652)])
def test_perfect_separation_under_the_literal_reading(fraction: float, dice: float) -> None:
    """1 - 2φ / (3φ - 1): above 1 for sparse foreground, and guarded where the denominator goes through zero."""
    n = 1000
    mask = torch.zeros(1, 1, n)
    mask[..., : round(n * fraction)] = 1
    prediction = 2 * mask - 1
    parts = spotlight_loss(
        prediction, prediction, mask, torch.zeros(1), SpotlightLossSettings(reading="literal", weight=0.0)
    ).parts
    guarded = 1 - 2 / POLE_GUARD if 3 * fraction - 1 < POLE_GUARD * fraction else 1 - 2 * fraction / (3 * fraction - 1)
    assert float(parts["dice"]) == pytest.approx(guarded, abs=1e-2)
    if fraction > 0.4:
        assert dice == pytest.approx(1 - 2 * fraction / (3 * fraction - 1), abs=1e-3)
        assert float(parts["dice"]) >= 1 - 2 / POLE_GUARD - 1e-3


def test_affine_reading_of_perfect_and_of_zero_prediction() -> None:
    rng = np.random.default_rng(0)
    target = torch.tensor(np.where(rng.uniform(size=(1, 1, 4000)) < 0.41, 1.5, -1.5))
    mask = (target >= 0).float()
    settings = SpotlightLossSettings(reading="affine", weight=0.0)
    perfect = spotlight_loss(target, target, mask, torch.zeros(1), settings).parts["dice"]
    nothing = spotlight_loss(target * 0, target, mask, torch.zeros(1), settings).parts["dice"]
    share = float(mask.mean())
    assert float(perfect) == pytest.approx(0, abs=1e-5)
    assert float(nothing) == pytest.approx(1 - share / (0.5 + share), abs=1e-5)


@pytest.mark.parametrize("reduction", ["sample", "batch"])
def test_over_voxels_every_voxel_weighs_alike(reduction: str) -> None:
    prediction, target, mask, threshold = (torch.tensor(a) for a in random_batch(4))
    mask[2] = 0  # a sample without foreground has its share
    settings = SpotlightLossSettings(
        weight=0.8,
        background=0.8,
        margin=0.5,
        average="voxels",
        reduction=reduction,  # type: ignore[arg-type]
    )
    found = spotlight_loss(prediction, target, mask, threshold, settings)
    level = threshold.view(-1, 1, 1, 1, 1)
    errors = torch.where(mask > 0, prediction - target, (prediction - level + 0.5).clamp(min=0)).square()
    assert float(found.total - 0.2 * found.parts["dice"]) == pytest.approx(0.8 * float(errors.mean()), rel=1e-5)
    dice = spotlight_loss(prediction, target, mask, threshold, settings.model_copy(update={"average": "masks"}))
    assert float(found.parts["dice"]) == float(dice.parts["dice"])


def test_what_may_be_a_nucleus_is_stained_by_its_chance() -> None:
    # Of 100 voxels that look alike, 6 are nuclei of brightness 2 above the threshold.
    target, mask = torch.full((1, 1, 10, 10), -1.0), torch.zeros(1, 1, 10, 10)
    target[0, 0, 0, :6], mask[0, 0, 0, :6] = 2.0, 1.0
    levels = torch.linspace(-1, 2, 301)

    def best(**changes: object) -> float:
        settings = SpotlightLossSettings(weight=1.0, background=1.0, **changes)  # type: ignore[arg-type]
        losses = [spotlight_loss(v.expand(target.shape), target, mask, torch.zeros(1), settings).total for v in levels]
        return float(levels[int(torch.stack(losses).argmin())])

    assert best(average="masks") == pytest.approx(1.0, abs=0.02)
    assert best(average="voxels") == pytest.approx(0.06 * 2, abs=0.02)
    assert best(average="voxels", margin=0.5) == pytest.approx(0.06 * 2 - 0.94 * 0.5, abs=0.02)


def test_a_loss_that_settles_ends_as_squared_error() -> None:
    tensors = [torch.tensor(a) for a in random_batch(5)]
    plain = SpotlightLossSettings(background=0.5, margin=0.5, average="voxels")
    settings = plain.model_copy(update={"settle": (0.4, 0.8)})
    first = float(spotlight_loss(*tensors, plain).total)
    last = float((tensors[0] - tensors[1]).square().mean())
    for progress, share in ((0.0, 0.0), (0.4, 0.0), (0.6, 0.5), (0.8, 1.0), (1.0, 1.0)):
        found = spotlight_loss(*tensors, settings, progress=progress)
        assert float(found.total) == pytest.approx((1 - share) * first + share * last, rel=1e-5)
    assert float(found.parts["mse"]) == pytest.approx(last, rel=1e-5)
    assert set(found.parts) <= set(settings.terms)  # which are the columns of the log
    assert "from 40% to 80% of the run" in settings.describe()
    with pytest.raises(SpotlightError, match="two rising shares"):
        SpotlightLossSettings.parse({"settle": [0.8, 0.4]}, "loss")


def test_clamp_has_no_gradient_below_the_threshold_and_the_background_term_has_one_above_it() -> None:
    mask = torch.tensor([[[1.0, 0.0, 0.0]]])
    target = torch.tensor([[[1.0, -1.0, -1.0]]])
    prediction = torch.tensor([[[1.0, -0.5, 1.4]]], requires_grad=True)
    dice_only = SpotlightLossSettings(weight=0.0)
    spotlight_loss(prediction, target, mask, torch.zeros(1), dice_only).total.backward()
    assert prediction.grad is not None
    assert prediction.grad[0, 0, 1:].tolist() == [0, 0]
    prediction.grad = None
    spotlight_loss(
        prediction, target, mask, torch.zeros(1), SpotlightLossSettings(weight=0.0, background=1.0)
    ).total.backward()
    assert prediction.grad[0, 0, 1] == 0
    assert float(prediction.grad[0, 0, 2]) == pytest.approx(2 * 1.4 / 2)


def test_permuting_the_mask_changes_the_loss() -> None:
    prediction, target, mask, threshold = map(torch.tensor, random_batch(5))
    shuffled = mask.flatten()[torch.randperm(mask.numel(), generator=torch.manual_seed(0))].view_as(mask)
    settings = SpotlightLossSettings()
    right = spotlight_loss(prediction, target, mask, threshold, settings).total
    wrong = spotlight_loss(prediction, target, shuffled, threshold, settings).total
    assert abs(float(right) - float(wrong)) > 1e-3


def test_shifting_prediction_target_and_threshold_together_changes_nothing() -> None:
    prediction, target, mask, threshold = map(torch.tensor, random_batch(6))
    settings = SpotlightLossSettings(background=0.5)
    here = spotlight_loss(prediction, target, mask, threshold, settings).total
    there = spotlight_loss(prediction + 0.7, target + 0.7, mask, threshold + 0.7, settings).total
    assert float(here) == pytest.approx(float(there), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_computes_in_float32_under_autocast(dtype: torch.dtype) -> None:
    """Sums over more voxels than float16 can count."""
    shape = (1, 1, 64, 64, 64)
    mask = torch.ones(shape)
    prediction = torch.full(shape, 1.0, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        terms = spotlight_loss(prediction, torch.ones(shape), mask, torch.zeros(1), SpotlightLossSettings())
    assert terms.total.dtype == torch.float32
    assert float(terms.total) == pytest.approx(0, abs=1e-5)


def test_the_loss_takes_its_threshold_from_the_batch() -> None:
    prediction, target, mask, threshold = map(torch.tensor, random_batch(7))
    settings = SpotlightLossSettings()
    built = build_loss(settings)(prediction, Batch(prediction, target, mask, threshold)).total
    assert float(built) == float(spotlight_loss(prediction, target, mask, threshold, settings).total)


def test_mse_is_the_mean_over_all_voxels() -> None:
    prediction, target, mask, threshold = map(torch.tensor, random_batch(8))
    total = build_loss(MseSettings())(prediction, Batch(prediction, target, mask, threshold)).total
    assert float(total) == pytest.approx(float(((prediction - target) ** 2).mean()), rel=1e-6)


@pytest.mark.parametrize("values", [{"k": 0.0}, {"k": -1.0}, {"weight": 1.5}, {"background": -1}, {"wieght": 0.5}])
def test_settings_out_of_range(values: dict[str, float]) -> None:
    with pytest.raises(SpotlightError, match=r"weight|k|background"):
        SpotlightLossSettings.parse(values, "test")
