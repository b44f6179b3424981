"""When a call counts as hung: as long as its kind of work takes, by what was measured of that kind."""

from __future__ import annotations

from typing import Any

import pytest

from geoflow.cluster.session import Capacity
from geoflow.engine.calls import Call
from geoflow.engine.fleet import Fleet
from geoflow.engine.graph import Graph
from geoflow.engine.mailbox import Mailbox
from geoflow.pipeline import Pipeline

LEAST = 60.0
CAMERA = 2  # the stage's number in the pipeline


@pytest.fixture
def fleet() -> Fleet:
    pipe = Pipeline.load("embedded")
    stages = [spec.make_stage() for spec in pipe.stages]
    graph = Graph.build([(spec.slot, stage, spec.optional) for spec, stage in zip(pipe.stages, stages)])
    nothing: dict[str, Any] = {"emit": lambda event, **data: None, "disable": lambda stage, error: None}
    capacity = Capacity(4, 0, 1 << 30)
    return Fleet(pipe, stages, graph, capacity, follows=False, least_deadline=LEAST, mailbox=Mailbox(), **nothing)


def call(frames: int = 0) -> Call:
    return Call(0, CAMERA, [object()], None, [0], frames=frames)


def test_a_survey_s_time_is_no_measure_of_segments_and_theirs_none_of_it(fleet: Fleet) -> None:
    pool = fleet.pools[CAMERA]
    pool.service.add(0.001, 96)
    pool.surveys.add(40.0, 400)
    assert fleet._deadline(call()) == LEAST
    assert fleet._deadline(call(frames=400)) == pytest.approx(20 * 40.0)  # 20 times the longest, per frame
    assert fleet._deadline(call(frames=4000)) == pytest.approx(10 * 20 * 40.0)
    assert fleet._usual(call()) == pytest.approx(0.001) and fleet._usual(call(frames=200)) == pytest.approx(20.0)
    assert pool.service.mean == 0.001, "what decides whether calls are put together"


def test_a_survey_that_nothing_is_known_of_has_time_for_each_of_its_segments(fleet: Fleet) -> None:
    segment = fleet._deadline(call())
    assert fleet._deadline(call(frames=96)) == segment
    assert fleet._deadline(call(frames=9600)) == 100 * segment
    assert fleet._usual(call(frames=96)) is None


def test_what_a_pool_costs_has_its_surveys_in_it(fleet: Fleet) -> None:
    pool = fleet.pools[CAMERA]
    assert pool.seconds is None
    for _ in range(4):
        pool.service.add(2.0, 96)
    pool.surveys.add(12.0, 300)
    assert pool.seconds == pytest.approx(2.0 + 12.0 / 4)
    assert pool.measured().seconds_per_frame == pytest.approx((8.0 + 12.0) / (4 * 96))
