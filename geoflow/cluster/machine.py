"""Processors and memory of this machine, as far as its container allows, and Ray's share of the memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_STORE_SHARE, _LARGEST_STORE = 0.3, 200_000_000_000  # Ray's own defaults


def read(path: Path) -> str:
    """Read a file of the kernel; "" if it does not exist."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def cores(read: Callable[[Path], str] = read) -> int:
    """Return how many processors this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = read(_CGROUP / "cpu.max").partition(" ")
    return max(1, min(allowed, int(quota) // int(period))) if quota.isdigit() and period.isdigit() else allowed


def memory(read: Callable[[Path], str] = read) -> int:
    """Return the bytes of memory that all processes here may use together."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [read(_CGROUP / name) for name in ("memory.max", "memory/memory.limit_in_bytes")]
    return min([physical, *(int(limit) for limit in limits if limit.isdigit())])


def object_store(memory: int) -> int:
    """Return the bytes that a local Ray takes for its object store if nothing else uses the memory.

    >>> object_store(10_000_000_000)
    3000000000
    """
    return min(int(_STORE_SHARE * memory), _LARGEST_STORE)
