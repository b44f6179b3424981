"""From the trace of one run to its figures; the same definitions for every engine.

The clock starts when the local Ray is up: it takes the same time for every engine, and a cluster is normally there
already. In seconds on that clock:

- `startup`: until every worker that began to load before the first output is up. Later workers are an engine's own
  re-sizing, and their cost is part of `steady`.
- `first_output`: until the last stage is done with its first item.
- `makespan`: until the last stage is done with the last item.
- `steady`: what all the work would take at the pace after `startup`: (makespan - startup) / the share of the work
  that was still to be done at `startup`. Work is GPU time, or calls where the stages take no time. Without the
  share, work done while some workers were still loading would make an engine look quicker than it is.

An engine that runs stage by stage has a start-up and a steady time in every phase, and its steady time is their sum.
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
    delivered: int  # items the last stage was done with, each counted once
    repeated: int  # calls of the last stage beyond those

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def times_of(workload: Workload, rows: Sequence[Row], clock: float, *, phased: bool = False) -> Times:
    """The times of a run from the rows of its trace; `clock` is when it started, `phased` is stage by stage."""
    ends = sorted(ended for what, stage, _, _, ended in rows if stage == workload.stages[-1].name and what != "up")
    items = {what for what, stage, *_ in rows if stage == workload.stages[-1].name and what != "up"}
    loads = [(began, ended) for what, _, _, began, ended in rows if what == "up"]
    if not ends or not loads:
        return Times(None, None, None, None, 0, 0)
    up = max(ended for began, ended in loads if began < ends[0])
    if phased:
        steady = sum(_phase(workload, [row for row in rows if row[1] == s.name]) for s in workload.stages)
    else:
        steady = _at_pace_after(up, workload, [row for row in rows if row[0] != "up"])
    return Times(up - clock, ends[0] - clock, ends[-1] - clock, steady, len(items), len(ends) - len(items))


def _phase(workload: Workload, rows: list[Row]) -> float:
    up = max(row[4] for row in rows if row[0] == "up")
    return _at_pace_after(up, workload, [row for row in rows if row[0] != "up"])


def _at_pace_after(up: float, workload: Workload, calls: list[Row]) -> float:
    """Time from `up` to the end, over the share of the work of `calls` that lies after `up`."""
    end = max(row[4] for row in calls)
    all_work = sum(_work(workload, row) for row in calls)
    after = sum(_work(workload, row) * _part_after(up, row) for row in calls)
    return (end - up) * all_work / after if after else end - min(row[3] for row in calls)


def _work(workload: Workload, row: Row) -> float:
    if not any(stage.seconds for stage in workload.stages):
        return 1.0
    stage = workload.stage(row[1])
    return stage.gpus * workload.seconds(stage, int(row[0]))


def _part_after(moment: float, row: Row) -> float:
    began, ended = row[3], row[4]
    if began >= moment or ended <= moment:
        return float(began >= moment)
    return (ended - moment) / (ended - began)
