"""A real run seen afterwards: its ledger, trace, status and report tell the same story."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from plain_pipeline import PLAIN

import geoflow
from geoflow.errors import EnvironmentBroken
from geoflow.observe.events import problems
from geoflow.observe.ledger import read_events
from geoflow.observe.status import read_status
from geoflow.report import write_report
from geoflow.store.paths import RunPaths
from geoflow.synth import render_clip

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def spans(paths: RunPaths) -> list[dict[str, Any]]:
    return [entry for entry in json.loads(paths.trace.read_text())["traceEvents"] if entry["ph"] == "X"]


def test_every_call_of_a_run_is_in_its_trace_once(tmp_path: Path) -> None:
    render_clip(tmp_path / "a.mp4", tmp_path / "a.gt.h5", num_frames=20, width=64, height=48)
    (tmp_path / "plain.yaml").write_text(PLAIN)
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    paths = RunPaths(tmp_path / "out")
    geoflow.run([tmp_path / "a.mp4", tmp_path / "broken.mp4"], paths.root, tmp_path / "plain.yaml")

    events = read_events(paths.events)
    assert [wrong for row in events for wrong in problems(row)] == []
    done = [(e["slot"], e["video"], e["index"]) for e in events if e["event"] == "stage_done"]
    processes = {
        entry["pid"]: entry["args"]["name"]
        for entry in json.loads(paths.trace.read_text())["traceEvents"]
        if entry.get("name") == "process_name"
    }
    calls = [e for e in spans(paths) if e["cat"] == "process"]
    assert sorted(done) == sorted((processes[e["pid"]], e["args"]["video"], e["args"]["segment"]) for e in calls)
    assert len(done) == 9
    assert [e["name"] for e in spans(paths) if e["cat"] == "finish"] == ["finish a"]  # of write
    by_actor = {e["tid"]: sorted((s["ts"], s["ts"] + s["dur"]) for s in calls if s["tid"] == e["tid"]) for e in calls}
    for row in by_actor.values():  # one call at a time; the microseconds are rounded
        assert all(after[0] >= before[1] - 1 for before, after in itertools.pairwise(row))
    loaded = {e["tid"] for e in spans(paths) if e["cat"] == "load"}
    assert by_actor.keys() <= loaded
    assert all(e["waited"] >= 0 for e in events if e["event"] == "stage_done")

    status = read_status(paths.root)
    assert status["state"] == "finished" and status["counts"]["complete"] == 1 and status["counts"]["failed"] == 1
    assert [(stage["slot"], stage["calls"]) for stage in status["stages"]] == [
        ("decode", 3),
        ("stitch", 3),
        ("write", 3),
    ]

    paths.trace.unlink()
    page = write_report(paths.root).read_text()
    assert "<h2>Timeline</h2>" in page and len(spans(paths)) >= 9


def test_a_run_that_could_not_start_says_so_and_leaves_its_trace(tmp_path: Path) -> None:
    render_clip(tmp_path / "a.mp4", tmp_path / "a.gt.h5", num_frames=4, width=64, height=48)
    prior = "  - {slot: prior, backend: 'engine_stages:Prior', num_cpus: 0.5, params: {mode: setup}}\n"
    decode, write = PLAIN.rsplit("  - ", 1)
    (tmp_path / "plain.yaml").write_text(f"{decode}{prior}  - {write}")
    paths = RunPaths(tmp_path / "out")
    with pytest.raises(EnvironmentBroken):
        geoflow.run(tmp_path / "a.mp4", paths.root, tmp_path / "plain.yaml")
    status = read_status(paths.root)
    assert status["state"] == "stopped" and "libfancy" in status["reason"]
    assert "traceEvents" in json.loads(paths.trace.read_text())
