"""Every pool of a run: which actor starts where, which gets the next call, which is watched, stopped and replaced."""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from geoflow.cluster.session import Capacity, number_of_nodes
from geoflow.engine import schedule
from geoflow.engine.calls import Call
from geoflow.engine.gpu.gpu_fleet import GpuFleet
from geoflow.engine.gpu.placement import Gpu
from geoflow.engine.gpu.residency import Residency
from geoflow.engine.gpu.tokens import Lane
from geoflow.engine.graph import Graph
from geoflow.engine.mailbox import Mailbox
from geoflow.engine.outcome import Failure, Outcome, outcome_of
from geoflow.engine.pool import Pool, Worker
from geoflow.engine.schedule import Kind, PoolSize
from geoflow.engine.sizing import size_all_pools
from geoflow.environments import environment
from geoflow.errors import EnvironmentBroken
from geoflow.pipeline import Pipeline
from geoflow.stage import Stage

_TICK_S = 1.0
_MOST_UNBUILT = 6


class Fleet:
    """Starts, places, chooses, watches and replaces workers. `disable` is called when a stage cannot run at all."""

    def __init__(
        self,
        pipeline: Pipeline,
        stages: Sequence[Stage],
        graph: Graph,
        capacity: Capacity,
        *,
        follows: bool,
        least_deadline: float,
        mailbox: Mailbox,
        emit: Callable[..., None],
        disable: Callable[[int, str], None],
        videos: int | None = None,
    ) -> None:
        self._videos = videos
        self._mailbox, self._emit, self._disable = mailbox, emit, disable
        self._least_deadline, self._segment_size = least_deadline, pipeline.segment.size
        specs = pipeline.stages
        self._max_gpus = pipeline.max_gpus or math.inf
        self._capacity = capacity
        residency = Residency(specs, stages, int(min(capacity.gpus, self._max_gpus)), graph=graph, videos=videos)
        self._first_plan = residency.plan
        self._specs, self._stages = specs, stages
        sizes = self._size_pools()
        envs = [environment.load_runtime_env(s.env) if s.env else {} for s in specs]
        self.pools = [Pool(s, stage, sizes[s.slot], env) for s, stage, env in zip(specs, stages, envs)]
        self._gpus = GpuFleet(
            residency,
            self.pools,
            spawn=self._spawn,
            most=pipeline.max_gpus,
            worth=pipeline.gpu_worth if follows else None,
            mailbox=mailbox,
            emit=emit,
        )
        self._due: list[tuple[float, int, Callable[[], None]]] = []  # what to do later, soonest first
        self._tie = itertools.count()
        self._ticked = time.monotonic()

    def start(self) -> None:
        """Claim every GPU and start every actor, one of each stage before the second of any."""
        for stage, pool in enumerate(self.pools):
            try:
                pool.bundle_packages()
            except EnvironmentBroken as error:
                self._disable(stage, str(error))
        self._gpus.start()
        on_cpus = [(stage, pool) for stage, pool in enumerate(self.pools) if not pool.uses_gpu]
        for turn in range(max((pool.size.actors for _, pool in on_cpus), default=0)):
            for stage, pool in on_cpus:
                if turn < pool.size.actors:
                    self._spawn(stage, None)

    def choose(
        self, stage: int, backlog: int, near: str = "", *, alone: bool = False
    ) -> tuple[Worker, Lane | None] | None:
        """Return the worker for the next call of `stage`, with its lane for a GPU worker; None if no worker has room.

        `alone`: the call needs a GPU to itself. The other models on that GPU are stopped, and start again after the
        call.
        """
        pool = self.pools[stage]
        if not pool.uses_gpu:
            return pool.choose(backlog, near)
        if alone:
            return self._gpus.choose_alone(pool)
        return self._gpus.choose(pool, backlog, near)

    def take(self, call: Call) -> None:
        """Note that a call was given to its worker."""
        worker, now = call.worker, time.monotonic()
        if not worker.calls:
            worker.since = now
        if call.lane is not None:
            call.hold = worker.gpu.token.take(call.lane, self._usual(call), now)
        worker.calls.append(call)

    def give(self, call: Call) -> None:
        """Note that a call has returned, successful or not."""
        worker, now = call.worker, time.monotonic()
        call.waited = max(0.0, call.could_begin - call.submitted)
        worker.calls.remove(call)
        worker.since = now
        if call.hold is not None:
            worker.gpu.token.give(call.hold, now)
            self._gpus.call_ended(worker)
        if worker.retiring and not worker.calls and worker in self.pools[call.stage].workers:
            self._replace(call.stage, worker)

    def finished(self, call: Call, i: int, outcome: Outcome) -> None:
        """Note the time of a call's segment number `i`, which succeeded, and its memory if measured."""
        pool = self.pools[call.stage]
        pool.deaths_in_a_row, call.worker.proven = 0, True
        extent = call.runs[i].extent
        if not call.condenses:
            (pool.surveys if call.frames else pool.service).add(outcome.seconds, len(extent))
        video = extent.video
        pool.found.pixels = max(pool.found.pixels, video.height * video.width)
        if outcome.private_bytes is not None:
            self._watch_memory(pool, call.worker, outcome.private_bytes)
        if outcome.gpu_peak is not None and outcome.gpu_total is not None:
            pool.found.gpu_peak, pool.found.gpu_total = outcome.gpu_peak, outcome.gpu_total
            self._gpus.measured(pool.spec.slot, outcome.gpu_peak, outcome.gpu_total)

    def measures(self, stage: int) -> bool:
        """Return whether the GPU memory of this stage's calls is to be measured."""
        return not self._gpus.is_measured(self.pools[stage].spec.slot)

    def note_starved(self, stage: int | None) -> None:
        """Note the most urgent stage that has work but no free worker; None if there is no such stage."""
        self._gpus.note_starved(self.pools[stage] if stage is not None else None)

    def bury(self, call: Call) -> None:
        """Replace the worker of a call: it is dead. The calls queued behind that call come back one by one."""
        for waiting in list(call.worker.calls)[1:]:
            waiting.began = False
            for run in waiting.runs:  # it never ran, so this attempt does not count against it
                run.attempts[waiting.step] -= 1
        self.died(call.stage, call.worker)

    def died(self, stage: int, worker: Worker) -> None:
        """Replace a dead actor: at once the first time, with growing delays when actors keep dying."""
        pool = self.pools[stage]
        pool.bury(worker)
        self._emit("actor_died", slot=pool.spec.slot, actor=worker.number, in_a_row=pool.deaths_in_a_row)
        if worker.gpu is not None and self._gpus.is_lost(worker.gpu):
            return
        if pool.deaths_in_a_row <= schedule.MAX_DEATHS_IN_A_ROW:
            self._later(schedule.backoff(pool.deaths_in_a_row), partial(self._spawn, stage, worker.gpu))
        elif not pool.workers:
            self._disable(stage, f"its actors keep dying ({pool.deaths_in_a_row} in a row)")

    def not_up(self) -> set[int]:
        """Return the stages without a worker that has started."""
        return {stage for stage, pool in enumerate(self.pools) if all(w.loading is not None for w in pool.workers)}

    def probing_actor(self) -> tuple[bool, Any]:
        """Return whether there are actors with the driver's own environment, and the least busy one that has started.

        Actors without a GPU come first, those of the earliest stage before others: such a stage reads videos itself.
        """
        pools = [pool for pool in self.pools if not pool.has_environment]
        up = [w for pool in pools for w in pool.workers if w.loading is None and not w.retiring]
        up = [w for w in up if w.gpu is None or w.gpu.alone is None]
        found = min(up, key=lambda w: (w.gpu is not None, len(w.calls)), default=None)
        there = any(pool.workers or self._gpus.are_coming(pool.spec.slot) for pool in pools)
        return there, None if found is None else found.handle

    def load(self, stage: int) -> tuple[int, int]:
        """Return the numbers of a stage's running calls and of its waiting calls. Other threads may call this."""
        calls = [tuple(worker.calls) for worker in tuple(self.pools[stage].workers)]
        running = sum(bool(row) and not (row[0].hold and row[0].hold.waiting) for row in calls)
        return running, sum(map(len, calls)) - running

    def next_due(self, ready: Iterable[int]) -> float:
        """Return the seconds until `tick` has something to do, or work of the `ready` stages may be sent ahead."""
        now = time.monotonic()
        due = [self._ticked + _TICK_S, *(entry[0] for entry in self._due[:1])]
        if slots := {self.pools[stage].spec.slot for stage in ready}:  # wake when a call for the next lane may be sent
            due += [moment for moment in self._gpus.next_lanes(slots) if moment > now]
        return max(0.0, min(due) - now)

    def follow(self, capacity: Capacity) -> None:
        """Size the CPU pools for the cluster's present capacity, after nodes have joined or left."""
        if (capacity.cpus, capacity.gpus) == (self._capacity.cpus, self._capacity.gpus):
            return
        shrunk, self._capacity = capacity.cpus < self._capacity.cpus, capacity
        sizes = self._size_pools()
        for stage, pool in enumerate(self.pools):
            pool.size = sizes[pool.spec.slot]
            if pool.uses_gpu:
                continue
            if shrunk:
                self._make_room(stage, pool)
            for _ in range(pool.size.actors - sum(not w.leaving for w in pool.workers)):
                self._spawn(stage, None)

    def tick(self, has_work_left: Callable[[int], bool], remaining: Callable[[], int]) -> None:
        """Do what depends on time: delayed restarts, hung calls, GPUs that are not needed any more, re-planning."""
        now = time.monotonic()
        self._gpus.start_planned()
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()
        if now - self._ticked < _TICK_S:
            return
        self._ticked = now
        self._end_hung_calls(now)
        self._gpus.retire_idle(has_work_left)
        self._gpus.resize(now, remaining)

    def stop(self) -> None:
        for pool in self.pools:
            pool.stop()
        self._gpus.stop()

    # Starting

    def _size_pools(self) -> dict[str, PoolSize]:
        """Return the pool sizes for the cluster as it is now, and the GPUs that the run may use."""
        gpus = min(self._capacity.gpus, self._max_gpus)
        cpus, videos = self._capacity.cpus, self._videos
        return size_all_pools(self._specs, self._stages, self._first_plan, cpus=cpus, gpus=gpus, videos=videos)

    def _spawn(self, stage: int, gpu: Gpu | None) -> None:
        if gpu is not None and not self._gpus.is_there(gpu):
            return
        pool = self.pools[stage]
        worker = pool.spawn(gpu, self._gpus.memory(pool.spec.slot) if gpu is not None else None)
        self._mailbox.on(worker.loading, partial(self._loaded, stage, worker))

    def _loaded(self, stage: int, worker: Worker, ref: Any) -> None:
        outcome, pool = outcome_of(ref), self.pools[stage]
        if worker not in pool.workers:
            return
        failure = outcome.failure
        if failure is None:
            worker.loading, worker.node = None, outcome.value["node"]
            pool.load_seconds = max(pool.load_seconds, time.monotonic() - worker.since)
            facts = {"began": outcome.began, "seconds": outcome.seconds, **outcome.value}
            self._emit("actor_ready", slot=pool.spec.slot, actor=worker.number, **facts)
        elif pool.spec.env and failure.is_environments:
            self._unbuilt(stage, worker, failure)
        elif failure.kind is Kind.DIED:
            self.died(stage, worker)
        else:
            self._disable(stage, failure.message)

    def _unbuilt(self, stage: int, worker: Worker, failure: Failure) -> None:
        """Handle an actor whose environment could not be built on its node. Continue with actors that start elsewhere.
        If there are none, let other nodes try. Only then disable the stage."""
        pool = self.pools[stage]
        slot, reason = pool.spec.slot, failure.message
        if failure.exception is not None:  # Ray's; the worker's own words are a reason already
            reason = environment.explain_failure(failure.exception, pool.spec.env or "")
        pool.end(worker)
        pool.unbuilt += 1
        self._emit("environment_failed", slot=slot, actor=worker.number, reason=reason)
        if worker.gpu is not None:
            self._gpus.refused(worker.gpu, slot)
        elif not pool.workers and pool.unbuilt < min(_MOST_UNBUILT, 2 * number_of_nodes() - 1):
            self._spawn(stage, None)
        if not pool.workers:
            self._disable(stage, reason)

    def _replace(self, stage: int, worker: Worker) -> None:
        self.pools[stage].end(worker)
        if not worker.leaving:
            self._spawn(stage, worker.gpu)

    def _make_room(self, stage: int, pool: Pool) -> None:
        """Shrink a pool on a smaller cluster. Actors that found no place are started again with a smaller share. Actors
        that book too much, or are too many, end when their calls have ended."""
        surplus = len(pool.workers) - pool.size.actors
        for worker in sorted(pool.workers, key=lambda w: (w.loading is None, len(w.calls))):
            if surplus > 0 or worker.cpu_share > pool.size.cpu_share + 1e-6:
                worker.retiring, worker.leaving = True, surplus > 0
                surplus -= 1
                if not worker.calls:
                    self._replace(stage, worker)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._tie), action))

    # Watching

    def _watch_memory(self, pool: Pool, worker: Worker, private_bytes: int) -> None:
        worker.looks += 1
        if worker.looks <= schedule.SETTLED_AFTER:
            worker.settled = max(worker.settled, private_bytes)
        elif schedule.leaks(private_bytes, worker.settled) and not worker.retiring:
            worker.retiring = True
            self._emit("actor_leaks", slot=pool.spec.slot, actor=worker.number, bytes=private_bytes)

    def _usual(self, call: Call) -> float | None:
        """Return the average seconds of such a call; None if none was measured."""
        pool = self.pools[call.stage]
        if call.frames:
            return pool.surveys.total / pool.surveys.frames * call.frames if pool.surveys.frames else None
        return None if pool.service.mean is None else pool.service.mean * len(call.runs)

    def _deadline(self, call: Call) -> float:
        """Return the seconds after which a call counts as hung. A span gets as much time as its segments together."""
        pool = self.pools[call.stage]
        if call.frames:
            longest = pool.surveys.longest_per_frame * call.frames
            return schedule.deadline(longest, least=self._least_deadline * max(1.0, call.frames / self._segment_size))
        longest = pool.service.longest * len(call.runs) if call.longest is None else call.longest
        return schedule.deadline(longest, least=self._least_deadline)

    def _end_hung_calls(self, now: float) -> None:
        import ray

        for pool in self.pools:
            for worker in pool.workers:
                if not worker.calls:
                    continue
                call = worker.calls[0]
                if call.hold is not None and call.hold.waiting:
                    continue
                seconds = now - call.could_begin
                if seconds > self._deadline(call):
                    self._emit("actor_hung", slot=pool.spec.slot, actor=worker.number, seconds=seconds)
                    worker.since, call.hung = now, seconds
                    ray.kill(worker.handle, no_restart=True)  # its calls come back as died
