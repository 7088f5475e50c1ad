"""The report: one self-contained page from what an evaluation wrote."""

from spotlight.report.page import write_report

__all__ = ["write_report"]
