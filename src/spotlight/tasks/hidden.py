"""Pretraining without labels: blocks of the input are hidden, and the network fills them in from what is around."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from scipy import ndimage

from spotlight.errors import SpotlightError
from spotlight.foreground import Foreground
from spotlight.images import Stack
from spotlight.images.normalise import grid_shape
from spotlight.images.slabs import Allocate, slabs, values_of
from spotlight.pairs.pair import Pair
from spotlight.pairs.patches import Places, patch_starts
from spotlight.pairs.prepare import with_input
from spotlight.pairs.prepared import PreparationSettings, PreparedPair
from spotlight.tasks.base import TASKS, TargetDescription, Task, with_native_grid

FEWEST_PATCHES = 4
"""Patches for which the stacks of a run must have voxels."""
LEAST_BLOCK = 2
"""Fewest planes of a block."""
CONTENT = 0.5
"""Least share of a patch in which neighbouring voxels differ; padding and saturated regions have none."""


@TASKS.register
class HiddenTask(Task):
    """Fill in hidden blocks of the input. The result is a backbone: a start for other tasks, of no use by itself.

    Examples
    --------
    >>> from spotlight.tasks import HiddenTask
    >>> task = HiddenTask(hidden_share=0.5, block_px=8)
    >>> task.block(3, (2.0, 0.5, 0.5))  # as deep in µm as it is wide
    (2, 8, 8)
    """

    kind: Literal["hidden"] = "hidden"
    column: ClassVar[str] = "input"
    learns: ClassVar[str] = "what was hidden"
    scores: ClassVar[Mapping[str, str]] = {
        "gain_over_mean": "error saved against the mean",
        "gain_over_inpainting": "error saved against inpainting",
    }
    title: ClassVar[str] = "Reconstruction"
    suffix: ClassVar[str] = "-reconstruction"
    backbone: ClassVar[bool] = True
    nowhere: ClassVar[str] = (
        "in no stack do half of a patch's voxels differ from their neighbours: all is constant or padding. Give other "
        "stacks, or make patches.size smaller."
    )

    hidden_share: float = Field(0.3, gt=0, le=0.9, description="Share of the blocks of a patch that are hidden.")
    block_px: int = Field(
        8,
        ge=2,
        description="Edge of a block in Y and X, in voxels of the network's grid; along Z it has as many planes as "
        "cover the same length, at least 2.",
    )

    further_blocks_px: tuple[PositiveInt, ...] = Field(
        (), description="Further edges of blocks: each patch draws one of all, with equal chances."
    )
    early_share: float | None = Field(
        None, gt=0, le=0.9, description="Share that is hidden in the first steps. None: that of all others."
    )
    early_steps: int = Field(0, ge=0, description="Number of those steps.")

    @property
    def blocks_px(self) -> tuple[int, ...]:
        """All edges of blocks."""
        return self.block_px, *self.further_blocks_px

    def defaults(self) -> dict[str, Any]:
        """Patches from everywhere, varied; the loss of what is hidden."""
        varied = {"augment": True, "intensity": 0.2, "noise": 0.1}
        return with_native_grid("hidden", patches=varied, training={"warmup": 100, "head_rate": 1.0})

    def in_words(self) -> str:
        """Say what is hidden."""
        return (
            f"Hidden of every patch: {self.hidden_share:g} of the blocks of {self.block_px} voxels in Y and X, and as "
            "deep in µm, filled with the mean. In validation the same blocks of whole stacks, compared with two free "
            "guesses: the mean, and inpainting by a normalised Gaussian convolution."
        )

    def block(self, dims: int, spacing: tuple[float, ...] | None, edge: int | None = None) -> tuple[int, ...]:
        """Return the voxels of a block per axis; where the voxel size is not known, voxels count as cubic."""
        edge = self.block_px if edge is None else edge
        if dims == 2:
            return edge, edge
        planes = edge if spacing is None else round(edge * spacing[-1] / spacing[0])
        return max(LEAST_BLOCK, planes), edge, edge

    def read(self, pair: Pair, settings: PreparationSettings) -> tuple[list[Stack], Stack]:
        """Read the input alone; it is its own truth."""
        inputs = self.read_whole(pair, settings)
        return inputs, inputs[0]

    def prepare(self, pair: Pair, settings: PreparationSettings, allocate: Allocate) -> PreparedPair:
        """Prepare the input; `mask` are the blocks that are hidden in validation, the same in every run."""
        inputs, first = self.read(pair, settings)
        for one in inputs:
            _require_image(one)
        shape = grid_shape(first, settings.grid)
        target, mask = allocate("target", shape, np.float32), allocate("mask", shape, np.bool_)
        spacing = first.voxel_size if settings.grid == "native" else None
        hidden = hidden_blocks(shape, self.block(len(shape), spacing), self.hidden_share, np.random.default_rng(0))
        for slab in slabs(shape):
            mask[slab.inner] = hidden[slab.inner]
        share = float(np.mean(hidden))
        made = with_input(
            pair, inputs, settings, allocate, target=target, mask=mask, foreground=Foreground(0.0, share, ())
        )
        channel = made.inputs[int(pair.target_name or 0)]
        for slab in slabs(shape):
            target[slab.inner] = channel[slab.inner]
        return made

    def places(self, pair: PreparedPair, patch: tuple[int, ...], least: int) -> Places:
        """Draw from everywhere but where most of a patch is constant, such as padding."""
        content = np.zeros(pair.target.shape, np.bool_)
        for slab in slabs(pair.target.shape, 1):
            part = np.asarray(pair.target[slab.outer])
            varies = ndimage.maximum_filter(part, 3) > ndimage.minimum_filter(part, 3)
            content[slab.inner] = varies[slab.crop]
        return patch_starts(pair.target.shape, patch, content, int(np.ceil(CONTENT * np.prod(patch))))

    def require_patch(
        self, patch: tuple[int, ...], spacing: tuple[float, ...] | None, shapes: Sequence[tuple[int, ...]]
    ) -> None:
        """Raise a `SpotlightError` if blocks are too large for patches of this size, or there are too few voxels."""
        block = self.block(len(patch), spacing, max(self.blocks_px))
        if any(2 * b > p for b, p in zip(block, patch, strict=True)):
            raise SpotlightError(
                f"a hidden block of {block} voxels (task.block_px {max(self.blocks_px)}) is larger than half a patch "
                f"of {patch} voxels. Lower task.block_px, or make patches.size larger."
            )
        room = sum(np.prod(shape) for shape in shapes) / np.prod(patch)
        if room < FEWEST_PATCHES:
            raise SpotlightError(
                f"the stacks have the voxels of {room:.1f} patches of {patch}, but pretraining needs those of at least "
                f"{FEWEST_PATCHES}. Give more stacks, or make patches.size smaller."
            )

    def hiding(
        self, patch: tuple[int, ...], spacing: tuple[float, ...] | None
    ) -> Callable[[Sequence[int]], NDArray[np.bool_]]:
        """Draw hidden blocks of a patch from a seed: that of the run, the step, and the number in the batch."""
        blocks = [self.block(len(patch), spacing, edge) for edge in self.blocks_px]

        def hide(seed: Sequence[int]) -> NDArray[np.bool_]:
            rng = np.random.default_rng([*seed, 2])
            block = blocks[int(rng.integers(len(blocks)))] if len(blocks) > 1 else blocks[0]
            early = self.early_share if seed[1] < self.early_steps else None
            return hidden_blocks(patch, block, self.hidden_share if early is None else early, rng)

        return hide

    def shown(self, pair: PreparedPair) -> NDArray[np.float32]:
        """The input with the blocks of validation filled with 0, the mean."""
        return np.where(np.asarray(pair.mask), np.float32(0), pair.judged_input)

    def score(self, output: NDArray[np.float32], pair: PreparedPair) -> dict[str, float]:
        """Share of the error (smooth L1 on hidden voxels) of two free guesses that the network saves; 1 is perfect."""
        hidden, truth = np.asarray(pair.mask), np.asarray(pair.target)
        error = _smooth_l1(output - truth, hidden)
        mean = _smooth_l1(truth, hidden)
        inpainted = min(
            _smooth_l1(inpaint(truth, ~hidden, self.block_px / part) - truth, hidden) for part in (2.0, 4.0)
        )
        return {"gain_over_mean": 1 - error / mean, "gain_over_inpainting": 1 - error / inpainted}

    def describe(self, pairs: Sequence[PreparedPair], settings: PreparationSettings) -> TargetDescription:
        """Name the channel; its head is of no further use."""
        return TargetDescription(channel=pairs[0].channels[1], normalised_range=(0.0, 1.0), intensity_range=(0.0, 1.0))


def hidden_blocks(
    shape: tuple[int, ...], block: tuple[int, ...], share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Hide a share of the blocks of a grid that begins at a random voxel; at least one, and not all.

    Parameters
    ----------
    shape : tuple of int
        Voxels per axis.
    block : tuple of int
        Voxels of a block per axis; those at the borders may be smaller.
    share : float
        Of the blocks, from 0 to 1.
    rng : Generator
        The source of all randomness.

    Returns
    -------
    ndarray of bool
        Where it is hidden.

    Examples
    --------
    >>> hidden_blocks((2, 8), (2, 2), 0.5, np.random.default_rng(3))[0].sum() in (3, 4, 5)
    True
    """
    offset = [int(rng.integers(edge)) for edge in block]
    places = [(np.arange(n) + o) // b for n, o, b in zip(shape, offset, block, strict=True)]
    grid = tuple(int(place[-1]) + 1 for place in places)
    count = int(np.prod(grid))
    chosen = np.zeros(count, np.bool_)
    chosen[rng.permutation(count)[: min(max(1, round(share * count)), max(1, count - 1))]] = True
    return chosen.reshape(grid)[np.ix_(*places)]


def inpaint(image: NDArray[np.float32], known: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    """Fill in what is not known by the Gaussian mean of what is (normalised convolution, Knutsson and Westin 1993).

    Parameters
    ----------
    image : (Z, Y, X) or (Y, X) float32
        Values that are not known do not matter.
    known : bool
        The same shape.
    sigma : float
        Standard deviation in voxels.

    Examples
    --------
    >>> row = np.array([[2.0, 9.0, 4.0]], np.float32)
    >>> float(inpaint(row, np.array([[True, False, True]]), 1.0)[0, 1])
    3.0
    """
    weight = ndimage.gaussian_filter(known.astype(np.float32), sigma)
    total = ndimage.gaussian_filter(np.where(known, image, 0).astype(np.float32), sigma)
    filled = np.divide(total, weight, out=np.zeros_like(total), where=weight > 1e-6)
    return np.where(known, image, filled)


def _smooth_l1(difference: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    size = np.abs(difference[where].astype(np.float64))
    return float(np.where(size < 1, size**2 / 2, size - 0.5).mean())


def _require_image(stack: Stack) -> None:
    """Raise a `SpotlightError` if a stack has two values only, as masks have."""
    found: set[float] = set()
    for part in values_of(stack.values):
        found |= set(np.unique(part[..., :: max(1, part.shape[-1] // 256)])[:3].tolist())
        if len(found) > 2:
            return
    if len(found) == 2:
        shown = ", ".join(f"{value:g}" for value in sorted(found))
        raise SpotlightError(
            f"{stack.source}: has two values only ({shown}), as masks have. "
            "Leave it out: give a manifest with a column input, or a folder of images alone."
        )
