"""Memory of objects that are followed through a long video, beside a session of transformers that keeps everything."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from geoflow.bench.peer_processes import measured

if TYPE_CHECKING:
    from rich.console import Console

_WAYS = ("pruned", "kept")
_CHILD = "geoflow.bench.sam2.object_memory"


def bench_sam2(
    *, frames: int = 500, objects: int = 3, size: int = 256, every: int = 50, console: Console
) -> dict[str, Any]:
    """Measure both side by side, each in a process of its own, with a small network and one thread.

    Returns {"frames", "objects", "size", "kept": [rows], "pruned": [rows], "growth_mb": {...}}: the growth is that of
    the resident memory from frame 100, or from the first row after it, to the last.
    """
    job: dict[str, Any] = {"frames": frames, "objects": objects, "size": size, "every": every}
    found: dict[str, Any] = {"frames": frames, "objects": objects, "size": size}
    jobs = [{**job, "pruned": way == "pruned"} for way in _WAYS]
    with ThreadPoolExecutor(len(jobs)) as pool:
        rows = [run["rows"] for run in pool.map(lambda each: measured(_CHILD, each, console), jobs)]
    later = [[row["resident_mb"] for row in own if row["frame"] >= min(100, frames)] for own in rows]
    growth = {way: own[-1] - own[0] for way, own in zip(_WAYS, later)}
    found |= dict(zip(_WAYS, rows))
    return {**found, "growth_mb": growth}
