"""`geoflow doctor`: whether a pipeline will run on this machine, and what to do where it will not.

`facts` looks at the machine, `checks` judges what was found.
"""

from geoflow.doctor.checks import Finding, can_run, judge
from geoflow.doctor.facts import Facts, gather
from geoflow.doctor.findings_table import render_findings

__all__ = ["Facts", "Finding", "can_run", "gather", "judge", "render_findings"]
