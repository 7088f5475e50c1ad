"""Segmenting: the truth is a mask for each structure, the result its probability and labels."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.special import expit, logit

from spotlight.errors import SpotlightError
from spotlight.foreground import Foreground
from spotlight.images import Stack
from spotlight.images.slabs import Allocate, in_memory, slabs, values_of
from spotlight.pairs.pair import Pair
from spotlight.pairs.patches import Mixed, Places, centred_starts, patch_starts
from spotlight.pairs.prepare import on_grid, with_input
from spotlight.pairs.prepared import PreparationSettings, PreparedPair
from spotlight.tasks.base import TASKS, TargetDescription, Task, common_name, with_native_grid
from spotlight.tasks.components import find_labels

log = logging.getLogger("spotlight")

MOST_SHOWN = 6
"""Values of a mask that are named in an error."""


@TASKS.register
class SegmentTask(Task):
    """Predict where structures are: vessels, cells, plaques.

    Examples
    --------
    >>> from spotlight.tasks import SegmentTask
    >>> task = SegmentTask(foreground=(1, 2), not_annotated=(9,))
    >>> task.in_words()
    'Masks: 1/2 structure, 0 background, 9 not annotated; where the resampled mask is nearest.'
    """

    kind: Literal["segment"] = "segment"
    column: ClassVar[str] = "mask"
    learns: ClassVar[str] = "masks"
    scores: ClassVar[Mapping[str, str]] = {"mask_dice": "Dice coefficient"}
    title: ClassVar[str] = "Probability"
    unit: ClassVar[str] = "probability"
    mark: ClassVar[str] = ""
    suffix: ClassVar[str] = "-probability"

    structures: dict[str, Literal["contiguous", "isolated"]] = Field(
        {},
        description="What is known of the structures: 'contiguous', such as vessels and nerves, or 'isolated', such as "
        "cells and plaques. It decides how masks are scored; of others, both ways are reported.",
    )
    foreground: tuple[int, ...] = Field((1,), description="Values of a mask on the structure.")
    background: tuple[int, ...] = Field((0,), description="Values of a mask beside it.")
    not_annotated: tuple[int, ...] = Field((255,), description="Values of a mask where nothing is known.")
    centred: float = Field(
        0.6, ge=0, le=1, description="Share of the patches that are centred on foreground, where a stack has some."
    )
    prior_head: bool = Field(
        True,
        description="Begin with the share of foreground of the training masks everywhere: a head of weights 0 whose "
        "bias is its log-odds. With PyTorch's head, what a network has learnt before is soon spoilt.",
    )
    threshold: float = Field(0.5, gt=0, lt=1, description="Least probability of what is labelled.")
    least_voxels: int = Field(1, ge=1, description="Least size of what is labelled.")
    split: tuple[str, ...] = Field((), description="Structures whose bodies are cut where they touch.")

    @model_validator(mode="after")
    def _values_have_one_meaning(self) -> Self:
        values = (*self.foreground, *self.background, *self.not_annotated)
        if len(set(values)) < len(values) or not self.foreground:
            raise ValueError(
                "foreground needs a value, and no value may stand twice in foreground, background and not_annotated"
            )
        return self

    def defaults(self) -> dict[str, Any]:
        """Patches of all kinds, the loss of masks, a faster head, and the weights of the best Dice."""
        return with_native_grid("masks", training={"choose_by": "mask_dice"})

    def in_words(self) -> str:
        """Say what the values of a mask mean."""
        meant = (self.foreground, self.background, self.not_annotated)
        names = ("structure", "background", "not annotated")
        return (
            "Masks: "
            + ", ".join(
                f"{'/'.join(map(str, values))} {name}" for values, name in zip(meant, names, strict=True) if values
            )
            + "; where the resampled mask is nearest."
        )

    def read(self, pair: Pair, settings: PreparationSettings) -> tuple[list[Stack], Stack]:
        """Read the input and the mask, which need not state its voxel size."""
        inputs = self.read_whole(pair, settings)
        return inputs, pair.read_mask(inputs[0])

    def prepare(self, pair: Pair, settings: PreparationSettings, allocate: Allocate) -> PreparedPair:
        """Tell structure, background and what is not annotated apart; `mask` is what is annotated."""
        planes, truth = self.read(pair, settings)
        self._require_known(truth, pair)
        stack = replace(truth, voxel_size=planes[0].voxel_size)

        def of(values: tuple[int, ...], dtype: Any) -> Any:
            return lambda part: np.isin(part, values).astype(dtype)

        target = on_grid(stack, settings, "target", of(self.foreground, np.float32), allocate, order=0)
        known = (*self.foreground, *self.background)
        mask = on_grid(stack, settings, "mask", of(known, np.bool_), allocate, order=0)
        there, annotated = _counts(target, mask)
        if not annotated:
            raise SpotlightError(
                f"{truth.source}: nothing in it is annotated (row {pair.name!r}). Write absent instead of the file."
            )
        foreground = Foreground(threshold=0.5, fraction=there / annotated, warnings=())
        return with_input(pair, planes, settings, allocate, target=target, mask=mask, foreground=foreground)

    def places(self, pair: PreparedPair, patch: tuple[int, ...], least: int) -> Places:
        """Draw a share of the patches around voxels of the structure, the others from all that is annotated."""
        anywhere = patch_starts(pair.target.shape, patch, pair.mask, max(1, least))
        around = centred_starts(pair.target, patch)
        if not len(around) or not len(anywhere) or not self.centred:
            return anywhere
        return Mixed(around, anywhere, self.centred)

    def prior(self, pairs: Sequence[PreparedPair]) -> float | None:
        """Log-odds of the foreground of a structure in all its training masks."""
        there, annotated = np.sum([_counts(pair.target, pair.mask) for pair in pairs], axis=0)
        if not there:
            name = common_name([pair.channels[1] for pair in pairs]) or "the structure"
            raise SpotlightError(
                f"{name}: no training mask has a voxel of it. Foreground is written as "
                f"{', '.join(map(str, self.foreground))}, and {', '.join(map(str, self.not_annotated)) or 'no value'} "
                "means not annotated; if your masks have other values, set task.foreground and task.not_annotated."
            )
        return float(logit(min(there / annotated, 0.99))) if self.prior_head else None

    def score(self, output: NDArray[np.float32], pair: PreparedPair) -> dict[str, float]:
        """Dice coefficient of where the probability is at least 0.5; 1 if both are empty."""
        known = np.asarray(pair.mask)
        found, true = (output >= 0) & known, (np.asarray(pair.target) > 0) & known
        sizes = np.count_nonzero(found) + np.count_nonzero(true)
        return {"mask_dice": 2 * np.count_nonzero(found & true) / sizes if sizes else 1.0}

    def finish(self, values: NDArray[np.float32], target: TargetDescription) -> NDArray[np.float32]:
        """Turn log-odds into a probability."""
        return expit(values)  # type: ignore[no-any-return]

    def further(self, result: Stack, allocate: Allocate = in_memory) -> dict[str, Stack]:
        """Label the structures."""
        split = set(self.split) & set(result.channels)
        return {"-labels": find_labels(result, self.threshold, self.least_voxels, split, allocate)}

    def _require_known(self, truth: Stack, pair: Pair) -> None:
        """Raise a `SpotlightError` if a mask has values whose meaning is not stated."""
        known = {*self.foreground, *self.background, *self.not_annotated}
        found: set[float] = set()
        for part in values_of(truth.values):
            found |= set(np.unique(part).tolist())
        if strange := sorted(found - known):
            shown = ", ".join(f"{value:g}" for value in strange[:MOST_SHOWN])
            more = f" and {len(strange) - MOST_SHOWN} more" if len(strange) > MOST_SHOWN else ""
            column = f"{self.column}:{pair.target_name}" if pair.target_name else self.column
            raise SpotlightError(
                f"{truth.source}: the column {column} (row {pair.name!r}) must name a mask with the values "
                f"{', '.join(map(str, sorted(known)))}, but it has {shown}{more}. If it is a mask, say what its values "
                "mean by task.foreground, task.background and task.not_annotated; if it holds numbered instances, "
                "write 1 wherever there is one."
            )


def _counts(target: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Count the voxels of a structure, and those that are annotated."""
    there = annotated = 0
    for slab in slabs(target.shape):
        known = np.asarray(mask[slab.inner])
        annotated += int(np.count_nonzero(known))
        there += int(np.count_nonzero(known & (np.asarray(target[slab.inner]) > 0)))
    return there, annotated
