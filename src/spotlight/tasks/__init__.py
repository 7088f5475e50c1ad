"""What a network learns: stains, masks, or what another package adds."""

from spotlight.pairs.prepare import on_grid, with_input
from spotlight.tasks.base import TASKS, TargetDescription, Task, TaskField
from spotlight.tasks.components import find_labels, label_components
from spotlight.tasks.hidden import HiddenTask
from spotlight.tasks.segment import SegmentTask
from spotlight.tasks.stain import StainTask

__all__ = [
    "TASKS",
    "HiddenTask",
    "SegmentTask",
    "StainTask",
    "TargetDescription",
    "Task",
    "TaskField",
    "find_labels",
    "label_components",
    "on_grid",
    "with_input",
]
