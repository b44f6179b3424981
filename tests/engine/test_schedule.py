"""The engine's decisions, without Ray."""

from __future__ import annotations

import pytest

from geoflow.engine.schedule import Kind, PoolNeed, Verdict, judge, may_admit, priority, queue_depth, size_pools
from geoflow.engine.sizing import most_copies
from geoflow.stages.stitch import Stitch

EMBEDDED = [
    PoolNeed("decode", 1, 0.02),
    PoolNeed("prior", 1, 0.2),
    PoolNeed("geometry", 1, 0.2),
    PoolNeed("camera", 2, 0.3),
    PoolNeed("stitch", 1, 0.0),
    PoolNeed("write", 1, 0.0),
]


def test_oldest_segment_first_then_furthest_downstream() -> None:
    tasks = [(0, 1, 0), (0, 0, 0), (0, 0, 3), (1, 0, 5)]  # video, segment, depth
    assert sorted(tasks, key=lambda t: priority(*t)) == [(0, 0, 3), (0, 0, 0), (0, 1, 0), (1, 0, 5)]


def test_bytes_in_flight_never_exceed_the_budget_once_something_runs() -> None:
    in_flight, running, sizes = 0, 0, [40, 30, 50, 10, 200]
    admitted = []
    for size in sizes:
        if may_admit(in_flight_bytes=in_flight, expected_bytes=size, budget=100, segments_in_flight=running, limit=9):
            in_flight, running = in_flight + size, running + 1
            admitted.append(size)
    assert admitted == [40, 30, 10]


@pytest.mark.parametrize("cpus", [1, 2, 8, 16, 64])
def test_pools_always_fit_at_once(cpus: int) -> None:
    sizes = size_pools(EMBEDDED, cpus=cpus)
    assert all(size.actors >= 1 for size in sizes.values())
    assert sum(size.actors * size.cpu_share for size in sizes.values()) <= cpus + 1e-6
    assert all(size.threads <= cpus for size in sizes.values())


def test_spare_cpus_go_where_the_work_is() -> None:
    sizes = size_pools(EMBEDDED, cpus=32)
    assert sizes["camera"].actors > sizes["prior"].actors / 2 > 1
    assert sizes["prior"].actors > sizes["decode"].actors
    assert sizes["stitch"].actors == sizes["write"].actors == 1


def test_the_users_number_stands() -> None:
    sizes = size_pools([PoolNeed("a", 1, 1.0, fixed=3), PoolNeed("b", 1, 1.0)], cpus=8)
    assert sizes["a"].actors == 3 and sizes["b"].actors == 5


def test_an_ordered_stage_gets_no_more_actors_than_there_are_videos() -> None:
    for videos, actors in ((1, 1), (3, 3), (None, 7)):
        most = most_copies(Stitch(), videos)
        assert size_pools([PoolNeed("a", 1, 1.0, most), PoolNeed("b", 1, 0.0)], cpus=8)["a"].actors == actors


def test_no_call_is_queued_on_a_worker_that_loads() -> None:
    assert queue_depth(100, 1, loading=True) == 0


@pytest.mark.parametrize(
    ("kind", "attempts", "level", "optional", "verdict"),
    [
        (Kind.STAGE, 1, 0, False, Verdict.RETRY),
        (Kind.STAGE, 3, 0, False, Verdict.FAIL),
        (Kind.STAGE, 3, 0, True, Verdict.SKIP),
        (Kind.DIED, 2, 0, False, Verdict.RETRY),
        (Kind.INPUT, 1, 0, True, Verdict.FAIL),
        (Kind.STORE, 1, 0, False, Verdict.FAIL),
        (Kind.ENVIRONMENT, 1, 0, True, Verdict.SKIP),
        (Kind.MEMORY, 3, 1, False, Verdict.CHEAPER),
        (Kind.MEMORY, 3, 2, False, Verdict.FAIL),
    ],
)
def test_verdicts(kind: Kind, attempts: int, level: int, optional: bool, verdict: Verdict) -> None:
    assert judge(kind, attempts=attempts, max_attempts=3, level=level, rungs=2, optional=optional) is verdict
    comes_back = kind in (Kind.STAGE, Kind.MEMORY) and verdict is Verdict.FAIL
    later = judge(kind, attempts=attempts, max_attempts=3, level=level, rungs=2, optional=optional, can_come_back=True)
    assert later is (Verdict.LATER if comes_back else verdict)
