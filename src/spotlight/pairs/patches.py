"""Drawing training patches: uniform over stacks and over the positions that hold enough foreground."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spotlight.errors import SpotlightError


def window_sums(mask: NDArray[np.bool_], window: tuple[int, ...]) -> NDArray[np.int64]:
    """Number of True voxels in every full window, by one integral image: exact and independent of the window's size.

    Parameters
    ----------
    mask : (Z, Y, X) or (Y, X) bool
    window : tuple of int
        Window size per axis, at most the mask's.

    Returns
    -------
    ndarray of int64
        Entry p is the count in the window that starts at p; shape ``mask.shape - window + 1``.
    """
    sums = mask.astype(np.int64)
    for axis, size in enumerate(window):
        total = np.cumsum(sums, axis=axis)
        upper = np.take(total, np.arange(size - 1, total.shape[axis]), axis)
        lower = np.take(total, np.arange(0, total.shape[axis] - size), axis)
        first = np.take(upper, [0], axis)
        sums = np.concatenate([first, np.take(upper, np.arange(1, upper.shape[axis]), axis) - lower], axis)
    return sums


@dataclass(frozen=True)
class Starts:
    """Allowed start positions of a patch in one stack: all of them, or those in a list of flat indices."""

    shape: tuple[int, ...]
    allowed: NDArray[np.int64] | None

    def __len__(self) -> int:
        return int(np.prod(self.shape)) if self.allowed is None else len(self.allowed)

    def __getitem__(self, number: int) -> tuple[int, ...]:
        flat = number if self.allowed is None else self.allowed[number]
        return tuple(int(i) for i in np.unravel_index(flat, self.shape))


def patch_starts(
    shape: tuple[int, ...], patch: tuple[int, ...], mask: NDArray[np.bool_] | None = None, least: int = 0
) -> Starts:
    """Find all start positions at which a patch fits and holds at least `least` foreground voxels.

    Parameters
    ----------
    shape, patch : tuple of int
        Sizes of stack and patch; the patch must fit.
    mask : ndarray of bool, optional
        The foreground, needed if `least` is not 0.
    least : int
        Fewest foreground voxels in a patch.
    """
    positions = tuple(n - p + 1 for n, p in zip(shape, patch, strict=True))
    if min(positions) < 1:
        raise SpotlightError(
            f"a patch of {patch} voxels does not fit a stack of {shape} voxels. Make the patch smaller "
            "(patches.size) or leave the stack out."
        )
    if least == 0 or mask is None:
        return Starts(positions, None)
    return Starts(positions, np.flatnonzero(window_sums(mask, patch) >= least))


class PatchSampler:
    """Draws patches; the batch of a training step depends on the seed and the step alone.

    That makes runs repeatable and resumable without any state. Stacks are equally likely whatever their size, and
    within a stack every allowed position is.

    Parameters
    ----------
    starts : sequence of Starts
        Allowed positions per stack.
    patch : tuple of int
        Patch size per axis in voxels.
    seed : int
        The source of all randomness.
    augment : bool
        Flip Y and X and turn by 90 degrees in the plane, at random. Turns need a patch that is square in YX.
    """

    def __init__(self, starts: Sequence[Starts], patch: tuple[int, ...], seed: int, augment: bool = False) -> None:
        self.starts = starts
        self.patch = patch
        self.seed = seed
        self.augment = augment
        self.usable = [i for i, s in enumerate(starts) if len(s)]
        if not self.usable:
            raise SpotlightError(
                f"no stack has a patch of {patch} voxels with enough foreground. Check the targets and their "
                "thresholds, or lower patches.least_foreground."
            )

    def draw(self, step: int, batch: int) -> list[tuple[int, tuple[int, ...], int]]:
        """Choose the patches of a step.

        Returns
        -------
        list of (stack number, start position, orientation)
            Orientation 0 to 7 counts the symmetries of the YX square; 0 leaves the patch as it is.
        """
        rng = np.random.default_rng([self.seed, step])
        drawn = []
        for _ in range(batch):
            stack = self.usable[int(rng.integers(len(self.usable)))]
            start = self.starts[stack][int(rng.integers(len(self.starts[stack])))]
            drawn.append((stack, start, int(rng.integers(8)) if self.augment else 0))
        return drawn

    def cut(self, array: NDArray[np.generic], start: tuple[int, ...], orientation: int) -> NDArray[np.generic]:
        """Cut a patch out of a stack and orient it."""
        patch = array[tuple(slice(s, s + p) for s, p in zip(start, self.patch, strict=True))]
        return orient(patch, orientation)


def orient(array: NDArray[np.generic], orientation: int) -> NDArray[np.generic]:
    """Apply one of the eight symmetries of the square to the last two axes: a flip of X if odd, then quarter turns."""
    if orientation % 2:
        array = np.flip(array, -1)
    return np.rot90(array, orientation // 2, axes=(-2, -1))
