"""Surveys of spans without Ray: each is computed once, whatever the order of work, and again only when it was lost."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoflow.engine import surveys
from geoflow.engine.actor import workfiles
from geoflow.engine.calls import Part
from geoflow.engine.checkpoint import Checkpoint
from geoflow.engine.flow import Flow
from geoflow.engine.graph import Graph
from geoflow.engine.intake import Limits
from geoflow.engine.mailbox import Mailbox
from geoflow.engine.outcome import Failure, Outcome
from geoflow.engine.probing import Probes
from geoflow.engine.schedule import Kind
from geoflow.engine.state import SpanRun, VideoRun
from geoflow.pipeline import Pipeline
from geoflow.segments import VideoInfo
from geoflow.stage import Stage
from geoflow.store.paths import RunPaths
from geoflow.video.inputs import Input

FRAMES = 2000
LIMIT = 1.35  # times the frames of a video: what its chapters may have together


class Chapters(Stage):
    """A stage of chapters, as the embedded camera is one; nobody calls it here."""

    slot = "camera"
    span = "chapter"
    inputs = ("frames.rgb",)
    outputs = ("camera.valid",)

    def survey(self, span: Any, read: Any) -> Any:
        raise NotImplementedError


class Video(Chapters):
    span = "video"


class Restored:
    """Stands for the tasks that read saved work: at once, and in this process."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, saved: Any, names: Any, then: Callable[[list[Any], Any], None]) -> None:
        self.count += 1
        try:
            arrays, meta = workfiles.load(saved.fields)
        except workfiles.DamagedWork as error:
            then([None], Outcome(Failure(Kind.SAVED, str(error))))
        else:
            sizes = {name: array.nbytes for name, array in arrays.items()}
            then([arrays] if names is None else ["ref"] * len(names), Outcome(value=meta, bytes=sizes))

    def start(self) -> None:
        """Nothing waits."""


class Run:
    """A pipeline of decode, a stage of spans and an ordered stage, driven by hand."""

    def __init__(
        self,
        size: int,
        *,
        stage: str = "Chapters",
        paths: RunPaths | None = None,
        optional: bool = False,
        in_flight: int = 4096,
        rows: list[dict[str, Any]] | None = None,
    ) -> None:
        rows = rows or [
            {"slot": "decode", "backend": "geoflow.stages.decode"},
            {"slot": "camera", "backend": f"{__name__}:{stage}", "optional": optional},
            {"slot": "stitch", "backend": "geoflow.stages.stitch"},
        ]
        pipe = Pipeline.from_dict({"name": "spans", "segment": {"size": size}, "stages": rows})
        self.graph = Graph.build([(s.slot, s.make_stage(), s.optional) for s in pipe.stages])
        self.events: list[dict[str, Any]] = []
        self.whole = False
        self.surveyed: list[tuple[int, int]] = []  # [start, stop) of every call
        self.processed: Counter[int] = Counter()
        self.checkpoint = Checkpoint(self.graph, pipe, paths, emit=self.emit)
        self.restored = Restored()
        self.flow = Flow(
            self.graph,
            self.checkpoint,
            Probes(lambda item: pytest.fail("not probed here"), lambda: (False, None)),
            Mailbox(),
            Limits(max_segments=in_flight),
            1 << 60,
            emit=self.emit,
            already_done=lambda info: None,
            not_up=lambda: set(),
            whole=self._is_whole,
        )
        self.flow._restores = self.flow.surveys._restores = self.restored  # type: ignore[assignment]
        self.video = VideoRun(0, Input("a", "a"), status="running")
        self.video.info = VideoInfo("a", "a", "", FRAMES, 30.0, 8, 8, 8, 8)
        self.video.probed = {"video.index": "index", "video.pts": "pts"}
        self.flow.videos.append(self.video)
        self.flow.intake._active.append(self.video)

    def emit(self, event: str, **data: Any) -> None:
        self.events.append({"event": event, **data})

    def _is_whole(self, video: VideoRun) -> None:
        self.whole = True

    def turns(self, actors: int, seed: int = 0) -> Iterator[None]:
        """Work with so many actors of each stage until nothing is left; what was begun together ends in any order."""
        chance = random.Random(seed)
        while not self.whole and not self.video.over:
            self.flow.take_in()
            begun = [(row.index, run) for row in self.graph.steps for run in self._begin(row.index, actors)]
            assert begun, "nothing is ready, and the video is not whole"
            chance.shuffle(begun)
            for step, run in begun:
                if run.live:
                    self.end(step, run)
            yield

    def _begin(self, step: int, actors: int) -> list[Any]:
        runs: list[Any] = []
        while len(runs) < actors and (more := self.flow.take(step, 1)):
            runs += more
        return runs

    def end(self, step: int, run: Any) -> None:
        """The call came back well."""
        if isinstance(run, SpanRun):
            self.surveyed.append((run.span.start, run.span.stop))
            arrays = {"span.x": np.arange(3)}
            if (to := self.checkpoint.save_to(step, run)) is not None and to.fields is not None:
                workfiles.save(to.fields, arrays, {"level": 0, "work_seconds": 1.0})
            self.flow.surveys.done(run, Part(arrays), 24, 1.0, 0)
            return
        row = self.graph.steps[step]
        if row.name == "camera":
            assert "survey" in run.arguments(step, self.graph)
            self.processed[run.segment.index] += 1
        if (to := self.checkpoint.save_to(step, run)) is not None and to.state is not None:
            workfiles.save_state(to.state, {})
        run.keep(step, {name: Part("ref") for name in row.outputs}, dict.fromkeys(row.outputs, 1), self.graph)
        self.flow.settle(step, run)

    @property
    def frames(self) -> int:
        return sum(stop - start for start, stop in self.surveyed)


def finish(run: Run, actors: int = 4, seed: int = 0) -> None:
    for _ in run.turns(actors, seed):
        pass
    assert run.whole
    assert set(run.processed.values()) <= {1}


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("flow", "surveys"):
        monkeypatch.setattr(f"geoflow.engine.{module}.outcome_of", lambda outcome: outcome)


@pytest.mark.parametrize("size", [96, 200])
def test_the_chapters_of_a_video_are_surveyed_once_whatever_the_pools_sizes(size: int) -> None:
    found = {}
    for actors in (1, 4, 16):
        run = Run(size)
        finish(run, actors, seed=actors)
        assert len(set(run.surveyed)) == len(run.surveyed)
        assert len(run.processed) == run.video.num_segments
        assert run.video.surveys == {}
        found[actors] = run.frames
    assert len(set(found.values())) == 1 and FRAMES < found[1] <= LIMIT * FRAMES


def test_segments_that_come_one_by_one_share_their_chapter_all_the_same() -> None:
    run = Run(96, in_flight=1)
    finish(run)
    assert run.frames <= LIMIT * FRAMES


def test_no_more_chapters_are_kept_than_segments_in_flight_lie_in() -> None:
    run = Run(96, in_flight=4)
    for _ in run.turns(4):
        assert len(run.video.surveys) <= 3
    assert run.whole


def test_a_whole_video_is_one_span() -> None:
    run = Run(96, stage="Video")
    finish(run)
    assert run.surveyed == [(0, FRAMES)]


def test_a_segments_seconds_have_its_share_of_the_survey() -> None:
    run = Run(96, stage="Video")
    finish(run)
    assert sum(record.seconds["camera"] for record in run.video.records) == pytest.approx(1.0)


# What goes wrong


def test_an_optional_stage_whose_survey_fails_is_left_out_of_the_span() -> None:
    run = Run(96, optional=True)
    run.flow.take_in()
    (first,) = run._begin(1, 1)
    assert isinstance(first, SpanRun)
    run.flow.surveys.fail(first, "out of luck")
    finish(run)
    inside = set(range(first.span.first, first.span.last + 1))
    assert {record.index for record in run.video.records if record.status == "incomplete"} == inside
    assert all(record.notes for record in run.video.records if record.index in inside)
    assert set(run.processed).isdisjoint(inside)
    assert (first.span.start, first.span.stop) not in run.surveyed


def test_a_stage_that_cannot_run_is_said_once_for_a_segment() -> None:
    run = Run(96, optional=True)
    run.flow.take_in()
    run.flow.disable(1, "no such library")
    finish(run)
    assert run.surveyed == [] and not run.processed
    assert all(len(record.notes) == 1 for record in run.video.records)
    assert [e["event"] for e in run.events].count("stage_disabled") == 1


def test_what_was_lost_with_a_node_is_surveyed_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(96, stage="Video")
    for _ in run.turns(2):
        if run.processed:
            break
    (survey,) = run.video.surveys.values()
    gone = survey.result
    assert gone is not None
    monkeypatch.setattr(surveys, "still_there", lambda ref: ref is not gone.ref)
    monkeypatch.setattr("geoflow.engine.flow.still_there", lambda ref: ref is not gone.ref)
    waiting = [r for r in run.video.open.values() if (1, "survey") in r.fields]
    assert len(waiting) > 2
    run.flow.ready[2].clear()  # the executor had taken them, and their calls came back as lost
    for segment in waiting:
        run.flow.recover(2, segment)
    assert len(run.flow.ready[1]) == 1, "all of them wait for one survey"
    finish(run)
    assert run.surveyed == [(0, FRAMES)] * 2


def test_a_video_planned_anew_keeps_its_surveys(tmp_path: Path) -> None:
    run = Run(96, paths=RunPaths(tmp_path), in_flight=6)
    for k, _ in enumerate(run.turns(2)):
        if k == 8:
            assert 0 < len(run.video.records) < run.video.num_segments and run.video.surveys
            run.flow.rewind(run.video, "a test")
    assert run.whole and len(set(run.surveyed)) == len(run.surveyed) == 7


# Runs that go on later


def test_a_run_that_was_killed_surveys_nothing_again(tmp_path: Path) -> None:
    first = Run(96, paths=RunPaths(tmp_path), in_flight=8)
    for _ in first.turns(3):
        if len(first.video.records) > 6:
            break
    done = set(first.surveyed)
    assert 2 <= len(done) < 7
    second = Run(96, paths=RunPaths(tmp_path))
    finish(second)
    assert done.isdisjoint(second.surveyed) and second.restored.count
    assert len(done) + len(second.surveyed) == 7
    left = [path.name for path in RunPaths(tmp_path).parts("a").iterdir() if path.name.startswith("span_")]
    assert left == []


def test_a_damaged_survey_is_done_again(tmp_path: Path) -> None:
    first = Run(96, stage="Video", paths=RunPaths(tmp_path))
    for _ in first.turns(1):
        if first.surveyed:
            break
    (path,) = RunPaths(tmp_path).parts("a").glob("span_*")
    data = bytearray(path.read_bytes())
    at = data.index(np.arange(3).tobytes())
    data[at] ^= 1
    path.write_bytes(data)
    second = Run(96, stage="Video", paths=RunPaths(tmp_path))
    finish(second)
    assert second.surveyed == [(0, FRAMES)]


def test_surveys_of_other_settings_are_deleted(tmp_path: Path) -> None:
    first = Run(96, paths=RunPaths(tmp_path))
    for _ in first.turns(1):
        if len(first.surveyed) == 3:
            break
    second = Run(200, paths=RunPaths(tmp_path))
    second.flow.take_in()
    assert list(RunPaths(tmp_path).parts("a").glob("span_*")) == []
