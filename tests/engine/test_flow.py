"""Segments on their way through a graph whose branches meet, without Ray."""

from __future__ import annotations

from typing import Any

import pytest

from geoflow.bench.engine import geoflow_engine, sleep_stages
from geoflow.bench.engine.workloads import WORKLOADS
from geoflow.engine.calls import Part
from geoflow.engine.checkpoint import Checkpoint
from geoflow.engine.flow import Flow
from geoflow.engine.graph import Graph
from geoflow.engine.intake import Limits
from geoflow.engine.mailbox import Mailbox
from geoflow.engine.probing import Probes
from geoflow.engine.state import SegmentRun, VideoRun
from geoflow.video.inputs import Input

LOAD = WORKLOADS["dag"]
DECODE, PRIOR, GEOMETRY, CAMERA, TRACKS, HANDS, JOIN = range(7)


def emit(event: str, **data: Any) -> None:
    pass


@pytest.fixture
def flow() -> Flow:
    """Return five segments with no work done yet."""
    pipe = geoflow_engine.pipeline_of(LOAD, None, "trace", 0.25)
    graph = Graph.build([(spec.slot, spec.make_stage(), spec.optional) for spec in pipe.stages])
    made = Flow(
        graph,
        Checkpoint(graph, pipe, None, emit=emit),
        Probes(lambda item: pytest.fail("not probed here"), lambda: (False, None)),
        Mailbox(),
        Limits(),
        1 << 40,
        emit=emit,
        already_done=lambda info: None,
        not_up=lambda: set(),
        whole=lambda video: None,
    )
    video = VideoRun(0, Input("a", "a"), status="running")
    video.info, _ = sleep_stages.probe(video.input, 10, geoflow_engine.frame_size(LOAD))
    made.add([video])
    made.intake._unprobed.clear()
    made.intake._active.append(video)
    made.take_in()
    return made


def work(flow: Flow, node: int, count: int) -> list[SegmentRun]:
    """Let a stage do the next `count` segments."""
    runs = flow.take(node, count)
    assert len(runs) == count
    for run in runs:
        outputs = flow._graph.steps[node].outputs
        run.keep(node, {name: Part("ref") for name in outputs}, dict.fromkeys(outputs, 1), flow._graph)
        flow.settle(node, run)
    return runs


def test_a_stage_brings_segments_to_the_next_one(flow: Flow) -> None:
    work(flow, DECODE, 3)
    assert flow.brought(DECODE, PRIOR) == flow.brought(DECODE, CAMERA) == 3
    flow.take(PRIOR, 1)
    assert (flow.brought(DECODE, PRIOR), flow.brought(DECODE, CAMERA)) == (2, 3)


def test_where_branches_meet_what_the_one_that_is_ahead_has_brought_counts(flow: Flow) -> None:
    work(flow, DECODE, 5)
    for node in (PRIOR, GEOMETRY):
        work(flow, node, 4)
    for node in (CAMERA, TRACKS, HANDS):
        work(flow, node, 1)
    assert len(flow.ready[JOIN]) == 1
    assert (flow.brought(GEOMETRY, JOIN), flow.brought(HANDS, JOIN)) == (4, 1)
    work(flow, JOIN, 1)
    assert (flow.brought(GEOMETRY, JOIN), flow.brought(HANDS, JOIN)) == (3, 0)


def test_what_a_failed_video_had_brought_is_forgotten(flow: Flow) -> None:
    work(flow, DECODE, 2)
    work(flow, PRIOR, 2)
    work(flow, GEOMETRY, 2)
    flow.fail(flow.videos[0], "broken")
    assert flow.brought(GEOMETRY, JOIN) == 0


def test_the_graph_says_who_waits_for_whom_past_stages_that_use_no_gpu(flow: Flow) -> None:
    assert flow._graph.above({"decode", "hands", "join"}) == {
        "decode": (),
        "hands": ("decode",),
        "join": ("decode", "hands"),
    }
