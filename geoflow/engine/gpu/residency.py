"""Residency: which models are on which GPU of a run, adapted as their memory and the work become known.

This module decides and keeps the records; the fleet starts and stops the actors.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from geoflow.engine.gpu.allocation import GpuNeed, allocate, rate, worth_resizing
from geoflow.engine.gpu.meter import memory_share
from geoflow.engine.gpu.placement import Gpu
from geoflow.engine.gpu.rehearsal import best_layout
from geoflow.engine.graph import Graph
from geoflow.engine.sizing import most_copies
from geoflow.errors import EnvironmentBroken
from geoflow.pipeline import AUTO, StageSpec
from geoflow.stage import Stage

_LEAST_LACK_S = 0.5
_SPREAD_FACTOR = 10.0
_ADD_FACTOR = 2.0  # the present copies must still have work for this many times the loading time
_TINY = 1e-9


@dataclass(frozen=True)
class Change:
    """A change of residency: a copy of `slot` to start on `gpu`, after a copy of `ends` has ended there."""

    slot: str
    gpu: Gpu
    ends: str | None = None


class Residency:
    """The GPUs of a run and the slots planned for each. `needs` holds the needs of GPU stages, as far as known."""

    def __init__(
        self,
        specs: Sequence[StageSpec],
        stages: Sequence[Stage],
        count: int,
        *,
        graph: Graph | None = None,
        videos: int | None = None,
    ) -> None:
        """With the `graph`, a rehearsal decides which models go where. `videos` is how many there are, if known.

        Raises EnvironmentBroken when the models do not fit on `count` GPUs together.
        """
        self._specs = {spec.slot: spec for spec in specs if spec.num_gpus}
        self.unmeasured = {spec.slot for spec in specs if spec.num_gpus and AUTO in (spec.gpu_memory, spec.num_gpus)}
        self.needs = {
            spec.slot: GpuNeed(
                spec.slot,
                _number(spec.num_gpus),
                _number(spec.num_gpus if spec.gpu_memory is None else spec.gpu_memory),
                spec.weight or None,
                1 if spec.slot in self.unmeasured else spec.actors,
                most_copies(stage, videos),
            )
            for spec, stage in zip(specs, stages)
            if spec.num_gpus
        }
        self.gpus: list[Gpu] = []
        self._lacking: list[tuple[Gpu, str]] = []
        self._noted = time.monotonic()
        self.plan = self._first_plan(max(1, count), graph) if self.needs else []

    @property
    def up(self) -> list[Gpu]:
        """Return the GPUs that are there; the others were requested."""
        return [gpu for gpu in self.gpus if gpu.ready is None]

    def share(self, slot: str) -> float:
        """Return the share of a GPU's token that a call of a stage takes: the whole token until its needs are known."""
        return 1.0 if slot in self.unmeasured else self.needs[slot].share

    def seconds(self, slot: str) -> float:
        """Return the seconds of one call as the pipeline states them, relative to the other stages."""
        return self.needs[slot].seconds or 1.0

    def measured(self, slot: str, peak: int, total: int) -> list[Change]:
        """Take in that a stage's first call took `peak` of `total` bytes; return the copies that can be started now."""
        if slot not in self.unmeasured or not total:
            return []
        self.unmeasured.discard(slot)
        spec, need = self._specs[slot], self.needs[slot]
        memory = memory_share(peak, total) if spec.gpu_memory in (AUTO, None) else need.memory
        share = memory if spec.num_gpus == AUTO else need.share
        self.needs[slot] = replace(need, memory=memory, share=share, fixed=spec.actors)
        return [] if self.unmeasured else list(self._grow())

    def note_starved(self, slot: str | None) -> None:
        """Note that a stage has work and no worker for it: GPUs that are idle meanwhile lack a copy of that stage."""
        now = time.monotonic()
        for gpu, lacking in self._lacking:
            gpu.lack[lacking] += now - self._noted
        self._noted = now
        self._lacking = []
        if slot is not None:
            self._lacking = [(gpu, slot) for gpu in self.up if gpu.token.free >= self.share(slot)]

    def weigh(self, seconds: dict[str, float | None]) -> None:
        """Note how much work the stages on each GPU have for it, and whether their calls can block each other.

        A call that could go to several GPUs goes to the GPU that is wanted least. Otherwise it would delay stages that
        are on few GPUs.
        """
        homes = Counter(slot for gpu in self.gpus for slot in set(gpu.planned))
        measured = all(seconds.get(slot) for slot in self.needs)
        work = {
            slot: need.share * ((seconds[slot] if measured else need.seconds) or 1.0) / max(1, homes[slot])
            for slot, need in self.needs.items()
        }
        for gpu in self.gpus:
            gpu.wanted = round(sum(work[slot] for slot in set(gpu.planned)), 6)
            gpu.contended = sum(self.share(slot) for slot in gpu.planned) > 1 + _TINY

    def additions(
        self, seconds: dict[str, float | None], load_seconds: dict[str, float], left: int
    ) -> Iterator[Change]:
        """Give a further copy for each GPU that was idle because it lacked one, if that pays over `left` segments.

        The GPU must have been idle for as long as the copy takes to load. Waiting for that costs at most twice what
        loading the copy at once would have cost.
        """
        copies = Counter(slot for gpu in self.gpus for slot in gpu.planned)
        for slot, need in self.needs.items():
            if need.fixed is not None or copies[slot] >= need.most:
                continue
            known = seconds.get(slot)
            if known is not None and left * known / max(1, copies[slot]) < _ADD_FACTOR * load_seconds[slot]:
                continue
            for gpu in self.up:
                if gpu.lack[slot] >= max(_LEAST_LACK_S, load_seconds[slot]) and self._fits(slot, gpu):
                    yield self._added(slot, gpu)

    def spread(self, seconds: dict[str, float | None], load_seconds: dict[str, float], left: int) -> Iterator[Change]:
        """Give a copy of a stage for a GPU that does not have the stage yet, if there is a GPU with room.

        With copies everywhere, work can go wherever there is room. One copy is given at a time, and only if the `left`
        segments take far longer than loading it.
        """
        known = {slot: s for slot, s in seconds.items() if s is not None}
        if self.unmeasured or len(known) < len(seconds) or not self.up:
            return
        ahead = left * self._work(known) / len(self.up)
        copies = Counter(slot for gpu in self.gpus for slot in gpu.planned)
        for slot, need in sorted(self.needs.items(), key=lambda item: -known[item[0]] * item[1].share):
            if need.fixed is not None or copies[slot] >= need.most or ahead < _SPREAD_FACTOR * load_seconds[slot]:
                continue
            for gpu in self.up:
                if slot not in gpu.planned and self._fits(slot, gpu):
                    yield self._added(slot, gpu)
                    return

    def exchanges(
        self, seconds: dict[str, float | None], load_seconds: dict[str, float], idle: set[tuple[str, Gpu]], left: int
    ) -> Iterator[Change]:
        """Give copies that should take the place of others where memory is full.

        They are given if the measured times say that it pays over the `left` segments. `idle` are copies without work.
        """
        if self.unmeasured or any(not s for s in seconds.values()):
            return
        up = self.up
        needs = [replace(need, seconds=seconds[slot]) for slot, need in self.needs.items()]
        now = Counter(slot for gpu in up for slot in gpu.planned)
        then = Counter(slot for slots in allocate(needs, len(up)) or () for slot in slots)
        for slot in (then - now).elements():
            if any(self._fits(slot, gpu) for gpu in up):
                continue  # if a copy is lacking, it will be added
            if not worth_resizing(rate(now, needs), rate(then, needs), remaining=left, load_seconds=load_seconds[slot]):
                continue
            for other, gpu in sorted(idle, key=lambda pair: pair[0]):
                gained = self.needs[other].memory
                if now[other] > then[other] and self._room(gpu) + gained + _TINY >= self.needs[slot].memory:
                    gpu.planned.remove(other)
                    idle.discard((other, gpu))
                    yield replace(self._added(slot, gpu), ends=other)
                    break

    def worth_having(self, seconds: dict[str, float | None], left: int, worth: float) -> int:
        """Return how many GPUs the `left` segments keep busy for `worth` seconds each.

        As long as the time of a segment is not known, it is the present number of GPUs.
        """
        known = {slot: s for slot, s in seconds.items() if s}
        if self.unmeasured or len(known) < len(self.needs):
            return len(self.gpus)
        return int(left * self._work(known) / worth)

    def settle(self, gpu: Gpu, seconds: dict[str, float | None]) -> None:
        """Plan the models for a GPU that joined during the run, as far as its memory allows.

        First come stages that need more copies on all GPUs together, then one copy of every other stage.
        """
        if self.unmeasured:
            return  # its models are chosen when the needs are known
        needs = [replace(need, seconds=seconds[slot]) for slot, need in self.needs.items()]
        now = Counter(slot for other in self.up for slot in other.planned)
        plan = Counter(slot for slots in allocate(needs, len(self.up)) or () for slot in slots)
        for slot in (plan - now).elements():
            if self._fits(slot, gpu):
                gpu.planned.append(slot)
        for need in sorted(needs, key=lambda need: -need.share * (need.seconds or 1.0)):
            settled = need.fixed is not None or now[need.slot] >= need.most
            if not settled and need.slot not in gpu.planned and self._fits(need.slot, gpu):
                gpu.planned.append(need.slot)

    def lost(self, gpu: Gpu) -> list[Change]:
        """Take in that a GPU is gone with its node; return copies to start elsewhere if stages were only there."""
        gpu.planned.clear()
        gpu.refuses.clear()
        gpu.lack.clear()
        return [
            change
            for slot in sorted(self.needs, key=lambda slot: -self.needs[slot].memory)
            if (change := self._rehomed(slot)) is not None
        ]

    def refused(self, gpu: Gpu, slot: str) -> list[Change]:
        """Take in that a GPU's node cannot build a stage's environment; return a copy to start elsewhere if need be."""
        gpu.refuses.add(slot)
        gpu.planned = [other for other in gpu.planned if other != slot]
        change = self._rehomed(slot)
        return [] if change is None else [change]

    def _rehomed(self, slot: str) -> Change | None:
        """Give a copy of a stage that has no copy any more, if there is a place for it."""
        if any(slot in gpu.planned for gpu in self.up) or (place := self._refuge(slot)) is None:
            return None
        gpu, ends = place
        if ends is not None:
            gpu.planned.remove(ends)
        return replace(self._added(slot, gpu), ends=ends)

    def _refuge(self, slot: str) -> tuple[Gpu, str | None] | None:
        """Return a GPU with room for a copy, or a GPU that gets room by ending a copy of a stage that is elsewhere,
        too."""
        copies = Counter(other for gpu in self.up for other in gpu.planned)
        wanted = self.needs[slot].memory
        willing = [gpu for gpu in self.up if slot not in gpu.refuses]
        places: list[tuple[Gpu, str | None]] = [(gpu, None) for gpu in willing]
        places += [(gpu, other) for gpu in willing for other in sorted(set(gpu.planned)) if copies[other] > 1]
        for gpu, ends in places:
            if self._room(gpu) + (self.needs[ends].memory if ends else 0.0) + _TINY >= wanted:
                return gpu, ends
        return None

    def _first_plan(self, count: int, graph: Graph | None) -> list[list[str]]:
        """Return the first plan. A stage whose memory is not known gets one copy; such stages share the remaining
        memory."""
        known = sum(need.memory for slot, need in self.needs.items() if slot not in self.unmeasured)
        together = math.ceil(len(self.unmeasured) / count)
        guess = max(0.01, (1.0 - known / count) / max(1, together))
        needs = [replace(n, memory=guess) if slot in self.unmeasured else n for slot, n in self.needs.items()]
        if graph is None or self.unmeasured:
            plan = allocate(needs, count)
        else:
            plan = best_layout(needs, graph.above(self.needs.keys()), count)
        if plan is None:
            sizes = ", ".join(f"{need.slot} {need.memory:g}" for need in self.needs.values())
            raise EnvironmentBroken(
                f"the models do not fit on {count} GPU(s) together. They need these shares of a GPU's memory: {sizes}; "
                "lower gpu_memory in the pipeline, or add GPUs"
            )
        return plan

    def _grow(self) -> Iterator[Change]:
        """Yield the copies that a new plan has in addition, when all stages are measured."""
        plan = allocate(list(self.needs.values()), len(self.up)) or []
        now = Counter(slot for gpu in self.up for slot in gpu.planned)
        more = Counter(slot for slots in plan for slot in slots) - now
        for slot in sorted(more.elements(), key=lambda s: -self.needs[s].memory):
            places = [gpu for gpu in self.up if self._fits(slot, gpu)]
            if places:
                yield self._added(slot, min(places, key=lambda g: (g.planned.count(slot), len(g.planned))))

    def _work(self, seconds: dict[str, float]) -> float:
        """Return the seconds of one GPU that a segment takes."""
        return sum(self.needs[slot].share * s for slot, s in seconds.items())

    def _room(self, gpu: Gpu) -> float:
        return 1.0 - sum(self.needs[slot].memory for slot in gpu.planned)

    def _fits(self, slot: str, gpu: Gpu) -> bool:
        if self.unmeasured or slot in gpu.refuses:
            return False
        return self._room(gpu) + _TINY >= self.needs[slot].memory

    def _added(self, slot: str, gpu: Gpu) -> Change:
        gpu.planned.append(slot)
        gpu.lack.clear()
        return Change(slot, gpu)


def _number(share: float | str) -> float:
    """Return the share as a number: 1, the whole GPU, if it has still to be measured."""
    return 1.0 if isinstance(share, str) else share
