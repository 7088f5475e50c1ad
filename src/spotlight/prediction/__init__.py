"""Staining: a model folder applied to stacks of any size."""

from spotlight.prediction.cluster import stain_on_cluster
from spotlight.prediction.files import Stained, StainOptions, stain_files
from spotlight.prediction.listing import find_parts, read_part
from spotlight.prediction.loading import load_model
from spotlight.prediction.seams import Seams, measure_seams
from spotlight.prediction.settings import PredictionSettings
from spotlight.prediction.stain import Model

__all__ = [
    "Model",
    "PredictionSettings",
    "Seams",
    "StainOptions",
    "Stained",
    "find_parts",
    "load_model",
    "measure_seams",
    "read_part",
    "stain_files",
    "stain_on_cluster",
]
