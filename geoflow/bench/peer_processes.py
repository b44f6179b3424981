"""Processes of a run: their environment, and how they are ended (Linux)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geoflow
from geoflow.cluster import processes
from geoflow.cluster.processes import Process

if TYPE_CHECKING:
    from rich.console import Console

# glibc gives large blocks back at once, so that a peak is one.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
END_WITHIN_S = 15.0  # for a run's processes, after its driver has ended


def environment() -> dict[str, str]:
    """Return this process's environment; if GeoFlow is a checkout, its path is added for another interpreter."""
    root = Path(geoflow.__file__).parents[1]
    if not (root / "pyproject.toml").is_file():
        return dict(os.environ)
    known = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [known])])}


def measured(module: str, job: dict[str, Any], console: Console) -> dict[str, Any]:
    """Run a measurement in its own process, with one thread: `python -m MODULE JSON`, whose last line is a JSON object.

    Returns the job and what was measured. Raises RuntimeError if the process fails.
    """
    command = [sys.executable, "-m", module, json.dumps(job)]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment() | _ONE_THREAD, text=True)
    if done.returncode:
        raise RuntimeError(f"the measurement of {job} ended with status {done.returncode}; its errors are above")
    found = {**job, **json.loads(done.stdout.splitlines()[-1])}
    console.print(found)
    return found


def end_all(left: Iterable[Process]) -> None:
    """Wait for processes to end, and kill those that do not."""
    processes.end_all(left, END_WITHIN_S)
