"""Training against discriminators: one per stain, which looks at the input and a stain together."""

from typing import Any, Literal

import torch
from torch import Tensor

from spotlight.losses import AdversarialSettings, Batch, LossSettings, LossTerms, discriminator_loss, generator_loss
from spotlight.networks import PatchGAN, StainNetwork
from spotlight.training.engine import StainModule, learning_rate_factor
from spotlight.training.settings import TrainingSettings


class AdversarialModule(StainModule):
    """A network that is trained against a discriminator per stain (Isola et al. 2017; Liu et al. 2024).

    At every step the discriminators of those stains that are in the batch learn first, on the targets and on the stains
    of the moment; then the network learns from their verdict and its own loss. A discriminator whose stain is absent
    from the batch stays as it is.
    """

    def __init__(
        self,
        network: StainNetwork,
        loss: LossSettings,
        training: TrainingSettings,
        over_stains: Literal["mean", "sum"],
        adversarial: AdversarialSettings,
    ) -> None:
        super().__init__(network, loss, training, over_stains)
        self.adversarial = adversarial
        self.terms += tuple(adversarial.terms)
        self.over_stains = over_stains
        self.resumed: list[dict[str, Any]] = []
        width = adversarial.width
        made = [PatchGAN(network.dims, width, network.in_channels) for _ in range(network.stains)]
        self.discriminators = torch.nn.ModuleList(made)
        rate, betas = adversarial.learning_rate, training.betas
        self.opponents = [torch.optim.Adam(one.parameters(), rate, betas) for one in made]

    def add_terms(self, image: Tensor, stain: Tensor, batch: Batch, terms: LossTerms) -> LossTerms:
        """Let the discriminators learn, and add their verdict on the stains to the loss."""
        factor = learning_rate_factor(self.trainer.global_step, self.training_settings)
        kind = self.adversarial.kind
        found = batch.rows_of() if batch.rows else {0: list(range(len(batch.target)))}
        verdicts, losses = [], []
        for which, rows in found.items():
            samples = [batch.rows[row][0] if batch.rows else row for row in rows]
            seen, made = image[samples], stain[samples][:, which : which + 1]
            opponent, discriminator = self.opponents[which], self.discriminators[which]
            discriminator.requires_grad_(True)
            real = discriminator(seen, batch.target[rows])
            loss = discriminator_loss(real, discriminator(seen, made.detach()), kind)
            for group in opponent.param_groups:
                group["lr"] = self.adversarial.learning_rate * factor
            opponent.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            opponent.step()
            discriminator.requires_grad_(False)
            share = 1.0 if self.over_stains == "sum" else len(rows) / len(batch.target)
            verdicts.append(share * generator_loss(discriminator(seen, made), kind))
            losses.append(loss.detach())
        verdict = torch.stack(verdicts).sum()
        parts = {"verdict": verdict.detach(), "discriminator": torch.stack(losses).mean()}
        return LossTerms(terms.total + self.adversarial.weight * verdict, terms.parts | parts)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the discriminators' optimisers, of which Lightning knows nothing."""
        checkpoint["opponents"] = [opponent.state_dict() for opponent in self.opponents]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them up as soon as the weights are on their device, where the optimisers' states have to be, too."""
        self.resumed = checkpoint["opponents"]

    def on_train_start(self) -> None:
        """See `on_load_checkpoint`."""
        for opponent, state in zip(self.opponents, self.resumed, strict=bool(self.resumed)):
            opponent.load_state_dict(state)
