"""Staining: a model folder applied to stacks of any size."""

from typing import TYPE_CHECKING

from spotlight.deferred import deferred
from spotlight.prediction.listing import find_parts, read_part
from spotlight.prediction.settings import PredictionSettings

if TYPE_CHECKING:
    from spotlight.prediction.classes import classify, classify_files
    from spotlight.prediction.cluster import stain_on_cluster
    from spotlight.prediction.files import stain_files
    from spotlight.prediction.loading import load_model
    from spotlight.prediction.options import Stained, StainOptions
    from spotlight.prediction.seams import Seams, measure_seams
    from spotlight.prediction.stain import Model

__all__ = [
    "Model",
    "PredictionSettings",
    "Seams",
    "StainOptions",
    "Stained",
    "classify",
    "classify_files",
    "find_parts",
    "load_model",
    "measure_seams",
    "read_part",
    "stain_files",
    "stain_on_cluster",
]

__getattr__ = deferred(
    __name__,
    {
        "Model": "stain",
        "Seams": "seams",
        "StainOptions": "options",
        "Stained": "options",
        "classify": "classes",
        "classify_files": "classes",
        "load_model": "loading",
        "measure_seams": "seams",
        "stain_files": "files",
        "stain_on_cluster": "cluster",
    },
)
