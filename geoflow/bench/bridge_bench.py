"""What a call of a stage in another Python costs, beside the same call in the actor's own process."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.segments import Segment, VideoInfo
from geoflow.stage import Fields, Stage, param

if TYPE_CHECKING:
    from rich.console import Console

_FRAMES = 8
_WAYS = ("actor", "bridge")


class BusyEcho(Stage):
    """Reads all of its input, computes for so long, and returns as many bytes as it got."""

    slot = "prior"
    inputs = ("frames.rgb",)
    outputs = ("prior.points",)

    @dataclass(frozen=True)
    class Params(Stage.Params):
        seconds: float = param(0.5, "CPU time of a call, beside that for its input and output")

    def process(self, segment: Segment, fields: Fields) -> Fields:
        until = time.process_time() + self.params.seconds
        read = fields["frames.rgb"].reshape(-1).view(np.float16)
        while time.process_time() < until:
            pass
        return {"prior.points": read.copy()}


def bench_bridge(
    *, megabytes: int = 64, seconds: float = 0.5, calls: int = 9, python: str | None = None, console: Console
) -> dict[str, Any]:
    """Measure calls with `megabytes` in and out both ways, in turn; and calls that compute nothing.

    `python` is the other interpreter, by default this one. The first call of each way is left out of the medians. CPU
    time is that of both processes. Returns {"megabytes", "python", "start_seconds", "runs": [...], "ratios": {...}}.
    """
    from geoflow.engine.bridge.abroad import abroad
    from geoflow.environments.interpreter import Interpreter

    other = Interpreter(path=python or sys.executable)
    made_abroad = abroad(BusyEcho, f"{__name__}:{BusyEcho.__name__}", other, "bench")
    found: dict[str, Any] = {"megabytes": megabytes, "calls": calls, "runs": [], "ratios": {}}
    for work in (seconds, 0.0):
        params = BusyEcho.Params(seconds=work)
        kinds: tuple[type[Stage], ...] = (BusyEcho, made_abroad)
        stages = {way: kind(params) for way, kind in zip(_WAYS, kinds)}
        began = time.monotonic()
        try:
            for stage in stages.values():
                stage.setup()
            found["start_seconds"] = time.monotonic() - began
            found["python"] = stages["bridge"].about()  # type: ignore[attr-defined]
            rows = _in_turn(stages, megabytes, calls)
        finally:
            for stage in stages.values():
                stage.teardown()
        runs = {way: _summary(way, work, rows[way]) for way in _WAYS}
        for run in runs.values():
            console.print(run)
        found["runs"] += runs.values()
        for kind in ("wall", "cpu"):
            ours, theirs = runs["bridge"][f"{kind}_seconds"], runs["actor"][f"{kind}_seconds"]
            found["ratios"][f"{kind}_{work:g}"] = ours / theirs
    return found


def _in_turn(stages: dict[str, Stage], megabytes: int, calls: int) -> dict[str, list[tuple[float, float]]]:
    """Return (wall, CPU) seconds of each call by way; the ways take turns, so that both meet the same machine."""
    segment, given = _input(megabytes)
    rows: dict[str, list[tuple[float, float]]] = {way: [] for way in stages}
    expected = None
    for _ in range(calls + 1):
        for way, stage in stages.items():
            cpu, wall = _cpu_seconds(stage), time.monotonic()
            result = stage.process(segment, given)["prior.points"]
            rows[way].append((time.monotonic() - wall, _cpu_seconds(stage) - cpu))
            if expected is None:
                expected = result
            if not np.array_equal(result, expected):
                raise RuntimeError(f"a call by way of the {way} gave another result")
            del result
    return rows


def _input(megabytes: int) -> tuple[Segment, Fields]:
    size = megabytes * 10**6 // _FRAMES // 6
    frames = (np.arange(_FRAMES * size * 6) % 60).astype(np.uint8).reshape(_FRAMES, size, 2, 3)
    video = VideoInfo("bench", "bench.mp4", "", _FRAMES, 30.0, size, 2, size, 2)
    return Segment(video, 0, 0, _FRAMES), {"frames.rgb": frames}


def _cpu_seconds(stage: Stage) -> float:
    from geoflow.cluster.processes import cpu_seconds

    return time.process_time() + sum(map(cpu_seconds, stage.processes()))


def _summary(way: str, work: float, rows: list[tuple[float, float]]) -> dict[str, Any]:
    walls, cpus = zip(*rows[1:])
    return {
        "way": way,
        "seconds": work,
        "wall_seconds": statistics.median(walls),
        "cpu_seconds": statistics.median(cpus),
        "first_wall_seconds": rows[0][0],
    }
