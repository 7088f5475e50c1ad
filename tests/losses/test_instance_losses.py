"""Losses per component against a loop over components, hand-worked values, and brute force for the Voronoi cells."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from skimage import measure
from torch import Tensor

from spotlight.foreground import nearest_component
from spotlight.losses import blob_dice_loss, cc_dice_loss

LOSSES = [cc_dice_loss, blob_dice_loss]
MOST = 200
Loss = Callable[..., Tensor]


def reference(loss: Loss, probability: Tensor, mask: Tensor, cells: Tensor, least: int) -> Tensor:
    """The definitions, component after component: a domain is cut out, and there Dice is plain soft Dice."""
    samples = []
    for p, m, c in zip(probability, mask, cells, strict=True):
        terms = []
        for number in range(1, MOST + 1):
            component = m & (c == number)
            if component.sum() < least:
                continue
            domain = c == number if loss is cc_dice_loss else ~m | component
            inside, truth = p[domain], component[domain]
            terms.append(1 - 2 * inside[truth].sum() / (inside.sum() + truth.sum()))
        if terms:
            samples.append(torch.stack(terms).mean())
    return torch.stack(samples).mean() if samples else 0 * probability.sum()


def patches(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Patches of four stacks: two with many components, one with all of them out of the patch, one with none."""
    rng = np.random.default_rng(seed)
    stacks = rng.random((4, *(2 * s for s in shape))) < 0.25
    stacks[2][tuple(slice(0, s) for s in shape)] = False
    stacks[3] = False
    crop = (slice(None), *(slice(0, s) for s in shape))
    cells = np.stack([nearest_component(stack) for stack in stacks])[crop]
    probability = torch.tensor(rng.random((4, *shape)), dtype=torch.float32)[:, None]
    return probability, torch.tensor(stacks[crop])[:, None], torch.tensor(cells)[:, None]


@pytest.mark.parametrize("least", [1, 3])
@pytest.mark.parametrize("shape", [(5, 7, 6), (12, 13)])
@pytest.mark.parametrize("loss", LOSSES)
def test_value_and_gradient_are_those_of_the_loop(loss: Loss, shape: tuple[int, ...], least: int) -> None:
    probability, mask, cells = patches(shape)
    sizes = [np.bincount(c[m].numpy(), minlength=2)[1:] for m, c in zip(mask, cells, strict=True)]
    assert all((s > 2).sum() > 1 and (s == 1).any() and (s == 0).any() for s in sizes[:2])
    assert not any(s.any() for s in sizes[2:])
    assert cells[2].min() > 0
    assert 1 < cells.max() <= MOST
    fast, slow = probability.clone().requires_grad_(), probability.double().requires_grad_()
    found, expected = loss(fast, mask, cells, MOST, least), reference(loss, slow, mask, cells, least)
    found.backward()
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert fast.grad is not None
    assert slow.grad is not None
    torch.testing.assert_close(fast.grad, slow.grad.float(), rtol=1e-4, atol=1e-7)
    assert fast.grad[:2].abs().sum() > 0
    assert fast.grad[2:].abs().sum() == 0


def balls(seed: int = 0) -> tuple[Tensor, Tensor, list[int]]:
    """Twelve balls of radii 1 to 4 that do not touch, their cells, and their numbers from small to large."""
    z, y, x = np.ogrid[:12, :36, :48]
    mask = np.zeros((12, 36, 48), bool)
    rng = np.random.default_rng(seed)
    for number, radius in enumerate(rng.permutation(np.linspace(1, 4, 12))):
        row, column = divmod(number, 4)
        mask |= (z - 6) ** 2 + (y - 6 - 12 * row) ** 2 + (x - 6 - 12 * column) ** 2 <= radius**2
    cells = nearest_component(mask)
    order = np.argsort(np.bincount(cells[mask], minlength=13)[1:], kind="stable") + 1
    return torch.tensor(mask)[None, None], torch.tensor(cells)[None, None], order.tolist()


@pytest.mark.parametrize("loss", LOSSES)
def test_perfect_is_nil_and_half_the_components_missed_is_a_half(loss: Loss) -> None:
    mask, cells, order = balls()
    assert len(order) == 12
    assert loss(mask.float(), mask, cells, 12).item() == pytest.approx(0, abs=1e-6)
    seen = mask & ~torch.isin(cells, torch.tensor(order[:6]))
    assert seen.sum() > 0.7 * mask.sum()
    assert loss(seen.float(), mask, cells, 12).item() == pytest.approx(0.5, abs=1e-6)
    # With the six small ones out of the mean nothing is missed.
    size = int((mask & (cells == order[6])).sum())
    assert int((mask & (cells == order[5])).sum()) < size
    assert loss(seen.float(), mask, cells, 12, size).item() == pytest.approx(0, abs=1e-6)


def test_false_voxels_cost_blob_loss_far_more() -> None:
    mask, cells, _ = balls()
    false = torch.zeros_like(mask)
    false[..., 0, :3, :9] = True
    assert not (false & mask).any()
    probability = (mask | false).float()
    cc, blob = cc_dice_loss(probability, mask, cells, 12).item(), blob_dice_loss(probability, mask, cells, 12).item()
    assert cc <= 1 / 12  # all of them lie in one cell
    assert len(np.unique(cells[false])) == 1
    assert blob > 5 * cc
    haze = torch.where(mask, 1.0, 0.05)
    assert blob_dice_loss(haze, mask, cells, 12) > 0.8
    assert blob_dice_loss(haze, mask, cells, 12) > 1.5 * cc_dice_loss(haze, mask, cells, 12)


def test_hand_worked() -> None:
    mask = torch.zeros(1, 1, 2, 10, dtype=torch.bool)
    mask[..., :2] = True  # 4 voxels
    mask[..., 0, 9] = True  # 1 voxel
    cells = torch.where(torch.arange(10) < 5, 1, 7).expand(1, 1, 2, 10)
    probability = mask.float()
    probability[..., 1, 8:] = 0.5  # two false voxels, together 1, beside component 7
    assert cc_dice_loss(probability, mask, cells, 7).item() == pytest.approx((0 + 1 / 3) / 2)
    assert blob_dice_loss(probability, mask, cells, 7).item() == pytest.approx((1 / 9 + 1 / 3) / 2)


@pytest.mark.parametrize("loss", LOSSES)
def test_numbers_are_names_but_the_mask_matters(loss: Loss) -> None:
    probability, mask, cells = patches((5, 7, 6))
    found = loss(probability, mask, cells, MOST).item()
    renamed = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(MOST)])[cells.long()]
    assert loss(probability, mask, renamed, MOST).item() == pytest.approx(found, rel=1e-5)
    assert loss(probability, mask, cells, 5 * MOST).item() == pytest.approx(found, rel=1e-5)
    assert abs(loss(probability, mask[[1, 0, 2, 3]], cells, MOST).item() - found) > 1e-3
    assert loss(probability, mask.float(), cells.short(), MOST).item() == found


@pytest.mark.parametrize("loss", LOSSES)
def test_no_component_gives_a_zero_that_keeps_the_graph(loss: Loss) -> None:
    probability, mask, cells = patches((5, 7, 6))
    probability = probability[2:].requires_grad_()
    found = loss(probability, mask[2:], cells[2:], MOST)
    found.backward()
    assert found.item() == 0
    assert probability.grad is not None
    assert not probability.grad.any()


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_summed_in_float32(loss: Loss) -> None:
    probability, mask, cells = patches((5, 7, 6))
    half = probability.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(half, mask, cells, MOST)
    assert found.dtype == torch.float32
    assert found.item() == loss(half.float(), mask, cells, MOST).item()
    # A constant cannot drift in a sum over a large component.
    large, ones = torch.full((1, 1, 64, 64, 64), 0.1), torch.ones(1, 1, 64, 64, 64, dtype=torch.bool)
    assert loss(large, ones, ones.int(), 1).item() == pytest.approx(1 - 0.2 / 1.1, abs=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_is_read_back_from_the_device(loss: Loss) -> None:
    # vmap refuses every operation that needs a tensor's value in Python, which on a GPU would be a wait.
    probability, mask, cells = patches((5, 7, 6))
    stacked = [torch.stack([t, t.roll(1, 2)]) for t in (probability, mask, cells)]
    found = torch.func.vmap(lambda p, m, c: loss(p, m, c, MOST))(*stacked)
    for one, *three in zip(found, *stacked, strict=True):
        assert one.item() == pytest.approx(loss(*three, MOST).item(), rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_bad_input(loss: Loss) -> None:
    probability, mask, cells = patches((5, 7, 6))
    with pytest.raises(ValueError, match=r"must have one shape, not \(4, 1, 5, 7, 6\), \(1, 1, 5, 7, 6\)"):
        loss(probability, mask[:1], cells, MOST)
    with pytest.raises(ValueError, match="least_voxels is 0"):
        loss(probability, mask, cells, MOST, 0)
    with pytest.raises(RuntimeError, match="out of bounds"):
        loss(probability, mask, cells, int(cells.max()) - 1)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.4])
@pytest.mark.parametrize("shape", [(6, 9, 8), (20, 23)])
def test_no_component_is_nearer_than_the_chosen_one(shape: tuple[int, ...], share: float) -> None:
    mask = np.random.default_rng(1).random(shape) < share
    found = nearest_component(mask)
    assert found.dtype == np.int32
    labels: NDArray[np.int_] = measure.label(mask, connectivity=1)
    pairs = np.unique(np.stack([labels[mask], found[mask]]), axis=1)
    assert [sorted(side.tolist()) for side in pairs] == [list(range(1, labels.max() + 1))] * 2
    inside, everywhere = np.argwhere(mask), np.argwhere(np.ones(shape, bool))
    distance = cdist(everywhere, inside)
    chosen = np.where(found.reshape(-1, 1) == found[mask], distance, np.inf)
    np.testing.assert_array_equal(chosen.min(1), distance.min(1))


def test_corners_do_not_connect_and_an_empty_mask_has_no_cells() -> None:
    mask = np.zeros((4, 4), np.uint8)
    assert nearest_component(mask).dtype == np.int32
    assert not nearest_component(mask).any()
    mask[0, 0] = mask[1, 1] = 255
    assert nearest_component(mask)[[0, 1, 3], [0, 1, 3]].tolist() == [1, 2, 2]
    assert (nearest_component(np.ones((3, 4, 5), bool)) == 1).all()
