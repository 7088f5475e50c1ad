"""Pairs of masks whose scores are known: by hand, and by panoptica."""

import numpy as np

PANOPTICA = (
    (900, 827, 0.09685534591194968, 0.37596126459698087),
    (1321, 1277, 0.14388888888888887, 0.5510857956568175),
    (725, 572, 0.110791515973478, 0.29355456285896614),
    (904, 674, 0.20531424053431707, 0.49533954727030627),
    (871, 825, 0.10070223025919228, 0.2589928057553957),
    (790, 844, 0.08227873793418088, 0.45962732919254656),
    (872, 958, 0.15308996445173637, 0.43309859154929575),
    (988, 1011, 0.1828091532328633, 0.5196850393700788),
    (790, 915, 0.11819221967963388, 0.33687943262411346),
    (848, 866, 0.11496537187594098, 0.41937094358462307),
    (678, 924, 0.13291547958214625, 0.38054968287526425),
    (737, 1022, 0.16126296440109142, 0.3916620954470653),
)
"""Voxels of both masks of `random_pair` 0, 1, ... and their ``pq_dsc`` and clDice, by panoptica 2.1.7 as SELMA3D 2026
calls it: components by cc3d, NaiveThresholdMatching(matching_threshold=0.3), scikit-image 0.26."""


def random_pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes, moved, lost, split and added: components that match well, badly, twice and not at all."""
    rng = np.random.default_rng(seed)
    truth, mask = np.zeros((2, 24, 32, 32), bool)
    for _ in range(40):
        start, size = rng.integers(0, (20, 28, 28)), rng.integers(1, 6, 3)
        moved, kept = start + rng.integers(-1, 2, 3), rng.random()
        if kept > 0.15:
            truth[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = True
        if kept < 0.85:
            mask[tuple(slice(max(a, 0), a + n) for a, n in zip(moved, size, strict=True))] = True
    truth[:, 15], mask[:, :, 11] = False, False
    return truth, mask


def cubes(*boxes: tuple[slice, slice, slice]) -> np.ndarray:
    volume = np.zeros((12, 12, 12), bool)
    for box in boxes:
        volume[box] = True
    return volume


A, B, C, ELSEWHERE = slice(1, 3), slice(4, 6), slice(8, 10), slice(10, 12)
TRUTH = cubes((A, A, A), (B, B, B), (C, C, C))
FOUND = cubes((A, A, A), (B, B, slice(5, 6)), (ELSEWHERE, A, ELSEWHERE))
