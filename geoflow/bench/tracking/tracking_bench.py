"""The tracker beside its arithmetic as it is written down, on a CPU with made-up weights of the published size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geoflow.bench.peer_processes import measured

if TYPE_CHECKING:
    from rich.console import Console

_WAYS = ("ours", "plain")
_CHILD = "geoflow.bench.tracking.tracking_child"


def bench_tracking(
    *,
    queries: tuple[int, ...] = (64, 1024),
    frames: int = 48,
    size: tuple[int, int] = (256, 192),
    iterations: int = 6,
    lengths: tuple[int, ...] = (48, 480),
    console: Console,
) -> dict[str, Any]:
    """Measure time and peak memory of both ways, each in its own process, with one thread; `size` is (width, height).

    `lengths` are videos of which only ours is measured, with the smallest number of queries and one iteration, to see
    whether memory grows. Returns {"size", "frames", "iterations", "runs": [...], "ratios": {...}}.
    """
    shared = {"size": [size[1], size[0]], "iterations": iterations}
    runs = [
        measured(_CHILD, {"way": way, "queries": count, "frames": frames, **shared}, console)
        for count in queries
        for way in _WAYS
    ]
    longer = [
        measured(_CHILD, {"way": "ours", "queries": min(queries), "frames": length, **shared, "iterations": 1}, console)
        for length in lengths
    ]
    by_key = {(run["way"], run["queries"]): run for run in runs}
    ratios: dict[str, float] = {}
    for count in queries:
        ours, plain = by_key["ours", count], by_key["plain", count]
        ratios[f"cpu_seconds_{count}"] = ours["cpu_seconds"] / plain["cpu_seconds"]
        ratios[f"peak_{count}"] = ours["peak_mb"] / plain["peak_mb"]
        ratios[f"peak_above_loaded_{count}"] = _added(ours) / _added(plain)
    if len(longer) > 1:
        ratios["peak_growth"] = longer[-1]["peak_mb"] / longer[0]["peak_mb"]
    return {"frames": frames, **shared, "runs": [*runs, *longer], "ratios": ratios}


def _added(run: dict[str, Any]) -> float:
    return float(run["peak_mb"] - run["loaded_mb"])
