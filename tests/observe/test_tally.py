"""One count of a run: console, notebook and `geoflow status` show the same numbers at every moment."""

from __future__ import annotations

import io
from typing import Any

import pytest
from ledger_events import Event, done, filled, one_run, planned, started
from rich.console import Console

from geoflow.observe.board import board_of
from geoflow.observe.console import ConsoleProgress, render_board
from geoflow.observe.metrics import StageSums
from geoflow.observe.news import news_of
from geoflow.observe.status import fold
from geoflow.observe.tally import Tally
from geoflow.observe.timeline import build_timeline
from geoflow.values.durations import clock


def counted(events: list[Event], num_inputs: int = 0) -> Tally:
    tally = Tally(num_inputs, events[0]["time"])
    for row in events:
        tally.observe(row)
    return tally


def later_run() -> list[Event]:
    """After an interrupted run: a video that is finished in part, one whole from before, and one that is none."""
    at = 2000.0
    return [
        *one_run()[:9],
        started(at, "a", "old"),
        {"time": at, "event": "video_failed", "video": "notes.txt", "reason": "not a video"},
        {"time": at + 1, "event": "video_skipped", "video": "old"},
        {**planned(at + 1, "a", 5), "finished": 2},
        {"time": at + 1, "event": "segment_resumed", "video": "a", "index": 2, "restored": [], "unneeded": ["decode"]},
        {"time": at + 1, "event": "stage_restored", "video": "a", "index": 3, "slot": "decode", "bytes": 1},
        done(at + 2, "prior", 4, "a", 2, seconds=2.0),
        {**filled("segment_complete"), "time": at + 4, "event": "segment_complete", "video": "a", "index": 2},
        {**filled("finish_failed"), "time": at + 5, "event": "finish_failed", "slot": "prior", "actor": 4},
    ]


@pytest.mark.parametrize("moment", range(1, len(one_run()) + 1))
def test_console_notebook_and_status_agree_at_every_moment(moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    events = one_run()[:moment]
    now = events[-1]["time"] + 1
    status, board = fold(events, lambda host, pid: True), board_of(counted(events, 2), now)
    assert (board.eta_s, board.elapsed_s) == (status.eta(now), status.elapsed(now))
    assert (board.complete, board.failed) == (status.count("complete"), status.count("failed"))
    assert board.num_inputs == len(status.videos) == 2
    console = Console(file=io.StringIO(), width=160)
    with ConsoleProgress(console, 2) as progress:
        monkeypatch.setattr(progress, "_now", lambda: now)
        for row in events:
            progress.observe(row)
        line = progress.how_far()
    left = f"about {clock(board.eta_s)} left" if board.eta_s is not None else "left"
    assert (left in line) == (left in board.headline) == (board.eta_s is not None)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"({board.complete + board.failed}/2)" in said or not board.complete + board.failed


@pytest.mark.parametrize("events", [one_run(), one_run()[:13], later_run()[9:]], ids=["whole", "part", "resumed"])
def test_status_timeline_and_metrics_add_up_alike(events: list[Event]) -> None:
    tally, timeline, sums = counted(events), build_timeline(events), StageSums()
    for row in events:
        sums.observe(row)
    exported, _, _ = sums.take()
    for slot, stage in tally.stages.items():
        summary, metric = timeline.stages[slot].summary(), exported.get(slot, {})
        for name in ("calls", "busy_seconds", "bytes", "failures", "retries", "restarts"):
            assert getattr(stage, name) == pytest.approx(summary[name]) == pytest.approx(metric.get(name, 0)), name


def test_a_run_that_goes_on_counts_what_earlier_runs_finished() -> None:
    tally = fold(later_run(), lambda host, pid: True)
    video = tally.videos["a"]
    assert (video.segments_done, video.segments, video.to_do, video.calls) == (3, 5, 3, 1)
    assert (tally.done("decode"), tally.total("decode")) == (2, 3)
    assert (tally.complete, tally.failed, tally.num_inputs) == (1, 1, 3)
    assert {row.slot: row.segments_left for row in tally.work_left()} == {"decode": 1, "prior": 2}
    assert {name: row.run for name, row in tally.videos.items()} == {"a": 2, "b": 1, "old": 2, "notes.txt": 2}


def test_work_that_is_done_again_counts_once() -> None:
    events = [started(0, "a"), planned(1, "a", 3)]
    events += [done(k + 1.0, slot, 0, "a", k) for k in range(2) for slot in ("decode", "prior")]
    events += [{**filled("segment_complete"), "time": 4, "event": "segment_complete", "video": "a", "index": 0}]
    tally = counted(events)
    assert (tally.done("decode"), tally.done("prior")) == (2, 2)
    shown = tally.share(5.0)
    tally.observe({"time": 5, "event": "video_rewound", "video": "a", "reason": "a node is gone"})
    assert (tally.done("decode"), tally.done("prior")) == (1, 1), "segment 1 was not whole on disk"
    assert tally.share(5.0) >= shown > 0, "the bar of all does not go back; it waits"
    for k in (1, 2):
        for slot in ("decode", "prior"):
            tally.observe(done(6.0 + k, slot, 0, "a", k))
    assert (tally.done("decode"), tally.done("prior")) == (3, 3)
    assert [row.segments_left for row in tally.work_left()] == [0, 0]


def test_work_for_a_whole_span_takes_time_but_is_no_segment() -> None:
    chapter = done(2.0, "prior", 0, "a", 0, seconds=4.0, span=[0, 40])
    tally = counted([started(0, "a"), planned(1, "a", 4), chapter])
    assert (tally.stages["prior"].calls, tally.done("prior")) == (1, 0)
    assert (tally.stages["prior"].frames, tally.stages["prior"].survey_seconds) == (40, 4.0)
    for k in range(2):
        tally.observe(done(6.0 + k, "prior", 0, "a", k, seconds=0.5))
    assert (tally.stages["prior"].busy_seconds, tally.done("prior"), tally.videos["a"].calls) == (5.0, 2, 2)
    prior = tally.work_left()[1]
    assert (prior.segments_left, prior.segment_seconds, prior.frames_left) == (2, 1.0, 0), "all of it is surveyed"
    lost = filled("stage_failed", video="a", slot="prior", verdict="retry", message="no", span=[0, 40])
    (news,) = news_of({"time": 9.0, "event": "stage_failed", **lost})
    assert str(news) == "prior failed on a frames 0 to 39, is tried again: no"


def test_the_console_says_where_a_run_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    with ConsoleProgress(Console(file=text, width=160), 2) as progress:
        monkeypatch.setattr(progress, "_now", lambda: 1004.0)
        for row in one_run()[:9]:
            progress.observe(row)
        line = progress.how_far()
        assert "%, 0 of 2 videos (a), 5.0 frames/s, about 0:00:00 left: decode 2 of 2, prior 1 of 2" in line
        for row in one_run()[9:]:
            progress.observe(row)
    said = text.getvalue()
    assert "prior failed on a segment 0, is tried with a cheaper setting: no" in said
    assert "an actor of prior died and is replaced" in said
    assert "(1/2) complete a  7.5 s" in said and "(2/2) failed   b: not a video" in said


def test_a_long_list_of_videos_is_cut() -> None:
    names = [f"v{k}" for k in range(9)]
    with ConsoleProgress(Console(file=io.StringIO()), 9) as progress:
        for row in [started(0, *names), *(planned(1, name, 1) for name in names)]:
            progress.observe(row)
        assert progress.how_far().endswith("  0%, 0 of 9 videos (v0, v1, v2 and 6 more)")


@pytest.mark.parametrize("width", [80, 120])
def test_bars_on_a_terminal_fit_and_keep_their_order(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    tally = counted([*one_run()[:9], planned(1006, "b", 1)], 2)
    for moment in (1006.0, 1030.0):
        with console.capture() as drawn:
            console.print(render_board(board_of(tally, moment), width))
        lines = drawn.get().splitlines()
        assert max(map(len, lines)) <= width - 4, "so that ^C fits"
        assert [line.split()[0] for line in lines[1:]] == ["all", "decode", "prior"]
        assert lines[0].rstrip() == "0 of 2 videos (a, b)" and lines[2].rstrip().endswith("% 2 of 3 segments, 2.0/s")
        assert " left" in lines[1] and "frames/s" in lines[1]


def test_one_of_a_thing_is_one() -> None:
    console = Console(file=io.StringIO(), width=120)
    tally = counted([started(0, "a"), planned(1, "a", 1), done(2, "decode", 0, "a", 0)])
    with console.capture() as drawn:
        console.print(render_board(board_of(tally, 4.0), 120))
    said = drawn.get()
    assert "1 of 1 segment," in said and "segment(s)" not in said and said.startswith("a")


def test_a_long_name_is_cut_and_moves_nothing() -> None:
    console = Console(file=io.StringIO(), width=80)
    tally = counted([started(0, "a" * 200), planned(1, "a" * 200, 1)])
    with console.capture() as drawn:
        console.print(render_board(board_of(tally, 4.0), 80))
    lines = drawn.get().splitlines()
    assert len(lines) == 4 and max(map(len, lines)) <= 76 and lines[0].endswith("…")


def test_the_bar_waits_when_the_run_is_stopping() -> None:
    tally = counted([*one_run()[:9]])
    before = tally.share(1006.0)
    tally.observe({"time": 1006.0, "event": "run_stopping", "running": 1})
    assert tally.share(1010.0) == before > 0 and tally.eta(1010.0) is None
    (news,) = news_of({"time": 1006.0, "event": "run_stopping", "running": 1})
    assert str(news).startswith("stopping: waiting for 1 running call to end; ")


def test_what_is_waited_for_is_said_until_the_first_call_has_ended() -> None:
    tally = counted([started(0, "a")])
    assert board_of(tally, 1.0).headline == "reading the inputs: 0 of 1 video, 0:00:01"
    tally.observe({"time": 2.0, "event": "ray_awaited", "ray": "starting Ray on this machine"})
    assert tally.doing == "starting Ray on this machine"
    tally.observe({"time": 3.0, "event": "ray_ready", "cpus": 2.0, "gpus": 0})
    assert tally.doing == "starting the stages"
    tally.observe(planned(4, "a", 1))
    tally.observe(done(5, "decode", 0, "a", 0))
    assert tally.doing == "" and board_of(tally, 6.0).headline.startswith("running: 0 of 1 video, ")


def test_nothing_is_left_on_a_terminal_when_the_run_is_interrupted() -> None:
    """What the terminal shows at the end: every line that was drawn is erased again."""
    console = Console(file=io.StringIO(), force_terminal=True, width=80, legacy_windows=False)
    with pytest.raises(KeyboardInterrupt), ConsoleProgress(console, 2) as progress:
        for row in one_run()[:9]:
            progress.observe(row)
        raise KeyboardInterrupt
    written: Any = console.file
    after = written.getvalue().rpartition("━")[2]
    assert after.count("\x1b[1A") >= 4 - 1 and after.endswith("\x1b[2K"), "up to the first line, erasing each"
