"""Splits of pairs into training, validation and test: by groups, or by regions of a single stack."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spotlight.images.regions import format_region
from spotlight.pairs.pair import Pair
from spotlight.quoting import counted

MARGIN_UM = 20.0
"""Between regions of one stack: the width of a cell, which must not lie in two of them."""
LEAST_PX = 64
"""A region is as wide at least."""
SHARE = 0.25
"""Of a single stack, this share is for testing."""


def split_by_group(pairs: Sequence[Pair], seed: int = 0) -> tuple[list[Pair], str]:
    """Put about 70 % of the groups into training and 15 % each into validation and test.

    A pair without a group is a group of its own, but the targets of one field stay together. Two groups become training
    and test. If there is just one, its pairs are split, and the group is dropped, unless they are timepoints, which are
    too alike: these are all for training. The same seed gives the same splits.

    Returns
    -------
    (list of Pair, str)
        The pairs with splits, and a sentence that says how.
    """
    groups = {pair.group for pair in pairs if pair.group}
    single = len(groups) == 1 and all(pair.group for pair in pairs)
    if single and not any(pair.time is not None for pair in pairs):
        pairs = [replace(pair, group="") for pair in pairs]
        groups = set()
    units = [pair.group or _field(pair, number) for number, pair in enumerate(pairs)]
    names = sorted(set(units))
    split = dict.fromkeys(names, "train")
    order = [names[number] for number in np.random.default_rng(seed).permutation(len(names))]
    count = max(1, round(0.15 * len(names))) if len(names) > 1 else 0
    split |= dict.fromkeys(order[:count], "test")
    if len(names) > 2:
        split |= dict.fromkeys(order[count : 2 * count], "val")
    done = [replace(pair, split=split[unit]) for pair, unit in zip(pairs, units, strict=True)]
    sizes = ", ".join(f"{sum(p.split == name for p in done)} {name}" for name in ("train", "val", "test"))
    if len(names) == 1:
        return done, f"All are for training ({sizes}): they cannot be split without showing the test to the training."
    how = f"by {counted(len(groups), 'group')}, none of which is in two splits" if groups else "pair by pair"
    return done, f"They are split {how}: {sizes}."


def _field(pair: Pair, number: int) -> str:
    """What no other field has; pairs of several targets share it."""
    return f"{pair.input} {pair.scene} {pair.time}" if pair.target_name else f"{number}"


def split_by_region(
    pairs: Sequence[Pair], shape: tuple[int, ...], pixel_um: float | None
) -> tuple[list[Pair], str] | None:
    """Split the only stack there is: a part along its longer side is for training, and the rest for testing.

    Between them lies a margin of 20 µm, or an eighth of the side if the pixel size is not known or this is less.

    Parameters
    ----------
    pairs : sequence of Pair
        One stack, with one or several targets, without a region.
    shape : tuple of int
        Its spatial axes, ending in Y and X.
    pixel_um : float, optional
        Width of a pixel.

    Returns
    -------
    (list of Pair, str) or None
        Two pairs for each, and a sentence that says how; None if the stack is too small for that.
    """
    along = len(shape) - 2 + int(shape[-1] >= shape[-2])
    length = shape[along]
    margin = length // 8 if pixel_um is None else min(length // 8, round(MARGIN_UM / pixel_um))
    test = max(LEAST_PX, round(SHARE * length))
    stop = length - test - margin
    if stop < LEAST_PX or any(pair.region is not None for pair in pairs):
        return None
    split = []
    for name, part in (("train", slice(0, stop)), ("test", slice(length - test, length))):
        region = format_region(tuple(part if axis == along else slice(None) for axis in range(len(shape))))
        split += [replace(pair, region=region, split=name, group="") for pair in pairs]
    return split, (
        f"There is one stack, so it is split along {'YX'[along - len(shape) + 2]}: pixels 0 to {stop} for training, "
        f"{length - test} to {length} for testing, and {margin} between them for neither. A test on another stack says "
        "more."
    )
