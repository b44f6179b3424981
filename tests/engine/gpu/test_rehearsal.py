"""Runs played through on paper, against cases worked out by hand and against fixed pools."""

from __future__ import annotations

from collections import Counter

import pytest

from geoflow.bench.engine import bounds
from geoflow.bench.engine.workloads import WORKLOADS, Workload
from geoflow.engine.gpu import rehearsal
from geoflow.engine.gpu.allocation import GpuNeed, allocate
from geoflow.engine.gpu.rehearsal import RehearsedStage, best_layout, rehearse


def steps_of(load: Workload) -> list[RehearsedStage]:
    return [RehearsedStage(stage.name, stage.gpus, stage.seconds, stage.after) for stage in load.stages]


def needs_of(load: Workload, memory: float | None) -> list[GpuNeed]:
    return [GpuNeed(stage.name, stage.gpus, memory or stage.gpus, stage.seconds) for stage in load.stages]


@pytest.fixture
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "_JITTER", 0.0)


@pytest.mark.usefixtures("_exact")
def test_one_worker_each_is_a_production_line() -> None:
    line = [RehearsedStage("a", 0.5, 1.0), RehearsedStage("b", 0.5, 2.0, ("a",))]
    assert rehearse(line, [["a", "b"]], items=4) == pytest.approx(1 + 4 * 2)


@pytest.mark.usefixtures("_exact")
def test_models_that_share_a_whole_token_take_turns() -> None:
    line = [RehearsedStage("a", 1.0, 1.0), RehearsedStage("b", 1.0, 2.0, ("a",))]
    assert rehearse(line, [["a", "b"]], items=4) == pytest.approx(4 * 3)


@pytest.mark.usefixtures("_exact")
@pytest.mark.parametrize("name", ["balanced", "dag"])
def test_pools_that_never_meet_end_as_the_simulation_of_fixed_pools_says(name: str) -> None:
    load = WORKLOADS[name]
    layout = allocate(needs_of(load, None), load.gpus)
    assert layout is not None
    pools = dict(Counter(slot for slots in layout for slot in slots))
    assert rehearse(steps_of(load), layout, load.items) == pytest.approx(bounds.simulate(load, pools).makespan)


@pytest.mark.parametrize("memory", [None, 0.1, 0.2])
@pytest.mark.parametrize("name", ["balanced", "skewed", "dag"])
def test_freedom_never_ends_later_than_the_best_fixed_pools(name: str, memory: float | None) -> None:
    load = WORKLOADS[name]
    above = {stage.name: stage.after for stage in load.stages}
    layout, fixed = best_layout(needs_of(load, memory), above, load.gpus), allocate(needs_of(load, None), load.gpus)
    assert layout is not None and fixed is not None
    assert set(above) == {slot for slots in layout for slot in slots}
    assert all(len(slots) * (memory or 0.25) <= 1 for slots in layout)
    assert rehearse(steps_of(load), layout) <= rehearse(steps_of(load), fixed)


def test_where_models_live_matters_and_the_better_place_is_found() -> None:
    load = WORKLOADS["dag"]
    above = {stage.name: stage.after for stage in load.stages}
    needs = needs_of(load, 0.1)
    usual, best = allocate(needs, load.gpus), best_layout(needs, above, load.gpus)
    assert usual is not None and best is not None
    assert rehearse(steps_of(load), best) < 0.98 * rehearse(steps_of(load), usual)


def test_a_branch_that_is_ahead_waits_for_the_other() -> None:
    """l and r take turns on one token and meet in j: as much is done of r as of l, so that j is never idle for long."""
    fork = [
        RehearsedStage("s", 0.1, 0.01),
        RehearsedStage("l", 0.6, 1.0, ("s",)),
        RehearsedStage("r", 0.6, 1.0, ("s",)),
    ]
    fork.append(RehearsedStage("j", 0.4, 1.0, ("l", "r")))
    assert rehearse(fork, [["s", "l", "r", "j"]], items=20) < 1.15 * 40


def test_a_layout_without_a_stage_never_ends() -> None:
    assert rehearse([RehearsedStage("a", 1.0, 1.0), RehearsedStage("b", 1.0, 1.0, ("a",))], [["a"]]) == float("inf")


def test_models_that_do_not_fit_have_no_layout() -> None:
    assert best_layout([GpuNeed("a", 0.6, 0.6, 1), GpuNeed("b", 0.6, 0.6, 1)], {"a": (), "b": ("a",)}, 1) is None
