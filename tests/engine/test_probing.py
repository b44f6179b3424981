"""Where videos are probed, decided without Ray."""

from __future__ import annotations

from typing import Any

import pytest

from geoflow.engine.graph import PROBED
from geoflow.engine.outcome import Outcome
from geoflow.engine.probing import Probes, run_probe
from geoflow.engine.schedule import Kind
from geoflow.errors import InputError
from geoflow.video.inputs import Input

ITEM = Input("a", "/videos/a.mp4")


class Handle:
    """Stands for an actor."""

    def __init__(self) -> None:
        self.asked: list[Input] = []

    @property
    def probe(self) -> Any:
        return self

    def options(self, num_returns: int) -> Handle:
        assert num_returns == 1 + len(PROBED)
        return self

    def remote(self, probe: Any, item: Input) -> list[str]:
        self.asked.append(item)
        return ["outcome", *PROBED]


class Fixture:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.handle = Handle()
        self.host: tuple[bool, Any] = True, None
        self.tasks = 0
        self.probes = Probes(lambda item: pytest.fail("probed here"), lambda: self.host)
        monkeypatch.setattr(self.probes, "_submit_task", self._task)

    def _task(self, item: Input) -> list[str]:
        self.tasks += 1
        return ["outcome", *PROBED]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Fixture:
    return Fixture(monkeypatch)


def test_a_probe_waits_for_the_first_actor_and_the_second_for_the_first_ones_time(made: Fixture) -> None:
    assert made.probes.start(ITEM) is None, "no actor is up yet"
    made.host = True, made.handle
    assert made.probes.start(ITEM) is not None
    assert made.probes.start(ITEM) is None, "nobody knows yet how long a probe takes"
    made.probes.ended(Outcome(began=0.0, seconds=0.01))
    assert made.probes.start(ITEM) is not None and made.probes.start(ITEM) is not None
    assert len(made.handle.asked) == 3 and made.tasks == 0


def test_long_probes_do_not_hold_up_actors(made: Fixture) -> None:
    made.host = True, made.handle
    made.probes.start(ITEM)
    made.probes.ended(Outcome(began=0.0, seconds=3.0))
    made.probes.start(ITEM)
    assert (len(made.handle.asked), made.tasks) == (1, 1)


def test_where_every_stage_has_an_environment_of_its_own_a_task_probes(made: Fixture) -> None:
    made.host = False, None
    assert made.probes.start(ITEM) is not None and made.tasks == 1


def test_after_its_actor_died_a_task_probes(made: Fixture) -> None:
    made.host = True, made.handle
    assert made.probes.start(ITEM, again=True) is not None and made.tasks == 1


def test_an_input_at_fault_is_an_outcome_too() -> None:
    def probe(item: Input) -> Any:
        raise InputError(f"{item.source} is not a video")

    outcome, *arrays = run_probe(probe, ITEM)
    assert outcome.failure.kind is Kind.INPUT and outcome.seconds >= 0
    assert arrays == [None] * len(PROBED)
