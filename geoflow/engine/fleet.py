"""Every pool of a run and the GPUs they share: who is started where, who gets the next call, who is replaced."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from geoflow.engine import environments, gpus, schedule
from geoflow.engine.allocation import GpuNeed, allocate, rate, worth_resizing
from geoflow.engine.calls import Call
from geoflow.engine.gpus import Gpu
from geoflow.engine.outcome import outcome_of
from geoflow.engine.pool import Pool, Worker
from geoflow.engine.schedule import Kind
from geoflow.errors import EnvironmentBroken
from geoflow.pipeline import Pipeline
from geoflow.stage import Stage

Handlers = dict[Any, Callable[[Any], None]]  # ref -> what to do once it is there

_TICK_S = 1.0
_REPLAN_S = 5.0


class Fleet:
    """Starts, places, chooses, watches and replaces workers. `disable` is called when a stage cannot run at all."""

    def __init__(
        self,
        pipeline: Pipeline,
        stages: Sequence[Stage],
        *,
        cpus: float,
        gpus: float,
        least_deadline: float,
        handlers: Handlers,
        emit: Callable[..., None],
        disable: Callable[[int, dict[str, Any]], None],
    ) -> None:
        self._handlers, self._emit, self._disable = handlers, emit, disable
        self._least_deadline = least_deadline
        specs = pipeline.stages
        self._needs = [
            GpuNeed(s.slot, s.num_gpus, s.gpu_memory or s.num_gpus, s.weight or None, s.actors, stage.ordered)
            for s, stage in zip(specs, stages)
            if s.num_gpus > 0
        ]
        self._plan = self._first_plan(int(gpus))
        copies = Counter(slot for slots in self._plan for slot in slots)
        needs = [
            schedule.PoolNeed(s.slot, s.num_cpus, s.weight, stage.ordered, copies.get(s.slot, s.actors))
            for s, stage in zip(specs, stages)
        ]
        self._sizes = schedule.size_pools(needs, cpus=cpus)
        envs = [environments.load_runtime_env(s.env) if s.env else {} for s in specs]
        self.pools = [Pool(s, stage, self._sizes[s.slot], env) for s, stage, env in zip(specs, stages, envs)]
        self._node = {pool.spec.slot: node for node, pool in enumerate(self.pools)}
        self.gpus: list[Gpu] = []
        self._due: list[tuple[float, int, Callable[[], None]]] = []  # what to do later, soonest first
        self._tie = itertools.count()
        self._ticked = self._replanned = time.monotonic()

    def start(self) -> None:
        """Claim every GPU and start every actor, one of each stage before the second of any."""
        for planned in self._plan:
            cpus = sum(self._sizes[slot].cpu_share for slot in planned)
            gpu = gpus.claim(planned, cpus)
            self.gpus.append(gpu)
            self._handlers[gpu.ready] = partial(self._claimed, gpu)
        on_cpus = [(node, pool) for node, pool in enumerate(self.pools) if pool.share == 0]
        for turn in range(max((pool.size.actors for _, pool in on_cpus), default=0)):
            for node, pool in on_cpus:
                if turn < pool.size.actors:
                    self._spawn(node, None)

    def choose(self, node: int, backlog: int, near: str, waiting: frozenset[str]) -> Worker | None:
        """The worker for the next call of `node`; `waiting` are the slots that have work."""
        pool = self.pools[node]
        contended: frozenset[Gpu] = frozenset()
        if pool.share:
            others = waiting - {pool.spec.slot}
            contended = frozenset(gpu for gpu in self.gpus if not others.isdisjoint(gpu.planned))
        return pool.choose(backlog, near, contended=contended)

    def take(self, call: Call) -> None:
        """The call was given to its worker."""
        worker: Worker = call.worker
        if not worker.calls:
            worker.since = time.monotonic()
            if worker.gpu is not None:
                worker.gpu.take(self.pools[call.node].share)
        worker.calls.append(call)

    def give(self, call: Call) -> None:
        """The call came back, whatever came of it."""
        worker: Worker = call.worker
        pool = self.pools[call.node]
        worker.calls.remove(call)
        worker.since = time.monotonic()
        if not worker.calls and worker.gpu is not None and worker in pool.workers:
            worker.gpu.give(pool.share)

    def finished(self, call: Call, seconds: float) -> None:
        """A call's segment went well and took so long."""
        pool = self.pools[call.node]
        pool.deaths_in_a_row = 0
        pool.service.add(seconds)

    def died(self, node: int, worker: Worker) -> None:
        """Replace a dead actor; at once the first time, later and later when they keep dying."""
        pool = self.pools[node]
        pool.bury(worker)
        self._emit("actor_died", slot=pool.spec.slot, actor=worker.number, in_a_row=pool.deaths_in_a_row)
        if pool.deaths_in_a_row <= schedule.MAX_DEATHS_IN_A_ROW:
            self._later(schedule.backoff(pool.deaths_in_a_row), partial(self._spawn, node, worker.gpu))
        elif not pool.workers:
            self._disable(node, {"message": f"its actors keep dying ({pool.deaths_in_a_row} in a row)"})

    def not_up(self) -> set[int]:
        """Nodes of which no worker has come up yet."""
        return {node for node, pool in enumerate(self.pools) if all(w.loading is not None for w in pool.workers)}

    def load(self, node: int) -> tuple[int, int]:
        """Calls of a node that run, and that wait behind them; another thread may ask."""
        calls = [len(worker.calls) for worker in tuple(self.pools[node].workers)]
        running = sum(count > 0 for count in calls)
        return running, sum(calls) - running

    def next_due(self) -> float:
        """Seconds until `tick` has something to do."""
        now = time.monotonic()
        due = [self._ticked + _TICK_S, *(entry[0] for entry in self._due[:1])]
        return max(0.0, min(due) - now)

    def tick(self, has_work_left: Callable[[int], bool], remaining: Callable[[], int]) -> None:
        """What is not an answer to an event: delayed restarts, hung calls, GPUs nobody needs any more, re-planning."""
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()
        if now - self._ticked < _TICK_S:
            return
        self._ticked = now
        self._end_hung_calls(now)
        self._retire_idle(has_work_left)
        if now - self._replanned > _REPLAN_S:
            self._replanned = now
            self._replan(remaining())

    def stop(self) -> None:
        for pool in self.pools:
            pool.stop()
        for gpu in self.gpus:
            gpus.let_go(gpu)
        self.gpus.clear()

    # Starting

    def _first_plan(self, count: int) -> list[list[str]]:
        if not self._needs:
            return []
        plan = allocate(self._needs, max(1, count))
        if plan is None:
            sizes = ", ".join(f"{need.slot} {need.memory:g}" for need in self._needs)
            raise EnvironmentBroken(
                f"the models do not fit on {max(1, count)} GPU(s) together; of a GPU's memory they ask for {sizes}: "
                "lower gpu_memory in the pipeline, or add GPUs"
            )
        return plan

    def _claimed(self, gpu: Gpu, ref: Any) -> None:
        outcome_of(ref)
        gpu.ready = None
        for slot in sorted(set(gpu.planned)) + sorted((Counter(gpu.planned) - Counter(set(gpu.planned))).elements()):
            self._spawn(self._node[slot], gpu)

    def _spawn(self, node: int, gpu: Gpu | None) -> None:
        if gpu is not None and gpu not in self.gpus:
            return
        worker = self.pools[node].spawn(gpu)
        self._handlers[worker.loading] = partial(self._loaded, node, worker)

    def _loaded(self, node: int, worker: Worker, ref: Any) -> None:
        outcome, pool = outcome_of(ref), self.pools[node]
        if worker not in pool.workers:
            return
        if "error" not in outcome:
            worker.loading, worker.node = None, outcome["node"]
            pool.load_seconds = max(pool.load_seconds, outcome["seconds"])
            self._emit("actor_ready", slot=pool.spec.slot, actor=worker.number, **outcome)
        elif isinstance(outcome["error"].get("exception"), Exception) and pool.spec.env:
            reason = environments.explain_failure(outcome["error"]["exception"], pool.spec.env)
            self._disable(node, {**outcome["error"], "message": reason})
        elif outcome["error"]["kind"] == Kind.DIED:
            self.died(node, worker)
        else:
            self._disable(node, outcome["error"])

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._tie), action))

    # Watching

    def _end_hung_calls(self, now: float) -> None:
        import ray

        for pool in self.pools:
            service = pool.service
            for worker in pool.workers:
                if not worker.calls:
                    continue
                segments = len(worker.calls[0].runs)
                limit = schedule.deadline(service.longest, least=self._least_deadline, batch=segments)
                if now - worker.since > limit:
                    self._emit("actor_hung", slot=pool.spec.slot, actor=worker.number, seconds=now - worker.since)
                    worker.since = now
                    ray.kill(worker.handle, no_restart=True)  # its calls come back as died

    def _retire_idle(self, has_work_left: Callable[[int], bool]) -> None:
        """Let go of GPUs whose stages have nothing left to do, so that their nodes can scale down."""
        for gpu in list(self.gpus):
            if not any(has_work_left(self._node[slot]) for slot in set(gpu.planned)):
                self.gpus.remove(gpu)
                for pool in self.pools:
                    for worker in [w for w in pool.workers if w.gpu is gpu]:
                        pool.workers.remove(worker)
                gpus.let_go(gpu)  # ends the actors in it
                self._emit("gpu_released", planned=gpu.planned)

    # Re-planning by what was measured

    def _replan(self, remaining: int) -> None:
        """Add the copies that the measured times ask for; take others away for them only where that pays."""
        measured = self._measured()
        if measured is None or any(gpu.ready is not None for gpu in self.gpus):
            return
        plan = allocate(measured, len(self.gpus))
        now = Counter(slot for gpu in self.gpus for slot in gpu.planned)
        then = Counter(slot for slots in plan or () for slot in slots)
        memory = {need.slot: need.memory for need in measured}
        for slot in (then - now).elements():
            load = self.pools[self._node[slot]].load_seconds
            if not self._add_copy(slot, memory) and worth_resizing(
                rate(now, measured), rate(then, measured), remaining=remaining, load_seconds=load
            ):
                self._make_room(slot, memory, now - then)

    def _measured(self) -> list[GpuNeed] | None:
        """The needs with seconds as measured; None before every stage has been."""
        services = {need.slot: self.pools[self._node[need.slot]].service for need in self._needs}
        if not services or any(s.count < schedule.MIN_MEASURED or not s.mean for s in services.values()):
            return None
        return [replace(need, seconds=services[need.slot].mean) for need in self._needs]

    def _add_copy(self, slot: str, memory: dict[str, float]) -> bool:
        """Start one copy more on the GPU with most room, if its memory allows."""
        room = {gpu: 1.0 - sum(memory[other] for other in gpu.planned) for gpu in self.gpus}
        gpu = max(self.gpus, key=lambda g: room[g])
        if room[gpu] + 1e-9 < memory[slot]:
            return False
        gpu.planned.append(slot)
        self._emit("copy_added", slot=slot)
        self._spawn(self._node[slot], gpu)
        return True

    def _make_room(self, slot: str, memory: dict[str, float], surplus: Counter[str]) -> None:
        """End an idle copy of a stage that has more than it needs, where `slot` then fits in its place."""
        for other in surplus:
            pool = self.pools[self._node[other]]
            for worker in pool.workers:
                gpu = worker.gpu
                if gpu is None or worker.calls or worker.loading is not None:
                    continue
                if sum(memory[s] for s in gpu.planned) - memory[other] + memory[slot] <= 1.0 + 1e-9:
                    pool.end(worker)
                    gpu.planned.remove(other)
                    self._emit("copy_ended", slot=other)
                    self._add_copy(slot, memory)
                    return
