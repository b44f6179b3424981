"""Processors and memory of this machine, as the container allows, and what Ray will take of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_STORE_SHARE, _LARGEST_STORE = 0.3, 200_000_000_000  # Ray's own, unless it is told otherwise


def read(path: Path) -> str:
    """A file of the kernel's; "" where there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def cores(read: Callable[[Path], str] = read) -> int:
    """Processors that this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = read(_CGROUP / "cpu.max").partition(" ")
    return max(1, min(allowed, int(quota) // int(period))) if quota.isdigit() and period.isdigit() else allowed


def memory(read: Callable[[Path], str] = read) -> int:
    """Bytes of memory that all processes here may use together."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [read(_CGROUP / name) for name in ("memory.max", "memory/memory.limit_in_bytes")]
    return min([physical, *(int(limit) for limit in limits if limit.isdigit())])


def object_store(memory: int) -> int:
    """Bytes that a local Ray takes for its object store when nothing else uses the memory.

    >>> object_store(10_000_000_000)
    3000000000
    """
    return min(int(_STORE_SHARE * memory), _LARGEST_STORE)
