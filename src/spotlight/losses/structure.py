"""The loss of restored images: absolute errors, and the structural similarity that is lacking."""

import torch
from torch import Tensor

from spotlight.losses.pixels import LossTerms
from spotlight.losses.task_settings import StructureLossSettings

WINDOW = 7
"""Edge in voxels of the window of the similarity; less where a patch is thinner."""
K1, K2 = 0.01, 0.03
"""Stabilisers of Wang et al. (2004), of images whose range is 1."""


def structure_loss(
    prediction: Tensor,
    target: Tensor,
    settings: StructureLossSettings = StructureLossSettings(),  # noqa: B008 - frozen
) -> LossTerms:
    """Mean absolute error, and one less the mean structural similarity.

    ::

        loss = mean |Y - Ŷ| + w (1 - SSIM(Y, Ŷ))

    Parameters
    ----------
    prediction, target : Tensor
        (N, 1, [Z,] Y, X), scaled so that 1 is the range of the images.
    settings : StructureLossSettings
        The weight w.

    Returns
    -------
    LossTerms
        With the parts "l1" and "ssim", both without weights.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import structure_loss
    >>> image = torch.rand(1, 1, 9, 9)
    >>> structure_loss(image, image).total.item()
    0.0
    """
    with torch.autocast(prediction.device.type, enabled=False):
        found, wanted = prediction.float(), target.float()
        error = (found - wanted).abs().mean()
        similarity = ssim(found, wanted)
        total = error + settings.structure * (1 - similarity)
    return LossTerms(total, {"l1": error.detach(), "ssim": similarity.detach()})


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity of images of the range 1, over windows that lie inside.

    Equation 13 of Wang et al. (2004), with a uniform window of 7 voxels along every axis and sample variances, as
    `spotlight.metrics.structural_similarity` has it.

    Parameters
    ----------
    a, b : Tensor
        (N, 1, [Z,] Y, X).
    """
    edges = [min(WINDOW, side - (side + 1) % 2) for side in a.shape[2:]]
    pool = torch.nn.functional.avg_pool3d if a.ndim == 5 else torch.nn.functional.avg_pool2d
    volume = torch.tensor(edges).prod().item()
    sample = volume / max(1, volume - 1)

    def mean(image: Tensor) -> Tensor:
        return pool(image, edges, stride=1)

    mean_a, mean_b = mean(a), mean(b)
    covariance = sample * (mean(a * b) - mean_a * mean_b)
    variances = sample * (mean(a * a + b * b) - mean_a * mean_a - mean_b * mean_b)
    bright = (2 * mean_a * mean_b + K1**2) / (mean_a * mean_a + mean_b * mean_b + K1**2)
    return (bright * (2 * covariance + K2**2) / (variances + K2**2)).mean()
