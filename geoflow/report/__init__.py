"""The run's report: an overview and a page for each video, HTML files that each need nothing else."""

from __future__ import annotations

from geoflow.report.build import write_report

__all__ = ["write_report"]
