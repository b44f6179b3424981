"""The report of a run: an overview and a page per video. Each HTML file is complete in itself."""

from __future__ import annotations

from geoflow.report.build import write_report

__all__ = ["write_report"]
