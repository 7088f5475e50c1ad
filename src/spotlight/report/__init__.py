"""The report: self-contained pages from what an evaluation or a check found."""

from typing import TYPE_CHECKING

from spotlight.deferred import deferred

if TYPE_CHECKING:
    from spotlight.report.check_page import write_check_page
    from spotlight.report.class_page import write_class_page
    from spotlight.report.few_shot_page import write_few_shot_page
    from spotlight.report.figure import write_figures
    from spotlight.report.mask_page import write_mask_page
    from spotlight.report.page import write_report
    from spotlight.report.restoration_page import write_restoration_page
    from spotlight.report.training_page import write_training_page

__all__ = [
    "write_check_page",
    "write_class_page",
    "write_few_shot_page",
    "write_figures",
    "write_mask_page",
    "write_report",
    "write_restoration_page",
    "write_training_page",
]

__getattr__ = deferred(
    __name__,
    {
        "write_check_page": "check_page",
        "write_class_page": "class_page",
        "write_few_shot_page": "few_shot_page",
        "write_figures": "figure",
        "write_mask_page": "mask_page",
        "write_report": "page",
        "write_restoration_page": "restoration_page",
        "write_training_page": "training_page",
    },
)
