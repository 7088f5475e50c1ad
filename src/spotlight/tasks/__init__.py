"""What a network learns: stains, masks, restored images, or what another package adds."""

from spotlight.pairs.prepare import on_grid, with_input
from spotlight.tasks.base import TASKS, TargetDescription, Task, TaskField
from spotlight.tasks.classify import ClassifyTask
from spotlight.tasks.components import find_labels, label_components
from spotlight.tasks.degrade import DegradeSettings, degrade
from spotlight.tasks.hidden import HiddenTask
from spotlight.tasks.restore import RestoreTask
from spotlight.tasks.segment import SegmentTask
from spotlight.tasks.stain import StainTask

__all__ = [
    "TASKS",
    "ClassifyTask",
    "DegradeSettings",
    "HiddenTask",
    "RestoreTask",
    "SegmentTask",
    "StainTask",
    "TargetDescription",
    "Task",
    "TaskField",
    "degrade",
    "find_labels",
    "label_components",
    "on_grid",
    "with_input",
]
