"""What every task here is: `Task`, which says what a network learns, and how its outputs become results."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, FiniteFloat, SerializeAsAny, model_validator

from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.images.slabs import Allocate, in_memory
from spotlight.pairs.pair import Pair
from spotlight.pairs.patches import Places, patch_starts
from spotlight.pairs.prepared import PreparationSettings, PreparedPair
from spotlight.registry import Registry
from spotlight.settings import Settings

if TYPE_CHECKING:
    from spotlight.networks import StainNetwork


class TargetDescription(Settings):
    """One output of the network, and how its values become intensities.

    A normalised value v becomes ``intensity_range[0] + (v - normalised_range[0]) * width(intensity_range) /
    width(normalised_range)``. The ranges are the least and greatest value of all training targets, as in Kalinin et al.
    (2025), section A.3.

    Examples
    --------
    >>> from spotlight.tasks import TargetDescription
    >>> target = TargetDescription(channel="DNA", normalised_range=(-1.0, 4.0), intensity_range=(100.0, 1100.0))
    >>> target.to_intensity(0.0)  # what the network calls 0, on the camera's scale
    300.0
    """

    channel: str = ""
    center: Literal["threshold", "mean", "offset", "uint16"] | None = Field(
        None, description="Value of the target that became 0; None if it is no intensity."
    )
    normalised_range: tuple[FiniteFloat, FiniteFloat]
    intensity_range: tuple[FiniteFloat, FiniteFloat]
    threshold: float | None = Field(
        None, description="Mean foreground threshold of the training targets in normalised units; None if unknown."
    )
    background: float | None = Field(
        None, description="Mean over the training targets of their median background, in normalised units."
    )
    flatten: bool = Field(
        False, description="Replace values below the threshold by the background, as `flattened` does."
    )

    @property
    def calibrated(self) -> bool:
        """Whether results are intensities; those of imported networks without ranges are in units of their own."""
        return not self.normalised_range == self.intensity_range == (0.0, 1.0)

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for name in ("normalised_range", "intensity_range"):
            low, high = getattr(self, name)
            if not low < high:
                raise ValueError(f"{name}: the first value must be less than the second")
        return self

    def flattened(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Replace normalised values below the foreground threshold by the median background of the training targets.

        Spotlight's loss does not constrain the background below the threshold. Predicted values there carry no
        information, and a later contrast enhancement would turn them into visible structure.
        """
        if self.threshold is None or self.background is None:
            raise SpotlightError(
                "the model records no foreground threshold, so its stains cannot be flattened. Stain without "
                "flattening (--no-flatten)."
            )
        return np.where(values >= self.threshold, values, np.float32(self.background))

    def to_intensity(self, values: Any) -> Any:
        """Map normalised values (number or array) to the intensity range of the training targets."""
        (low, high), (bottom, top) = self.normalised_range, self.intensity_range
        return bottom + (values - low) * ((top - bottom) / (high - low))


class Task(Settings):
    """What the settings of every task can do.

    A task of another package extends this class, names itself by ``kind: Literal["my_name"] = "my_name"``, and is
    registered by an entry point of the group ``spotlight.tasks``; see docs/extending.md. What is not overridden is as
    for stains.

    Examples
    --------
    >>> from spotlight.tasks import TASKS
    >>> TASKS.names()
    ('classify', 'hidden', 'restore', 'segment', 'stain')
    >>> task = TASKS.parse({"kind": "segment", "threshold": 0.3})
    >>> task.truth_column(), task.learns, task.suffix
    ('mask', 'masks', '-probability')
    """

    kind: str
    column: ClassVar[str] = "target"
    """The manifest column of the truth; of several outputs, ``column:NAME`` each."""
    learns: ClassVar[str] = "intensities"
    """What the truth is: "intensities", "masks" or "classes". Only losses that compare the same can be chosen."""
    scores: ClassVar[Mapping[str, str]] = {}
    """Scores of validation stacks beside the loss, high is good, and what people call them."""
    title: ClassVar[str] = "Virtual stain"
    """What the result is called in its file."""
    unit: ClassVar[str] = "intensity of the training targets"
    """Unit of its values."""
    mark: ClassVar[str] = " (virtual)"
    """What is added to the name of an output, for the name of a channel."""
    scaled_by_input: ClassVar[bool] = False
    """Whether the truth is scaled as the input is, so that results are in the input's units; see `in_units_of`."""
    suffix: ClassVar[str] = "-stain"
    """What is added to the name of an input, for the name of the result's file."""
    backbone: ClassVar[bool] = False
    """Whether a model of it is of use as a start for other tasks alone; `model.require_head` refuses it elsewhere."""
    nowhere: ClassVar[str] = ""
    """What is wrong, and what to do, where no patch can be drawn from any stack; empty: too little foreground."""

    def truth_column(self) -> str:
        """Return the manifest column of the truth, where settings decide on it; mostly `column`."""
        return self.column

    def defaults(self) -> dict[str, Any]:
        """Return settings of an experiment, as plain nested values, that replace those of a protocol."""
        return {}

    def require(self, pairs: Sequence[Pair]) -> None:
        """Raise a `SpotlightError` if pairs, of all splits, cannot be learnt from and judged by; all can by default."""

    def adapt(self, network: "StainNetwork") -> "StainNetwork":
        """Give a network that was just built the end that the task needs; here it stays as it is.

        Raises
        ------
        ValueError
            If the network does not go with the task.
        """
        return network

    def read(self, pair: Pair, settings: PreparationSettings) -> tuple[list[Stack], Stack]:
        """Read the input, as its channels or as its planes, and the truth on its grid.

        Raises
        ------
        SpotlightError
            If they do not match.
        """
        return pair.read_pair(settings.planes)

    def read_whole(self, pair: Pair, settings: PreparationSettings) -> list[Stack]:
        """Read the channels of the input, for a task that does not see one plane at a time.

        Raises
        ------
        SpotlightError
            If the settings say that it does.
        """
        if settings.planes != "together":
            raise SpotlightError(
                f"the task {self.kind} sees all planes together. Set preparation.planes to 'together' (leave out "
                "--planes)."
            )
        return pair.read_channels()

    def in_words(self) -> str:
        """Say what becomes of the truth, for people, where it is no intensity; empty if there is nothing to say."""
        return ""

    @abstractmethod
    def prepare(self, pair: Pair, settings: PreparationSettings, allocate: Allocate) -> PreparedPair:
        """Put a pair on the network's grid; `with_input` prepares the input and makes the result.

        Parameters
        ----------
        pair : Pair
            The files.
        settings : PreparationSettings
            How they are prepared, with what the loss needs.
        allocate : callable
            Creates the arrays "target" and "mask", and temporary ones whose names begin with "_".

        Returns
        -------
        PreparedPair
            `target` is what the network learns; `mask` is where it counts most (stains) or at all (masks).
        """

    def places(self, pair: PreparedPair, patch: tuple[int, ...], least: int) -> Places:
        """Find where patches may be drawn: here, where they hold at least `least` voxels of the mask."""
        return patch_starts(pair.target.shape, patch, pair.mask, least)

    def require_patch(
        self, patch: tuple[int, ...], spacing: tuple[float, ...] | None, shapes: Sequence[tuple[int, ...]]
    ) -> None:
        """Raise a `SpotlightError` if patches of this size do not do; all do here.

        Parameters
        ----------
        patch : tuple of int
            Voxels per axis.
        spacing : tuple of float, optional
            Edges of a voxel on the network's grid, in one unit; None if they are not known.
        shapes : sequence of tuples of int
            Of all stacks on that grid.
        """

    def hiding(
        self, patch: tuple[int, ...], spacing: tuple[float, ...] | None
    ) -> Callable[[Sequence[int]], NDArray[np.bool_]] | None:
        """Return what draws, from a seed, where a patch is hidden from the network, or None if nothing is.

        The truth is then the input before it was hidden, and the mask where it was.
        """
        return None

    def shown(self, pair: PreparedPair) -> NDArray[np.float32]:
        """Return what the network sees of a validation stack."""
        return pair.judged_input

    def prior(self, pairs: Sequence[PreparedPair]) -> float | None:
        """Return the constant that an output gives before training, or None to leave the head as it was drawn.

        Parameters
        ----------
        pairs : sequence of PreparedPair
            The training pairs of that output.
        """
        return None

    @abstractmethod
    def score(self, output: NDArray[np.float32], pair: PreparedPair) -> dict[str, float]:
        """Score what the network makes of a validation stack; returns a value for each of `scores`.

        Parameters
        ----------
        output : (Z, Y, X) or (Y, X) ndarray
            In the network's units.
        pair : PreparedPair
            The truth.
        """

    def score_outputs(self, outputs: NDArray[np.float32], which: int, pair: PreparedPair) -> dict[str, float]:
        """Score all outputs of a field, of which this number has the truth; here that output alone counts."""
        return self.score(outputs[which], pair)

    def describe(self, pairs: Sequence[PreparedPair], settings: PreparationSettings) -> TargetDescription:
        """Say what must be known of an output to `finish` it, from the training pairs that have it: here its name."""
        name = common_name([pair.channels[1] for pair in pairs])
        return TargetDescription(channel=name, normalised_range=(0.0, 1.0), intensity_range=(0.0, 1.0))

    def in_units_of(self, target: TargetDescription, scale: tuple[float, float]) -> TargetDescription:
        """Say how an output becomes intensities, if its units are those of an input: here they are not.

        Parameters
        ----------
        target : TargetDescription
            The output.
        scale : (float, float)
            What was subtracted from the input's first channel, and what it was divided by.
        """
        return target

    def finish(self, values: NDArray[np.float32], target: TargetDescription) -> NDArray[np.float32]:
        """Map values in the network's units to those of the result."""
        return target.to_intensity(values)  # type: ignore[no-any-return]

    def further(self, result: Stack, allocate: Allocate = in_memory) -> dict[str, Stack]:
        """Make what else is written beside a result, by what is added to the input's name; labels, for example.

        Parameters
        ----------
        result : Stack
            Of a large stack, its values are computed where they are asked for.
        allocate : callable
            Makes arrays, of a large stack in files.
        """
        return {}


TASKS: Registry[Task] = Registry("task", "spotlight.tasks", Task, "kind", "stain")
"""All tasks; staining where plain values do not say which, as before there were others."""
TaskField = Annotated[SerializeAsAny[Task], BeforeValidator(TASKS.parse), TASKS]
"""A task as a field of other settings."""


def with_native_grid(loss: str, **changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that tasks share which are no staining: the stacks' own grid, patches of all kinds, a fast head.

    Parameters
    ----------
    loss : str
        Its kind.
    **changes
        Further settings, by the names of their groups.
    """
    values: dict[str, Any] = {
        "preparation": {"grid": "native"},
        "patches": {"least_foreground": 0.0},
        "loss": {"kind": loss},
        "training": {"warmup": 20, "head_rate": 5.0},
        "flatten_background": False,
    }
    return values | {name: values.get(name, {}) | dict(given) for name, given in changes.items()}


def common_name(names: Sequence[str]) -> str:
    """Return the name that all share, or nothing."""
    different = set(names)
    return different.pop() if len(different) == 1 else ""
