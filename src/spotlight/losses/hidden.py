"""The loss of masked reconstruction: the error where the input was hidden."""

import torch
from torch import Tensor

from spotlight.losses.pixels import LossTerms

FAINT = 1e-3
"""Least deviation, in those of the stack, by which a patch is divided; one of less contrast is not made louder."""


def hidden_loss(
    prediction: Tensor, target: Tensor, hidden: Tensor, beta: float = 1.0, scaled: bool = True
) -> LossTerms:
    """Mean smooth L1 of hidden voxels, each patch divided by its own standard deviation, so that dim ones count.

    ::

        error(d) = d² / (2 β) where |d| < β, else |d| - β / 2,    d = (prediction - target) / deviation of the patch

    Parameters
    ----------
    prediction, target : Tensor
        (N, 1, [Z,] Y, X); the target is the input before anything was hidden.
    hidden : Tensor
        The same shape, bool. Other voxels do not count.
    beta : float
        From which the error grows linearly; with 0 it is the absolute one.
    scaled : bool
        Whether patches are divided by their deviation.

    Returns
    -------
    LossTerms
        The mean over all hidden voxels, without parts.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import hidden_loss
    >>> target = torch.tensor([[[[-1.0, 1.0, -1.0, 1.0]]]])
    >>> hidden = torch.tensor([[[[True, True, False, False]]]])
    >>> float(hidden_loss(torch.zeros_like(target), target, hidden).total)  # |d| = 1 in both hidden voxels
    0.5
    """
    with torch.autocast(prediction.device.type, enabled=False):
        truth = target.float()
        deviation = truth.flatten(1).std(1, correction=0).clamp(min=FAINT).view(-1, *[1] * (truth.ndim - 1))
        deviation = deviation if scaled else torch.ones_like(deviation)
        both = prediction.float() / deviation, truth / deviation
        each = torch.nn.functional.smooth_l1_loss(*both, reduction="none", beta=beta)
        total = (each * hidden).sum() / hidden.sum().clamp(min=1)
    return LossTerms(total, {})
