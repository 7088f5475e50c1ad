"""Classifying: the truth is the class of a stack, and the result a probability for each."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.images.normalise import grid_shape
from spotlight.images.slabs import Allocate
from spotlight.pairs.fields import group_fields
from spotlight.pairs.pair import Pair
from spotlight.pairs.prepare import with_input
from spotlight.pairs.prepared import PreparationSettings, PreparedPair
from spotlight.tasks.base import TASKS, Task, with_native_grid

if TYPE_CHECKING:
    from spotlight.networks import StainNetwork


@TASKS.register
class ClassifyTask(Task):
    """Tell classes of stacks apart: kinds of tissue, stages, phenotypes.

    Examples
    --------
    >>> from spotlight.tasks import ClassifyTask
    >>> ClassifyTask().truth_column(), ClassifyTask().learns
    ('class', 'classes')
    >>> ClassifyTask().defaults()["balance"]  # every class is drawn equally often
    'stains'
    """

    kind: Literal["classify"] = "classify"
    column: ClassVar[str] = "class"
    learns: ClassVar[str] = "classes"
    scores: ClassVar[Mapping[str, str]] = {"accuracy": "share of stacks named right"}
    title: ClassVar[str] = "Probabilities"
    unit: ClassVar[str] = "probability"
    mark: ClassVar[str] = ""
    suffix: ClassVar[str] = "-class"

    def in_words(self) -> str:
        """Say how classes are found."""
        return (
            "Classes: of every patch the mean and the maximum of the deepest features lead to a number per class; "
            "those of the tiles of a stack are averaged."
        )

    def defaults(self) -> dict[str, Any]:
        """Patches of all kinds, classes drawn equally often, the loss of classes, and a faster last layer."""
        return with_native_grid("classes") | {"balance": "stains"}

    def require(self, pairs: Sequence[Pair]) -> None:
        """Raise a `SpotlightError` unless classes can be learnt, and judged by specimens that were not seen."""
        names = sorted({pair.target_name for pair in pairs})
        folded: dict[str, str] = {}
        for name in names:
            other = folded.setdefault(name.casefold(), name)
            if other != name:
                raise SpotlightError(
                    f"the classes {other!r} and {name!r} differ by upper and lower case alone. Write them alike."
                )
        if len(names) < 2:
            raise SpotlightError(f"classes are told apart, but all rows have the class {names[0]!r}. Add another.")
        for field in group_fields(pairs):
            if len(field) > 1:
                who = " and ".join(f"{pairs[n].name} ({pairs[n].target_name})" for n in field[:2])
                raise SpotlightError(f"{who} show the same image. Give every image one row.")
        specimens: dict[str, set[str]] = {}
        for pair in pairs:
            if pair.group:
                specimens.setdefault(pair.group, set()).add(pair.split or "train")
        for specimen, splits in sorted(specimens.items()):
            if "test" in splits and len(splits) > 1:
                raise SpotlightError(
                    f"the specimen {specimen!r} is in {' and '.join(sorted(splits))}, so that a class could be told by "
                    "what is special to it. Put every specimen into one split."
                )
        for name in names:
            own = {pair.group for pair in pairs if pair.target_name == name and pair.split != "test"}
            if specimens and len(own) < 2:
                raise SpotlightError(
                    f"the class {name!r} has {'no specimen' if not own else 'one specimen'} to learn from, from which "
                    "it cannot be told apart. Add rows of another one (column specimen), or leave the class out."
                )

    def adapt(self, network: "StainNetwork") -> "StainNetwork":
        """Keep the encoder, and give it a head for classes."""
        from spotlight.networks.classes import ClassNetwork

        return ClassNetwork(network)

    def read(self, pair: Pair, settings: PreparationSettings) -> tuple[list[Stack], Stack]:
        """Read the input; it has no truth in a file."""
        inputs = self.read_whole(pair, settings)
        return inputs, inputs[0]

    def prepare(self, pair: Pair, settings: PreparationSettings, allocate: Allocate) -> PreparedPair:
        """Prepare the input; the target is empty, since the class is in the pair."""
        inputs, first = self.read(pair, settings)
        target = allocate("target", grid_shape(first, settings.grid), np.float32)
        target[...] = 0
        return with_input(pair, inputs, settings, allocate, target=target)

    def prior(self, pairs: Sequence[PreparedPair]) -> float | None:
        """All classes begin equal, as they are drawn equally often."""
        return 0.0

    def score(self, output: NDArray[np.float32], pair: PreparedPair) -> dict[str, float]:
        """See `score_outputs`, which needs all classes."""
        raise NotImplementedError("the number of one class alone says nothing; use score_outputs")

    def score_outputs(self, outputs: NDArray[np.float32], which: int, pair: PreparedPair) -> dict[str, float]:
        """1 if the true class, the one of this number, has the greatest output; else 0."""
        return {"accuracy": float(outputs.ravel().argmax() == which)}
