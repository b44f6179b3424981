"""The camera tracker on a CPU: memory over a walk's length, loops, and the cost of an adjustment.

In the network's place answers what knows the truth of a made-up walk, with noise; for memory it holds tensors of the
network's shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from geoflow.bench.peer_processes import measured

if TYPE_CHECKING:
    from rich.console import Console

PARTS = ("memory", "loops", "adjustment")
_KEYFRAMES, _EDGES, _GRID = 24, 45, (48, 64)  # of the adjustment: pictures of 512x384
_WORSE = 1.02  # of the path's error before: less than another seed of the noise changes


def bench_slam(
    *,
    parts: Sequence[str] = PARTS,
    frames: tuple[int, ...] = (200, 2000),
    size: tuple[int, int] = (640, 360),
    area: int = 160 * 128,
    seeds: range = range(10),
    console: Console,
) -> dict[str, Any]:
    """Measure some parts, every run in its own process with one thread; `size` is (width, height) of the frames.

    `area` is that of pictures at work, in the measurement of memory. Returns {part: {"runs": [...], "ratios" or
    "kinds": {...}}}.
    """
    found: dict[str, Any] = {}
    if "memory" in parts:
        found["memory"] = _memory(frames, (size[1], size[0]), area, console)
    if "loops" in parts:
        found["loops"] = _loops(seeds, console)
    if "adjustment" in parts:
        found["adjustment"] = _adjustment(console)
    return found


def _memory(frames: tuple[int, ...], size: tuple[int, int], area: int, console: Console) -> dict[str, Any]:
    runs = [
        measured(
            "geoflow.bench.slam.memory_child",
            {"frames": count, "size": list(size), "area": area, "close_loops": closed},
            console,
        )
        for closed in (False, True)
        for count in frames
    ]
    ratios = {}
    for closed, name in ((False, "without loops"), (True, "with loops")):
        first, *_, last = (run for run in runs if run["close_loops"] == closed)
        ratios[name] = {key: last[key] / first[key] for key in ("peak_mb", "tensors_mb")}
    return {"runs": runs, "ratios": ratios}


def _loops(seeds: range, console: Console) -> dict[str, Any]:
    from geoflow.bench.slam.made_up_walks import KINDS

    runs = [
        measured(
            "geoflow.bench.slam.loop_child",
            {"kind": kind, "seed": seed, "frames": recipe.frames, "noise": recipe.noise},
            console,
        )
        for kind, recipe in KINDS.items()
        for seed in seeds
    ]
    return {"runs": runs, "kinds": {kind: summary([run for run in runs if run["kind"] == kind]) for kind in KINDS}}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what became of walks of one kind: their errors' medians in m, and how many were closed or made worse."""
    before, after = ([run[key] for run in runs] for key in ("before", "after"))
    return {
        "walks": len(runs),
        "with_loops": sum(run["loops"] > 0 for run in runs),
        "median_before": _middle(before),
        "median_after": _middle(after),
        "worst_before": max(before),
        "worst_after": max(after),
        "worse": sum(b > _WORSE * a for a, b in zip(before, after)),
    }


def _middle(values: list[float]) -> float:
    ordered = sorted(values)
    return 0.5 * (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2])


def _adjustment(console: Console) -> dict[str, Any]:
    job = {"keyframes": _KEYFRAMES, "edges": _EDGES, "grid": list(_GRID), "iterations": 4, "runs": 3}
    runs = [measured("geoflow.bench.slam.adjustment_child", {"way": way, **job}, console) for way in ("ours", "plain")]
    return {"runs": runs, "ratios": {"cpu_seconds": runs[0]["cpu_seconds"] / runs[1]["cpu_seconds"]}}
