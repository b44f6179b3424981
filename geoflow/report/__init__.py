"""The run's report: one HTML file that needs nothing else."""

from __future__ import annotations

from geoflow.report.writer import write_report

__all__ = ["write_report"]
