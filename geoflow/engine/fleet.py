"""Every pool of a run: who is started where, who gets the next call, who is watched, ended and replaced."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from geoflow.engine import environments, gpus, schedule
from geoflow.engine.calls import Call
from geoflow.engine.gpus import Gpu
from geoflow.engine.outcome import outcome_of
from geoflow.engine.pool import Pool, Worker
from geoflow.engine.residency import Change, Residency
from geoflow.engine.schedule import Kind
from geoflow.engine.tokens import Lane
from geoflow.pipeline import Pipeline
from geoflow.stage import Stage

Handlers = dict[Any, Callable[[Any], None]]  # ref -> what to do once it is there

_TICK_S = 1.0
_REPLAN_S = 5.0
_ALONE_EXPIRES_S = 5.0
_EXIT_S = 1.0  # until the GPU memory of a process that was ended is free again


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
        self._residency = Residency(specs, stages, int(gpus))
        copies = Counter(slot for slots in self._residency.plan for slot in slots)
        needs = [
            schedule.PoolNeed(s.slot, s.num_cpus, s.weight, stage.ordered, copies.get(s.slot, s.actors))
            for s, stage in zip(specs, stages)
        ]
        self._sizes = schedule.size_pools(needs, cpus=cpus)
        envs = [environments.load_runtime_env(s.env) if s.env else {} for s in specs]
        self.pools = [Pool(s, stage, self._sizes[s.slot], env) for s, stage, env in zip(specs, stages, envs)]
        self._node = {pool.spec.slot: node for node, pool in enumerate(self.pools)}
        self._due: list[tuple[float, int, Callable[[], None]]] = []  # what to do later, soonest first
        self._tie = itertools.count()
        self._ticked = self._replanned = time.monotonic()

    def start(self) -> None:
        """Claim every GPU and start every actor, one of each stage before the second of any."""
        for planned in self._residency.plan:
            cpus = sum(self._sizes[slot].cpu_share for slot in planned)
            gpu = gpus.claim(planned, cpus)
            self._residency.gpus.append(gpu)
            self._handlers[gpu.ready] = partial(self._claimed, gpu)
        on_cpus = [(node, pool) for node, pool in enumerate(self.pools) if not pool.uses_gpu]
        for turn in range(max((pool.size.actors for _, pool in on_cpus), default=0)):
            for node, pool in on_cpus:
                if turn < pool.size.actors:
                    self._spawn(node, None)

    def choose(
        self, node: int, backlog: int, near: str = "", *, alone: bool = False
    ) -> tuple[Worker, Lane | None] | None:
        """The worker for the next call of `node`, and for a GPU worker its lane; None when none has room.

        `alone`: on a GPU that no other model's memory is taken from; others there are ended, and come back after it.
        """
        pool = self.pools[node]
        if not pool.uses_gpu:
            return pool.choose(backlog, near)
        if alone:
            return self._choose_alone(pool)
        return pool.choose_lane(self._residency.share(pool.spec.slot), self._lead(), near)

    def take(self, call: Call) -> None:
        """The call was given to its worker."""
        worker, now = call.worker, time.monotonic()
        if not worker.calls:
            worker.since = now
        if call.lane is not None:
            mean = self.pools[call.node].service.mean
            call.hold = worker.gpu.token.take(call.lane, None if mean is None else mean * len(call.runs), now)
        worker.calls.append(call)

    def give(self, call: Call) -> None:
        """The call came back, whatever came of it."""
        worker, now = call.worker, time.monotonic()
        worker.calls.remove(call)
        worker.since = now
        if call.hold is not None:
            worker.gpu.token.give(call.hold, now)
            if worker.gpu.alone is worker:
                self._let_others_in(worker.gpu)
        if worker.retiring and not worker.calls and worker in self.pools[call.node].workers:
            self.pools[call.node].end(worker)
            self._spawn(call.node, worker.gpu)

    def finished(self, call: Call, outcome: dict[str, Any]) -> None:
        """A call's segment went well: how long it took, and what memory, if that was asked."""
        pool = self.pools[call.node]
        pool.deaths_in_a_row = 0
        pool.service.add(outcome["seconds"])
        video = call.runs[0].segment.video
        pool.found.seconds, pool.found.pixels = (
            pool.service.mean or 0.0,
            max(pool.found.pixels, video.height * video.width),
        )
        if "private_bytes" in outcome:
            self._watch_memory(pool, call.worker, outcome["private_bytes"])
        if "gpu_peak" in outcome:
            facts = {"slot": pool.spec.slot, "peak": outcome["gpu_peak"], "total": outcome["gpu_total"]}
            self._emit("gpu_measured", **facts)
            pool.found.gpu_peak, pool.found.gpu_total = facts["peak"], facts["total"]
            self._carry_out(self._residency.measured(**facts))

    def _watch_memory(self, pool: Pool, worker: Worker, private_bytes: int) -> None:
        worker.looks += 1
        if worker.looks <= schedule.SETTLED_AFTER:
            worker.settled = max(worker.settled, private_bytes)
        elif schedule.leaks(private_bytes, worker.settled) and not worker.retiring:
            worker.retiring = True
            self._emit("actor_leaks", slot=pool.spec.slot, actor=worker.number, bytes=private_bytes)

    def _lead(self) -> float:
        return schedule.lead_time(max((pool.service.mean or 0.0 for pool in self.pools if pool.uses_gpu), default=0.0))

    def measures(self, node: int) -> bool:
        """Whether calls of this stage are to be watched for the GPU memory they take."""
        return self.pools[node].spec.slot in self._residency.unmeasured

    def note_starved(self, node: int | None) -> None:
        """The most urgent of the stages that have work and no worker that could take it, if there is any."""
        starved = self.pools[node] if node is not None and self._all_up() else None
        self._residency.note_starved(starved.spec.slot if starved is not None and starved.uses_gpu else None)

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
        calls = [tuple(worker.calls) for worker in tuple(self.pools[node].workers)]
        running = sum(bool(row) and not (row[0].hold and row[0].hold.waiting) for row in calls)
        return running, sum(map(len, calls)) - running

    def next_due(self, sending_ahead: bool) -> float:
        """Seconds until `tick` has something to do, or, if there is work to send ahead, until it may be sent."""
        now = time.monotonic()
        due = [self._ticked + _TICK_S, *(entry[0] for entry in self._due[:1])]
        if sending_ahead:  # wake when the next lane comes within reach
            lead = self._lead()
            ends = (hold.ends - lead for gpu in self._residency.gpus for hold in gpu.token.holds)
            due += [moment for moment in ends if moment > now]
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
        for gpu in self._residency.gpus:  # nobody asks any more: the video failed, or its turn went elsewhere
            if gpu.alone is not None and not gpu.alone.calls and now - gpu.alone_asked > _ALONE_EXPIRES_S:
                self._let_others_in(gpu)
        self._resize(now, remaining)

    def stop(self) -> None:
        for pool in self.pools:
            pool.stop()
        for gpu in self._residency.gpus:
            gpus.let_go(gpu)
        self._residency.gpus.clear()

    # Starting

    def _claimed(self, gpu: Gpu, ref: Any) -> None:
        outcome_of(ref)
        gpu.ready = None
        for slot in sorted(set(gpu.planned)) + sorted((Counter(gpu.planned) - Counter(set(gpu.planned))).elements()):
            self._spawn(self._node[slot], gpu)

    def _spawn(self, node: int, gpu: Gpu | None) -> None:
        if gpu is not None and gpu not in self._residency.gpus:
            return
        pool = self.pools[node]
        slot = pool.spec.slot
        share = self._residency.needs[slot].memory if gpu is not None and not self.measures(node) else None
        worker = pool.spawn(gpu, share)
        self._handlers[worker.loading] = partial(self._loaded, node, worker)

    def _loaded(self, node: int, worker: Worker, ref: Any) -> None:
        outcome, pool = outcome_of(ref), self.pools[node]
        if worker not in pool.workers:
            return
        if "error" not in outcome:
            worker.loading, worker.node = None, outcome["node"]
            pool.load_seconds = max(pool.load_seconds, time.monotonic() - worker.since)
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
                call = worker.calls[0]
                if call.hold is not None and call.hold.waiting:
                    continue
                seconds = now - max(worker.since, call.hold.since if call.hold is not None else 0.0)
                if seconds > schedule.deadline(service.longest, least=self._least_deadline, batch=len(call.runs)):
                    self._emit("actor_hung", slot=pool.spec.slot, actor=worker.number, seconds=seconds)
                    worker.since = now
                    ray.kill(worker.handle, no_restart=True)  # its calls come back as died

    def _retire_idle(self, has_work_left: Callable[[int], bool]) -> None:
        """Let go of GPUs whose stages have nothing left to do, so that their nodes can scale down."""
        for gpu in list(self._residency.gpus):
            slots = set(gpu.planned) or set(self._residency.needs)  # nothing yet, until the first copies are measured
            if not any(has_work_left(self._node[slot]) for slot in slots):
                self._residency.gpus.remove(gpu)
                for _, pool, worker in self._on(gpu):
                    pool.workers.remove(worker)
                gpus.let_go(gpu)  # ends the actors in it
                self._emit("gpu_released", planned=gpu.planned)

    # Who lives on which GPU

    def _resize(self, now: float, remaining: Callable[[], int]) -> None:
        pools = {slot: self.pools[self._node[slot]] for slot in self._residency.needs}
        load_seconds = {slot: pool.load_seconds for slot, pool in pools.items()}
        self._carry_out(self._residency.additions(load_seconds))
        if self._all_up():
            seconds = {slot: pool.service.mean for slot, pool in pools.items()}
            self._carry_out(self._residency.spread(seconds, load_seconds, remaining()))
        if now - self._replanned > _REPLAN_S:
            self._replanned = now
            known = {s: p.service.mean if p.service.count >= schedule.MIN_MEASURED else None for s, p in pools.items()}
            up = [(slot, w) for slot, pool in pools.items() for w in pool.workers if w.loading is None]
            idle = {(slot, w.gpu) for slot, w in up if w.gpu is not None and not w.calls}
            self._carry_out(self._residency.exchanges(known, load_seconds, idle, remaining()))

    def _carry_out(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if change.ends is not None:
                pool = self.pools[self._node[change.ends]]
                pool.end(next(w for w in pool.workers if w.gpu is change.gpu and not w.calls and w.loading is None))
                self._emit("copy_ended", slot=change.ends)
            self._emit("copy_added", slot=change.slot)
            self._spawn(self._node[change.slot], change.gpu)

    def _all_up(self) -> bool:
        """Nobody is loading: while somebody is, who is needed where cannot be told."""
        waiting = any(gpu.ready is not None for gpu in self._residency.gpus)
        return not waiting and all(w.loading is None for pool in self.pools for w in pool.workers)

    def _on(self, gpu: Gpu) -> list[tuple[int, Pool, Worker]]:
        return [(node, pool, w) for node, pool in enumerate(self.pools) for w in pool.workers if w.gpu is gpu]

    def _choose_alone(self, pool: Pool) -> tuple[Worker, Lane | None] | None:
        """Settle on a GPU for a call that must be alone there; None until the calls of the others have ended."""
        up = [w for w in pool.workers if w.gpu is not None and w.loading is None]
        chosen = next((w for w in up if w.gpu is not None and w.gpu.alone is w), None)
        if chosen is None:
            free = [w for w in up if w.gpu is not None and w.gpu.alone is None]
            chosen = min(free, key=lambda w: len(w.gpu.token.holds) if w.gpu else 0, default=None)
        if chosen is None or chosen.gpu is None:
            return None
        gpu = chosen.gpu
        gpu.alone, gpu.alone_asked = chosen, time.monotonic()  # nobody is given a call there any more
        if gpu.token.holds:
            return None
        for node, other, worker in self._on(gpu):
            if worker is not chosen:
                other.end(worker)
                gpu.evicted.append(node)
                gpu.empty_from = gpu.alone_asked + _EXIT_S
        if gpu.alone_asked < gpu.empty_from:
            return None
        place = gpu.token.place(1.0, time.monotonic())
        return None if place is None else (chosen, place[1])

    def _let_others_in(self, gpu: Gpu) -> None:
        gpu.alone, evicted, gpu.evicted = None, gpu.evicted, []
        for node in evicted:
            self._spawn(node, gpu)
