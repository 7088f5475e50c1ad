"""Restoring: the truth is a sharper or less noisy stack of the same channel, and so is the result."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.images.normalise import normalise
from spotlight.images.scaling import input_scale
from spotlight.images.slabs import Allocate
from spotlight.pairs.pair import Pair
from spotlight.pairs.prepare import on_grid, with_input
from spotlight.pairs.prepared import PreparationSettings, PreparedPair
from spotlight.tasks.base import TASKS, TargetDescription, Task, with_native_grid
from spotlight.tasks.degrade import DegradeSettings, degrade

if TYPE_CHECKING:
    from spotlight.networks import StainNetwork


@TASKS.register
class RestoreTask(Task):
    """Deblur or denoise: what is learnt is a correction that is added to the input.

    Examples
    --------
    >>> from spotlight.tasks import DegradeSettings, RestoreTask
    >>> RestoreTask().truth_column()  # pairs of a noisy and a better image
    'target'
    >>> RestoreTask(degrade=DegradeSettings(photons=20)).truth_column()  # sharp images alone
    'input'
    """

    kind: Literal["restore"] = "restore"
    scores: ClassVar[Mapping[str, str]] = {"psnr": "PSNR in dB, of the range 1"}
    title: ClassVar[str] = "Restored image"
    unit: ClassVar[str] = "intensity of the input"
    mark: ClassVar[str] = " (restored)"
    suffix: ClassVar[str] = "-restored"
    scaled_by_input: ClassVar[bool] = True

    degrade: DegradeSettings | None = Field(
        None,
        description="Make the inputs from sharp stacks, which are the targets: the manifest's column input names them. "
        "None: the column target names the sharper image of every input.",
    )

    def truth_column(self) -> str:
        """The sharp stack is the input itself, where inputs are made from it."""
        return "target" if self.degrade is None else "input"

    def in_words(self) -> str:
        """Say what is learnt, and from what the inputs are made."""
        truth = "the sharper image" if self.degrade is None else "the stack itself"
        made = "" if self.degrade is None else f" The input is made from it by {self.degrade.in_words()}."
        return f"Learnt: {truth}, scaled by the numbers of the input, less the input.{made}"

    def defaults(self) -> dict[str, Any]:
        """Scaling by the input's percentiles, patches of all kinds, and a loss of errors and structure."""
        return with_native_grid("l1-ssim", preparation={"scaling": "percentiles"})

    def adapt(self, network: "StainNetwork") -> "StainNetwork":
        """Add the input to what the network gives."""
        network.adds_input = True
        return network

    def read(self, pair: Pair, settings: PreparationSettings) -> tuple[list[Stack], Stack]:
        """Read the input and the target; or the target, and make the input from it."""
        if settings.planes != "together" or pair.in_channels != 1:
            raise SpotlightError(
                f"{pair.input}: a restored image is a corrected input, which has one channel, seen whole. Name one "
                "channel, and set preparation.planes to 'together'."
            )
        if self.degrade is None:
            return pair.read_pair(settings.planes)
        sharp = pair.read_input()
        return [degrade(sharp, self.degrade, pair.name)], sharp

    def prepare(self, pair: Pair, settings: PreparationSettings, allocate: Allocate) -> PreparedPair:
        """Scale input and target by the same numbers, those of the input; the mask is everywhere."""
        (given,), target = self.read(pair, settings)
        scale = input_scale(given, settings.scaling)
        prepared = on_grid(target, settings, "target", lambda part: normalise(part, *scale), allocate)
        name = (*target.channels, "")[0]
        return with_input(pair, [given], settings, allocate, target=prepared, own_channel=name)

    def prior(self, pairs: Sequence[PreparedPair]) -> float | None:
        """No correction at all, so that training starts from the input."""
        return 0.0

    def score(self, output: NDArray[np.float32], pair: PreparedPair) -> dict[str, float]:
        """Score as PSNR, where 1 is the distance of the input's percentiles."""
        error = float(np.mean(np.square(output - pair.target, dtype=np.float64)))
        return {"psnr": -10 * math.log10(max(error, 1e-12))}

    def in_units_of(self, target: TargetDescription, scale: tuple[float, float]) -> TargetDescription:
        """Undo the scaling of the input; nothing is clipped."""
        low, width = scale
        return target.model_copy(update={"intensity_range": (low, low + width)})
