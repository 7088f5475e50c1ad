"""Losses in which every connected component of the foreground weighs the same, whatever its size.

Both ask for *probabilities* in [0, 1]. Logits masked before they are squashed would put 0.5 on every other component,
so that a perfect prediction has a loss near 1.
"""

import torch
from torch import Tensor


def cc_dice_loss(probability: Tensor, mask: Tensor, cells: Tensor, most: int, least_voxels: int = 1) -> Tensor:
    """One minus the mean Dice of the components, each judged in its own Voronoi cell.

    ::

        Dice_k = 2 P_k / (C_k + n_k)      P_k, C_k = Σ p over component k and over its cell,  n_k = size of component k

    The mean is over the components present in each sample, then over the samples that have any. Background that is
    nearest to a component outside the patch belongs to no term: use this beside a loss of the whole patch.

    Computed in float32 whatever autocast says, and without waiting for the GPU.

    Parameters
    ----------
    probability : Tensor
        (B, 1, [Z,] Y, X), in [0, 1]; the loss does not check it.
    mask : Tensor
        Foreground of the target, same shape, boolean or 0 and 1.
    cells : Tensor
        Integers, same shape: at every voxel the number of the nearest component, from 1, or 0 in a stack that has none
        (`spotlight.foreground.nearest_component` of the same mask). Component k is where the mask is on and
        ``cells == k``. Numbers may be missing, as they are in a patch of a stack.
    most : int
        The greatest number that `cells` may hold; a greater one is an error of torch. It sizes the sums, so that the
        tensor need not be read back.
    least_voxels : int
        Components with fewer voxels in the patch leave the mean. With 1 a sliver at the border of the patch weighs as
        much as a whole nucleus.

    Returns
    -------
    Tensor
        Scalar in [0, 1]; 0, with a gradient of 0, if no sample has a component.

    Raises
    ------
    ValueError
        If shapes differ or `least_voxels` is less than 1.

    References
    ----------
    CC-Metrics: A. Jaus et al., arXiv:2410.18684 (2024). As a loss, CC-DiceCE: arXiv:2511.17146 (2025).

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import cc_dice_loss
    >>> mask = torch.tensor([[[[1.0, 1.0, 1.0, 0.0, 0.0, 1.0]]]])  # a large and a small nucleus
    >>> cells = torch.tensor([[[[1, 1, 1, 1, 2, 2]]]])  # which of them is nearest
    >>> found = torch.tensor([[[[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]]]])  # the small one was missed
    >>> cc_dice_loss(found, mask, cells, most=2).item()  # the mean of 0 and 1, whatever their sizes
    0.5
    """
    _check(probability, mask, cells, least_voxels)
    probability, mask, cells = probability.float(), mask.float(), cells.long()
    inside = _sums(probability * mask, cells, most)
    size = _sums(mask, cells, most)
    return _mean_loss(inside, _sums(probability, cells, most), size, least_voxels)


def blob_dice_loss(probability: Tensor, mask: Tensor, cells: Tensor, most: int, least_voxels: int = 1) -> Tensor:
    """One minus the mean Dice of the components, each judged together with the whole background.

    ::

        Dice_k = 2 P_k / (P_0 + P_k + n_k)      P_k, P_0 = Σ p over component k and over the background,  n_k its size

    Blob loss with soft Dice, without its loop over components. The background counts in every term, so a few false
    voxels cost every component, the small ones most, and a faint haze outweighs all else. The voxels of a component
    that leaves the mean belong to no term. Parameters, means and errors are those of `cc_dice_loss`.

    Parameters
    ----------
    probability, mask, cells, most, least_voxels
        See `cc_dice_loss`.

    Returns
    -------
    Tensor
        Scalar in [0, 1]; 0, with a gradient of 0, if no sample has a component.

    References
    ----------
    F. Kofler et al., IPMI 2023, arXiv:2205.08209.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import blob_dice_loss, cc_dice_loss
    >>> mask = torch.tensor([[[[1.0, 1.0, 0.0, 0.0, 0.0, 1.0]]]])  # a large and a small nucleus
    >>> cells = torch.tensor([[[[1, 1, 1, 2, 2, 2]]]])  # which of them is nearest
    >>> found = torch.tensor([[[[1.0, 1.0, 1.0, 0.0, 0.0, 1.0]]]])  # one voxel too many, beside the large one
    >>> [round(loss(found, mask, cells, most=2).item(), 3) for loss in (blob_dice_loss, cc_dice_loss)]
    [0.267, 0.1]
    """
    _check(probability, mask, cells, least_voxels)
    probability, mask, cells = probability.float(), mask.float(), cells.long()
    inside = _sums(probability * mask, cells, most)
    size = _sums(mask, cells, most)
    background = (probability * (1 - mask)).flatten(1).sum(1, keepdim=True)
    return _mean_loss(inside, background + inside, size, least_voxels)


def _check(probability: Tensor, mask: Tensor, cells: Tensor, least_voxels: int) -> None:
    if not probability.shape == mask.shape == cells.shape:
        shapes = ", ".join(str(tuple(t.shape)) for t in (probability, mask, cells))
        raise ValueError(f"Probability, mask and cells must have one shape, not {shapes}.")
    if least_voxels < 1:
        raise ValueError(f"least_voxels is {least_voxels}; a component has at least 1 voxel. Give 1 or more.")


def _sums(values: Tensor, cells: Tensor, most: int) -> Tensor:
    """Sum of the values per sample and cell, (B, most); cell 0 is left out."""
    # Planes (in 2D: lines) are summed apart, as one long sum in float32 would drift: by 15 % over 16 million voxels.
    values, cells = values.flatten(3), cells.flatten(3)
    sums = values.new_zeros((*values.shape[:-1], most + 1))
    return sums.scatter_add(-1, cells, values).sum((1, 2))[:, 1:]


def _mean_loss(inside: Tensor, predicted: Tensor, size: Tensor, least_voxels: int) -> Tensor:
    """Mean of 1 - 2 inside / (predicted + size) over components, then over samples; all are (B, most)."""
    present = size >= least_voxels
    loss = 1 - 2 * inside / (predicted + size.clamp(min=1))
    count = present.sum(1)
    mean = torch.where(present, loss, 0).sum(1) / count.clamp(min=1)
    return mean.sum() / (count > 0).sum().clamp(min=1)
