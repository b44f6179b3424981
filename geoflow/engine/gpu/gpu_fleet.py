"""The GPUs of a run and their models: GPUs are claimed, shared, lost, added and given back. `residency.py` decides."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Set
from functools import partial
from typing import Any

from geoflow.engine import schedule
from geoflow.engine.gpu import placement
from geoflow.engine.gpu.placement import Gpu
from geoflow.engine.gpu.residency import Change, Residency
from geoflow.engine.gpu.tokens import Lane
from geoflow.engine.mailbox import Mailbox
from geoflow.engine.outcome import outcome_of
from geoflow.engine.pool import Pool, Worker

_REPLAN_S = 5.0
_ALONE_EXPIRES_S = 5.0
_AT_ONCE_S = 1.0  # within which a cluster assigns the GPUs that it has
_EXIT_S = 1.0  # until the GPU memory of a stopped process is free again
_CLAIMS = 4  # GPUs to wait for at a time, or the number that the run has, if larger


class GpuFleet:
    """Claims GPUs and starts actors on them. `spawn(stage, gpu)` starts one of the stage's actors."""

    def __init__(
        self,
        residency: Residency,
        pools: list[Pool],
        *,
        spawn: Callable[[int, Gpu], None],
        most: int | None,
        worth: float | None,
        mailbox: Mailbox,
        emit: Callable[..., None],
    ) -> None:
        """At most `most` GPUs are used at the same time. `worth` is the work in seconds for which one more GPU is
        requested; None if no GPU can join."""
        self._residency, self._pools, self._start_one = residency, pools, spawn
        self._most, self._worth = most, worth
        self._mailbox, self._emit = mailbox, emit
        self._stage = {pool.spec.slot: stage for stage, pool in enumerate(pools)}
        self._to_start: list[tuple[str, Gpu]] = []  # copies on GPUs that were just added
        self._lacking = False  # work waits only for a GPU
        self._replanned = time.monotonic()

    def start(self) -> None:
        """Claim the planned GPUs. GPUs that are there at once are checked directly: to await one, Ray would start a
        process."""
        claimed, deadline = [self._ask_for(planned) for planned in self._residency.plan], time.monotonic() + _AT_ONCE_S
        for gpu in claimed:
            if placement.is_placed(gpu, max(0.0, deadline - time.monotonic())):
                self._is_there_now(gpu)
            else:
                self._wait_for(gpu)

    def stop(self) -> None:
        for gpu in self._residency.gpus:
            placement.let_go(gpu)
        self._residency.gpus.clear()

    # Calls

    def choose(self, pool: Pool, backlog: int, near: str) -> tuple[Worker, Lane | None] | None:
        """Return the worker for the stage's next call, and its lane; None if no worker has room."""
        return pool.choose_lane(self._residency.share(pool.spec.slot), self._lead(), backlog, near)

    def choose_alone(self, pool: Pool) -> tuple[Worker, Lane | None] | None:
        """Choose a GPU for a call that must be alone there; return None until the other calls there have ended."""
        up = [(w, w.gpu) for w in pool.workers if w.gpu is not None and w.loading is None]
        settled = [(worker, gpu) for worker, gpu in up if gpu.alone is worker]
        free = [(worker, gpu) for worker, gpu in up if gpu.alone is None]
        if not (settled or free):
            return None
        chosen, gpu = settled[0] if settled else min(free, key=lambda place: len(place[1].token.holds))
        gpu.alone, gpu.alone_asked = chosen, time.monotonic()  # no further calls go there
        if gpu.token.holds:
            return None
        for stage, other, worker in self._on(gpu):
            if worker is not chosen:
                other.end(worker)
                gpu.evicted.append(stage)
                gpu.empty_from = gpu.alone_asked + _EXIT_S
        if gpu.alone_asked < gpu.empty_from:
            return None
        place = gpu.token.place(1.0, time.monotonic())
        return None if place is None else (chosen, place[1])

    def call_ended(self, worker: Worker) -> None:
        if worker.gpu is not None and worker.gpu.alone is worker:
            self._let_others_in(worker.gpu)

    def next_lanes(self, slots: Set[str]) -> Iterator[float]:
        """Yield the times when calls of these stages may be sent ahead for lanes that are taken now (monotonic)."""
        lead = self._lead()
        gpus = (gpu for gpu in self._residency.gpus if gpu.contended and not slots.isdisjoint(gpu.planned))
        return (ends - lead for gpu in gpus for ends in gpu.token.ends())

    def note_starved(self, pool: Pool | None) -> None:
        """Take in the most urgent stage that has work and no worker for it; None if there is none."""
        slot = pool.spec.slot if pool is not None and pool.uses_gpu else None
        self._lacking = slot is not None
        self._residency.note_starved(slot if self._all_up() else None)

    # Memory

    def is_measured(self, slot: str) -> bool:
        """Return whether the GPU memory that a stage takes is known."""
        return slot not in self._residency.unmeasured

    def memory(self, slot: str) -> float | None:
        """Return the share of a GPU's memory that the stage's actors may take; None until it is known."""
        return self._residency.needs[slot].memory if self.is_measured(slot) else None

    def measured(self, slot: str, peak: int, total: int) -> None:
        """Take in that a stage's first call took `peak` of `total` bytes."""
        self._emit("gpu_measured", slot=slot, peak=peak, total=total)
        self._carry_out(self._residency.measured(slot, peak, total))

    # Coming and going

    def is_there(self, gpu: Gpu) -> bool:
        return gpu in self._residency.gpus and gpu.ready is None

    def is_lost(self, gpu: Gpu) -> bool:
        """Return whether the GPU's node is gone. Ray then looks for another node. Until there is one, stages that had
        copies only there get copies elsewhere."""
        if self.is_there(gpu) and not placement.is_placed(gpu):
            self._emit("gpu_lost", planned=[*gpu.planned])
            for _, pool, worker in self._on(gpu):
                if worker.loading is not None:
                    pool.end(worker)
            gpu.alone, gpu.evicted = None, []
            self._wait_for(gpu)
            self._carry_out(self._residency.lost(gpu))
        return not self.is_there(gpu)

    def refused(self, gpu: Gpu, slot: str) -> None:
        """Note that the GPU's node cannot build the stage's environment."""
        self._carry_out(self._residency.refused(gpu, slot))

    def _ask_for(self, planned: list[str]) -> Gpu:
        """Request one more GPU. Without planned models, they are chosen when the GPU is there."""
        slots = planned or list(self._residency.needs)
        gpu = placement.claim(planned, sum(self._pool(slot).size.cpu_share for slot in slots))
        self._residency.gpus.append(gpu)
        return gpu

    def _wait_for(self, gpu: Gpu) -> None:
        gpu.ready = gpu.group.ready()
        self._mailbox.on(gpu.ready, partial(self._placed, gpu))

    def _placed(self, gpu: Gpu, ref: Any) -> None:
        if gpu not in self._residency.gpus:
            return
        if outcome_of(ref).failure is not None:  # the GPU was lost again at once
            self._wait_for(gpu)
        else:
            self._is_there_now(gpu)

    def _is_there_now(self, gpu: Gpu) -> None:
        gpu.ready = None
        if not gpu.planned:
            self._residency.settle(gpu, self._seconds())
            self._emit("gpu_joined", planned=[*gpu.planned])
        self._residency.weigh(self._seconds())
        self._to_start += [(slot, gpu) for slot in gpu.planned]

    def start_planned(self) -> None:
        """Start the planned models on all GPUs that were added, together: models that are ready can work while others
        still load."""
        if self._to_start:
            waiting, self._to_start = self._to_start, []
            copies = [(self._stage[slot], self._residency.seconds(slot)) for slot, _ in waiting]
            for i in schedule.start_order(copies):
                slot, gpu = waiting[i]
                self._start_one(self._stage[slot], gpu)

    def are_coming(self, slot: str) -> bool:
        """Return whether copies of the stage are planned for a requested GPU."""
        return any(slot in gpu.planned for gpu in self._residency.gpus if gpu.ready is not None)

    def _ask_for_more(self, worth: int) -> None:
        """Claim more GPUs while work waits, since nodes may join or an autoscaler may start nodes. Withdraw the claims
        when they are not worth it any more."""
        there, waiting = self._residency.up, [gpu for gpu in self._residency.gpus if gpu.ready is not None]
        for gpu in waiting[max(0, worth - len(there)) :] if there else []:
            if not gpu.planned:
                self._residency.gpus.remove(gpu)
                placement.let_go(gpu)
        wanted = worth if self._most is None else min(worth, self._most)
        more = min(wanted - len(self._residency.gpus), max(_CLAIMS, len(there)) - len(waiting))
        if self._lacking and more > 0:
            self._emit("gpus_claimed", count=more)
            for _ in range(more):
                self._wait_for(self._ask_for([]))

    def retire_idle(self, has_work_left: Callable[[int], bool]) -> None:
        """Give back GPUs whose stages have nothing left to do, so that their nodes can scale down."""
        for gpu in list(self._residency.gpus):
            slots = set(gpu.planned) or set(self._residency.needs)  # no plan until copies are measured
            if not any(has_work_left(self._stage[slot]) for slot in slots):
                self._residency.gpus.remove(gpu)
                for _, pool, worker in self._on(gpu):
                    pool.workers.remove(worker)
                placement.let_go(gpu)  # ends the actors in it
                self._emit("gpu_released", planned=gpu.planned)

    # Which models are where

    def resize(self, now: float, remaining: Callable[[], int]) -> None:
        """Add, spread and exchange copies, and request GPUs, if that pays for the `remaining` segments."""
        for gpu in self._residency.gpus:  # no call needs it any more: the video failed, or the call ran elsewhere
            if gpu.alone is not None and not gpu.alone.calls and now - gpu.alone_asked > _ALONE_EXPIRES_S:
                self._let_others_in(gpu)
        pools = {slot: self._pool(slot) for slot in self._residency.needs}
        load_seconds = {slot: pool.load_seconds for slot, pool in pools.items()}
        seconds = {slot: pool.seconds for slot, pool in pools.items()}
        self._residency.weigh(seconds)
        self._carry_out(self._residency.additions(seconds, load_seconds, remaining()))
        if self._all_up():
            self._carry_out(self._residency.spread(seconds, load_seconds, remaining()))
        if now - self._replanned > _REPLAN_S:
            self._replanned = now
            known = self._seconds()
            up = [(slot, w) for slot, pool in pools.items() for w in pool.workers if w.loading is None]
            idle = {(slot, w.gpu) for slot, w in up if w.gpu is not None and not w.calls}
            self._carry_out(self._residency.exchanges(known, load_seconds, idle, remaining()))
            if self._worth is not None:
                self._ask_for_more(self._residency.worth_having(known, remaining(), self._worth))

    def _carry_out(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if change.ends is not None:
                pool = self._pool(change.ends)
                copies = [worker for worker in pool.workers if worker.gpu is change.gpu]
                if copies:  # otherwise the copy has just died by itself
                    pool.end(min(copies, key=lambda worker: len(worker.calls)))
                self._emit("copy_ended", slot=change.ends)
            self._emit("copy_added", slot=change.slot)
            self._start_one(self._stage[change.slot], change.gpu)
            self._residency.weigh(self._seconds())

    def _let_others_in(self, gpu: Gpu) -> None:
        gpu.alone, evicted, gpu.evicted = None, gpu.evicted, []
        for stage in evicted:
            self._start_one(stage, gpu)

    # Looking

    def _pool(self, slot: str) -> Pool:
        return self._pools[self._stage[slot]]

    def _on(self, gpu: Gpu) -> list[tuple[int, Pool, Worker]]:
        return [(stage, pool, w) for stage, pool in enumerate(self._pools) for w in pool.workers if w.gpu is gpu]

    def _all_up(self) -> bool:
        """Return whether no worker is loading: while one is, it is not known which copies are needed where."""
        return all(w.loading is None for pool in self._pools for w in pool.workers)

    def _lead(self) -> float:
        means = [self._pool(slot).service.mean or 0.0 for slot in self._residency.needs]
        return schedule.lead_time(max(means, default=0.0))

    def _seconds(self) -> dict[str, float | None]:
        """Return the seconds of a call of each stage; None if too few calls were measured."""
        pools = {slot: self._pool(slot) for slot in self._residency.needs}
        return {slot: p.seconds if p.service.count >= schedule.MIN_MEASURED else None for slot, p in pools.items()}
