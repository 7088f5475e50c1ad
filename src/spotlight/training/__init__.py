"""Training: from pairs of files to a model folder."""

from typing import TYPE_CHECKING

from spotlight.deferred import deferred
from spotlight.training.protocols import PROTOCOLS, protocol
from spotlight.training.settings import Experiment, PatchSettings, TrainingSettings

if TYPE_CHECKING:
    from spotlight.training.explanation import explain
    from spotlight.training.run import train

__all__ = ["PROTOCOLS", "Experiment", "PatchSettings", "TrainingSettings", "explain", "protocol", "train"]

__getattr__ = deferred(
    __name__,
    {
        "explain": "explanation",
        "train": "run",
    },
)
