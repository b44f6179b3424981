"""A workload on a plain executor over Ray actors, as one would write it first, but well.

There is a pool of actors for each stage, of fixed size. A call's result is one object, passed on by its ref and never
read by the driver. Every actor has up to two calls, so that it need not wait for the driver between them. Of the ready
items the oldest go first, and the stage furthest downstream. Items enter while the arrays of those in flight fit into
half of the object store. Nothing is retried, saved or observed.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from geoflow.bench.engine.bounds import Pools
from geoflow.bench.engine.sleeper import Sleeper
from geoflow.bench.engine.workloads import SleepStage, Workload

_CALLS_AN_ACTOR = 2
_STORE_SHARE = 0.5


class PlainActor:
    """One worker of one stage."""

    def __init__(self, workload: str, stage: str, trace: str) -> None:
        self._sleeper = Sleeper(Workload.from_json(workload), stage, trace)

    def work(self, items: Sequence[int], *inputs: Any) -> Any:
        """Return (payload_bytes,) uint8 for a single item.

        For several items return a list of arrays; each input is then a list, too.
        """
        if len(items) == 1:
            return self._sleeper.work(items[0], inputs)
        return [self._sleeper.work(item, [column[i] for column in inputs]) for i, item in enumerate(items)]


@dataclass
class _Pool:
    """The actors of one stage, and the work that waits for them."""

    stage: SleepStage
    depth: int
    actors: dict[Any, int]  # actor -> its calls
    ready: list[int] = field(default_factory=list)  # heap of groups


@dataclass(frozen=True)
class _Call:
    group: int
    pool: _Pool
    actor: Any


class PlainExecutor:
    """Takes groups of items through the stages. Use it once."""

    def __init__(self, workload: Workload, pools: Pools, trace: str, cpus_per_worker: float, batch: int) -> None:
        self._groups = [
            tuple(range(first, min(first + batch, workload.items))) for first in range(0, workload.items, batch)
        ]
        self._pools = {
            stage.name: _Pool(stage, depth, _start(workload, stage, pools[stage.name], trace, cpus_per_worker))
            for depth, stage in enumerate(workload.stages)
        }
        names = [stage.name for stage in workload.stages]
        self._start, self._end = names[0], names[-1]
        self._children = {name: [s.name for s in workload.stages if name in s.after] for name in names}
        self._made: dict[tuple[str, int], Any] = {}  # stage and group -> ref, while a stage still reads it
        self._unread: dict[tuple[str, int], int] = {}  # how many stages have not read it yet
        self._lacking = {(s.name, group): len(s.after) for s in workload.stages for group in range(len(self._groups))}
        self._running: dict[Any, _Call] = {}
        alive = sum(stage.payload_bytes for stage in workload.stages) * batch
        self._most = max(1, int(_STORE_SHARE * workload.store_bytes / max(1, alive)))
        self._entered = self._left = 0

    def run(self) -> list[int]:
        """Run all items; return those that came out."""
        import ray

        delivered: list[int] = []
        while self._left < len(self._groups):
            while self._entered < len(self._groups) and self._entered - self._left < self._most:
                heapq.heappush(self._pools[self._start].ready, self._entered)
                self._entered += 1
            self._submit()
            refs = list(self._running)
            done, _ = ray.wait(refs, num_returns=1, fetch_local=False)
            if len(refs) > 1:  # take all others that are ready by now
                done, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
            for ref in done:
                call = self._running.pop(ref)
                self._returned(call, ref)
                if call.pool.stage.name == self._end:
                    ray.get(ref)  # raises the stage's exception
                    delivered += self._groups[call.group]
                    self._left += 1
        return delivered

    def _submit(self) -> None:
        while True:
            able = [pool for pool in self._pools.values() if pool.ready and min(pool.actors.values()) < _CALLS_AN_ACTOR]
            if not able:
                return
            pool = min(able, key=lambda pool: (pool.ready[0], -pool.depth))
            group = heapq.heappop(pool.ready)
            actor = min(pool.actors, key=lambda actor: pool.actors[actor])
            inputs = [self._made[name, group] for name in pool.stage.after]
            ref = actor.work.remote(self._groups[group], *inputs)
            pool.actors[actor] += 1
            self._running[ref] = _Call(group, pool, actor)

    def _returned(self, call: _Call, ref: Any) -> None:
        name, group = call.pool.stage.name, call.group
        call.pool.actors[call.actor] -= 1
        for parent in call.pool.stage.after:
            self._unread[parent, group] -= 1
            if not self._unread[parent, group]:
                del self._made[parent, group]
        if self._children[name]:
            self._made[name, group], self._unread[name, group] = ref, len(self._children[name])
        for child in self._children[name]:
            self._lacking[child, group] -= 1
            if not self._lacking[child, group]:
                heapq.heappush(self._pools[child].ready, group)


def drive(workload: Workload, pools: Pools | None, trace: str, cpus_per_worker: float, *, batch: int = 1) -> list[int]:
    """Run the workload on the given pools, which are required; return the items that came out."""
    assert pools is not None
    return PlainExecutor(workload, pools, trace, cpus_per_worker, batch).run()


def _start(workload: Workload, stage: SleepStage, count: int, trace: str, cpus_per_worker: float) -> dict[Any, int]:
    import ray

    actor = ray.remote(PlainActor).options(num_gpus=stage.gpus, num_cpus=cpus_per_worker)
    return {actor.remote(workload.to_json(), stage.name, trace): 0 for _ in range(count)}
