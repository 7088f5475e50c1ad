"""A loss."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from spotlight.losses import Loss, LossSettings


class HuberSettings(LossSettings):
    """Huber's loss: squared for small errors, absolute for large ones."""

    kind: Literal["outside_huber"] = "outside_huber"
    terms: ClassVar[Mapping[str, str]] = {"outside_error": "mean absolute error"}
    delta: float = Field(1.0, gt=0, description="Error at which squares become absolute values.")

    def build(self) -> Loss:
        from torch.nn.functional import huber_loss, l1_loss

        from spotlight.losses import LossTerms

        def loss(prediction, batch, progress=1.0):
            error = l1_loss(prediction.detach(), batch.target)
            return LossTerms(huber_loss(prediction, batch.target, delta=self.delta), {"outside_error": error})

        return loss

    def describe(self) -> str:
        return f"Huber's loss with delta {self.delta:g} (Huber 1964)"
