"""Spotlight: virtual staining in 3D, from a transmitted-light stack to a fluorescence stack that can be measured.

Examples
--------
>>> import spotlight
>>> folder = spotlight.train("pairs.csv", "model")  # doctest: +SKIP
>>> stain = spotlight.load_model(folder).predict("new.ome.tif")  # doctest: +SKIP
>>> table = spotlight.measure(spotlight.segment(stain))  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

from spotlight.deferred import deferred
from spotlight.errors import SpotlightError
from spotlight.version import __version__

if TYPE_CHECKING:
    from spotlight.comparison import compare, few_shot
    from spotlight.demonstration import demo
    from spotlight.evaluation import evaluate
    from spotlight.images import Stack, read
    from spotlight.nuclei import segment_files
    from spotlight.pairs import check
    from spotlight.plan import init
    from spotlight.plates import segment_plate
    from spotlight.prediction import Model, load_model
    from spotlight.profiles import measure
    from spotlight.report import write_report
    from spotlight.segmentation import segment
    from spotlight.simulation import simulate_field, simulate_pairs
    from spotlight.training import pretrain, train

# So that `import spotlight` and `spotlight --help` answer at once.
_HOMES = {
    "Model": "prediction",
    "Stack": "images",
    "check": "pairs",
    "compare": "comparison",
    "demo": "demonstration",
    "evaluate": "evaluation",
    "few_shot": "comparison",
    "init": "plan",
    "load_model": "prediction",
    "measure": "profiles",
    "pretrain": "training",
    "read": "images",
    "segment": "segmentation",
    "segment_files": "nuclei",
    "segment_plate": "plates",
    "simulate_field": "simulation",
    "simulate_pairs": "simulation",
    "train": "training",
    "write_report": "report",
}

__all__ = [
    "Model",
    "SpotlightError",
    "Stack",
    "__version__",
    "check",
    "compare",
    "demo",
    "evaluate",
    "few_shot",
    "init",
    "load_model",
    "measure",
    "pretrain",
    "read",
    "segment",
    "segment_files",
    "segment_plate",
    "simulate_field",
    "simulate_pairs",
    "train",
    "write_report",
]


__getattr__ = deferred(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
