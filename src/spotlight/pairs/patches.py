"""Drawing training patches: uniform over stacks, and over the positions that have enough foreground."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.images.slabs import slabs


def window_sums(mask: NDArray[np.bool_], window: tuple[int, ...]) -> NDArray[np.integer[Any]]:
    """Count the True voxels in every full window by one integral image; exact, at a cost independent of the window.

    Parameters
    ----------
    mask : (Z, Y, X) or (Y, X) bool
    window : tuple of int
        Window size per axis, at most that of the mask.

    Returns
    -------
    ndarray of int
        Entry p is the count in the window that starts at p; shape ``mask.shape - window + 1``.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.pairs import window_sums
    >>> window_sums(np.array([True, True, False, True]), (2,)).tolist()
    [2, 1, 1]
    """
    sums: NDArray[np.integer[Any]] = mask.astype(np.int32 if mask.size < 2**31 else np.int64)
    for axis, size in enumerate(window):
        total = np.moveaxis(np.cumsum(sums, axis=axis, dtype=sums.dtype), axis, 0)
        counts = total[size - 1 :].copy()
        counts[1:] -= total[:-size]
        sums = np.moveaxis(counts, 0, axis)
    return sums


class Places(Protocol):
    """Start positions of patches, by number."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, number: int, /) -> tuple[int, ...]:
        """Return the position of this number."""


@dataclass(frozen=True, eq=False)
class Starts:
    """Allowed start positions of a patch in one stack, as runs of adjacent positions in C order.

    Attributes
    ----------
    shape : tuple of int
        Number of positions per axis at which the patch fits.
    firsts : (N,) int64
        Flat index at which each run begins.
    counts : (N,) int64
        Cumulative number of positions, including each run.
    """

    shape: tuple[int, ...]
    firsts: NDArray[np.int64]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.counts[-1]) if len(self.counts) else 0

    def __getitem__(self, number: int) -> tuple[int, ...]:
        run = int(np.searchsorted(self.counts, number, side="right"))
        before = int(self.counts[run - 1]) if run else 0
        return tuple(int(i) for i in np.unravel_index(int(self.firsts[run]) + number - before, self.shape))


def patch_starts(
    shape: tuple[int, ...], patch: tuple[int, ...], mask: NDArray[np.bool_] | None = None, least: int = 0
) -> Starts:
    """Find all start positions at which a patch fits and has at least `least` foreground voxels.

    The mask is read slab by slab, so a mask in a file does not have to fit into memory.

    Parameters
    ----------
    shape, patch : tuple of int
        Sizes of stack and patch; the patch must fit.
    mask : ndarray of bool, optional
        The foreground, needed if `least` is not 0.
    least : int
        Fewest foreground voxels in a patch.

    Returns
    -------
    Starts
        Its length is the number of positions; ``starts[n]`` is one of them, a tuple of indices.

    Raises
    ------
    SpotlightError
        If the patch does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.pairs import patch_starts
    >>> mask = np.zeros((4, 4), bool)
    >>> mask[3, 3] = True
    >>> len(patch_starts(mask.shape, (2, 2))), len(patch_starts(mask.shape, (2, 2), mask, least=1))
    (9, 1)
    """
    positions = tuple(n - p + 1 for n, p in zip(shape, patch, strict=True))
    if min(positions) < 1:
        raise SpotlightError(
            f"a patch of {patch} voxels does not fit a stack of {shape} voxels. Make the patch smaller "
            "(patches.size) or leave the stack out."
        )
    if least == 0 or mask is None:
        return Starts(positions, np.zeros(1, np.int64), np.array([math.prod(positions)]))
    firsts, lengths = [], []
    row = math.prod(positions[1:])
    for slab in slabs((positions[0], *shape[1:])):
        start, stop = slab.inner.start, slab.inner.stop
        enough = window_sums(np.asarray(mask[start : stop + patch[0] - 1]), patch) >= least
        edges = np.flatnonzero(np.diff(enough.ravel().astype(np.int8), prepend=0, append=0))
        firsts.append(edges[::2] + start * row)
        lengths.append(edges[1::2] - edges[::2])
    return Starts(positions, np.concatenate(firsts), np.cumsum(np.concatenate(lengths)))


MOST_CENTRES = 2**20
"""Voxels of a stack around which patches are drawn; of more, every so many-th."""
FINE = 2**40
"""Numbers among which `Mixed` shares out its positions: so many that rounding them does not show."""


def centred_starts(target: NDArray[Any], patch: tuple[int, ...]) -> Starts:
    """Find the start positions of patches whose centres are voxels above 0, moved inwards at the borders of the stack.

    Parameters
    ----------
    target : (Z, Y, X) or (Y, X) array
        Read slab by slab.
    patch : tuple of int
        Size per axis; it must fit.
    """
    positions = tuple(n - p + 1 for n, p in zip(target.shape, patch, strict=True))
    found = [
        np.flatnonzero(np.asarray(target[slab.inner]) > 0) + slab.inner.start * math.prod(target.shape[1:])
        for slab in slabs(target.shape)
    ]
    voxels = np.concatenate(found)
    voxels = voxels[:: -(-len(voxels) // MOST_CENTRES) or 1]
    centres = np.unravel_index(voxels, target.shape)
    starts = [np.clip(c - p // 2, 0, n - 1) for c, p, n in zip(centres, patch, positions, strict=True)]
    firsts = np.ravel_multi_index(tuple(starts), positions).astype(np.int64)
    return Starts(positions, firsts, np.arange(1, len(firsts) + 1, dtype=np.int64))


@dataclass(frozen=True)
class Mixed:
    """Start positions of which a share is from one set and the rest from another, with equal chances within each.

    Attributes
    ----------
    first, second : Places
        The sets; neither is empty.
    share : float
        Of the first, from 0 to 1.
    """

    first: Places
    second: Places
    share: float

    def __len__(self) -> int:
        return FINE

    def __getitem__(self, number: int) -> tuple[int, ...]:
        border = round(self.share * FINE)
        if number < border:
            return self.first[number * len(self.first) // border]
        return self.second[(number - border) * len(self.second) // (FINE - border)]


class Draw(NamedTuple):
    """A drawn patch: its stack, plane, start and orientation.

    `plane` is the index of the input plane; it is 0 if the network sees all planes of a stack together. `turn`, from 0
    to 7, is the index of the symmetry of the YX square; 0 leaves the patch unchanged.
    """

    stack: int
    plane: int
    start: tuple[int, ...]
    turn: int


class PatchSampler:
    """Draws patches; the batch of a training step depends only on the seed and the step.

    So runs can be repeated and resumed without a stored state. All groups of stacks are equally likely, whatever their
    size; so are the stacks of a group, and the allowed positions of a stack.

    Parameters
    ----------
    starts : sequence of Places
        Allowed positions per stack.
    patch : tuple of int
        Patch size per axis in voxels.
    seed : int
        The source of all randomness.
    augment : bool
        Flip Y and X and rotate by 90 degrees in the plane, at random. Rotations need a patch that is square in YX.
    planes : sequence of int, optional
        Number of planes per stack from which one is drawn for every patch; 0 for a stack whose planes the network sees
        together. Default: 0 for all stacks.
    groups : sequence of sequences of int, optional
        Indices of the stacks of every group, for example the targets of every field. Default: one group per stack.
    balanced : bool
        Use the groups in turn instead of drawing them. The counts of two groups in a batch then differ by at most one;
        over as many batches as there are groups they are equal.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.pairs import PatchSampler, patch_starts
    >>> stacks = np.arange(2 * 8 * 16 * 16).reshape(2, 8, 16, 16)
    >>> sampler = PatchSampler([patch_starts(stack.shape, (4, 8, 8)) for stack in stacks], (4, 8, 8), seed=0)
    >>> batch = sampler.draw(step=5, batch=3)
    >>> [sampler.cut(stacks[one.stack], one.start, one.turn).shape for one in batch]
    [(4, 8, 8), (4, 8, 8), (4, 8, 8)]
    >>> batch == sampler.draw(step=5, batch=3)  # a resumed run draws the same
    True
    """

    def __init__(
        self,
        starts: Sequence[Places],
        patch: tuple[int, ...],
        seed: int,
        augment: bool = False,
        planes: Sequence[int] | None = None,
        groups: Sequence[Sequence[int]] | None = None,
        balanced: bool = False,
    ) -> None:
        self.starts = starts
        self.patch = patch
        self.seed = seed
        self.augment = augment
        self.planes = planes if planes is not None else [0] * len(starts)
        self.balanced = balanced
        each = groups if groups is not None else [[number] for number in range(len(starts))]
        usable = ([number for number in group if len(starts[number])] for group in each)
        self.groups = [group for group in usable if group]
        if not self.groups:
            raise SpotlightError(
                f"no stack has a patch of {patch} voxels with enough foreground. Check the targets and their "
                "thresholds, or lower patches.least_foreground."
            )

    def draw(self, step: int, batch: int) -> list[Draw]:
        """Choose the patches of a step.

        Parameters
        ----------
        step : int
            Its number, from 0.
        batch : int
            How many patches.
        """
        rng = np.random.default_rng([self.seed, step])
        drawn = []
        for number in range(step * batch, (step + 1) * batch):
            group = self.groups[number % len(self.groups) if self.balanced else int(rng.integers(len(self.groups)))]
            stack = group[int(rng.integers(len(group)))] if len(group) > 1 else group[0]
            start = self.starts[stack][int(rng.integers(len(self.starts[stack])))]
            plane = int(rng.integers(self.planes[stack])) if self.planes[stack] else 0
            drawn.append(Draw(stack, plane, start, int(rng.integers(8)) if self.augment else 0))
        return drawn

    def cut(self, array: NDArray[np.generic], start: tuple[int, ...], orientation: int) -> NDArray[np.generic]:
        """Cut a patch out of a stack, of all its channels if it has some, and orient it.

        Parameters
        ----------
        array : ([C,] [Z,] Y, X) ndarray
            The stack.
        start : tuple of int
            First voxel per spatial axis.
        orientation : int
            `Draw.turn`: 0 to 7, of which 0 leaves the patch as it is.
        """
        every = (slice(None),) * (array.ndim - len(self.patch))
        patch = array[every + tuple(slice(s, s + p) for s, p in zip(start, self.patch, strict=True))]
        return orient(patch, orientation)


def orient(array: NDArray[np.generic], orientation: int) -> NDArray[np.generic]:
    """Apply one of the eight symmetries of the square to the last two axes: if odd, flip X; then quarter turns."""
    if orientation % 2:
        array = np.flip(array, -1)
    return np.rot90(array, orientation // 2, axes=(-2, -1))
