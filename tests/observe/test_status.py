"""`geoflow status`: what a ledger says at any moment of a run, and after its end of any kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ledger_events import done, one_run, planned, started, write
from rich.console import Console

from geoflow.errors import InputError
from geoflow.observe.status import fold, is_alive, read_status, render_status
from geoflow.observe.tally import Tally
from geoflow.store.paths import RunPaths


def at(events: list[dict], alive: bool | None = True) -> Tally:
    return fold(events, lambda host, pid: alive)


def test_a_finished_run() -> None:
    status = at(one_run())
    assert status.state == "finished" and status.elapsed(now=9999) == 10
    assert {name: video.state for name, video in status.videos.items()} == {"a": "complete", "b": "failed"}
    assert status.videos["b"].reason == "not a video"
    assert (status.videos["a"].segments_done, status.videos["a"].segments) == (2, 2)
    assert status.stages["prior"].calls == 2 and status.stages["prior"].restarts == 1
    assert status.eta(9999) is None


def test_in_the_middle_of_a_run() -> None:
    status = at(one_run()[:9])  # segment 0 of 2 done, segment 1 decoded
    assert status.state == "running"
    assert status.videos["a"].state == "running" and status.videos["a"].segments_done == 1
    assert status.videos["b"].state == "waiting"
    # One call of `a` is left, and four of `b` if it is like `a`: of half a second each, one or two at a time.
    left = status.eta(now=1004.0)
    assert left is not None and 0 < left < 5 * 0.5


def test_nothing_is_said_of_the_time_left_before_the_first_call() -> None:
    assert at([started(0, "a"), planned(1, "a", 3)]).eta(5) is None


@pytest.mark.parametrize(("alive", "state", "video"), [(False, "killed", "interrupted"), (None, "running", "running")])
def test_after_a_kill(alive: bool | None, state: str, video: str) -> None:
    status = at(one_run()[:9], alive)
    assert status.state == state and status.videos["a"].state == video


def test_an_interrupted_run_says_so() -> None:
    stopped = {"time": 1007.0, "event": "run_stopped", "reason": "interrupted"}
    status = at([*one_run()[:9], stopped])
    assert status.state == "stopped" and status.reason == "interrupted"
    assert status.videos["a"].state == "interrupted" and status.elapsed(9999) == 7


def test_a_second_run_starts_anew_but_forgets_no_video() -> None:
    events = [*one_run(1000), started(2000, "b", "c"), {"time": 2001, "event": "video_skipped", "video": "b"}]
    status = at([*events, planned(2001, "c", 1), done(2002, "decode", 7, "c", 0)])
    assert status.run == 2 and status.stages["decode"].calls == 1
    assert {name: v.state for name, v in status.videos.items()} == {"a": "complete", "b": "complete", "c": "running"}
    assert status.videos["b"].reused and not status.videos["a"].reused


def test_a_stage_that_cannot_run_takes_no_time() -> None:
    events = [started(0, "a"), {"time": 0.5, "event": "stage_disabled", "slot": "prior", "reason": "no wheel"}]
    status = at([*events, planned(1, "a", 2), done(1, "decode", 0, "a", 0)])
    assert status.stages["prior"].disabled == "no wheel"
    assert status.eta(now=2) == pytest.approx(1.0)  # one segment of two is done, in 1 s


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    write(RunPaths(tmp_path).events, one_run(), torn='{"time": 2000.0, "event": "run_star')
    assert read_status(tmp_path)["state"] == "finished"


def test_the_answer_is_json_and_reads_well(tmp_path: Path) -> None:
    write(RunPaths(tmp_path).events, one_run()[:9])  # host "here" is another machine: nobody can tell
    found = read_status(tmp_path, now=1006)
    assert json.loads(json.dumps(found)) == found
    assert found["counts"] == {"complete": 0, "failed": 0, "running": 1, "interrupted": 0, "waiting": 1}
    assert found["stages"][0]["calls_per_second"] == pytest.approx(2 / 6)
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render_status(found))
    page = console.export_text()
    assert "running after 0:00:06, " in page and "%, 2.5 frames/s, about " in page
    assert "1 of 2" in page and " left" in page


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run has written there"):
        read_status(tmp_path)


def test_processes_are_known_on_this_machine_only() -> None:
    import os
    import socket

    assert is_alive(socket.gethostname(), os.getpid()) is True
    assert is_alive("another.example", os.getpid()) is None
    assert is_alive(socket.gethostname(), 2**22 + 1) is False  # beyond the kernel's largest pid
