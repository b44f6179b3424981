"""Allocation: which models are on which GPU. Pure functions: no Ray, no GPU.

Memory decides how many copies of a model may be *resident*; run tokens decide which of them compute at a moment. A GPU
has one token, and a call takes its stage's share of the token while it runs. So copies beyond the sum of the shares
cost memory but no time, and work can go wherever it is needed: a share is not tied to a stage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

HEADROOM = 1.25  # copies beyond what the work needs on average: without it, a stage that falls behind cannot catch up
_TINY = 1e-9
_CERTAIN = 1.05
_TIGHT = 0.9
_EXACT_ITEMS = 24  # with at most this number of copies, all packings are searched


@dataclass(frozen=True)
class GpuNeed:
    """What one GPU stage needs. Shares and memory are fractions of one GPU."""

    slot: str
    share: float  # of a GPU's run token, while a call runs
    memory: float  # resident
    seconds: float | None  # of one call, relative to the other stages; None: not known yet
    fixed: int | None = None  # copies, where the user set them
    most: float = math.inf  # copies it can use


def allocate(needs: Sequence[GpuNeed], gpus: int) -> list[list[str]] | None:
    """Return the slots resident on each GPU, one entry per copy; None if not even one copy of each fits.

    The number of copies follows the work: enough for every stage to keep up when all GPUs are busy, with some headroom,
    or the best rate that memory allows. The copies are spread so that all GPUs have equal work. Stages whose work is
    not known yet count as equal.

    >>> allocate([GpuNeed("a", 0.5, 0.1, 3.0), GpuNeed("b", 0.5, 0.1, 1.0)], gpus=1)
    [['a', 'a', 'b']]
    """
    if not needs or gpus < 1:
        return [[] for _ in range(gpus)]
    memory = {need.slot: need.memory for need in needs}
    counts = _best_counts(needs, gpus)
    if counts is None:
        return None
    load = {need.slot: need.share * (need.seconds or 1.0) / counts[need.slot] for need in needs}
    placed = pack(counts, memory, gpus, load)
    if placed is None:
        return None
    for slots in placed:
        free = [need for need in needs if need.fixed is None and counts[need.slot] < need.most]
        if not slots and free:  # no GPU stays empty: it takes a copy of the busiest stage
            neediest = max(free, key=lambda need: (need.seconds or 1.0) / counts[need.slot])
            counts[neediest.slot] += 1
            slots.append(neediest.slot)
    return [sorted(slots) for slots in placed]


def rate(counts: dict[str, int], needs: Sequence[GpuNeed]) -> float:
    """Return the calls per unit of time of the slowest stage with these copies, ignoring tokens."""
    return min(counts[need.slot] / (need.seconds or 1.0) for need in needs)


def _best_counts(needs: Sequence[GpuNeed], gpus: int) -> dict[str, int] | None:
    """Return the copies of each stage at the highest rate that fits, at most `HEADROOM` times the rate of the
    tokens."""
    seconds = {need.slot: need.seconds or 1.0 for need in needs}
    ideal = HEADROOM * gpus / max(_TINY, sum(need.share * seconds[need.slot] for need in needs))

    def counts_at(wanted: float) -> dict[str, int]:
        return {need.slot: _copies(need, wanted * seconds[need.slot]) for need in needs}

    memory = {need.slot: need.memory for need in needs}
    if _packs(counts_at(ideal), memory, gpus):
        return counts_at(ideal)
    # Only rates at which a stage needs one copy more make a difference. A lower rate fits wherever a higher rate fits.
    most = math.ceil(ideal * max(seconds.values())) + 1
    steps = sorted({k / s for s in seconds.values() for k in range(1, most) if k / s < ideal})
    low, high = -1, len(steps) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if _packs(counts_at(steps[middle]), memory, gpus):
            low = middle
        else:
            high = middle - 1
    least = counts_at(steps[low]) if low >= 0 else counts_at(0.0)
    return _relieved(least, needs, gpus) if _packs(least, memory, gpus) else None


def _relieved(counts: dict[str, int], needs: Sequence[GpuNeed], gpus: int) -> dict[str, int]:
    """Return the counts with one more copy of each stage that delays the others, as far as there is room.

    Often several stages delay the others equally, in theory. Then stages with shorter calls come first, since the
    overhead of a call does not shrink with its work.
    """
    memory, slowest = {need.slot: need.memory for need in needs}, 1 / rate(counts, needs)
    for need in sorted(needs, key=lambda need: need.seconds or 1.0):
        tight = (need.seconds or 1.0) / counts[need.slot] > _TIGHT * slowest
        more = {**counts, need.slot: counts[need.slot] + 1}
        if tight and need.fixed is None and counts[need.slot] < need.most and _packs(more, memory, gpus):
            counts = more
    return counts


def _copies(need: GpuNeed, wanted: float) -> int:
    if need.fixed is not None:
        return need.fixed
    return int(min(need.most, max(1, math.ceil(wanted - 1e-6))))


def _packs(counts: dict[str, int], memory: dict[str, float], gpus: int) -> bool:
    return pack(counts, memory, gpus) is not None


def pack(
    counts: dict[str, int], memory: dict[str, float], gpus: int, load: dict[str, float] | None = None
) -> list[list[str]] | None:
    """Spread copies over GPUs so that no GPU's memory is exceeded; return None if that is impossible.

    Copies of one stage go to different GPUs as far as possible, then each to the GPU with the least `load`. If
    spreading fails, first-fit decreasing is tried (optimal if sizes divide one another, such as 1/2, 1/4). Then, for
    few copies, all packings are tried.
    """
    if sum(memory[slot] * count for slot, count in counts.items()) > gpus + _TINY:
        return None
    items = sorted((slot for slot, count in counts.items() for _ in range(count)), key=lambda s: (-memory[s], s))
    weight = memory if load is None else load

    def spread(slots: list[list[str]], room: list[float], slot: str) -> list[int]:
        busy = [sum(weight[other] for other in resident) for resident in slots]
        return sorted(range(gpus), key=lambda g: (slots[g].count(slot), busy[g], -room[g]))

    def first_fit(slots: list[list[str]], room: list[float], slot: str) -> list[int]:
        return list(range(gpus))

    for order, turn in ((spread, sorted(items, key=lambda s: (-weight[s], s))), (first_fit, items)):
        slots: list[list[str]] = [[] for _ in range(gpus)]
        room = [1.0] * gpus
        for slot in turn:
            gpu = next((g for g in order(slots, room, slot) if memory[slot] <= room[g] + _TINY), None)
            if gpu is None:
                break
            slots[gpu].append(slot)
            room[gpu] -= memory[slot]
        else:
            return slots
    return _search(items, memory, gpus) if len(items) <= _EXACT_ITEMS else None


def _search(items: list[str], memory: dict[str, float], gpus: int) -> list[list[str]] | None:
    slots: list[list[str]] = [[] for _ in range(gpus)]
    room = [1.0] * gpus

    def candidates(slot: str) -> Iterator[int]:
        seen = set()  # GPUs with equal room are equivalent
        for gpu in range(gpus):
            free = round(room[gpu], 6)
            if memory[slot] <= room[gpu] + _TINY and free not in seen:
                seen.add(free)
                yield gpu

    def place(i: int) -> bool:
        if i == len(items):
            return True
        for gpu in candidates(items[i]):
            slots[gpu].append(items[i])
            room[gpu] -= memory[items[i]]
            if place(i + 1):
                return True
            slots[gpu].pop()
            room[gpu] += memory[items[i]]
        return False

    return slots if place(0) else None


def worth_resizing(now: float, then: float, *, remaining: float, load_seconds: float) -> bool:
    """Return whether going from rate `now` to `then` (calls/s) saves more over `remaining` calls than loading costs.

    While a model loads, the model that it replaces does no work either. Rates come from measured times, which vary from
    call to call: a gain of less than `_CERTAIN` may be only that variation.

    >>> [worth_resizing(1.0, then, remaining=100, load_seconds=20) for then in (2.0, 1.1)]
    [True, False]
    """
    return then > _CERTAIN * now > 0 and remaining / now - remaining / then > 2 * load_seconds
