"""The Lightning module: a network, its loss, its optimiser, and how it is validated."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from spotlight.errors import SpotlightError
from spotlight.given import wanted
from spotlight.losses import Batch, LossSettings, LossTerms, build_loss
from spotlight.networks import StainNetwork
from spotlight.pairs.prepared import PreparedPair
from spotlight.tasks import StainTask, Task
from spotlight.tiles import apply_tiled, mean_over_tiles
from spotlight.training.batches import Outputs
from spotlight.training.settings import TrainingSettings

FloatArray = np.ndarray[Any, np.dtype[np.float32]]

TOO_MUCH = 1e4
"""A loss above this has exploded: targets are in standard deviations, so that predicting nothing costs about 1."""

NEVER = 2**62


class StainModule(lightning.LightningModule):
    """A network, its loss and its optimiser."""

    def __init__(
        self,
        network: StainNetwork,
        loss: LossSettings,
        training: TrainingSettings,
        over_stains: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        self.layout = network.layout
        self.network = network
        self.network.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.frozen = frozen_parts(network, training.frozen)
        for part in self.frozen:
            part.requires_grad_(False).eval()
        self.average: AveragedModel | None = None
        if training.ema > 0:
            smooth = get_ema_multi_avg_fn(training.ema)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(network, multi_avg_fn=smooth).requires_grad_(False)
        self.loss = build_loss(loss, over_stains)
        self.terms = tuple(loss.terms)
        self.drops = any(isinstance(m, torch.nn.modules.dropout._DropoutNd) and m.p > 0 for m in network.modules())
        self.training_settings = training
        self.task: Task = StainTask()
        self.metrics: dict[str, Callable[..., float]] = {}
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

    def training_step(self, batch: Batch, number: int) -> Tensor:
        """Loss of a batch of patches."""
        image = batch.input.to(memory_format=self.layout)
        step = self.trainer.global_step
        if self.drops:  # what is dropped depends on seed and step alone, so that a run that goes on drops the same
            part = number % int(self.training_settings.micro_batches)
            place = (self.training_settings.seed, step, part, self.trainer.global_rank)
            torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))
        stain = self.network(image, batch.modality)
        self.require_shape(image, stain)
        terms = self.add_terms(image, stain, batch, self.loss(stain, batch, step / self.training_settings.steps))
        total = terms.total.detach()
        self.last_terms = LossTerms(total, terms.parts)
        # Looked at every few steps only, since looking waits for the GPU.
        good = total.isfinite() & (total < TOO_MUCH)
        self.first_bad = torch.where(good, self.first_bad.to(total.device), self.first_bad.clamp(max=step))
        return terms.total

    def require_shape(self, image: Tensor, stain: Tensor) -> None:
        """Raise a `SpotlightError` for a wrong shape, which would be broadcast, and something else learnt."""
        expected = (len(image), self.network.stains, *image.shape[2:])
        if not self.network.pools and tuple(stain.shape) != expected:
            raise SpotlightError(
                f"the network gives {tuple(stain.shape)} for an input of {tuple(image.shape)}, and must give "
                f"{expected}: one channel for each stain, as large as the input. Pad its convolutions, and take the "
                "number of channels from `stains`."
            )

    def add_terms(self, image: Tensor, stain: Tensor, batch: Batch, terms: LossTerms) -> LossTerms:
        """Add further loss terms. None by default; a subclass may."""
        return terms

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take the running average along."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update_parameters(self.network)

    def configure_optimizers(self) -> Any:
        """Adam, with the learning rate of the schedule."""
        settings = self.training_settings
        free = [weight for weight in self.network.parameters() if weight.requires_grad]
        groups: list[dict[str, Any]] = [{"params": free}]
        if settings.head_rate != 1:
            head = {id(weight) for layer in self.network.last_layers() for weight in layer.parameters()}
            groups = [
                {"params": [weight for weight in free if id(weight) not in head]},
                {
                    "params": [weight for weight in free if id(weight) in head],
                    "lr": settings.learning_rate * settings.head_rate,
                },
            ]
        groups = [group for group in groups if group["params"]]
        optimizer = torch.optim.Adam(groups, settings.learning_rate, settings.betas, fused=True)
        scheduler = LambdaLR(optimizer, lambda step: learning_rate_factor(step, settings))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @torch.no_grad()
    def validate_on(
        self, pairs: list[PreparedPair], tile: tuple[int, ...], outputs: Outputs
    ) -> tuple[dict[str, float], FloatArray]:
        """Validate the network as it would be kept, in evaluation mode, over whole stacks.

        Where each of several planes can be the input, the middle one is.

        Parameters
        ----------
        pairs : list of PreparedPair
            The stacks.
        tile : tuple of int
            Tiles of their prediction.
        outputs : Outputs
            Which of them are the targets of one field.

        Returns
        -------
        (dict, ndarray)
            Means over the stacks of the loss, its parts and the foreground Pearson correlation, and the stain of the
            first stack.
        """
        self.result.eval()
        scores: list[dict[str, float]] = []
        first: FloatArray | None = None
        for field in outputs.fields:
            pair = pairs[field[0]]
            modality = torch.tensor([outputs.one_hot(pair.modality)]) if outputs.modalities else None
            found = self._over_tiles(partial(self._predict_tile, modality=modality), self.task.shown(pair), tile)
            for number in field:
                scores.append(self._score(pairs[number], found, outputs.numbers[number], outputs.partial))
                first = found[outputs.numbers[number]] if first is None else first
        self.train()
        assert first is not None
        return {key: float(np.mean([s[key] for s in scores])) for key in scores[0]}, first

    def _over_tiles(
        self, function: Callable[[FloatArray], FloatArray], image: FloatArray, tile: tuple[int, ...]
    ) -> FloatArray:
        """Blend what the network gives for tiles; or, if it gives a number for each, average that."""
        network = self.network
        if network.pools:
            return mean_over_tiles(function, image, tile, network.divisor)
        overlap = tuple(t // 4 for t in tile)
        whole = network.reach is not None
        return apply_tiled(function, image, tile, overlap, network.divisors, network.stains, whole)

    def _score(self, pair: PreparedPair, stains: FloatArray, which: int, in_rows: bool) -> dict[str, float]:
        """Loss, its parts and the scores of one of the outputs for a field."""
        target, mask = (torch.tensor(np.asarray(getattr(pair, name)))[None, None] for name in ("target", "mask"))
        batch = Batch(target, target, mask, torch.tensor([pair.threshold]), rows=((0, which),) if in_rows else ())
        if pair.cells is not None:
            cells = torch.tensor(np.asarray(pair.cells))[None, None].long()
            batch = batch._replace(cells=cells, components=int(cells.max()))
        if pair.percentiles is not None:
            batch = batch._replace(percentiles=torch.tensor([pair.percentiles]))
        terms = self.loss(torch.from_numpy(stains)[None], batch, 1.0)
        parts = {name: float(value) for name, value in terms.parts.items()}
        others = {
            name: float(
                metric(
                    stains[which],
                    np.asarray(pair.target),
                    **dict.fromkeys(wanted(metric, ("mask",)), np.asarray(pair.mask)),
                )
            )
            for name, metric in self.metrics.items()
        }
        scores = self.task.score_outputs(stains, which, pair)
        return {"loss": float(terms.total), **scores, **parts, **others}

    def _predict_tile(self, tile: FloatArray, modality: Tensor | None) -> FloatArray:
        spatial = tile.shape[-self.network.dims :]
        image = torch.tensor(tile).reshape(1, -1, *spatial).to(self.device, memory_format=self.layout)
        with self.trainer.precision_plugin.forward_context():
            stain = self.result(image, None if modality is None else modality.to(self.device))
        return stain[0].float().cpu().numpy()  # type: ignore[no-any-return]


def learning_rate_factor(step: int, settings: TrainingSettings) -> float:
    """Share of the full learning rate at a step: a linear rise, then constant, half a cosine, or a late line to 0."""
    rise = min(1.0, (step + 1) / (settings.warmup + 1))
    done = min(1.0, step / settings.steps)
    if settings.schedule == "constant":
        return rise
    if settings.schedule == "linear":
        return rise * min(1.0, 2 * (1 - done))
    return float(rise * (1 + np.cos(np.pi * done)) / 2)


def frozen_parts(network: StainNetwork, which: str) -> list[torch.nn.Module]:
    """Modules of the network that a setting of `TrainingSettings.frozen` keeps."""
    if which == "none":
        return []
    return network.encoder_parts() if which == "encoder" else network.all_but_head_parts()
