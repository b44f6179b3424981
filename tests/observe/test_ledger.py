"""The ledger: what must be on the disk when, and what survives a kill."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from ledger_events import filled, one_run, started, write

from geoflow.observe.events import iter_events
from geoflow.observe.ledger import Ledger, last_run, read_events


def names(path: Path) -> list[str]:
    return [row["event"] for row in read_events(path)]


@pytest.mark.parametrize("event", ["video_complete", "video_failed", "segment_complete", "stage_failed"])
def test_what_matters_is_on_the_disk_at_once_and_in_order(tmp_path: Path, event: str) -> None:
    path = tmp_path / "events.jsonl"
    with Ledger(path) as ledger:
        ledger.emit("stage_done", **filled("stage_done"))
        ledger.emit(event, **filled(event))
        assert names(path)[:2] == ["stage_done", event]


@pytest.mark.parametrize("event", ["stage_done", "segment_complete"])
def test_frequent_events_follow_soon_and_none_is_lost(tmp_path: Path, event: str) -> None:
    path = tmp_path / "events.jsonl"
    with Ledger(path) as ledger:
        for index in range(2000):
            ledger.emit(event, **filled(event, index=index))
        until = time.monotonic() + 20
        while time.monotonic() < until and (not path.exists() or len(names(path)) < 2000):
            time.sleep(0.05)
        assert len(names(path)) == 2000  # without another event to push them
        ledger.emit(event, **filled(event, index=2000))
    assert [row["index"] for row in read_events(path)] == list(range(2001))


def test_observers_see_every_event_in_order(tmp_path: Path) -> None:
    seen: list[int] = []
    with Ledger(tmp_path / "events.jsonl", (lambda row: seen.append(row["index"]),)) as ledger:
        for index in range(50):
            event = "stage_done" if index % 3 else "segment_complete"
            ledger.emit(event, **filled(event, index=index))
    assert seen == list(range(50))


def test_a_disk_that_refuses_costs_the_record_only() -> None:
    seen = []
    with Ledger(Path("/dev/full"), (seen.append,)) as ledger:
        ledger.emit("video_complete", video="a", seconds=1.0)
        ledger.emit("video_complete", video="b", seconds=1.0)
    assert len(seen) == 2


def test_threads_do_not_outlive_the_ledger(tmp_path: Path) -> None:
    with Ledger(tmp_path / "events.jsonl"):
        assert any(thread.name == "geoflow-ledger" for thread in threading.enumerate())
    assert not any(thread.name == "geoflow-ledger" for thread in threading.enumerate())


def test_the_run_after_a_kill_does_not_lose_its_first_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(path, [started(1, "a")], torn='{"time": 2, "event": "stage_do')
    with Ledger(path) as ledger:
        ledger.emit("run_started", **filled("run_started", videos=["b"]))
    assert names(path) == ["run_started", "run_started"]


def test_half_lines_and_rubbish_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole = json.dumps(started(1, "a")).encode()
    path.write_bytes(whole + b"\n\0\0\0\n12\n[]\nnull\n{}\n\xff\xfe\n" + whole + b"\n" + whole[:-1])
    assert len(read_events(path)) == 2


def test_runs_into_one_folder_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    said = {"time": 3500.0, "event": "video_failed", "video": "a", "reason": 'it said "event": "run_started"'}
    write(path, [*one_run(1000), *one_run(2000), *one_run(3000), said])
    rows = list(iter_events(path, last_run(path)))
    assert rows[0]["event"] == "run_started" and rows[0]["time"] == 3000
    assert len(rows) == len(one_run()) + 1
    (tmp_path / "empty").touch()
    assert last_run(tmp_path / "empty") == 0
