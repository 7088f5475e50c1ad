"""The loss of classes: cross-entropy of a patch's numbers."""

import torch
from torch import Tensor

from spotlight.losses.pixels import LossTerms


def class_loss(prediction: Tensor, truth: Tensor) -> LossTerms:
    """Cross-entropy of patches, -log of the probability that the softmax gives the true class; mean over patches.

    Parameters
    ----------
    prediction : Tensor
        (B, classes), or with axes of length 1 after these.
    truth : Tensor
        (B,) numbers of the true classes.

    Returns
    -------
    LossTerms
        With the part "accuracy", the share of patches whose greatest number is that of the true class.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import class_loss
    >>> terms = class_loss(torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.tensor([1, 0]))
    >>> round(terms.total.item(), 3), terms.parts["accuracy"].item()  # (log 2 + 0) / 2
    (0.347, 0.5)
    """
    with torch.autocast(prediction.device.type, enabled=False):
        logits = prediction.float().flatten(1)
        truth = truth.to(logits.device)
        total = torch.nn.functional.cross_entropy(logits, truth)
        accuracy = (logits.argmax(1) == truth).float().mean()
    return LossTerms(total, {"accuracy": accuracy})
