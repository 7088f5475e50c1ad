"""Spotlight's loss: squared error on the foreground, Dice on the softly thresholded prediction.

Kalinin et al., arXiv:2507.05383 (2025), section 2. Tensors are (B, C, [Z,] Y, X), in standard deviations of the target.
"""

import torch
from torch import Tensor

from spotlight.losses.instances import blob_dice_loss, cc_dice_loss
from spotlight.losses.pixels import LossTerms
from spotlight.losses.settings import SpotlightLossSettings

EPS = 1e-6
POLE_GUARD = 0.5
"""The literal reading's Dice denominator never falls below this share of the foreground's size."""

LEAST_VOXELS = 30
"""A component of which a patch holds fewer voxels is no nucleus to judge by."""


def tunable_sigmoid(x: Tensor, k: float) -> Tensor:
    """Emery's normalised tunable sigmoid, (1 - k) x / ((1 + k) - 2 k |x|).

    Odd, through (1, 1); for -1 < k < 0 an S with slope (1 - k) / (1 + k) at 0 and limits ±(1 - k) / (-2 k).

    Parameters
    ----------
    x : Tensor
        Any shape.
    k : float
        Sharpness in (-1, 1): near -1 a step, 0 a line, above 0 flat in the middle.

    Returns
    -------
    Tensor
        The same shape.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import tunable_sigmoid
    >>> [round(y, 2) for y in tunable_sigmoid(torch.tensor([-1.0, 0.0, 0.1, 1.0]), -0.95).tolist()]
    [-1.0, 0.0, 0.81, 1.0]
    """
    return (1 - k) * x / ((1 + k) - 2 * k * x.abs())


def soft_threshold(x: Tensor, k: float, reading: str) -> Tensor:
    """Softly threshold a prediction whose threshold is at 0.

    The paper's sigmoid is negative below the threshold, where Dice is not defined; there are three readings.

    Parameters
    ----------
    x : Tensor
        Prediction minus threshold.
    k : float
        Sharpness, in (-1, 0).
    reading : "clamp", "affine", "smooth" or "literal"
        "clamp": the sigmoid limited to [0, 1]; it has no gradient below 0 and above 1.
        "affine": (sigmoid(clamp(x, -1, 1)) + 1) / 2, a probability with gradients on both sides of the threshold.
        "smooth": (sigmoid(x) / limit + 1) / 2, with the sigmoid's limit: a probability with gradients everywhere.
        "literal": the sigmoid itself, in (-1.03, 1.03) for the paper's k.

    Returns
    -------
    Tensor
        The same shape; in [0, 1], but for "literal".

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import soft_threshold
    >>> above = torch.tensor([-0.1, 0.05, 0.1, 1.0])  # standard deviations above the threshold
    >>> [round(p, 2) for p in soft_threshold(above, -0.95, "clamp").tolist()]
    [0.0, 0.67, 0.81, 1.0]
    >>> [round(p, 2) for p in soft_threshold(above, -0.95, "affine").tolist()]
    [0.09, 0.84, 0.91, 1.0]
    """
    if reading == "affine":
        return (tunable_sigmoid(x.clamp(-1, 1), k) + 1) / 2
    soft = tunable_sigmoid(x, k)
    if reading == "smooth":
        return (soft * (-2 * k / (1 - k)) + 1) / 2
    return soft.clamp(0, 1) if reading == "clamp" else soft


def sharpness(settings: SpotlightLossSettings, progress: float) -> float:
    """K at a share of the run: see `SpotlightLossSettings.k_start`."""
    if settings.k_start is None:
        return settings.k
    first, last = ((1 - k) / (1 + k) for k in (settings.k_start, settings.k))
    slope = first * (last / first) ** min(1.0, 2 * progress)
    return float((1 - slope) / (1 + slope))


def spotlight_loss(
    prediction: Tensor,
    target: Tensor,
    mask: Tensor,
    threshold: Tensor | float = 0.0,
    settings: SpotlightLossSettings = SpotlightLossSettings(),  # noqa: B008 - frozen
    cells: Tensor | None = None,
    components: int = 0,
    progress: float = 1.0,
) -> LossTerms:
    """Weigh the masked squared error and the Dice loss of the softly thresholded prediction.

    ::

        MMSE = Σ M (Y - Ŷ)² / Σ M            Dice = 1 - 2 Σ p M / (Σ p + Σ M + ε),  p = soft threshold of Ŷ - T
        loss = λ MMSE + (1 - λ) Dice         ε = 1e-6

    With ``settings.background`` β > 0, which is not in the paper, the loss adds β Σ (1 - M) max(Ŷ - T, 0)² / Σ (1 - M).
    Where all is predicted to be foreground, MMSE is at its best constant and the gradient of Dice is almost nil; this
    term is what pulls the background down from there. It is nil for any background below T. With ``settings.margin`` m
    it is β Σ (1 - M) max(Ŷ - T + m, 0)² / Σ (1 - M): over all voxels and with λ = β, one that is foreground with the
    chance p, then about μ above T, is best stained at p μ - (1 - p) m: above T where p > m / (μ + m), and not wherever
    p > 0.

    With ``settings.average = "voxels"`` both squared errors are divided by the number of all voxels, instead of Σ M and
    Σ (1 - M); with λ = β, they are then λ times the squared error of every voxel, but for what is rightly below T - m.

    With ``settings.settle``, the loss gives way to the mean squared error of all voxels along a line over that part of
    the run; validation, which is at its end, judges by that error alone.

    Computed in float32 whatever autocast says: sums over millions of voxels overflow half precision.

    Parameters
    ----------
    prediction, target : Tensor
        (B, C, [Z,] Y, X), normalised alike.
    mask : Tensor
        Foreground of the target, same shape, boolean or 0 and 1.
    threshold : Tensor or float
        The normalised threshold T of each sample, (B,), or of all; 0 where the target is centred on its threshold.
    settings : SpotlightLossSettings
        λ, k and the readings; the paper's by default.
    cells : Tensor, optional
        Number of the nearest foreground component, same shape, needed for ``settings.instances``.
    components : int
        The greatest such number in any stack.
    progress : float
        Share of the run that is done, for ``settings.k_start`` and ``settings.settle``.

    Returns
    -------
    LossTerms
        With the parts "masked_mse", "dice" and, where they have a weight, "background", "instances" and "mse".

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import SpotlightLossSettings, spotlight_loss
    >>> target = torch.tensor([[[[-1.0, -1.0, 1.0, 3.0]]]])  # centred on its threshold
    >>> dim = torch.tensor([[[[-1.0, -1.0, 1.0, 1.0]]]])  # the right shape, and one voxel too dark
    >>> {name: round(part.item(), 2) for name, part in spotlight_loss(dim, target, target > 0).parts.items()}
    {'masked_mse': 2.0, 'dice': 0.0}
    >>> flat = torch.ones_like(target)  # all foreground
    >>> {name: round(part.item(), 2) for name, part in spotlight_loss(flat, target, target > 0).parts.items()}
    {'masked_mse': 2.0, 'dice': 0.33}
    >>> round(spotlight_loss(dim, target, target > 0, settings=SpotlightLossSettings(weight=0.9)).total.item(), 2)
    1.8
    """
    with torch.autocast(prediction.device.type, enabled=False):
        prediction, target, mask = prediction.float(), target.float(), mask.float()
        level = torch.as_tensor(threshold, dtype=torch.float32, device=prediction.device)
        level = level.view(-1, *[1] * (prediction.ndim - 1))
        soft = soft_threshold(prediction - level, sharpness(settings, progress), settings.reading)
        over = tuple(range(2, prediction.ndim)) if settings.reduction == "sample" else tuple(range(prediction.ndim))
        squared = (prediction - target).square()
        size = mask.sum(over)
        full = size > 0
        rest = (1 - mask).sum(over)
        inside, outside = (size + rest,) * 2 if settings.average == "voxels" else (size.clamp(min=1), rest.clamp(min=1))
        masked_mse = (mask * squared).sum(over) / inside
        denominator = soft.sum(over) + size + EPS
        if settings.reading == "literal":
            denominator = torch.maximum(denominator, POLE_GUARD * size + EPS)
        dice = 1 - 2 * (soft * mask).sum(over) / denominator
        count = full.sum().clamp(min=1)
        # Over all voxels, a sample without foreground has its share, which is nil.
        mse_mean = torch.where(full, masked_mse, 0).sum() / (full.numel() if settings.average == "voxels" else count)
        dice_mean = torch.where(full, dice, 0).sum() / count
        if settings.empty == "mse":
            fallback = torch.where(full, masked_mse, squared.mean(over))
            mse_mean = fallback.mean()
        total = settings.weight * mse_mean + (1 - settings.weight) * dice_mean
        parts = {"masked_mse": mse_mean.detach(), "dice": dice_mean.detach()}
        if settings.background > 0:
            excess = ((1 - mask) * (prediction - level + settings.margin).clamp(min=0).square()).sum(over)
            background = (excess / outside).mean()
            total = total + settings.background * background
            parts["background"] = background.detach()
        if settings.instances != "none":
            assert cells is not None, "a loss per nucleus needs the batch's cells"
            per_nucleus = {"cc-dice": cc_dice_loss, "blob": blob_dice_loss}[settings.instances](
                soft, mask, cells, components, LEAST_VOXELS
            )
            total = total + settings.instance_weight * per_nucleus
            parts["instances"] = per_nucleus.detach()
        if settings.settle is not None:
            first, last = settings.settle
            settled = min(1.0, max(0.0, (progress - first) / (last - first)))
            everywhere = squared.mean()
            total = (1 - settled) * total + settled * everywhere
            parts["mse"] = everywhere.detach()
    return LossTerms(total, parts)
