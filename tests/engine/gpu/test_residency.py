"""Which models live on which GPU, decided without Ray."""

from __future__ import annotations

from typing import Any

import pytest

from geoflow.engine.gpu import residency as module
from geoflow.engine.gpu.placement import Gpu
from geoflow.engine.gpu.residency import Residency
from geoflow.errors import EnvironmentBroken
from geoflow.pipeline import StageSpec
from geoflow.stage import Stage


def spec(slot: str, **settings: Any) -> StageSpec:
    return StageSpec.model_validate({"slot": slot, "backend": "nowhere", "weight": 1.0, **settings})


def make(count: int, *specs: StageSpec) -> Residency:
    found = Residency(specs, [Stage() for _ in specs], count)
    found.gpus += [Gpu(None, None, list(planned)) for planned in found.plan]
    return found


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


def test_stages_that_do_not_fit_together_are_named() -> None:
    with pytest.raises(EnvironmentBroken, match=r"a 0\.7, b 0\.6.*add GPUs"):
        make(1, spec("a", num_gpus=0.7), spec("b", num_gpus=0.6))


def test_an_unmeasured_stage_has_the_whole_token_and_one_copy() -> None:
    found = make(2, spec("a", num_gpus="auto", gpu_memory="auto"), spec("b", num_gpus=0.5, gpu_memory=0.2))
    assert found.share("a") == 1.0 and found.share("b") == 0.5
    assert sum(slots.count("a") for slots in found.plan) == 1


def test_once_all_is_measured_the_rest_is_started() -> None:
    found = make(2, spec("a", num_gpus="auto", gpu_memory="auto"), spec("b", num_gpus="auto", gpu_memory="auto"))
    assert found.measured("a", peak=20, total=80) == []
    added = found.measured("b", peak=8, total=80)
    assert found.share("a") == pytest.approx(1 / 3) and found.share("b") == pytest.approx(1 / 9)
    assert {change.slot for change in added} == {"a", "b"}
    for gpu in found.gpus:
        assert sum({"a": 1 / 3, "b": 1 / 9}[slot] for slot in gpu.planned) <= 1 + 1e-9


def test_a_copy_is_added_where_a_gpu_was_idle_for_want_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    found = make(2, spec("a", num_gpus=0.5, gpu_memory=0.1), spec("b", num_gpus=0.5, gpu_memory=0.1, weight=9.0))
    (other,) = [gpu for gpu in found.gpus if "a" not in gpu.planned]
    found.note_starved("a")
    clock.now = 1.9
    found.note_starved("a")
    seconds, load = {"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 2.0}
    assert not list(found.additions(seconds, load, 99)), "loading takes longer than what was lost"
    clock.now = 2.1
    found.note_starved(None)
    assert not list(found.additions(seconds, load, 3)), "the work is over before it would be up"
    assert other in [change.gpu for change in found.additions(seconds, load, 99) if change.slot == "a"]


def test_a_busy_gpu_lacks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    found = make(1, spec("a", num_gpus=0.5, gpu_memory=0.3))
    place = found.gpus[0].token.place(1.0, 0.0)
    assert place is not None
    found.gpus[0].token.take(place[1], 9.0, 0.0)
    found.note_starved("a")
    clock.now = 5.0
    found.note_starved("a")
    assert not list(found.additions({"a": 1.0}, {"a": 0.0}, 99))


def test_a_gpu_that_others_can_do_without_is_told_from_one_that_they_need() -> None:
    """c lives everywhere, b on one GPU only: there a call of c would be in its way."""
    found = make(2, spec("b", num_gpus=0.5, gpu_memory=0.1), spec("c", num_gpus=0.5, gpu_memory=0.1))
    found.gpus[0].planned, found.gpus[1].planned = ["b", "c", "c"], ["c"]
    found.weigh({"b": 1.0, "c": 4.0})
    assert found.gpus[0].wanted == 0.5 * 1.0 + 0.5 * 4.0 / 2 and found.gpus[1].wanted == 0.5 * 4.0 / 2
    assert found.gpus[0].contended and not found.gpus[1].contended


def test_models_are_spread_one_at_a_time_while_it_pays() -> None:
    found = make(4, spec("a", num_gpus=0.25, gpu_memory=0.1), spec("b", num_gpus=0.5, gpu_memory=0.1, weight=20.0))
    seconds, load = {"a": 1.0, "b": 20.0}, {"a": 10.0, "b": 10.0}
    before = sum("a" in gpu.planned for gpu in found.gpus)
    assert before < 4
    assert not list(found.spread(seconds, load, left=30)), "77 s of work are left"
    added = list(found.spread(seconds, load, left=300))
    assert len(added) == 1 and added[0].slot == "a" and added[0].gpu.planned.count("a") == 1


def test_where_memory_is_full_the_bottleneck_takes_a_place_if_that_pays() -> None:
    """Both were taken for equal; b turns out ten times slower."""
    found = make(3, spec("a", num_gpus=1.0), spec("b", num_gpus=1.0))
    counts = [slots[0] for slots in found.plan]
    more = max("ab", key=counts.count)
    less = "ab"[more == "a"]
    seconds = {more: 1.0, less: 10.0}
    load, idle = {"a": 5.0, "b": 5.0}, {(gpu.planned[0], gpu) for gpu in found.gpus}
    assert not list(found.exchanges(seconds, load, set(idle), left=1))
    (change,) = found.exchanges(seconds, load, set(idle), left=100)
    assert (change.slot, change.ends) == (less, more) and change.gpu.planned == [less]


def test_a_gpu_that_joins_gets_what_lacks_most_and_one_of_the_rest() -> None:
    found = make(1, spec("a", num_gpus=0.5, gpu_memory=0.2), spec("b", num_gpus=0.5, gpu_memory=0.2))
    joined = Gpu(None)
    found.gpus.append(joined)
    found.settle(joined, {"a": 1.0, "b": 4.0})
    assert joined.planned.count("b") > joined.planned.count("a") >= 1
    assert 0.2 * len(joined.planned) <= 1


def test_actors_that_are_counted_out_do_not_multiply_with_gpus() -> None:
    found = make(1, spec("a", num_gpus=0.5, gpu_memory=0.2, actors=1), spec("b", num_gpus=0.5, gpu_memory=0.2))
    joined = Gpu(None)
    found.gpus.append(joined)
    found.settle(joined, {"a": 1.0, "b": 1.0})
    assert "a" not in joined.planned and "b" in joined.planned


def test_what_lived_only_on_a_lost_gpu_goes_elsewhere() -> None:
    found = make(3, spec("a", num_gpus=1.0, actors=1), spec("b", num_gpus=1.0))
    (lost,) = [gpu for gpu in found.gpus if gpu.planned == ["a"]]
    lost.ready = "when Ray has found another"
    (change,) = found.lost(lost)
    assert (change.slot, change.ends) == ("a", "b") and change.gpu.planned == ["a"]
    assert not lost.planned and sorted(slot for gpu in found.up for slot in gpu.planned) == ["a", "b"]


def test_a_lost_gpu_whose_models_live_elsewhere_too_changes_nothing() -> None:
    found = make(2, spec("a", num_gpus=0.5), spec("b", num_gpus=0.5))
    found.gpus[0].ready = "when Ray has found another"
    assert found.lost(found.gpus[0]) == []


def test_gpus_are_asked_for_by_the_work_that_is_left() -> None:
    found = make(2, spec("a", num_gpus=0.5), spec("b", num_gpus=0.25))
    assert found.worth_having({"a": 8.0, "b": 4.0}, left=600, worth=300.0) == 10
    assert found.worth_having({"a": 8.0, "b": None}, left=600, worth=300.0) == 2, "nobody knows yet"


def test_a_node_that_cannot_build_an_environment_does_not_get_it_again() -> None:
    found = make(2, spec("a", num_gpus=0.5, gpu_memory=0.1), spec("b", num_gpus=0.5, gpu_memory=0.1))
    bad = next(gpu for gpu in found.gpus if "a" in gpu.planned)
    found.refused(bad, "a")
    assert "a" not in bad.planned and any("a" in gpu.planned for gpu in found.gpus)
    assert not [change for change in found.spread({"a": 9.0, "b": 1.0}, {"a": 0.0, "b": 0.0}, 99) if change.gpu is bad]
