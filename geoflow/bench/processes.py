"""Processes of a run: what environment they get, and finding and ending what it has started (Linux)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import geoflow

Process = tuple[int, int]  # pid and start time: the pid alone may be given out again

END_WITHIN_S = 15.0  # a run's processes, once its driver has ended
_LOOK_EVERY_S = 0.2


def environment() -> dict[str, str]:
    """That of this process; where GeoFlow is a checkout, another interpreter is told where it stands."""
    root = Path(geoflow.__file__).parents[1]
    if not (root / "pyproject.toml").is_file():
        return dict(os.environ)
    known = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [known])])}


def end_all(processes: Iterable[Process]) -> None:
    """Wait for processes to end, and kill those that do not."""
    deadline = time.monotonic() + END_WITHIN_S
    left = {process for process in processes if _start_time(process[0]) == process[1]}
    while left and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
        left = {process for process in left if _start_time(process[0]) == process[1]}
    for pid, _ in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def descendants(root: int) -> set[Process]:
    """Every process below `root`."""
    parents: dict[int, list[Process]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (row := _stat(int(entry))) is not None:
            parents.setdefault(int(row[1]), []).append((int(entry), int(row[19])))
    found: set[Process] = set()
    frontier = [root]
    while frontier:
        below = parents.get(frontier.pop(), [])
        found.update(below)
        frontier += [pid for pid, _ in below]
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has taken so far; 0 when it is gone."""
    row = _stat(pid)
    return 0.0 if row is None else (int(row[11]) + int(row[12])) / os.sysconf("SC_CLK_TCK")


def wake_ups(pid: int) -> int:
    """How often the main thread of a process has gone to sleep by itself, and so was woken up; 0 when it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for row in Path(f"/proc/{pid}/task/{pid}/status").read_text().splitlines():
            if row.startswith("voluntary_ctxt_switches:"):
                return int(row.split()[1])
    return 0


def _start_time(pid: int) -> int | None:
    row = _stat(pid)
    return int(row[19]) if row is not None and row[0] != "Z" else None


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third on: state, parent, ...; the 20th of these is the start time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
