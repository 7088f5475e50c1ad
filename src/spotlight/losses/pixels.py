"""Losses of single pixels, weighed alike or by where they lie in the target's histogram."""

from typing import NamedTuple

import torch
from torch import Tensor

from spotlight.losses.settings import L1Settings


class LossTerms(NamedTuple):
    """A loss and its parts, all scalar tensors.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import spotlight_loss
    >>> target = torch.tensor([[[[-1.0, -1.0, 1.0, 2.0]]]])
    >>> terms = spotlight_loss(target, target, target > 0)
    >>> round(terms.total.item(), 3), sorted(terms.parts)
    (0.0, ['dice', 'masked_mse'])
    """

    total: Tensor
    parts: dict[str, Tensor]


def mse_loss(prediction: Tensor, target: Tensor) -> LossTerms:
    """Mean squared error over all voxels, in float32.

    Parameters
    ----------
    prediction, target : Tensor
        Of one shape, (N, 1, [Z,] Y, X), normalised alike.

    Returns
    -------
    LossTerms
        The mean of (prediction - target)², without parts.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import mse_loss
    >>> target = torch.zeros(1, 1, 2, 2)
    >>> mse_loss(target + 3, target).total.item()
    9.0
    """
    with torch.autocast(prediction.device.type, enabled=False):
        total = torch.nn.functional.mse_loss(prediction.float(), target.float())
    return LossTerms(total, {})


def l1_loss(
    prediction: Tensor,
    target: Tensor,
    percentiles: Tensor | None = None,
    settings: L1Settings = L1Settings(),  # noqa: B008 - frozen
) -> LossTerms:
    """Mean absolute error, each pixel with a weight of its own.

    ::

        loss = λ mean over samples of  Σ w |Y - Ŷ| / Σ w,    w = 1 where low < Y < high, else `settings.outside`

    The error is weighed before it is summed, and the sum is divided by that of the weights, so that the mask decides
    *where* errors count and not how much they count in all. Liu et al. (2024), equation 2, with λ = 100.

    Parameters
    ----------
    prediction, target : Tensor
        (N, 1, [Z,] Y, X), normalised alike.
    percentiles : Tensor or None
        (N, 2): the percentiles of each whole target in its normalised units, low and high; None weighs all alike.
    settings : L1Settings
        λ and the weight outside the percentiles.

    Returns
    -------
    LossTerms
        With the part "l1", the mean before it is multiplied by λ.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import L1Settings, l1_loss
    >>> target = torch.tensor([[[[0.0, 1.0, 2.0, 9.0]]]])  # the last is brighter than the high percentile
    >>> prediction = target + torch.tensor([0.0, 0.0, 0.0, 3.1])
    >>> settings = L1Settings(weight=1)
    >>> round(l1_loss(prediction, target, None, settings).total.item(), 3)  # 3.1 / 4
    0.775
    >>> round(l1_loss(prediction, target, torch.tensor([[-1.0, 5.0]]), settings).total.item(), 3)  # 0.1 * 3.1 / 3.1
    0.1
    """
    with torch.autocast(prediction.device.type, enabled=False):
        target = target.float()
        error = (prediction.float() - target).abs().flatten(1)
        weights = torch.ones_like(error)
        if percentiles is not None:
            values = target.flatten(1)
            inside = (values > percentiles[:, :1]) & (values < percentiles[:, 1:])
            weights = torch.where(inside, 1.0, settings.outside)
        # Where all weights are 0, there is nothing to learn from.
        mean = ((error * weights).sum(1) / weights.sum(1).clamp(min=1e-6)).mean()
    return LossTerms(settings.weight * mean, {"l1": mean.detach()})
