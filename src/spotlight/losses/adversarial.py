"""The game of a stain against a discriminator, on the discriminator's logits for patches of the image."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

Kind = Literal["bce", "least squares"]


def verdict_loss(logits: Tensor, real: bool, kind: Kind) -> Tensor:
    """How far a discriminator is from taking images for real ones, or for stains, in float32.

    Binary cross-entropy of the logits (Goodfellow et al. 2014, as Isola et al. 2017 use it), or their squared distance
    to 1 for real and 0 for stained images (Mao et al. 2017); the mean over samples and patches.

    Parameters
    ----------
    logits : (N, 1, [Z',] Y', X') Tensor
        A discriminator's verdicts on patches, positive for real.
    real : bool
        What they should say.
    kind : "bce" or "least squares"
        How distance from that is measured.

    Returns
    -------
    Tensor
        A scalar.
    """
    with torch.autocast(logits.device.type, enabled=False):
        wanted = torch.full_like(logits, float(real), dtype=torch.float32)
        compare = binary_cross_entropy_with_logits if kind == "bce" else mse_loss
        return compare(logits.float(), wanted)


def discriminator_loss(real: Tensor, stained: Tensor, kind: Kind) -> Tensor:
    """What a discriminator minimises: half the sum of its losses on real targets and on stains (Isola et al. 2017).

    Parameters
    ----------
    real, stained : (N, 1, [Z',] Y', X') Tensor
        Its logits for true targets and for stains.
    kind
        See `verdict_loss`.

    Returns
    -------
    Tensor
        A scalar, at least 0.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import discriminator_loss
    >>> sure = torch.full((1, 1, 2, 2), 5.0)
    >>> round(discriminator_loss(sure, -sure, "bce").item(), 3)  # right about both
    0.007
    >>> round(discriminator_loss(0 * sure, 0 * sure, "bce").item(), 3)  # guesses: log 2
    0.693
    """
    return (verdict_loss(real, True, kind) + verdict_loss(stained, False, kind)) / 2


def generator_loss(stained: Tensor, kind: Kind) -> Tensor:
    """What the staining network minimises: the loss of a discriminator that should take its stains for real.

    Parameters
    ----------
    stained : (N, 1, [Z',] Y', X') Tensor
        The discriminator's logits for stains.
    kind
        See `verdict_loss`.

    Returns
    -------
    Tensor
        A scalar, at least 0.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import generator_loss
    >>> verdicts = torch.full((1, 1, 2, 2), -2.0)  # the discriminator is not deceived
    >>> round(generator_loss(verdicts, "bce").item(), 3), generator_loss(verdicts, "least squares").item()
    (2.127, 9.0)
    """
    return verdict_loss(stained, True, kind)
