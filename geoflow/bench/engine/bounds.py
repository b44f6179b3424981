"""Bounds that engines are compared with: two lower bounds of a workload's time, and the best fixed pools."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass

from geoflow.bench.engine.workloads import SleepStage, Workload

Pools = dict[str, int]  # stage -> workers


def gpu_seconds(workload: Workload) -> float:
    """Return the GPU time of all items in all stages; a stage that holds a share of a GPU counts with this share."""
    factors = sum(workload.factor(item) for item in range(workload.items))
    return sum(stage.gpus * stage.seconds for stage in workload.stages) * factors


def fluid(workload: Workload) -> float:
    """Return the seconds if the work could be spread over the GPUs without gaps: `gpu_seconds` / GPUs."""
    return gpu_seconds(workload) / workload.gpus


@dataclass(frozen=True)
class Schedule:
    """The result of `simulate`, in seconds since the start."""

    makespan: float
    first_output: float


def simulate(workload: Workload, pools: Pools) -> Schedule:
    """Run the workload on fixed pools, without any overhead.

    All items are there at time 0. A worker gets its next item at once when it is free, the oldest item first, and
    nothing waits for memory. This is list scheduling: an engine may beat it by luck, but hardly.
    """
    children = {s.name: [c.name for c in workload.stages if s.name in c.after] for s in workload.stages}
    start, end = workload.stages[0], workload.stages[-1].name
    missing = {(s.name, item): len(s.after) for s in workload.stages for item in range(workload.items)}
    ready: dict[str, list[int]] = {stage.name: [] for stage in workload.stages}
    ready[start.name] = list(range(workload.items))  # sorted, so a heap
    free = dict(pools)
    running: list[tuple[float, str, int]] = []
    outputs: list[float] = []
    now = 0.0
    stages = {stage.name: stage for stage in workload.stages}
    touched = [start.name]
    while True:
        for name in touched:
            while free[name] and ready[name]:
                free[name] -= 1
                item = heapq.heappop(ready[name])
                heapq.heappush(running, (now + workload.seconds(stages[name], item), name, item))
        if not running:
            return Schedule(now, outputs[0])
        now, name, item = heapq.heappop(running)
        free[name] += 1
        if name == end:
            outputs.append(now)
        touched = [name]
        for child in children[name]:
            missing[child, item] -= 1
            if not missing[child, item]:
                heapq.heappush(ready[child], item)
                touched.append(child)


def best_pools(workload: Workload) -> Pools:
    """Return the fixed pools with the shortest simulated makespan, among all that fill the GPUs.

    Pools are tried in the order of their slowest stage's time, which no schedule can beat, until no better one is
    possible. Shares must divide a GPU (0.5, 0.25, ...), so that workers that fit in total also fit on single GPUs.
    """
    candidates = sorted(
        _maximal(workload.stages, float(workload.gpus)),
        key=lambda counts: (_bottleneck(workload, counts), max(counts)),
    )
    best, best_makespan = candidates[0], math.inf
    for counts in candidates:
        if _bottleneck(workload, counts) >= best_makespan:
            break
        makespan = simulate(workload, _named(workload, counts)).makespan
        if makespan < best_makespan:
            best, best_makespan = counts, makespan
    return _named(workload, best)


def _named(workload: Workload, counts: tuple[int, ...]) -> Pools:
    return {stage.name: count for stage, count in zip(workload.stages, counts)}


def _bottleneck(workload: Workload, counts: tuple[int, ...]) -> float:
    return max(stage.seconds / count for stage, count in zip(workload.stages, counts)) * workload.items


def _maximal(stages: tuple[SleepStage, ...], room: float) -> Iterator[tuple[int, ...]]:
    """Yield every choice of at least one worker per stage that fits and leaves no room for another worker."""
    smallest = min(stage.gpus for stage in stages)

    def extend(index: int, room: float) -> Iterator[tuple[int, ...]]:
        if index == len(stages):
            if room < smallest - 1e-9:
                yield ()
            return
        reserved = sum(stage.gpus for stage in stages[index + 1 :])
        for count in range(1, int((room - reserved) / stages[index].gpus + 1e-9) + 1):
            for rest in extend(index + 1, room - count * stages[index].gpus):
                yield (count, *rest)

    return extend(0, room)
