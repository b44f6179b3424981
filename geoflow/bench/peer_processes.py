"""Processes of a run: their environment, and how they are ended (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import geoflow
from geoflow.cluster import processes
from geoflow.cluster.processes import Process

END_WITHIN_S = 15.0  # for a run's processes, after its driver has ended


def environment() -> dict[str, str]:
    """Return this process's environment; if GeoFlow is a checkout, its path is added for another interpreter."""
    root = Path(geoflow.__file__).parents[1]
    if not (root / "pyproject.toml").is_file():
        return dict(os.environ)
    known = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [known])])}


def end_all(left: Iterable[Process]) -> None:
    """Wait for processes to end, and kill those that do not."""
    processes.end_all(left, END_WITHIN_S)
