"""From the trace of one run to its figures; the same definitions for every engine.

The clock starts when the local Ray is up: it takes the same time for every engine, and a cluster is normally there
already. In seconds on that clock:

- `startup`: until every worker that began to load before the first output is up. Later workers are an engine's own
  re-sizing, and their cost is part of `steady`.
- `first_output`: until the last stage is done with its first item.
- `makespan`: until the last stage is done with the last item.
- `steady`: from `startup` to `makespan`, and on top what the work that was done while some workers were still loading
  takes at the fluid pace, its GPU-seconds / GPUs. No pace is faster, so this may flatter an engine, never wrong it;
  `early`, the share of the work done before `startup`, says by how much. Where stages take no time there is no such
  pace: calls are counted, and the early ones take what they would at the pace of the others.

An engine that runs stage by stage is steady in every phase, once that stage's workers are up, and `steady` is the sum;
`startup` is all the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from geoflow.bench.engine.workloads import Workload

Row = tuple[str, str, int, float, float]  # item or "up", stage, pid, began, ended


@dataclass(frozen=True)
class Times:
    """Seconds; None where the run never came so far."""

    startup: float | None
    first_output: float | None
    makespan: float | None
    steady: float | None
    early: float | None
    delivered: int  # items the last stage was done with, each counted once

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def times_of(workload: Workload, rows: Sequence[Row], clock: float, *, phased: bool = False) -> Times:
    """The times of a run from the rows of its trace; `clock` is when it started, `phased` is stage by stage."""
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
    """Seconds for all of `calls`, those before `up` charged as the module says, and the share of work before `up`."""
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
    """Which part of a call lies after the moment."""
    began, ended = row[3], row[4]
    if began >= moment or ended <= moment:
        return float(began >= moment)
    return (ended - moment) / (ended - began)
