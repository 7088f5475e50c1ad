"""Pretraining with a teacher: the running average of the network, which sees what is hidden from the network."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from spotlight.losses import Batch, LossSettings, LossTerms, TeacherSettings, distillation_loss
from spotlight.networks import StainNetwork
from spotlight.training.engine import StainModule
from spotlight.training.settings import TrainingSettings


class TeacherModule(StainModule):
    """A network whose features, before its last layer, are to be those of its running average on the whole patch."""

    def __init__(
        self,
        network: StainNetwork,
        loss: LossSettings,
        training: TrainingSettings,
        over_stains: Literal["mean", "sum"],
        teacher: TeacherSettings,
    ) -> None:
        super().__init__(network, loss, training, over_stains)
        self.teacher = teacher
        self.terms += tuple(teacher.terms)
        self.seen: dict[str, Tensor] = {}
        assert self.average is not None
        for name, one in (("student", network), ("teacher", self.average.module)):
            one.last_layers()[0].register_forward_pre_hook(self._keep(name))  # type: ignore[operator]

    def _keep(self, name: str) -> Any:
        def keep(layer: nn.Module, given: tuple[Tensor]) -> None:
            self.seen[name] = given[0]

        return keep

    def add_terms(self, image: Tensor, stain: Tensor, batch: Batch, terms: LossTerms) -> LossTerms:
        """Add the distance of the network's features from the teacher's."""
        assert self.average is not None
        student, settings = self.seen["student"], self.teacher
        whole = batch.target.reshape(image.shape)  # of several channels, each is the target of a row
        with torch.no_grad():
            self.average(whole.to(memory_format=self.layout), batch.modality)
        hidden = batch.mask[:: image.shape[1]]
        found = distillation_loss(
            student, self.seen["teacher"], hidden, settings.student_temperature, settings.teacher_temperature
        )
        self.seen = {}
        total = settings.reconstruction * terms.total + settings.weight * found
        return LossTerms(total, terms.parts | {"distillation": found.detach()})
