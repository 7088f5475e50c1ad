"""The report: self-contained pages from what an evaluation or a check found."""

from spotlight.report.check_page import write_check_page
from spotlight.report.figure import write_figures
from spotlight.report.page import write_report

__all__ = ["write_check_page", "write_figures", "write_report"]
