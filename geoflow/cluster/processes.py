"""Facts about processes from the system, and how to end them (Linux).

Uses only the standard library, see `keeper.py`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable

Process = tuple[int, int]  # pid and start time: the pid alone may be used again

_LOOK_EVERY_S = 0.1


def private_bytes(pid: int) -> int:
    """Return the anonymous memory of a process, resident or swapped, in bytes; 0 if the process is gone (Linux).

    This is what the process itself has allocated. The private pages that `smaps` counts would be wrong here: a page of
    the object store that only one process has touched so far counts as private there.
    """
    total = 0
    try:
        with open(f"/proc/{pid}/status") as rows:
            for row in rows:
                if row.startswith(("RssAnon:", "VmSwap:")):
                    total += int(row.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return total


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has taken so far; 0 if the process is gone."""
    row = _stat(pid)
    return 0.0 if row is None else (int(row[11]) + int(row[12])) / os.sysconf("SC_CLK_TCK")


def wake_ups(pid: int) -> int:
    """Return how often a process's main thread has gone to sleep and so was woken up; 0 if the process is gone."""
    try:
        with open(f"/proc/{pid}/task/{pid}/status") as rows:
            return next((int(row.split()[1]) for row in rows if row.startswith("voluntary_ctxt_switches:")), 0)
    except (FileNotFoundError, ProcessLookupError):
        return 0


def process(pid: int) -> Process | None:
    """Return a running process; None if it is gone, or dead and not yet collected by its parent."""
    row = _stat(pid)
    return (pid, int(row[19])) if row is not None and row[0] not in "ZX" else None


def is_there(known: Process) -> bool:
    """Return whether exactly this process still runs."""
    return process(known[0]) == known


def started(pid: int) -> float:
    """Return when a process started, in seconds since 1970; now if the process is gone."""
    row = _stat(pid)
    if row is None:
        return time.time()
    up = time.clock_gettime(time.CLOCK_BOOTTIME) - int(row[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - up


def descendants(*roots: int) -> set[Process]:
    """Return every process below these."""
    parents: dict[int, list[Process]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (row := _stat(int(entry))) is not None:
            parents.setdefault(int(row[1]), []).append((int(entry), int(row[19])))
    found: set[Process] = set()
    frontier = list(roots)
    while frontier:
        below = parents.get(frontier.pop(), [])
        found.update(below)
        frontier += [pid for pid, _ in below]
    return found


def session(pid: int) -> int:
    """Return the session of a process, 0 if the process is gone."""
    return int(row[3]) if (row := _stat(pid)) is not None else 0


def in_session(number: int) -> set[Process]:
    """Return every process in a session."""
    rows = [(int(entry), _stat(int(entry))) for entry in os.listdir("/proc") if entry.isdigit()]
    return {(pid, int(row[19])) for pid, row in rows if row is not None and int(row[3]) == number}


def parent(pid: int) -> int:
    """Return the parent of a process (the one that started or adopted it); 0 if the process is gone."""
    return int(row[1]) if (row := _stat(pid)) is not None else 0


def end_all(left: Iterable[Process], within_s: float) -> None:
    """Wait for processes to end, and kill those that do not."""
    deadline = time.monotonic() + within_s
    waiting = {known for known in left if is_there(known)}
    while waiting and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
        waiting = {known for known in waiting if is_there(known)}
    for pid, _ in waiting:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def command_line(pid: int) -> bytes:
    """Return the words of a process's command, each followed by a null byte; b"" if the process is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the third on: state, parent, ...; the 20th is the start time."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
