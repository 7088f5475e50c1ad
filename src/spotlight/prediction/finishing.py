"""What a network gives becomes the stack that a user gets: its units, names, colours and history."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.images.lazy import Source
from spotlight.model import ModelDescription
from spotlight.prediction.workspace import Workspace
from spotlight.tasks import StainTask, TargetDescription

COLOR = "00FFFF"
"""In which viewers show a stain."""
COLORS = ("00FFFF", "FF00FF", "FFFF00", "00FF00", "FF8000", "0080FF")
"""In which they show several."""
VIRTUAL = StainTask.mark
"""What is added to the name of the target that a channel is a stain of."""
SPREAD = ", spread"
"""What is added to that, for the channel that says how sure the stain is."""


def finished(
    description: ModelDescription,
    model: str,
    stack: Stack,
    results: Sequence[Source],
    workspace: Workspace,
    targets: Sequence[TargetDescription],
    *,
    normalised: bool,
    flatten: bool | None,
) -> Stack:
    """Give results of a network as a stack in the units that were asked for: stains, then their spreads.

    Parameters
    ----------
    description, model
        The model's, and its name.
    stack : Stack
        The input.
    results : sequence of arrays
        Of the input's spatial shape each, in the network's units.
    workspace : Workspace
        Where the values are computed: at once, or when they are asked for.
    targets : sequence of TargetDescription
        How each result becomes intensities.
    normalised, flatten
        See `spotlight.prediction.Model.predict`.

    Raises
    ------
    SpotlightError
        If a value is not finite: when it is computed.
    """
    task = description.task

    def finish(values: NDArray[np.float32], which: int) -> NDArray[np.float32]:
        target, is_stain = targets[which % len(targets)], which < len(targets)
        require_finite(values)  # flattening would make background of them
        if is_stain and (target.flatten if flatten is None else flatten):
            values = target.flattened(values)
        if normalised:
            return values
        if is_stain:
            return require_finite(task.finish(values, target))
        return require_finite(values * np.float32(target.to_intensity(1.0) - target.to_intensity(0.0)))

    def require_finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
        if not np.isfinite(values).all():
            raise SpotlightError(
                f"{stack.source}: model {model} gives values that are not finite, so its stain is not "
                "written. Set precision to float32 (--settings); if that does not help, train the model anew."
            )
        return values

    unit = "standard deviations of the target" if normalised else task.unit
    names = [f"{target.channel or task.column}{task.mark}" for target in targets]
    colors = (COLOR,) if len(targets) == 1 else tuple(COLORS[n % len(COLORS)] for n in range(len(targets)))
    several = len(results) > 1
    array = workspace.deliver(_Finished(results, finish))
    return Stack(
        array if several else array[0],
        f"C{stack.spatial_axes}" if several else stack.spatial_axes,
        stack.voxel_size,
        (*names, *(f"{name}{SPREAD}" for name in names))[: len(results)],
        stack.source,
        f"{task.title} of {Path(stack.source).name} by model {model} (spotlight {description.spotlight}); unit: {unit}",
        colors=(*colors, *["FFFFFF"] * len(targets))[: len(results)],
    )


class _Finished:
    """Results side by side along a first axis, finished where and when a region is asked for."""

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        results: Sequence[Source],
        finish: Callable[[NDArray[np.float32], int], NDArray[np.float32]],
    ) -> None:
        self.results = results
        self.finish = finish

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.results), *self.results[0].shape

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[np.float32]:
        first, rest = (index[0], index[1:]) if index else (slice(None), ())
        if isinstance(first, int):
            return self._part(first, rest)
        return np.stack([self._part(which, rest) for which in range(len(self.results))[first]])

    def _part(self, which: int, index: tuple[int | slice, ...]) -> NDArray[np.float32]:
        return self.finish(np.asarray(self.results[which][index]), which).astype(np.float32, copy=False)
