"""A simulated run: how long it takes with a certain layout of models on the GPUs. No Ray, no GPU.

It follows the rules of a real run: which stage is most urgent (`schedule.urgency`), which GPU a call goes to (the one
that other stages want least), which lane of its token (`tokens.Token`). It includes no overhead. The layout matters
more than it seems: with equal numbers of copies, one layout may take twice as long as another, since a stage waits
while its only GPU is busy with calls that could have run elsewhere.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from geoflow.engine import schedule
from geoflow.engine.gpu.allocation import GpuNeed, allocate
from geoflow.engine.gpu.tokens import lane_starts

_ITEMS = 60
_TRIES = 48
_MOST_GPUS = 8  # a rehearsal with more takes too long, and differences between layouts are smaller there
_WORTH = 0.98  # another layout must take less than this share of the usual layout's time
_JITTER = 0.05  # calls never take exactly the same time; without jitter, a layout may win by chance
_UNITS = 60  # of a GPU's token here: 1/2, 1/3, 1/4, 1/5, 1/6 of it are whole numbers
_TINY = 1e-9

Layout = list[list[str]]  # for each GPU its slots, one entry per copy


@dataclass(frozen=True)
class RehearsedStage:
    """A stage on GPUs: the share of a GPU that a call takes, and for how long. `after` are the stages it waits for."""

    slot: str
    share: float
    seconds: float
    after: tuple[str, ...] = ()


def best_layout(needs: Sequence[GpuNeed], above: dict[str, tuple[str, ...]], gpus: int) -> Layout | None:
    """Return the slots to put on each GPU; None if not even one copy of each stage fits. `above` are the stages that
    each stage waits for, in the order of the pipeline.

    Three kinds of layout are tried: the result of `allocate`; pools that never wait for each other, as if a model took
    as much memory as its share; and the same numbers of copies in other places. So the rehearsal of the result never
    takes longer than the rehearsal of pools.
    """
    usual = allocate(needs, gpus)
    if usual is None or not 2 <= gpus <= _MOST_GPUS or len(needs) < 2:
        return usual
    known = {need.slot: need for need in needs}
    steps = [RehearsedStage(slot, known[slot].share, known[slot].seconds or 1.0, above[slot]) for slot in above]
    apart = allocate([replace(need, memory=max(need.memory, need.share)) for need in needs], gpus)
    best = usual if apart is None else min(usual, apart, key=lambda layout: rehearse(steps, layout))
    shortest = _WORTH * rehearse(steps, best)
    if all(sum(known[slot].share for slot in row) <= 1 + _TINY for row in best):
        return best  # no model ever waits for another, wherever it is
    for layout in _elsewhere(needs, usual, gpus):
        if (seconds := rehearse(steps, layout, within=shortest)) < shortest:
            best, shortest = layout, seconds
    return best


def _elsewhere(needs: Sequence[GpuNeed], usual: Layout, gpus: int) -> Iterator[Layout]:
    """Yield layouts with the same numbers of copies as the usual layout, in other places."""
    counts, chance = Counter(slot for slots in usual for slot in slots), random.Random(0)
    memory = {need.slot: need.memory for need in needs}
    for _ in range(_TRIES):
        if (layout := _shuffled(counts, memory, gpus, chance)) is not None:
            yield layout


def _shuffled(counts: Counter[str], memory: dict[str, float], gpus: int, chance: random.Random) -> Layout | None:
    """Return a random layout with a stage's copies on different GPUs and equally many on each; None if it does not
    fit."""
    layout: Layout = [[] for _ in range(gpus)]
    room = [1.0] * gpus
    slots = sorted(counts)
    chance.shuffle(slots)
    for slot in slots:
        for _ in range(counts[slot]):
            fitting = [gpu for gpu in range(gpus) if room[gpu] + _TINY >= memory[slot]]
            if not fitting:
                return None
            gpu = min(fitting, key=lambda g: (layout[g].count(slot), len(layout[g]), chance.random()))
            layout[gpu].append(slot)
            room[gpu] -= memory[slot]
    return [sorted(row) for row in layout]


def rehearse(
    steps: Sequence[RehearsedStage], layout: Layout, items: int = _ITEMS, *, within: float = math.inf
) -> float:
    """Return the seconds until `items` are through all steps (in topological order); infinity as soon as it is clear
    that they take longer than `within`."""
    return _Rehearsal(steps, layout, items).run(within)


class _Rehearsal:
    def __init__(self, steps: Sequence[RehearsedStage], layout: Layout, items: int) -> None:
        self._steps, index = steps, {step.slot: i for i, step in enumerate(steps)}
        self._above = [[index[slot] for slot in step.after] for step in steps]
        self._below = [[i for i, other in enumerate(steps) if step.slot in other.after] for step in steps]
        self._depth = [0] * len(steps)
        for i, parents in enumerate(self._above):
            self._depth[i] = 1 + max((self._depth[parent] for parent in parents), default=-1)
        self._idle = [Counter({g: row.count(step.slot) for g, row in enumerate(layout)}) for step in steps]
        self._copies = [sum(idle.values()) for idle in self._idle]
        self._lanes = [_lanes(step.share) for step in steps]
        self._wanted = _wanted(steps, layout)
        self._taken = [0] * len(layout)  # for each GPU the lanes where calls run, as bits
        self._missing = {(i, item): len(parents) for i, parents in enumerate(self._above) for item in range(items)}
        self._ready: list[list[int]] = [[] if parents else list(range(items)) for parents in self._above]
        self._begun, self._done = [0] * len(steps), [0] * len(steps)
        self._chance = random.Random(0)
        self._running: list[tuple[float, int, int, int, int]] = []  # end, step, item, GPU, lane
        self._now = 0.0

    def run(self, within: float) -> float:
        if not all(self._copies):
            return math.inf
        work = [step.share * step.seconds / len(self._taken) for step in self._steps]
        left = sum(work) * len(self._ready[0])  # no schedule is shorter
        while self._now + left < within:
            self._dispatch()
            if not self._running:
                return self._now
            self._now, i, item, gpu, lane = heapq.heappop(self._running)
            self._taken[gpu] ^= lane
            self._idle[i][gpu] += 1
            self._done[i] += 1
            left -= work[i]
            for child in self._below[i]:
                self._missing[child, item] -= 1
                if not self._missing[child, item]:
                    heapq.heappush(self._ready[child], item)
        return math.inf

    def _dispatch(self) -> None:
        able = {i for i, ready in enumerate(self._ready) if ready}
        while able:
            i = min(able, key=self._urgency)
            if (place := self._place(i)) is None:
                able.discard(i)
                continue
            gpu, lane = place
            item = heapq.heappop(self._ready[i])
            if not self._ready[i]:
                able.discard(i)
            self._taken[gpu] |= lane
            self._idle[i][gpu] -= 1
            self._begun[i] += 1
            seconds = self._steps[i].seconds * (1 + _JITTER * self._chance.random())
            heapq.heappush(self._running, (self._now + seconds, i, item, gpu, lane))

    def _urgency(self, i: int) -> tuple[float, int]:
        queued = [(self._done[i] - self._begun[child]) / self._copies[child] for child in self._below[i]]
        return schedule.urgency(self._depth[i], queued)

    def _place(self, i: int) -> tuple[int, int] | None:
        best, found = None, None
        for gpu, idle in self._idle[i].items():
            if not idle:
                continue
            taken = self._taken[gpu]
            lane = next((lane for lane in self._lanes[i] if not lane & taken), 0)
            if lane and (best is None or (self._wanted[gpu], -taken.bit_count()) < best):
                best, found = (self._wanted[gpu], -taken.bit_count()), (gpu, lane)
        return found


def _lanes(share: float) -> list[int]:
    """Return the lanes that a call may take, as bits."""
    length = max(1, min(_UNITS, round(share * _UNITS)))
    return [((1 << length) - 1) << start for start in lane_starts(length, _UNITS)]


def _wanted(steps: Sequence[RehearsedStage], layout: Layout) -> list[float]:
    """Return for each GPU the work of its stages, each divided by the number of GPUs that have the stage."""
    homes: defaultdict[str, int] = defaultdict(int)
    for row in layout:
        for slot in set(row):
            homes[slot] += 1
    work = {step.slot: step.share * step.seconds / max(1, homes[step.slot]) for step in steps}
    return [round(sum(work[slot] for slot in set(row)), 6) for row in layout]
