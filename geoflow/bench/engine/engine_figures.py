"""The figures of one run, calculated from its trace with the same definitions for every engine.

The clock starts when the local Ray is up: starting it takes the same time for every engine, and normally the cluster
exists already. In seconds on this clock:

- `startup`: until every worker that began to load before the first output is up. Later workers are started when an
  engine changes its pools; their cost is part of `steady`.
- `first_output`: until the last stage has finished its first item.
- `makespan`: until the last stage has finished the last item.
- `steady`: from `startup` to `makespan`, plus the time that the work done before `startup` takes at the fluid pace,
  its GPU-seconds / GPUs. No pace is faster, so this may flatter an engine, but is never unfair to it; `early`, the
  share of the work done before `startup`, shows by how much. If stages take no time there is no such pace: calls are
  counted, and early calls take the time of the others.

For an engine that runs stage by stage, every phase is steady once the stage's workers are up, and `steady` is the sum
of the phases; `startup` is all other time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from geoflow.bench.engine.workloads import Workload

Row = tuple[str, str, int, float, float]  # item or "up", stage, pid, began, ended


@dataclass(frozen=True)
class Times:
    """Times in seconds; None if the run did not get that far."""

    startup: float | None
    first_output: float | None
    makespan: float | None
    steady: float | None
    early: float | None
    delivered: int  # items that the last stage finished, each counted once

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def times_of(workload: Workload, rows: Sequence[Row], clock: float, *, phased: bool = False) -> Times:
    """Return the times of a run from the rows of its trace; `clock` is its start, `phased` means stage by stage."""
    calls = [row for row in rows if row[0] != "up"]
    outputs = [row for row in calls if row[1] == workload.stages[-1].name]
    if not outputs:
        return Times(None, None, None, None, None, 0)
    first, last = min(row[4] for row in outputs), max(row[4] for row in outputs)
    if phased:
        steady, early = _sum_of_phases(workload, rows), 0.0
        startup = last - clock - steady
    else:
        up = max(row[4] for row in rows if row[0] == "up" and row[3] < first)
        steady, early = _steady(workload, calls, up)
        startup = up - clock
    return Times(startup, first - clock, last - clock, steady, early, len({row[0] for row in outputs}))


def _sum_of_phases(workload: Workload, rows: Sequence[Row]) -> float:
    total = 0.0
    for stage in workload.stages:
        calls = [row for row in rows if row[1] == stage.name and row[0] != "up"]
        up = max(row[4] for row in rows if row[1] == stage.name and row[0] == "up")
        total += _steady(workload, calls, up)[0]
    return total


def _steady(workload: Workload, calls: list[Row], up: float) -> tuple[float, float]:
    """Return seconds for all of `calls`, those before `up` as described above, and the work's share before `up`."""
    after = max(row[4] for row in calls) - up
    work = sum(_work(workload, row) for row in calls)
    early = sum(_work(workload, row) * (1 - part_after(up, row)) for row in calls)
    if any(stage.seconds for stage in workload.stages):
        return after + early / workload.gpus, early / work
    return (after * work / (work - early) if work > early else 0.0), early / work


def _work(workload: Workload, row: Row) -> float:
    if not any(stage.seconds for stage in workload.stages):
        return 1.0
    stage = workload.stage(row[1])
    return stage.gpus * workload.seconds(stage, int(row[0]))


def part_after(moment: float, row: Row) -> float:
    """Return which part of a call lies after the moment, 0..1."""
    began, ended = row[3], row[4]
    if began >= moment or ended <= moment:
        return float(began >= moment)
    return (ended - moment) / (ended - began)
