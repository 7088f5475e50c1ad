"""The Lightning module: a network, its loss, its optimiser, and how it is validated."""

from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from spotlight.losses import Batch, LossSettings, LossTerms, build_loss
from spotlight.networks import StainNetwork, channels_last
from spotlight.pairs.prepare import PreparedPair
from spotlight.tiles import apply_tiled
from spotlight.training.settings import TrainingSettings

FloatArray = np.ndarray[Any, np.dtype[np.float32]]

TOO_MUCH = 1e4
"""A loss above this has exploded: targets are in standard deviations, so that predicting nothing costs about 1."""

NEVER = 2**62


class StainModule(lightning.LightningModule):
    """A network, its loss and its optimiser."""

    def __init__(self, network: StainNetwork, loss: LossSettings, training: TrainingSettings) -> None:
        super().__init__()
        self.layout = channels_last(network.dims)
        self.network = network
        self.network.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.frozen = frozen_parts(network, training.frozen)
        for part in self.frozen:
            part.requires_grad_(False).eval()
        self.average: AveragedModel | None = None
        if training.ema > 0:
            smooth = get_ema_multi_avg_fn(training.ema)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(network, multi_avg_fn=smooth).requires_grad_(False)
        self.loss = build_loss(loss)
        self.training_settings = training
        self.last_terms: LossTerms | None = None
        self.first_bad = torch.tensor(NEVER)

    @property
    def result(self) -> StainNetwork:
        """The network that is validated and kept: the trained one, or its running average."""
        return self.network if self.average is None else self.average.module  # type: ignore[return-value]

    def train(self, mode: bool = True) -> "StainModule":
        """Frozen parts keep their batch statistics."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of a batch of patches."""
        image = batch.input.to(memory_format=self.layout)
        step = self.trainer.global_step
        terms = self.loss(self.network(image), batch, step / self.training_settings.steps)
        total = terms.total.detach()
        self.last_terms = LossTerms(total, terms.parts)
        # Looked at every few steps only, since looking waits for the GPU.
        good = total.isfinite() & (total < TOO_MUCH)
        self.first_bad = torch.where(good, self.first_bad.to(total.device), self.first_bad.clamp(max=step))
        return terms.total

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take the running average along."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update_parameters(self.network)

    def configure_optimizers(self) -> Any:
        """Adam, with the learning rate of the schedule."""
        settings = self.training_settings
        free = [weight for weight in self.network.parameters() if weight.requires_grad]
        optimizer = torch.optim.Adam(free, settings.learning_rate, settings.betas, fused=True)
        scheduler = LambdaLR(optimizer, lambda step: learning_rate_factor(step, settings))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @torch.no_grad()
    def validate_on(self, pairs: list[PreparedPair], tile: tuple[int, ...]) -> tuple[dict[str, float], FloatArray]:
        """Validate the network as it would be kept, in evaluation mode, over whole stacks.

        Returns
        -------
        (dict, ndarray)
            Means of the loss, its parts and the foreground Pearson correlation, and the stain of the first stack.
        """
        self.result.eval()
        scores: list[dict[str, float]] = []
        stains: list[FloatArray] = []
        for pair in pairs:
            overlap = tuple(t // 4 for t in tile)
            stain = apply_tiled(self._predict_tile, np.asarray(pair.input), tile, overlap, self.network.divisor)
            stains = stains or [stain]
            names = ("input", "target", "mask")
            image, target, mask = (torch.tensor(np.asarray(getattr(pair, name)))[None, None] for name in names)
            threshold = torch.tensor([pair.threshold])
            batch = Batch(image, target, mask, threshold)
            if pair.cells is not None:
                cells = torch.tensor(np.asarray(pair.cells))[None, None].long()
                batch = batch._replace(cells=cells, components=int(cells.max()))
            terms = self.loss(torch.from_numpy(stain)[None, None], batch, 1.0)
            inside = np.asarray(pair.mask)
            both = stain[inside], np.asarray(pair.target)[inside]
            pearson = float(np.corrcoef(*both)[0, 1]) if inside.any() and min(b.std() for b in both) > 0 else 0.0
            parts = {name: float(value) for name, value in terms.parts.items()}
            scores.append({"loss": float(terms.total), "foreground_pearson": pearson, **parts})
        self.train()
        return {key: float(np.mean([s[key] for s in scores])) for key in scores[0]}, stains[0]

    def _predict_tile(self, tile: FloatArray) -> FloatArray:
        image = torch.tensor(tile)[None, None].to(self.device, memory_format=self.layout)
        with self.trainer.precision_plugin.forward_context():
            stain = self.result(image)
        return stain[0, 0].float().cpu().numpy()  # type: ignore[no-any-return]


def learning_rate_factor(step: int, settings: TrainingSettings) -> float:
    """Share of the full learning rate at a step: a linear rise, then constant or half a cosine down to 0."""
    rise = min(1.0, (step + 1) / (settings.warmup + 1))
    if settings.schedule == "constant":
        return rise
    return float(rise * (1 + np.cos(np.pi * min(1.0, step / settings.steps))) / 2)


def frozen_parts(network: StainNetwork, which: str) -> list[torch.nn.Module]:
    """Modules of the network that a setting of `TrainingSettings.frozen` keeps."""
    parts = {"none": [], "encoder": network.encoder_parts(), "all but head": network.all_but_head_parts()}
    return parts[which]
