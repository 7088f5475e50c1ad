"""The Lightning module and the patches that feed it."""

from collections.abc import Iterator
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from spotlight.losses import Batch, LossSettings, LossTerms, build_loss
from spotlight.networks import FNet, channels_last
from spotlight.pairs.patches import PatchSampler
from spotlight.pairs.prepare import PreparedPair
from spotlight.tiles import apply_tiled
from spotlight.training.settings import TrainingSettings


class PatchBatches(IterableDataset[Batch]):
    """Endless batches from the step at which it is asked to start; a batch depends on seed and step alone."""

    def __init__(self, pairs: list[PreparedPair], sampler: PatchSampler, batch_size: int) -> None:
        self.pairs = pairs
        self.sampler = sampler
        self.batch_size = batch_size
        self.first_step = 0

    def __iter__(self) -> Iterator[Batch]:
        step = self.first_step
        while True:
            yield self.batch(step)
            step += 1

    def batch(self, step: int) -> Batch:
        """Cut the patches of a step out of the prepared stacks."""
        drawn = self.sampler.draw(step, self.batch_size)

        def stacked(name: str) -> Tensor:
            cut = [self.sampler.cut(getattr(self.pairs[n], name), start, turn) for n, start, turn in drawn]
            return torch.from_numpy(np.stack(cut)[:, None])

        thresholds = torch.tensor([self.pairs[n].threshold for n, _, _ in drawn])
        return Batch(stacked("input"), stacked("target"), stacked("mask"), thresholds)


class StainModule(lightning.LightningModule):
    """A network, its loss and its optimiser."""

    def __init__(self, network: FNet, loss: LossSettings, training: TrainingSettings) -> None:
        super().__init__()
        self.layout = channels_last(network.dims)
        self.network = network
        self.network.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.loss = build_loss(loss)
        self.training_settings = training
        self.last_terms: LossTerms | None = None

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of a batch of patches."""
        image = batch.input.to(memory_format=self.layout)
        terms = self.loss(self.network(image), batch)
        self.last_terms = LossTerms(terms.total.detach(), terms.parts)
        return terms.total

    def configure_optimizers(self) -> Any:
        """Adam, with the learning rate of the schedule."""
        settings = self.training_settings
        optimizer = torch.optim.Adam(self.network.parameters(), settings.learning_rate, settings.betas, fused=True)
        if settings.schedule == "constant":
            return optimizer
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @torch.no_grad()
    def validate_on(self, pairs: list[PreparedPair], tile: tuple[int, ...]) -> dict[str, float]:
        """Mean loss and foreground Pearson correlation over whole stacks, with the network in evaluation mode."""
        self.network.eval()
        scores: list[dict[str, float]] = []
        for pair in pairs:
            prediction = apply_tiled(
                self._predict_tile, pair.input, tile, tuple(t // 4 for t in tile), self.network.divisor
            )
            image, target, mask = (torch.tensor(a)[None, None] for a in (pair.input, pair.target, pair.mask))
            batch = Batch(image, target, mask, torch.tensor([pair.threshold]))
            terms = self.loss(torch.from_numpy(prediction)[None, None], batch)
            inside = pair.mask
            both = prediction[inside], pair.target[inside]
            pearson = float(np.corrcoef(*both)[0, 1]) if inside.any() and min(b.std() for b in both) > 0 else 0.0
            parts = {name: float(value) for name, value in terms.parts.items()}
            scores.append({"loss": float(terms.total), "foreground_pearson": pearson, **parts})
        self.network.train()
        return {key: float(np.mean([s[key] for s in scores])) for key in scores[0]}

    def _predict_tile(self, tile: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
        image = torch.tensor(tile)[None, None].to(self.device, memory_format=self.layout)
        with self.trainer.precision_plugin.forward_context():
            stain = self.network(image)
        return stain[0, 0].float().cpu().numpy()  # type: ignore[no-any-return]
