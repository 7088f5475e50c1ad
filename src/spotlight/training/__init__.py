"""Training: from pairs of files to a model folder."""

from typing import TYPE_CHECKING

from spotlight.deferred import deferred
from spotlight.training.protocols import PROTOCOLS, protocol
from spotlight.training.settings import Experiment, PatchSettings, TrainingSettings

if TYPE_CHECKING:
    from spotlight.training.explanation import explain
    from spotlight.training.pretext import pretrain, pretraining
    from spotlight.training.run import train

__all__ = [
    "PROTOCOLS",
    "Experiment",
    "PatchSettings",
    "TrainingSettings",
    "explain",
    "pretrain",
    "pretraining",
    "protocol",
    "train",
]

__getattr__ = deferred(
    __name__,
    {
        "explain": "explanation",
        "pretrain": "pretext",
        "pretraining": "pretext",
        "train": "run",
    },
)
