"""The choice of models for each GPU, compared with every possible choice."""

from __future__ import annotations

import itertools
import random

import pytest

from geoflow.engine.gpu.allocation import HEADROOM, GpuNeed, allocate, pack, rate

# The shares and seconds of a five-stage GPU pipeline; memory is what its models take up, less than their share.
FIVE = [
    GpuNeed("a", 0.25, 0.1, 40),
    GpuNeed("b", 0.5, 0.15, 160),
    GpuNeed("c", 0.5, 0.15, 120),
    GpuNeed("d", 0.25, 0.1, 60),
    GpuNeed("e", 0.25, 0.1, 40),
]


def _counts(placed: list[list[str]]) -> dict[str, int]:
    flat = [slot for slots in placed for slot in slots]
    return {slot: flat.count(slot) for slot in flat}


def _fits(placed: list[list[str]], needs: list[GpuNeed]) -> bool:
    memory = {need.slot: need.memory for need in needs}
    return all(sum(memory[slot] for slot in slots) <= 1 + 1e-6 for slots in placed)


def _packs_by_trying(counts: dict[str, int], memory: dict[str, float], gpus: int) -> bool:
    items = [slot for slot, count in counts.items() for _ in range(count)]
    for choice in itertools.product(range(gpus), repeat=len(items)):
        load = [0.0] * gpus
        for slot, gpu in zip(items, choice):
            load[gpu] += memory[slot]
        if max(load) <= 1 + 1e-6:
            return True
    return False


def _best_rate_by_trying(needs: list[GpuNeed], gpus: int) -> float:
    memory = {need.slot: need.memory for need in needs}
    best = 0.0
    for choice in itertools.product(range(1, 5), repeat=len(needs)):
        counts = {need.slot: count for need, count in zip(needs, choice)}
        if sum(choice) <= 7 and _packs_by_trying(counts, memory, gpus):
            best = max(best, rate(counts, needs))
    return best


def test_with_memory_to_spare_copies_follow_the_work() -> None:
    placed = allocate(FIVE, gpus=4)
    assert placed is not None and _fits(placed, FIVE)
    counts = _counts(placed)
    ideal = HEADROOM * 4 / sum(n.share * n.seconds for n in FIVE)  # type: ignore[operator]
    assert all(counts[n.slot] >= ideal * n.seconds - 1e-6 for n in FIVE)  # type: ignore[operator]


@pytest.mark.parametrize("seed", range(12))
def test_where_memory_binds_no_other_choice_is_faster(seed: int) -> None:
    rng = random.Random(seed)
    needs = [
        GpuNeed(slot, share=m, memory=m, seconds=rng.choice([1.0, 2.0, 3.0]))
        for slot, m in zip("xyz", rng.choices([0.3, 0.4, 0.5, 0.6, 0.7], k=3))
    ]
    placed = allocate(needs, gpus=2)
    best = _best_rate_by_trying(needs, 2)
    if placed is None:
        assert best == 0
    else:
        assert _fits(placed, needs)
        ideal = HEADROOM * 2 / sum(n.share * (n.seconds or 1) for n in needs)
        assert rate(_counts(placed), needs) >= min(best, ideal) - 1e-6


@pytest.mark.parametrize("seed", range(20))
def test_a_packing_is_found_exactly_when_there_is_one(seed: int) -> None:
    rng = random.Random(seed)
    memory = dict(zip("pqr", rng.choices([0.2, 0.3, 0.35, 0.45, 0.55, 0.7], k=3)))
    counts = {slot: rng.randint(1, 3) for slot in memory}
    found = pack(counts, memory, 3)
    assert (found is not None) == _packs_by_trying(counts, memory, 3)
    if found is not None:
        assert _counts(found) == counts
        assert all(sum(memory[s] for s in slots) <= 1 + 1e-6 for slots in found)


def test_what_cannot_fit_is_said_to() -> None:
    assert allocate([GpuNeed("a", 0.6, 0.6, 1), GpuNeed("b", 0.6, 0.6, 1)], gpus=1) is None


def test_the_users_number_stands_and_no_stage_gets_more_copies_than_it_can_use() -> None:
    needs = [GpuNeed("a", 0.25, 0.1, 1, fixed=3), GpuNeed("b", 0.25, 0.1, 9, most=1), GpuNeed("c", 0.5, 0.1, 1)]
    counts = _counts(allocate(needs, gpus=4) or [])
    assert counts["a"] == 3 and counts["b"] == 1 and counts["c"] == 2
    of_three_videos = [GpuNeed("a", 0.1, 0.1, 1), GpuNeed("b", 0.1, 0.1, 9, most=3)]
    assert _counts(allocate(of_three_videos, gpus=8) or [])["b"] == 3


def test_unknown_work_counts_as_equal() -> None:
    needs = [GpuNeed("a", 0.5, 0.1, None), GpuNeed("b", 0.5, 0.1, None)]
    counts = _counts(allocate(needs, gpus=4) or [])
    assert counts["a"] == counts["b"] == 5  # HEADROOM over 4


def test_thirty_two_gpus_are_planned_at_once() -> None:
    placed = allocate(FIVE, gpus=32)
    assert placed is not None and len(placed) == 32 and _fits(placed, FIVE)


def test_room_that_is_left_goes_to_the_stage_with_the_shorter_calls_of_those_that_hold_up_the_others() -> None:
    needs = [GpuNeed("a", 0.5, 0.5, 2.0), GpuNeed("b", 0.25, 0.25, 1.0), GpuNeed("c", 0.25, 0.25, 0.5)]
    counts = _counts(allocate(needs, gpus=2) or [])
    assert counts == {"a": 2, "b": 2, "c": 1}, "a and b both manage a call a second"
