"""Two stores, or two runs, side by side: settings that differ, what each holds, scores, pictures."""

from __future__ import annotations

from geoflow.comparison.comparing import compare
from geoflow.comparison.found import Between, Comparison, RunComparison

__all__ = ["Between", "Comparison", "RunComparison", "compare"]
