"""Batches: however patches come to the network, they are the same patches."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spotlight.foreground import Foreground, nearest_component
from spotlight.losses import Batch
from spotlight.pairs.patches import PatchSampler, patch_starts
from spotlight.pairs.prepared import PreparedPair
from spotlight.training.batches import Gather, PatchBatches, vary
from spotlight.training.data import make_sampler
from spotlight.training.hardware import Processes, choose_micro_batches
from spotlight.training.settings import Experiment, PatchSettings

CPU = torch.device("cpu")


def prepared(shape: tuple[int, ...], seed: int, cells: bool = False) -> PreparedPair:
    rng = np.random.default_rng(seed)
    image, target = rng.normal(size=(2, *shape)).astype(np.float32)
    mask = target > 1
    found = nearest_component(mask) if cells else None
    return PreparedPair(
        f"stack-{seed}",
        image,
        target,
        mask,
        0.1 * seed,
        Foreground(0, 0.1, ()),
        (0, 1),
        None,
        ("", ""),
        (1.0, 1.0),
        found,
    )


def batches_of(pairs: list[PreparedPair], patch: tuple[int, ...], size: int = 6, **options: object) -> PatchBatches:
    starts = [patch_starts(pair.input.shape, patch, pair.mask, 3) for pair in pairs]
    settings = options.pop("patches", PatchSettings(augment=True))
    return PatchBatches(pairs, PatchSampler(starts, patch, 5, settings.augment), settings, size, **options)  # type: ignore[arg-type,attr-defined]


def equal(a: Batch, b: Batch) -> bool:
    return a.components == b.components and all(
        (x is None and y is None) or torch.equal(x, y) for x, y in zip(a[:5], b[:5], strict=True)
    )


def with_mask(mask: NDArray[np.bool_]) -> PreparedPair:
    return replace(prepared(mask.shape, 0), mask=mask)


def share_with_foreground(pair: PreparedPair, patches: PatchSettings) -> float:
    settings = Experiment(patches=patches)
    drawn = make_sampler([pair], (8, 8), settings).draw(0, 4000)
    cut = [pair.mask[y : y + 8, x : x + 8].any() for _, _, (y, x), _ in drawn]
    return float(np.mean(cut))


def test_a_share_of_patches_comes_from_anywhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "spotlight")
    mask = np.zeros((64, 64), bool)
    mask[:12, :12] = True
    pair = with_mask(mask)
    assert share_with_foreground(pair, PatchSettings()) == 1
    positions = 100 * 12**2 / (64 - 8 + 1) ** 2
    assert f"{positions:.0f}% of the positions of patches hold at least 1 foreground voxels." in caplog.text
    by_chance = share_with_foreground(pair, PatchSettings(least_foreground=0))
    assert by_chance == pytest.approx(positions / 100, abs=0.02)
    half = share_with_foreground(pair, PatchSettings(anywhere=0.5))
    assert half == pytest.approx((1 + by_chance) / 2, abs=0.03)
    assert share_with_foreground(pair, PatchSettings(anywhere=1)) == pytest.approx(by_chance, abs=0.02)


def test_patches_from_anywhere_change_nothing_where_all_hold_foreground() -> None:
    pair = with_mask(np.ones((40, 40), bool))
    draws = [make_sampler([pair], (8, 8), Experiment(patches=PatchSettings(anywhere=a))).draw(3, 20) for a in (0, 0.5)]
    assert draws[0] == draws[1]


def test_a_stack_without_foreground_stays_unused(caplog: pytest.LogCaptureFixture) -> None:
    empty, full = with_mask(np.zeros((40, 40), bool)), with_mask(np.ones((40, 40), bool))
    sampler = make_sampler([empty, full], (8, 8), Experiment(patches=PatchSettings(anywhere=0.5)))
    assert {draw.stack for draw in sampler.draw(0, 50)} == {1}
    assert "the stack is not used" in caplog.text


@pytest.mark.parametrize(
    ("shapes", "patch"),
    [([(9, 20, 24), (12, 16, 31)], (4, 8, 8)), ([(40, 50), (33, 61)], (16, 16)), ([(9, 9, 9)], (1, 8, 8))],
)
@pytest.mark.parametrize("cells", [True, False])
def test_gathered_on_a_device_they_are_those_that_are_cut(
    shapes: list[tuple[int, ...]], patch: tuple[int, ...], cells: bool
) -> None:
    pairs = [prepared(shape, seed, cells) for seed, shape in enumerate(shapes)]
    cut = batches_of(pairs, patch)
    gathered = batches_of(pairs, patch, gather=Gather(pairs, patch, CPU))
    for step in range(20):
        assert equal(cut.batch(step), gathered.batch(step))


def test_patches_that_cannot_be_turned_are_gathered_too() -> None:
    pairs = [prepared((9, 20, 24), 1)]
    options = {"patches": PatchSettings(augment=False)}
    cut = batches_of(pairs, (4, 6, 8), **options)
    assert equal(cut.batch(3), batches_of(pairs, (4, 6, 8), gather=Gather(pairs, (4, 6, 8), CPU), **options).batch(3))


def test_cut_ahead_of_time_they_come_in_the_same_order() -> None:
    pairs = [prepared((9, 20, 24), seed) for seed in range(2)]
    for first in (0, 7):
        straight, ahead = (batches_of(pairs, (4, 8, 8), micro_batches=2, ahead=ahead) for ahead in (False, True))
        straight.first_step = ahead.first_step = first
        for _, a, b in zip(range(9), straight, ahead, strict=False):
            assert equal(a, b)


def test_an_error_while_cutting_ahead_is_not_lost() -> None:
    pair = prepared((9, 20, 24), 0)
    batches = batches_of([pair], (4, 8, 8), ahead=True)
    batches.pairs = [replace(pair, input=pair.input[:2])]
    with pytest.raises(ValueError, match="shape"):
        next(iter(batches))


@pytest.mark.parametrize(("processes", "parts"), [(2, 1), (1, 2), (3, 2)])
def test_processes_and_parts_share_a_batch_and_no_patch_is_seen_twice(processes: int, parts: int) -> None:
    pairs = [prepared((9, 20, 24), seed) for seed in range(2)]
    varied = PatchSettings(augment=True, intensity=0.3, noise=0.2, focus=0.5)
    whole = batches_of(pairs, (4, 8, 8), patches=varied).batch(4)
    shares = [
        batches_of(
            pairs, (4, 8, 8), patches=varied, micro_batches=parts, processes=Processes(rank, processes, processes)
        ).batch(4, part)
        for part in range(parts)
        for rank in range(processes)
    ]
    together = torch.empty_like(whole.input)
    for number, share in enumerate(shares):
        together[number :: processes * parts] = share.input
    torch.testing.assert_close(together, whole.input)


def test_variations_stay_within_their_bounds() -> None:
    image = torch.randn(64, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    seeds = [(1, 2, n) for n in range(64)]
    assert vary(image, PatchSettings(), seeds) is image
    moved = vary(image, PatchSettings(intensity=0.2), seeds)
    slopes = [np.polyfit(a.flatten(), b.flatten(), 1) for a, b in zip(image, moved, strict=True)]
    contrast, brightness = np.transpose(slopes)
    assert 0.15 < abs(contrast - 1).max() <= 0.2001
    assert 0.15 < abs(brightness).max() <= 0.2001
    noisy = (vary(image, PatchSettings(noise=0.5), seeds) - image).flatten(1).std(1)
    assert 0.3 < float(noisy.max()) < 0.6
    assert float(noisy.min()) < 0.1
    flat = torch.ones(3, 1, 4, 8, 8)
    assert torch.allclose(vary(flat, PatchSettings(focus=1), seeds[:3]), flat)
    assert torch.equal(vary(image, PatchSettings(noise=0.5), seeds), vary(image, PatchSettings(noise=0.5), seeds))


@pytest.mark.parametrize(("memory", "parts"), [(24, 1), (23, 2), (8, 3), (5, 6), (2, 12), (1, 12), (0, 12)])
def test_the_fewest_equal_parts_that_fit(memory: int, parts: int) -> None:
    assert choose_micro_batches(24, 1, memory) == parts
    assert choose_micro_batches(1, 1, memory) == choose_micro_batches(3, 3, 5) == 1
