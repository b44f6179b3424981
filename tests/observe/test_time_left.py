"""The time left on simulated runs: it neither freezes nor jumps, it is right in size, and the bar never goes back."""

from __future__ import annotations

import itertools
import math

import pytest
from ledger_events import Event
from simulated_run import SECONDS, simulated

from geoflow.observe.tally import Tally
from geoflow.observe.time_left import StageWork, SteadyTimeLeft, seconds_left

_STEP_S = 0.25

RUNS: dict[str, list[Event]] = {
    "one long survey, nothing known": simulated([3], survey_s=6.0),
    "one long survey, known from before": simulated([3], survey_s=6.0, expected=SECONDS | {"camera": 11.0}),
    "one video": simulated([8]),
    "many videos": simulated([3] * 12, survey_s=6.0),
    "a long one among short ones": simulated([1, 1, 1, 30, 1, 1]),
    "a stage ten times as slow as its weight says": simulated([6, 6], seconds=SECONDS | {"hands": 40.0}),
    "ten times as slow as before": simulated([6, 6], expected={slot: s / 10 for slot, s in SECONDS.items()}),
    "ten times as fast as before": simulated([6, 6], expected={slot: s * 10 for slot, s in SECONDS.items()}),
    "many CPUs": simulated([10] * 4, cpus=16),
}


def watched(events: list[Event]) -> list[tuple[float, float | None, float]]:
    """The seconds left and the share at every moment from the first to the last event."""
    tally, waiting, rows = Tally(), list(events), []
    now = events[0]["time"]
    while waiting:
        while waiting and waiting[0]["time"] <= now:
            tally.observe(waiting.pop(0))
        rows.append((now, tally.eta(now), tally.share(now)))
        now += _STEP_S
    return rows


def first_call(events: list[Event]) -> float:
    return min(row["began"] for row in events if row["event"] == "stage_done")


@pytest.mark.parametrize("name", RUNS)
def test_the_bar_moves_all_the_time_and_never_back(name: str) -> None:
    events = RUNS[name]
    rows = [row for row in watched(events) if row[0] > first_call(events) + 1.0]
    shares = [share for _, _, share in rows]
    assert all(0 <= a <= b <= 1 for a, b in itertools.pairwise(shares)) and shares[-1] == 1
    jumps = [b - a for a, b in itertools.pairwise(shares[:-1])]
    assert max(jumps) < 0.1, "in a quarter of a second"
    window = round(10 / _STEP_S)
    still = [t for (t, _, a), (_, _, b) in zip(rows, rows[window:]) if b - a < 1e-4 and a < 0.98]
    assert not still, "it stood still for ten seconds"


@pytest.mark.parametrize("name", RUNS)
def test_the_time_left_does_not_jump(name: str) -> None:
    rows = [(t, eta) for t, eta, _ in watched(RUNS[name]) if eta is not None]
    second = round(1 / _STEP_S)
    for (t, a), (_, b) in zip(rows, rows[second:]):
        assert b + 2 < 2 * (a + 2) and a + 2 < 2 * (b + 2), f"from {a:.1f} s to {b:.1f} s within the second after {t}"


@pytest.mark.parametrize("name", RUNS)
def test_the_time_left_is_right_in_size(name: str) -> None:
    """Once a third of the work's time has passed; a factor of 2.5 is where a user would plan otherwise. While a survey
    of unknown length runs nobody can tell."""
    events = RUNS[name]
    end, begin = events[-1]["time"], first_call(events)
    told = max([begin + (end - begin) / 3, *(row["time"] + 5 for row in events if "span" in row and len(events) < 60)])
    for t, eta, _ in watched(events):
        if eta is not None and told < t < end:
            assert abs(math.log((eta + 5) / (end - t + 5))) < math.log(2.5), f"{eta:.0f} s at {t}, true {end - t:.0f} s"


def test_it_is_the_same_however_often_it_is_looked_at() -> None:
    events = RUNS["one video"][:30]
    often, once = Tally(), Tally()
    for row in events:
        often.observe(row)
        once.observe(row)
        often.eta(row["time"] + 0.5)
        often.share(row["time"] + 0.7)
    now = events[-1]["time"] + 3
    assert often.eta(now) == once.eta(now) and often.share(now) == once.share(now)


def test_before_the_first_call_it_waits_and_is_told_only_if_known() -> None:
    known, unknown = RUNS["one long survey, known from before"], RUNS["one long survey, nothing known"]
    until = first_call(known)
    assert {eta for t, eta, _ in watched(unknown) if t < until} == {None}
    told = {eta for t, eta, _ in watched(known) if t < until and eta is not None}
    assert len(told) == 1 and told.pop() == pytest.approx((3 * 11.0 + 3 * 9.25) / 2, rel=0.1)


def test_frames_that_are_surveyed_already_cost_no_more() -> None:
    camera = StageWork("camera", 2, segments=1, segment_seconds=5.0, frames=216, survey_seconds=18.0, segment_frames=72)
    assert seconds_left([camera], {}, {}) == {"camera": 10.0}
    camera.frames_left = 72
    assert seconds_left([camera], {}, {}) == {"camera": 16.0}
    assert seconds_left([StageWork("camera", 2)], {}, {"camera": 0.3}) is None, "nothing is known yet"


def test_what_is_overdue_runs_down_ever_more_slowly_but_is_never_over() -> None:
    left = SteadyTimeLeft()
    left.follow(20.0, now=100.0)
    seen = [left.at(100.0 + passed) for passed in range(0, 60, 5)]
    assert all(a > b > 0 for a, b in itertools.pairwise(seen[:5])) and seen[1] == pytest.approx(15.0)
    assert seen[-1] == pytest.approx((55 - 20) / 2), "a call that has run for long may run for longer"
    assert left.due(155.0) == pytest.approx(left.due(128.0), abs=0.01) and 120 < left.due(155.0) < 128
    assert left.due(110.0) == 110.0
