"""Memory of objects that are followed through a long video, beside a session of transformers that keeps everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geoflow.bench.peer_processes import measured

if TYPE_CHECKING:
    from rich.console import Console

_CHILD = "geoflow.bench.object_masks.object_memory"


def bench_sam2(
    *, frames: int = 500, objects: int = 3, size: int = 256, every: int = 50, console: Console
) -> dict[str, Any]:
    """Measure both, each in a process of its own, with a small network and one thread.

    Returns {"frames", "objects", "size", "kept": [rows], "pruned": [rows], "growth_mb": {...}}: the growth is that of
    the resident memory from frame 100, or from the first row after it, to the last.
    """
    job: dict[str, Any] = {"frames": frames, "objects": objects, "size": size, "every": every}
    found: dict[str, Any] = {"frames": frames, "objects": objects, "size": size}
    growth = {}
    for way in ("pruned", "kept"):
        found[way] = rows = measured(_CHILD, {**job, "pruned": way == "pruned"}, console)["rows"]
        later = [row for row in rows if row["frame"] >= min(100, frames)]
        growth[way] = later[-1]["resident_mb"] - later[0]["resident_mb"]
    return {**found, "growth_mb": growth}
