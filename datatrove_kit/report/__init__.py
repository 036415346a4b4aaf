"""``python -m datatrove_kit report RUN``: what a run kept and dropped, and why, as one page."""

from datatrove_kit.report.command import make_report, write_report

__all__ = ["make_report", "write_report"]
