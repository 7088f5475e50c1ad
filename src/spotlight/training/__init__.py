"""Training: from pairs of files to a model folder."""

from spotlight.training.explain import explain
from spotlight.training.run import train
from spotlight.training.settings import PROTOCOLS, Experiment, PatchSettings, TrainingSettings, protocol

__all__ = ["PROTOCOLS", "Experiment", "PatchSettings", "TrainingSettings", "explain", "protocol", "train"]
