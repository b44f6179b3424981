"""`geoflow doctor`: whether a pipeline can run on this machine, and what to do if it cannot."""

from geoflow.doctor.checks import Finding, can_run, judge
from geoflow.doctor.facts import Facts, gather
from geoflow.doctor.findings_table import render_findings

__all__ = ["Facts", "Finding", "can_run", "gather", "judge", "render_findings"]
