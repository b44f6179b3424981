"""The timeline, its trace and its picture, from a ledger's events."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ledger_events import done, one_run, ready, started, write

from geoflow.observe.ledger import read_events
from geoflow.observe.timeline import build_timeline
from geoflow.observe.trace import trace_entries, trace_lines, write_trace
from geoflow.report.timeline_figure import _PLOT, busy_pixels, timeline_figure
from geoflow.report.timeline_section import RunTimes
from geoflow.store.paths import RunPaths


def test_actors_come_back_in_the_order_of_the_pipeline() -> None:
    timeline = build_timeline(one_run())
    assert [(a.slot, a.actor) for a in timeline.actors] == [("decode", 0), ("prior", 1), ("prior", 2)]
    assert [[s.kind for s in a.calls] for a in timeline.actors] == [
        ["load", "process", "process"],
        ["load", "process", "process"],  # the call it died in never came back
        ["load", "process", "finish"],
    ]
    assert timeline.actors[1].died == 1005 and timeline.actors[0].died is None
    assert "process 101 on here" in timeline.actors[1].where
    assert (timeline.began, timeline.ended) == (1000, 1010)


def test_busy_shares_count_from_ready_to_death_or_the_end() -> None:
    decode, dead, late = build_timeline(one_run()).actors
    assert decode.busy_share(1010) == pytest.approx(1.0 / 9)
    assert dead.busy_share(1010) == pytest.approx(1.0 / 4)  # ready at 1, dead at 5; its failed call is work too
    assert late.busy_share(1010) == pytest.approx(2.4 / 4)


def test_totals_per_stage() -> None:
    found = build_timeline(one_run()).stages["prior"].summary()
    assert found == {
        "slot": "prior",
        "calls": 2,
        "busy_seconds": pytest.approx(0.5 + 0.5 + 2.0 + 0.4),
        "mean_seconds": 1.25,
        "median_seconds": 0.5,
        "p95_seconds": 2.0,
        "median_wait_seconds": 0.25,
        "bytes": 2000,
        "failures": 2,
        "retries": 2,
        "restarts": 1,
        "ladder_level": 1,
    }


def test_clocks_that_disagree_give_no_negative_wait() -> None:
    row = done(5, "prior", 0, "a", 0, submitted=6)
    del row["waited"]  # earlier versions wrote when a call was submitted
    timeline = build_timeline([started(0, "a"), row])
    assert timeline.stages["prior"].waits == [0.0]


def test_a_run_that_did_nothing_has_an_empty_timeline() -> None:
    timeline = build_timeline([started(5, "a")])
    assert timeline.actors == [] and timeline.stages["prior"].summary()["median_seconds"] is None
    assert timeline_figure(timeline) == ""
    assert build_timeline([]).actors == []


def spans(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in entries if entry["ph"] == "X"]


def test_the_trace_holds_every_call_once_and_names_its_thread(tmp_path: Path) -> None:
    write(tmp_path / "events.jsonl", one_run(10) + one_run(1000), torn='{"time": 1')
    write_trace(tmp_path / "events.jsonl", tmp_path / "trace.json")
    entries = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    calls = [e for e in spans(entries) if e["cat"] == "process" and not e["name"].startswith("failed")]
    assert sorted((e["args"]["segment"], e["pid"]) for e in calls) == [(0, 1), (0, 2), (1, 1), (1, 2)]  # one run only
    threads = {(e["pid"], e["tid"]) for e in entries if e.get("name") == "thread_name"}
    assert {(e["pid"], e["tid"]) for e in spans(entries)} == threads and len(threads) == 3
    processes = {e["pid"]: e["args"]["name"] for e in entries if e.get("name") == "process_name"}
    assert processes == {0: "run", 1: "decode", 2: "prior"}
    last = next(e for e in calls if e["args"]["attempt"] == 2)
    assert last["ts"] == 1006e6 and last["dur"] == 2e6 and last["args"]["waited_ms"] == 250.0


def test_the_trace_keeps_to_the_format() -> None:
    """Required members by phase: Trace Event Format, sections on complete, instant and metadata events."""
    for entry in trace_entries(one_run()):
        assert {"ph", "name", "pid"} <= entry.keys() and isinstance(entry["pid"], int)
        if entry["ph"] == "X":
            assert isinstance(entry["ts"], int) and entry["dur"] >= 0 and isinstance(entry["tid"], int)
        elif entry["ph"] == "i":
            assert isinstance(entry["ts"], int) and entry["s"] in "gpt"
        else:
            assert entry["ph"] == "M" and entry["args"]
    marks = [entry["name"] for entry in trace_entries(one_run()) if entry["ph"] == "i"]
    assert marks == ["stage_failed", "actor_died", "stage_failed", "video_complete", "video_failed"]
    assert json.loads("".join(trace_lines([])))["traceEvents"]


def many(count: int, seconds: float = 0.5) -> list[dict[str, Any]]:
    rows = [started(0, "a"), ready(1, "prior", 0)]
    return rows + [done(1 + i, "prior", 0, "a", i, seconds=seconds) for i in range(count)]


def test_few_calls_are_drawn_one_by_one_and_many_by_share() -> None:
    few, lots = timeline_figure(build_timeline(many(20))), timeline_figure(build_timeline(many(5_000)))
    assert few.count('class="span line-1"') == 20 and "a [19]: 500 ms" in few
    assert len(lots) < 40_000
    assert 'opacity="0.50"' in lots  # half of each pixel was busy
    assert "nan" not in few + lots


def test_many_actors_are_cut_off_and_hostile_names_are_escaped() -> None:
    rows = [started(0, "a", slots=())]
    for actor in range(500):
        rows += [ready(1, "<b>", actor), done(2, "<b>", actor, "<script>", 0)]
    figure = timeline_figure(build_timeline(rows))
    assert figure.count('class="lane"') == 60 and "<script>" not in figure and "<b>" not in figure


def test_pixels_are_covered_by_exactly_what_ran() -> None:
    rng = np.random.default_rng(0)
    began = np.sort(rng.uniform(0, _PLOT, 400))
    rows = [done(b, "prior", 0, "a", i, seconds=s) for i, (b, s) in enumerate(zip(began, np.diff(began, append=_PLOT)))]
    spans = build_timeline([started(0, "a"), *rows[::2]]).actors[0].calls  # none overlaps another
    assert busy_pixels(spans, 0.0, 1.0).sum() == pytest.approx(sum(span.seconds for span in spans), rel=1e-9)


def test_the_report_shows_the_latest_run(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    assert RunTimes(paths).run_section() == ""
    write(paths.events, one_run(10) + many(5))
    page = RunTimes(paths).run_section()
    assert page.count("<svg") == 1 and "trace.json" in page
    assert re.search(r"prior</td>.*?>5</td>", page)
    write(paths.events, [started(0, "a")])
    assert RunTimes(paths).run_section() == ""


def test_ledgers_of_earlier_versions_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    old = [
        {"time": 1.0, "event": "run_started", "pipeline": "p", "inputs": 1, "rejected": 0},
        {"time": 2.0, "event": "actor_ready", "slot": "prior", "seconds": 1.0, "pid": 7},
        {"time": 4.0, "event": "stage_done", "slot": "prior", "video": "a", "index": 0}
        | {"began": 3.0, "seconds": 1.0, "cpu_seconds": 1.0, "pid": 7, "bytes": 5},
    ]
    write(tmp_path / "events.jsonl", old)
    timeline = build_timeline(read_events(tmp_path / "events.jsonl"))
    assert timeline.stages["prior"].calls == 1


def test_a_call_on_a_whole_span_says_its_frames() -> None:
    rows = [started(0, "v"), ready(1, "prior", 0), done(1, "prior", 0, "v", 0, span=[0, 384])]
    (actor,) = build_timeline(rows).actors
    assert actor.calls[-1].title == "v frames 0 to 383"
    assert "v frames 0 to 383" in [entry["name"] for entry in trace_entries(rows)]
