"""What a training step sees, and losses over those stains that are there."""

from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from spotlight.errors import SpotlightError
from spotlight.losses.pixels import LossTerms
from spotlight.losses.settings import LossSettings


class Batch(NamedTuple):
    """What a training step sees.

    Targets that a sample does not have are not in it at all: there is one row for every pair of a sample and a stain
    that it has, so that nothing can be learnt from what is absent.

    Attributes
    ----------
    input : Tensor
        (B, 1, [Z,] Y, X).
    target, mask : Tensor
        (N, 1, [Z,] Y, X) of the N present pairs of sample and stain; N is B where there is one stain.
    threshold : Tensor
        (N,), the normalised foreground thresholds of their whole stacks.
    cells : Tensor or None
        (N, 1, [Z,] Y, X), number of the nearest foreground component, at most `components`; for losses per nucleus.
    components : int
        See `cells`.
    percentiles : Tensor or None
        (N, 2), percentiles of their whole targets, for losses that weigh by them.
    rows : tuple of (int, int)
        The sample and the stain of each of the N rows; empty where there is one stain, which every sample has.
    rows_per_part : tuple of float
        Mean number of rows per stain in one micro-batch; scales its loss, so that the losses of the micro-batches
        average to that of the whole batch. Spotlight's is the exception: its mean leaves out rows without foreground.
        Empty for a batch that is not divided.
    modality : Tensor or None
        (B, M), which of M modalities each sample is, 1 there and 0 elsewhere; for networks that ask for it.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import Batch
    >>> volumes = torch.zeros(3, 1, 8, 16, 16)  # three samples; the second lacks the second stain
    >>> targets = torch.zeros(5, 1, 8, 16, 16)
    >>> batch = Batch(volumes, targets, targets > 0, torch.zeros(5), rows=((0, 0), (0, 1), (1, 0), (2, 0), (2, 1)))
    >>> batch.rows_of()
    {0: [0, 2, 3], 1: [1, 4]}
    >>> prediction = torch.zeros(3, 2, 8, 16, 16)
    >>> tuple(batch.present(prediction).shape)
    (5, 1, 8, 16, 16)
    """

    input: Tensor
    target: Tensor
    mask: Tensor
    threshold: Tensor
    cells: Tensor | None = None
    components: int = 0
    percentiles: Tensor | None = None
    rows: tuple[tuple[int, int], ...] = ()
    modality: Tensor | None = None
    rows_per_part: tuple[float, ...] = ()

    def select(self, rows: list[int]) -> "Batch":
        """Keep some of the N rows; the samples stay."""
        index = torch.tensor(rows, device=self.target.device)
        return self._replace(
            target=self.target[index],
            mask=self.mask[index],
            threshold=self.threshold[index],
            cells=None if self.cells is None else self.cells[index],
            percentiles=None if self.percentiles is None else self.percentiles[index],
            rows=tuple(self.rows[row] for row in rows),
        )

    def present(self, prediction: Tensor) -> Tensor:
        """Those of the (B, S, [Z,] Y, X) predictions that have a target: (N, 1, [Z,] Y, X)."""
        if not self.rows:
            return prediction
        samples, stains = torch.tensor(self.rows, device=prediction.device).unbind(1)
        return prediction[samples, stains][:, None]

    def rows_of(self) -> dict[int, list[int]]:
        """Numbers of the rows of every stain that is there."""
        found: dict[int, list[int]] = {}
        for row, (_, stain) in enumerate(self.rows):
            found.setdefault(stain, []).append(row)
        return found


class Loss(Protocol):
    """A loss as a function of prediction, batch and share of the run that is done.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import Batch, Loss, LossTerms
    >>> def median_error(prediction, batch, progress=1.0):
    ...     return LossTerms((prediction - batch.target).abs().median(), {})
    >>> loss: Loss = median_error
    >>> target = torch.zeros(1, 1, 1, 3)
    >>> prediction = torch.tensor([[[[0.0, 1.0, 9.0]]]])
    >>> loss(prediction, Batch(target, target, target > 0, torch.zeros(1))).total.item()
    1.0
    """

    def __call__(self, prediction: Tensor, batch: Batch, progress: float = 1.0) -> LossTerms:
        """Return the total and its terms."""


def build_loss(settings: LossSettings, over_stains: Literal["mean", "sum"] = "mean") -> Loss:
    """Return the loss that the settings describe.

    Parameters
    ----------
    settings : LossSettings
        Its kind.
    over_stains : "mean" or "sum"
        Mean over all rows of a batch, in which a stain weighs as much as it is frequent; or the sum over stains of the
        mean over the rows of each. Of a part of a batch, both are taken with the numbers of rows in all of it.

    Returns
    -------
    Loss
        Called with the network's output (B, S, [Z,] Y, X), the batch, and the share of the run that is done. It raises
        a `SpotlightError` if the settings build a function that does not give what a `Loss` does.

    Examples
    --------
    >>> import torch
    >>> from spotlight.losses import Batch, MseSettings, build_loss
    >>> target = torch.zeros(3, 1, 4, 4)  # two samples with the first stain, one of them with the second
    >>> batch = Batch(torch.zeros(2, 1, 4, 4), target, target > 0, torch.zeros(3), rows=((0, 0), (0, 1), (1, 0)))
    >>> prediction = torch.zeros(2, 2, 4, 4)
    >>> prediction[0, 1] = 3  # wrong in the second stain alone
    >>> build_loss(MseSettings())(prediction, batch).total.item()  # 9 in one row of three
    3.0
    >>> build_loss(MseSettings(), "sum")(prediction, batch).total.item()  # 0 of the first stain + 9 of the second
    9.0
    """
    of_rows = _checked(settings)

    if settings.compares == "classes":  # which are told apart, so that all outputs are needed
        return of_rows

    def loss(prediction: Tensor, batch: Batch, progress: float = 1.0) -> LossTerms:
        stained = batch.present(prediction)
        if over_stains == "mean" or not batch.rows:
            terms = of_rows(stained, batch, progress)
            return (
                LossTerms(terms.total * len(batch.rows) / sum(batch.rows_per_part), terms.parts)
                if batch.rows_per_part
                else terms
            )
        found = []
        for stain, rows in batch.rows_of().items():
            part = batch.select(rows)
            terms = of_rows(part.present(prediction), part, progress)
            share = len(rows) / batch.rows_per_part[stain] if batch.rows_per_part else 1
            found.append(LossTerms(terms.total * share, terms.parts))
        total = torch.stack([terms.total for terms in found]).sum()
        return LossTerms(total, {name: torch.stack([t.parts[name] for t in found]).sum() for name in found[0].parts})

    return loss


def _checked(settings: LossSettings) -> Loss:
    """What the settings build, which says at the first step if it does not give what a loss does."""
    built = settings.build()

    def checked(prediction: Tensor, batch: Batch, progress: float = 1.0) -> LossTerms:
        terms: Any = built(prediction, batch, progress)
        total = terms.total if isinstance(terms, LossTerms) else None
        if not isinstance(terms, LossTerms) or not isinstance(total, Tensor) or total.ndim:
            shape = f" with a total of shape {tuple(total.shape)}" if isinstance(total, Tensor) else ""
            raise SpotlightError(
                f"the loss {settings.kind!r} must give LossTerms(total, terms): total a tensor of one value (.mean() "
                f"or .sum()), terms a dict of such. Received: {type(terms).__name__}{shape}."
            )
        if undeclared := set(terms.parts) - set(settings.terms):
            raise SpotlightError(
                f"the loss gives the terms {', '.join(sorted(undeclared))}, which the `terms` of its settings do not "
                f"name. They name: {', '.join(settings.terms) or 'none'}."
            )
        return terms

    return checked
