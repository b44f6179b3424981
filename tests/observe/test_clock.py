"""A clock that steps, by NTP or by hand, makes no duration negative, and none hours long."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_runs import execute, pipeline, whole
from ledger_events import done, one_run, started, write

from geoflow.engine.actor.wire import pack
from geoflow.engine.actor.worker import StageWorker
from geoflow.engine.calls import Part, ask, make_jobs, read_answer
from geoflow.engine.outcome import Outcome
from geoflow.engine.profile import Measured, keep_profile, known_stages, profile_path
from geoflow.observe.board import board_of
from geoflow.observe.clock import SteadyClock
from geoflow.observe.ledger import Ledger, read_events
from geoflow.observe.status import fold
from geoflow.observe.tally import Tally
from geoflow.observe.timeline import build_timeline
from geoflow.segments import Segment, VideoInfo

STEP_S = -3600.0


@pytest.fixture(params=[STEP_S, -STEP_S], ids=["back", "on"])
def stepping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """Set the clock back or forward by an hour whenever it is read."""
    real, times = time.time, itertools.count()
    monkeypatch.setattr(time, "time", lambda: real() + request.param * next(times))
    return float(request.param)


@pytest.mark.usefixtures("stepping")
def test_stamps_of_a_run_are_in_order() -> None:
    clock = SteadyClock()
    stamps = [clock() for _ in range(5)]
    assert stamps == sorted(stamps) and stamps[-1] - stamps[0] < 1


@pytest.mark.usefixtures("stepping")
def test_a_ledger_s_times_are_in_order(tmp_path: Path) -> None:
    with Ledger(tmp_path / "events.jsonl") as ledger:
        for _ in range(5):
            ledger.emit("video_failed", video="a", reason="torn")
    times = [row["time"] for row in read_events(tmp_path / "events.jsonl")]
    assert times == sorted(times) and times[-1] - times[0] < 5


@pytest.mark.usefixtures("stepping")
def test_a_worker_s_durations_are_durations(tmp_path: Path) -> None:
    from geoflow.engine.actor.workfiles import SaveTo

    worker = StageWorker("engine_stages:Prior", {}, 1)
    worker._stage = worker._make(0)
    segment = Segment(VideoInfo("a", "a.mp4", "", 4, 30.0, 8, 8, 8, 8), 0, 0, 4)
    save_to = SaveTo(tmp_path / "fields.h5", None)
    jobs, _ = make_jobs([(segment, {"frames.rgb": Part("ref")}, 0, save_to)])

    def call(frames: Any) -> Outcome:
        told = worker.process(ask(jobs, None), frames)
        (found,) = read_answer(told[0])
        return found

    outcome = call(pack(np.zeros((4, 8, 8, 3), np.uint8)))
    assert 0 <= outcome.seconds < 60 and outcome.save_seconds is not None and 0 <= outcome.save_seconds < 60
    failed = call(pack(np.zeros((4, 8), np.uint8)))
    assert failed.failure is not None and 0 <= failed.seconds < 60


@pytest.mark.parametrize("step", [STEP_S, -STEP_S])
def test_a_node_whose_clock_is_wrong_is_drawn_where_its_calls_were(step: float) -> None:
    events = one_run()
    for row in events[10:]:
        if "began" in row:
            row["began"] += step
    timeline = build_timeline(events)
    assert (timeline.began, timeline.ended) == (1000, 1010)
    assert all(1000 <= span.began <= span.ended <= 1010 for actor in timeline.actors for span in actor.calls)
    assert all(actor.busy_share(1010) <= 1 for actor in timeline.actors)


def test_a_wait_is_taken_as_it_was_measured() -> None:
    timeline = build_timeline([started(0, "a"), done(5, "prior", 0, "a", 0, submitted=6, waited=1.5)])
    assert timeline.stages["prior"].waits == [1.5]
    (span,) = timeline.actors[0].calls
    assert (span.submitted, span.began) == (3.5, 5)


def test_what_is_counted_while_a_run_goes_on_is_never_negative(tmp_path: Path) -> None:
    write(tmp_path / "events.jsonl", one_run()[:-3])
    status = fold(iter(read_events(tmp_path / "events.jsonl")), lambda host, pid: True)
    assert status.state == "running" and status.elapsed(10.0) == 9.0, "at least what the ledger shows"
    boards = []
    for step in (0.0, STEP_S, -STEP_S):
        tally = Tally(1, 1000.0)
        for row in one_run()[:-1]:
            tally.observe({**row, "began": row["began"] + step} if "began" in row else row)
        boards.append(board_of(tally, 1010.0))
    assert boards[0].eta_s is not None and boards[0] == boards[1] == boards[2]


def test_a_profile_with_times_that_cannot_be_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOFLOW_CACHE", str(tmp_path))
    pipe = pipeline(tmp_path)
    keep_profile(pipe, {"prior": Measured(4.0, 100), "decode": Measured(1.0, 100)})
    text = profile_path().read_text()
    assert set(known_stages(pipe)) == {"prior", "decode"}
    for wrong in ("-4.0", "NaN", "Infinity"):
        profile_path().write_text(text.replace('"seconds": 4.0', f'"seconds": {wrong}'))
        assert set(known_stages(pipe)) == {"decode"}
    keep_profile(pipe, {"prior": Measured(2.0, 50)})
    assert known_stages(pipe)["prior"].seconds == 2.0, "though it is of smaller frames"


@pytest.mark.ray
def test_a_run_whose_clocks_step_measures_and_ends_as_any_other(
    ray_session: None, tmp_path: Path, stepping: float
) -> None:
    """The driver's clock at every look, the worker's with every call."""
    (video,), events, executor = execute(pipeline(tmp_path, prior__mode="step-clock", prior__segment=-1))
    assert whole(video)
    rows = [row for row in events if row["event"] in ("stage_done", "finish_done")]
    told: list[Any] = [row[key] for row in rows for key in ("seconds", "waited", "save_seconds") if key in row]
    assert len(told) > 10 and all(0 <= seconds < 60 for seconds in told)
    assert 0 <= video.ended - video.began < 60
    assert executor.measured and all(0 < row.seconds < 60 for row in executor.measured.values())
