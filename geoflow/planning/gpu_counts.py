"""What another GPU would save: the least time that a run may take, by the number of GPUs.

The time is a bound: the stage that ends last if no stage waits, and the work of all GPUs if none is ever idle. A real
run takes longer. But where the bound does not fall any more, no further GPU can help.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geoflow.engine.gpu.residency import Residency
from geoflow.engine.graph import Graph
from geoflow.engine.sizing import size_all_pools
from geoflow.errors import EnvironmentBroken
from geoflow.pipeline import AUTO, Pipeline
from geoflow.planning.costs import Estimate
from geoflow.stage import Stage

_FEW = 8  # up to this number every count is looked at, whether or not the user asks for so many; then every doubling
_WORTH = 0.98  # another GPU helps if the time falls below this share


@dataclass(frozen=True)
class Work:
    """What all videos together ask of one stage."""

    seconds: float  # of all its calls
    share: float  # of a GPU that a call takes; 0: none


def what_gpus_save(
    pipe: Pipeline, stages: Sequence[Stage], graph: Graph, whole: Estimate, *, videos: int, segments: int, gpus: int
) -> list[dict[str, Any]]:
    """Return the counts of GPUs that pay off, each with its `seconds`; [] without GPU stages or if times are unknown.

    The first row is the least count on which the models fit. Counts up to `gpus` are looked at, and up to eight in any
    case.
    """
    on_gpus = {spec.slot: spec.num_gpus for spec in pipe.stages if spec.num_gpus}
    if not on_gpus or whole.unknown or AUTO in on_gpus.values():
        return []
    work = {slot: Work(seconds or 0.0, float(on_gpus.get(slot, 0.0))) for slot, seconds in whole.by_slot.items()}
    most = max(gpus, min(_FEW, pipe.max_gpus or _FEW))
    times = {}
    for count in counts_to_try(most):
        try:
            plan = Residency(pipe.stages, stages, count, graph=graph, videos=videos).plan
        except EnvironmentBroken:  # the models do not fit on so few
            continue
        sizes = size_all_pools(pipe.stages, stages, plan, cpus=os.cpu_count() or 1, gpus=count, videos=videos)
        actors = {slot: size.actors for slot, size in sizes.items()}
        times[count] = least_seconds(work, actors, segments=segments, gpus=count)
    return [{"gpus": count, "seconds": seconds} for count, seconds in worthwhile(times).items()]


def counts_to_try(most: int) -> list[int]:
    """Return numbers of GPUs up to `most`: each of the first eight, then doublings, and `most` itself.

    >>> counts_to_try(3), counts_to_try(40)
    ([1, 2, 3], [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 40])
    """
    counts = set(range(1, min(most, _FEW) + 1)) | {most}
    count = 2 * _FEW
    while count < most:
        counts.add(count)
        count *= 2
    return sorted(counts)


def least_seconds(work: Mapping[str, Work], actors: Mapping[str, int], *, segments: int, gpus: int) -> float:
    """Return a time that no run falls below. Calls are whole segments: three on two actors take two turns.

    >>> least_seconds({"prior": Work(90.0, 1.0)}, {"prior": 2}, segments=3, gpus=2)
    60.0
    """
    turns = [math.ceil(segments / actors[slot]) * row.seconds / max(1, segments) for slot, row in work.items()]
    return max([*turns, sum(row.share * row.seconds for row in work.values()) / gpus])


def worthwhile(times: Mapping[int, float]) -> dict[int, float]:
    """Return the counts that save time over every smaller count, up to the last one that does.

    >>> worthwhile({1: 60.0, 2: 31.0, 3: 31.0, 4: 30.9})
    {1: 60.0, 2: 31.0}
    """
    found: dict[int, float] = {}
    for count, seconds in sorted(times.items()):
        if not found or seconds < _WORTH * min(found.values()):
            found[count] = seconds
    return found
