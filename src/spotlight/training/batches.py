"""The patches that feed the network: cut from memory or files ahead of time, or gathered on the GPU itself."""

import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from spotlight.losses import Batch
from spotlight.pairs.patches import Draw, PatchSampler, orient
from spotlight.pairs.prepared import PreparedPair
from spotlight.training.hardware import Processes
from spotlight.training.settings import PatchSettings

AHEAD = 3
"""Parts of batches that are cut while the network works, where that needs waiting for files or a GPU."""


@dataclass(frozen=True)
class Outputs:
    """Which stacks are the targets of one field, and which stain and modality each is.

    Attributes
    ----------
    names : tuple of str
        The stains, in the order of the network's outputs.
    numbers : tuple of int
        The stain of every stack.
    fields : tuple of tuples of int
        Numbers of the stacks of every field.
    modalities : tuple of str
        The modalities in the order of the network's one-hot input; none if it does not take one.
    """

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    fields: tuple[tuple[int, ...], ...]
    modalities: tuple[str, ...] = ()

    @classmethod
    def single(cls, count: int) -> "Outputs":
        """One stain, which every field has."""
        return cls(("",), (0,) * count, tuple((number,) for number in range(count)))

    @property
    def partial(self) -> bool:
        """Whether a sample may have another number of targets than one."""
        return len(self.names) > 1 or any(len(field) != 1 for field in self.fields)

    def one_hot(self, modality: str) -> list[float]:
        """1 at the place of a modality, 0 elsewhere."""
        return [float(name == modality) for name in self.modalities]


class PatchBatches(IterableDataset[Batch]):
    """Endless batches from the step at which it is asked to start; a batch depends on seed and step alone.

    Every process of a run draws the same batch and takes its own share of it, so that no two see the same patch and
    their number changes nothing but where a patch is worked on.

    Parameters
    ----------
    pairs : list of PreparedPair
        The training stacks.
    sampler : PatchSampler
        Draws the patches.
    patches : PatchSettings
        How the input is varied.
    batch_size, micro_batches : int
        Patches of a step, and the equal parts in which each process takes its share.
    processes : Processes
        The processes of the run.
    gather : Gather, optional
        Stacks on a GPU; without it patches are cut on the processor.
    ahead : bool
        Cut in a thread of its own, ahead of the network.
    outputs : Outputs, optional
        Which stacks belong to one field; left out: one stain, and each stack is a field of its own.
    hiding : callable, optional
        Draws from a seed where a patch is hidden; see `spotlight.tasks.Task.hiding`.
    """

    def __init__(
        self,
        pairs: list[PreparedPair],
        sampler: PatchSampler,
        patches: PatchSettings,
        batch_size: int,
        micro_batches: int = 1,
        processes: Processes = Processes(),  # noqa: B008 - frozen
        gather: "Gather | None" = None,
        ahead: bool = False,
        outputs: Outputs | None = None,
        hiding: Callable[[Sequence[int]], NDArray[np.bool_]] | None = None,
    ) -> None:
        self.hiding = hiding
        self.pairs = pairs
        self.sampler = sampler
        self.patches = patches
        self.batch_size = batch_size
        self.micro_batches = micro_batches
        self.processes = processes
        self.gather = gather
        self.ahead = ahead
        self.outputs = outputs or Outputs.single(len(pairs))
        self.field_of = {number: field for field in self.outputs.fields for number in field}
        self.first_step = 0
        self.components = max((int(pair.cells.max()) for pair in pairs if pair.cells is not None), default=0)

    def __iter__(self) -> Iterator[Batch]:
        wanted = ((step, part) for step in itertools.count(self.first_step) for part in range(self.micro_batches))
        if not self.ahead:
            yield from (self.batch(step, part) for step, part in wanted)
            return
        with ThreadPoolExecutor(1) as pool:
            waiting: deque[Future[Batch]] = deque()
            for step, part in wanted:
                waiting.append(pool.submit(self.batch, step, part))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()

    def batch(self, step: int, part: int = 0) -> Batch:
        """Cut a part of a step's patches out of the prepared stacks."""
        number = part * self.processes.count + self.processes.rank
        share = self.micro_batches * self.processes.count
        whole = self.sampler.draw(step, self.batch_size)
        drawn = whole[number::share]
        batch = self.gather(drawn, self.components) if self.gather is not None else self._cut(drawn)
        if self.outputs.partial and share > 1:
            counts = Counter(self.outputs.numbers[n] for draw in whole for n in self.field_of[draw.stack])
            batch = batch._replace(
                rows_per_part=tuple(counts[stain] / share for stain in range(len(self.outputs.names)))
            )
        seeds = [(self.sampler.seed, step, n) for n in range(number, self.batch_size, share)]
        batch = batch._replace(input=vary(batch.input, self.patches, seeds))
        return batch if self.hiding is None else hide(batch, np.stack([self.hiding(seed) for seed in seeds]))

    def _cut(self, drawn: Sequence[Draw]) -> Batch:
        """Cut inputs, and every target that their fields have there."""
        pairs = self.pairs
        inputs = []
        for stack, plane, start, turn in drawn:
            array = pairs[stack].input
            inputs.append(self.sampler.cut(array[plane] if pairs[stack].planes else array, start, turn))
        targets = [(sample, n, d) for sample, d in enumerate(drawn) for n in self.field_of[d.stack]]

        def stacked(name: str) -> Tensor:
            cut = [self.sampler.cut(getattr(pairs[n], name), d.start, d.turn) for _, n, d in targets]
            return torch.from_numpy(np.stack(cut)[:, None])

        percentiles = [found for _, n, _ in targets if (found := pairs[n].percentiles) is not None]
        modalities = [self.outputs.one_hot(pairs[d.stack].modality) for d in drawn]
        return Batch(
            torch.from_numpy(np.stack(inputs).reshape(len(inputs), -1, *self.sampler.patch)),
            stacked("target"),
            stacked("mask"),
            torch.tensor([pairs[n].threshold for _, n, _ in targets]),
            stacked("cells").long() if self.components else None,
            self.components,
            torch.tensor(percentiles) if percentiles else None,
            tuple((sample, self.outputs.numbers[n]) for sample, n, _ in targets) if self.outputs.partial else (),
            torch.tensor(modalities) if self.outputs.modalities else None,
        )

    def names(self, step: int) -> list[str]:
        """Names of the stacks that a step's patches are from, without repetition."""
        drawn = self.sampler.draw(step, self.batch_size)
        return sorted({self.pairs[draw.stack].name for draw in drawn})


class Gather:
    """Training stacks on a GPU, and batches gathered there in one indexing operation per array.

    Nothing but the start positions crosses the bus at a step.
    """

    def __init__(self, pairs: Sequence[PreparedPair], patch: tuple[int, ...], device: torch.device) -> None:
        self.device = device
        self.spatial = patch
        self.patch = (1, *patch)[-3:]
        shapes = torch.tensor([(1, *pair.input.shape)[-3:] for pair in pairs])
        sizes = shapes.prod(1)
        self.first = (sizes.cumsum(0) - sizes).to(device)
        self.strides = torch.stack((shapes[:, 1] * shapes[:, 2], shapes[:, 2], torch.ones_like(sizes)), 1).to(device)
        self.thresholds = torch.tensor([pair.threshold for pair in pairs], device=device)
        names = ("input", "target", "mask", *(("cells",) if pairs[0].cells is not None else ()))
        self.values = {name: self._flat([getattr(pair, name) for pair in pairs]) for name in names}
        height, width = self.patch[1:]
        turned = range(8) if height == width else range(1)
        plane = np.arange(height * width).reshape(height, width)
        order = torch.from_numpy(np.stack([orient(plane, turn).ravel() for turn in turned])).to(device)
        self.rows, self.columns = order // width, order % width
        self.planes = torch.arange(self.patch[0], device=device)

    def _flat(self, arrays: list[NDArray[Any]]) -> Tensor:
        flat = torch.empty(sum(a.size for a in arrays), dtype=torch.from_numpy(arrays[0][:0]).dtype, device=self.device)
        end = 0
        for array in arrays:
            start, end = end, end + array.size
            flat[start:end] = torch.from_numpy(np.ascontiguousarray(array).ravel()).to(self.device)
        return flat

    def __call__(self, drawn: Sequence[Draw], components: int) -> Batch:
        """Gather the drawn patches; values and shapes are those of cutting them one by one."""
        places = torch.tensor([(draw.stack, draw.turn, *(0, *draw.start)[-3:]) for draw in drawn])
        if self.device.type == "cuda":
            places = places.pin_memory().to(self.device, non_blocking=True)
        stack, turn, start = places[:, 0], places[:, 1], places[:, 2:]
        strides = self.strides[stack]
        first = self.first[stack] + (start * strides).sum(1)
        within = self.rows[turn] * strides[:, 1:2] + self.columns[turn]
        index = (first[:, None] + self.planes * strides[:, :1])[:, :, None] + within[:, None, :]
        found = {name: flat[index].view(len(drawn), 1, *self.spatial) for name, flat in self.values.items()}
        cells = found["cells"].long() if "cells" in found else None
        return Batch(found["input"], found["target"], found["mask"], self.thresholds[stack], cells, components)


def hide(batch: Batch, hidden: NDArray[np.bool_]) -> Batch:
    """Let the network see the mean where a sample is hidden, and learn what is there.

    Parameters
    ----------
    batch : Batch
        Its input is what there is to see; of several channels, each is the target of the row of its number.
    hidden : (B, [Z,] Y, X) bool
        Hidden of every channel.
    """
    where = torch.from_numpy(hidden)[:, None].to(batch.input.device)
    target, mask = batch.input, where
    if batch.rows:
        samples, channels = torch.tensor(batch.rows, device=batch.input.device).unbind(1)
        target, mask = batch.input[samples, channels][:, None], where[samples]
    return batch._replace(input=batch.input.masked_fill(where, 0.0), target=target, mask=mask)


def vary(image: Tensor, settings: PatchSettings, seeds: Sequence[tuple[int, ...]]) -> Tensor:
    """Vary focus, contrast, brightness and noise of normalised inputs, each channel of a sample by its own draw.

    Parameters
    ----------
    image : (B, C, [Z,] Y, X) Tensor
    settings : PatchSettings
        How much at most; where all are 0 the image itself is returned.
    seeds : sequence of B tuples of int
        The source of all randomness.
    """
    if settings.intensity == settings.noise == settings.focus == 0:
        return image
    sources = [np.random.default_rng([*seed, 1]) for seed in seeds]

    def draws(low: float, high: float) -> Tensor:
        drawn = np.stack([source.uniform(low, high, image.shape[1]) for source in sources])
        return torch.tensor(drawn, dtype=image.dtype, device=image.device).view(*drawn.shape, *[1] * (image.ndim - 2))

    if settings.focus > 0:
        pool = torch.nn.functional.avg_pool3d if image.ndim == 5 else torch.nn.functional.avg_pool2d
        mean = pool(image, 3, stride=1, padding=1, count_include_pad=False)
        image = image + draws(-settings.focus, settings.focus) * (mean - image)
    if settings.intensity > 0:
        contrast, brightness = (draws(-settings.intensity, settings.intensity) for _ in range(2))
        image = image * (1 + contrast) + brightness
    if settings.noise > 0:
        noise = torch.empty(image.shape, device=image.device)  # filled in C order, whatever the image's is
        for sample, source in zip(noise, sources, strict=True):
            sample.normal_(generator=torch.Generator(image.device).manual_seed(int(source.integers(2**62))))
        image = image + draws(0, settings.noise) * noise
    return image
