"""Surveys that take fields of their frames, without Ray: segments go ahead of their turn, and few are held at once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_surveys import Run, _no_ray  # noqa: F401 - a fixture for every test

from geoflow.engine import surveys
from geoflow.engine.actor import workfiles
from geoflow.engine.actor.condensed import with_condensed
from geoflow.engine.calls import Part
from geoflow.engine.graph import Graph
from geoflow.engine.resume import Action
from geoflow.engine.state import SpanRun
from geoflow.errors import StageError
from geoflow.segments import Segment, VideoInfo
from geoflow.stage import Fields, Stage, condensed_fields, span_problem
from geoflow.store.paths import RunPaths

SIZE, OVERLAP = 96, 24


@pytest.fixture(autouse=True)
def _nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveys, "still_there", lambda ref: True)


class Depth(Stage):
    """A prior; nobody calls it here."""

    slot = "prior"
    inputs = ("frames.rgb",)
    outputs = ("prior.points", "prior.mask", "prior.intrinsics")


class InOrder(Depth):
    ordered = True


class Taking(Stage):
    """A camera stage that surveys chapters and takes the prior of their frames."""

    slot = "camera"
    span = "chapter"
    inputs = ("frames.rgb",)
    optional = ("prior.points",)
    surveyed = ("prior.points",)
    outputs = ("camera.valid",)

    def survey(self, span: Any, read: Any) -> Any:
        raise NotImplementedError

    def condense(self, segment: Segment, fields: Fields) -> Fields:
        raise NotImplementedError


class TakingOfVideo(Taking):
    span = "video"


class Ahead(Run):
    """Decode, prior, cameras and stitch, driven by hand."""

    def __init__(self, stage: str = "Taking", *, prior: str = "Depth", kept: bool = True, **more: Any) -> None:
        self.rows = [
            {"slot": "decode", "backend": "geoflow.stages.decode"},
            {"slot": "prior", "backend": f"{__name__}:{prior}", "keep": kept, "optional": True},
            {"slot": "camera", "backend": f"{__name__}:{stage}", "keep": kept},
            {"slot": "stitch", "backend": "geoflow.stages.stitch"},
        ]
        self.condensed: Counter[int] = Counter()
        self.priors: Counter[int] = Counter()
        self.taken: dict[tuple[int, int], list[int]] = {}  # survey -> segments whose condensed fields it had
        self.most = 0  # segments whose fields were alive at the same time
        super().__init__(SIZE, rows=self.rows, **more)

    def end(self, step: int, run: Any) -> None:
        self.most = max(self.most, len(self.video.open))
        row = self.graph.steps[step]
        if isinstance(run, SpanRun):
            given = run.arguments(step, self.graph)
            self.taken[run.span.start, run.span.stop] = [
                int(name.partition(".")[2]) for name in given if name.startswith("condense.")
            ]
        elif row.condenses:
            assert run.ahead and "prior.points" in run.arguments(step, self.graph)
            self.condensed[run.segment.index] += 1
            arrays = {f"condensed.{run.segment.start}.x": np.zeros(len(run.segment))}
            if (to := self.checkpoint.save_to(step, run)) is not None and to.fields is not None:
                workfiles.save(to.fields, arrays, {"level": 0, "work_seconds": 1.0})
            self.flow.condensed(step, run, Part(arrays))
            return
        elif row.slot == "prior":
            self.priors[run.segment.index] += 1
            if (to := self.checkpoint.save_to(step, run)) is not None and to.fields is not None:
                fields = {name: np.zeros(1) for name in row.outputs}
                workfiles.save(to.fields, fields, {"level": 0, "work_seconds": 1.0})
        super().end(step, run)


def finish(run: Ahead, actors: int = 4, seed: int = 0) -> None:
    for _ in run.turns(actors, seed):
        assert len(run.video.condensed) <= 45, "condensed fields of more than about two chapters are held"
    assert run.whole and set(run.processed.values()) == {1}
    assert max(run.processed) == run.video.num_segments - 1
    assert run.video.condensed == {}


def assert_complete(run: Ahead) -> None:
    """Every survey had the fields of every segment that shows one of its frames."""
    starts = {record.index: (record.start, record.stop) for record in run.video.records}
    for (start, stop), taken in run.taken.items():
        showing = [i for i, (first, last) in starts.items() if first < stop and last > start]
        own = [i for i in taken if starts[i][1] > start]
        assert set(own) >= {i for i in showing if starts[i][0] >= start}


@pytest.mark.parametrize("in_flight", [1, 3, 40])
def test_segments_go_ahead_once_and_few_at_a_time(tmp_path: Path, in_flight: int) -> None:
    run = Ahead(paths=RunPaths(tmp_path), in_flight=in_flight)
    finish(run, seed=in_flight)
    assert set(run.condensed.values()) == {1} and len(run.condensed) == run.video.num_segments
    assert set(run.priors.values()) == {1}, "what was saved on the way is restored"
    assert run.most <= in_flight
    assert len(run.taken) == 7 and len(run.processed) == run.video.num_segments
    assert_complete(run)


def test_without_a_disk_the_prior_is_computed_again() -> None:
    run = Ahead(in_flight=4)
    finish(run)
    assert set(run.condensed.values()) == {1} and set(run.priors.values()) == {2}
    assert_complete(run)


def test_a_whole_video_goes_ahead(tmp_path: Path) -> None:
    run = Ahead("TakingOfVideo", paths=RunPaths(tmp_path), in_flight=3)
    for _ in run.turns(4):
        pass
    assert run.whole and list(run.taken.values()) == [list(range(run.video.num_segments))]
    assert run.video.condensed == {}


def test_a_survey_goes_without_what_a_segment_lacks(tmp_path: Path) -> None:
    run = Ahead(paths=RunPaths(tmp_path), in_flight=6)
    begun = run.end

    def end(step: int, one: Any) -> None:
        if run.graph.steps[step].slot == "prior" and one.segment.index == 2:
            run.flow.give_up(step, one, "no luck")
        else:
            begun(step, one)

    run.end = end  # type: ignore[method-assign]
    finish(run)
    assert 2 not in run.condensed and 2 not in run.taken[0, 384]
    assert {0, 1, 3} <= set(run.taken[0, 384])
    assert [record.index for record in run.video.records if record.notes] == [2], "said where it is missing"


def test_a_killed_run_condenses_and_surveys_nothing_again(tmp_path: Path) -> None:
    first = Ahead(paths=RunPaths(tmp_path), in_flight=6)
    for _ in first.turns(3):
        if len(first.surveyed) == 2 and len(first.video.records) > 3:
            break
    second = Ahead(paths=RunPaths(tmp_path), in_flight=6)
    finish(second)
    assert set(first.surveyed).isdisjoint(second.surveyed) and len(first.surveyed) + len(second.surveyed) == 7
    assert set(first.condensed).isdisjoint(second.condensed)
    assert set(first.priors).isdisjoint(second.priors)
    assert [path.name for path in RunPaths(tmp_path).parts("a").glob("*camera*")] == []


def test_a_damaged_survey_is_made_anew_from_fields_that_are_condensed_again(tmp_path: Path) -> None:
    first = Ahead(paths=RunPaths(tmp_path), in_flight=6)
    for _ in first.turns(2):
        if first.video.records:
            break
    (path,) = RunPaths(tmp_path).parts("a").glob("span_00000*")
    data = bytearray(path.read_bytes())
    data[data.index(np.arange(3).tobytes())] ^= 1
    path.write_bytes(data)
    second = Ahead(paths=RunPaths(tmp_path), in_flight=6)
    finish(second)
    assert (0, 384) in second.surveyed
    assert [event["event"] for event in second.events].count("video_rewound") == 1
    assert second.taken[0, 384] == first.taken[0, 384]


def test_condensed_fields_that_went_down_with_a_node_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Ahead(in_flight=6)
    for _ in run.turns(2):
        if (_condense(run.graph), 1) in run.video.condensed:
            break
    lost = run.video.condensed[_condense(run.graph), 1]
    assert lost is not None
    monkeypatch.setattr(surveys, "still_there", lambda ref: ref is not lost.ref)
    run.flow.recover_video(run.video)
    finish(run)
    assert run.condensed[1] == 2 and run.condensed[0] == 1
    assert_complete(run)


def _survey(graph: Graph) -> int:
    return next(row.index for row in graph.steps if row.surveys)


def _condense(graph: Graph) -> int:
    return next(iter(graph.condensing))


def test_nothing_is_taken_of_stages_that_work_in_order() -> None:
    assert not Ahead(prior="InOrder").graph.condensing
    graph = Ahead().graph
    assert [graph.steps[n].name for n in graph.condensing] == ["camera.condense"]


def test_a_survey_is_another_if_the_prior_is_or_cannot_run(tmp_path: Path) -> None:
    keys = set()
    for prior, disabled in (("Depth", False), ("Depth", True), ("Other", False)):
        run = Ahead(prior=prior, paths=RunPaths(tmp_path / f"{prior}{disabled}"))
        if disabled:
            run.flow.disable(1, "no such library")
        finish(run) if disabled else run.flow.take_in()
        survey = _survey(run.graph)
        span = run.video.spans[survey][0]
        keys.add(run.checkpoint.survey_of(survey, run.video, span, run.flow.disabled.keys()).key)
        assert not disabled or (not run.condensed and all(taken == [] for taken in run.taken.values()))
    assert len(keys) == 3


class Other(Depth):
    version = "2"


def test_a_segment_ahead_runs_what_is_above_and_nothing_else(tmp_path: Path) -> None:
    run = Ahead(paths=RunPaths(tmp_path), in_flight=1)
    run.flow.take_in()
    (ahead,) = run.video.open.values()
    assert ahead.ahead
    running = [run.graph.steps[n].name for n, action in enumerate(ahead.actions) if action is Action.RUN]
    assert running == ["decode", "prior", "camera.condense"]


# What a survey reads


def test_rows_come_with_the_frames_that_they_belong_to() -> None:
    video = VideoInfo("a", "a", "", 30, 30.0, 8, 8, 8, 8)
    given: Fields = {"video.index": np.arange(30)}
    for index, (start, stop) in {0: (0, 8), 1: (6, 14), 3: (18, 26)}.items():
        rows = np.arange(start, stop) + 100 * index
        given |= condensed_fields({"x": rows}, Segment(video, index, start, stop), "it")
    frames = np.arange(4, 30)
    pieces = [{"frames.rgb": part[:, None], "frames.index": part} for part in (frames[:7], frames[7:])]
    found = {}
    for piece in with_condensed(pieces, 4, given):
        assert np.array_equal(piece["frames.rgb"][:, 0], piece["frames.index"])
        rows = piece.get("condensed.x", np.full(len(piece["frames.index"]), -1))
        found.update(zip(piece["frames.index"].tolist(), rows.tolist()))
    assert list(found) == frames.tolist()
    assert found[4] == 4 and found[7] == 7, "of a frame in two segments, the earlier one's"
    assert found[8] == 108 and found[13] == 113 and found[14] == found[17] == found[26] == -1 and found[18] == 318


def test_what_is_condensed_has_a_row_for_each_frame() -> None:
    segment = Segment(VideoInfo("a", "a", "", 30, 30.0, 8, 8, 8, 8), 0, 0, 8)
    for wrong in (np.zeros(7), np.array(["a"] * 8), np.zeros(())):
        with pytest.raises(StageError, match="each of 8 frames"):
            condensed_fields({"x": wrong}, segment, "it")


def test_what_a_stage_says_of_its_surveys_is_checked() -> None:
    class Foreign(Taking):
        surveyed = ("prior.mask",)

    class Silent(Taking):
        condense = Stage.condense

    assert "prior.mask" in span_problem(Foreign()) and "condense" in span_problem(Silent())
    assert span_problem(Taking()) == ""
