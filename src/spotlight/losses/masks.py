"""The loss of masks: cross-entropy and Dice, of logits, where a structure is annotated."""

import torch
from torch import Tensor

from spotlight.losses.pixels import LossTerms
from spotlight.losses.task_settings import MaskLossSettings


def mask_loss(
    prediction: Tensor,
    target: Tensor,
    known: Tensor,
    settings: MaskLossSettings = MaskLossSettings(),  # noqa: B008 - frozen
) -> LossTerms:
    """Cross-entropy and Dice of one structure, over all annotated voxels of a batch.

    ::

        cross-entropy = -mean of  t log p + (1 - t) log(1 - p),        p = 1 / (1 + exp(-prediction))
        Dice          = 1 - (2 Σ p t + s) / (Σ p + Σ t + s)

    Sums run over the whole batch, not over one patch at a time (batch Dice; Isensee et al. 2021), so that a patch
    without foreground adds no loss of its own.

    Parameters
    ----------
    prediction : Tensor
        (N, 1, [Z,] Y, X) logits.
    target : Tensor
        The same shape: 1 on the structure, 0 elsewhere.
    known : Tensor
        The same shape, bool: where it is annotated. Elsewhere nothing counts.
    settings : MaskLossSettings
        Weights, and s.

    Returns
    -------
    LossTerms
        With the parts "cross_entropy" and "dice", both without their weights.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import mask_loss
    >>> logits, target = torch.zeros(1, 1, 1, 4), torch.tensor([[[[1.0, 0, 0, 0]]]])
    >>> terms = mask_loss(logits, target, torch.ones_like(target, dtype=torch.bool))
    >>> [round(float(part), 3) for part in terms.parts.values()]  # log 2, and 1 - (2 * 0.5 + 1) / (2 + 1 + 1)
    [0.693, 0.5]
    """
    with torch.autocast(prediction.device.type, enabled=False):
        weight, truth = known.float(), target.float()
        logits = prediction.float()
        each = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        entropy = (each * weight).sum() / weight.sum().clamp(min=1)
        found, true = logits.sigmoid() * weight, truth * weight
        smooth = settings.smoothing
        dice = 1 - (2 * (found * true).sum() + smooth) / (found.sum() + true.sum() + smooth)
        total = settings.cross_entropy * entropy + settings.dice * dice
    return LossTerms(total, {"cross_entropy": entropy.detach(), "dice": dice.detach()})


def structure_means(terms: list[LossTerms]) -> LossTerms:
    """Average the losses of several structures, each of which weighs the same, however often it is annotated."""
    parts = {name: torch.stack([one.parts[name] for one in terms]).mean() for name in terms[0].parts}
    return LossTerms(torch.stack([one.total for one in terms]).mean(), parts)
