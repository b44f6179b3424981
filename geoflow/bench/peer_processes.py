"""Processes of a run: what environment they get, and ending what it has started (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import geoflow
from geoflow.cluster import processes
from geoflow.cluster.processes import Process

END_WITHIN_S = 15.0  # a run's processes, once its driver has ended


def environment() -> dict[str, str]:
    """That of this process; where GeoFlow is a checkout, another interpreter is told where it stands."""
    root = Path(geoflow.__file__).parents[1]
    if not (root / "pyproject.toml").is_file():
        return dict(os.environ)
    known = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [known])])}


def end_all(left: Iterable[Process]) -> None:
    """Wait for processes to end, and kill those that do not."""
    processes.end_all(left, END_WITHIN_S)
