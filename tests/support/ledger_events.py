"""Events as a run's ledger holds them, made up for the tests of what is rebuilt from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from geoflow.observe.events import EVENTS

Event = dict[str, Any]

_NOTHING: dict[type, Any] = {str: "", int: 0, float: 0.0, list: [], dict: {}}


def filled(event: str, **data: Any) -> dict[str, Any]:
    """The required fields of an event, with values that say nothing where `data` gives none."""
    return {field.name: _NOTHING[field.type] for field in EVENTS[event].fields if field.required} | data


def started(time: float, *videos: str, slots: tuple[str, ...] = ("decode", "prior"), pid: int = 1) -> Event:
    row = {"event": "run_started", "pipeline": "test", "slots": list(slots), "videos": list(videos)}
    return {"time": time, **row, "host": "here", "pid": pid}


def ready(time: float, slot: str, actor: int) -> Event:
    return {
        "time": time,
        "event": "actor_ready",
        "slot": slot,
        "actor": actor,
        "pid": 100 + actor,
        "host": "here",
        "began": time - 0.5,
        "seconds": 0.5,
    }


def planned(time: float, video: str, segments: int) -> Event:
    return {
        "time": time,
        "event": "video_planned",
        "video": video,
        "frames": 10 * segments,
        "segments": segments,
        "finished": 0,
    }


def done(began: float, slot: str, actor: int, video: str, index: int, seconds: float = 1.0, **more: Any) -> Event:
    return {
        "time": began + seconds,
        "event": "stage_done",
        "video": video,
        "index": index,
        "slot": slot,
        "began": began,
        "seconds": seconds,
        "cpu_seconds": seconds,
        "bytes": 1000,
        "actor": actor,
        "level": 0,
        "attempt": 1,
        "waited": 0.25,
        **more,
    }


def failed(began: float, slot: str, actor: int, video: str, index: int, verdict: str, **more: Any) -> Event:
    row = done(began, slot, actor, video, index, **more) | {"event": "stage_failed", "verdict": verdict}
    del row["bytes"], row["cpu_seconds"]
    return row | {"kind": "stage", "message": "no", "traceback": ""}


def one_run(at: float = 1000.0) -> list[Event]:
    """Two stages, three actors (one dies), one video of two segments, one retry on a lower rung."""
    died = {"time": at + 5, "event": "actor_died", "slot": "prior", "actor": 1, "in_a_row": 1}
    lost = failed(at + 4, "prior", 1, "a", 1, "retry") | {"time": at + 5, "kind": "died"}
    del lost["began"], lost["seconds"]
    whole = {"event": "segment_complete", "video": "a", "seconds": {}, "notes": []}
    finish = {"event": "finish_done", "video": "a", "slot": "prior", "actor": 2, "waited": 0.1}
    return [
        started(at, "a", "b"),
        ready(at + 1, "decode", 0),
        ready(at + 1, "prior", 1),
        planned(at + 1.5, "a", 2),
        done(at + 2, "decode", 0, "a", 0, seconds=0.5),
        done(at + 2.5, "decode", 0, "a", 1, seconds=0.5),
        failed(at + 3, "prior", 1, "a", 0, "cheaper", seconds=0.5),
        done(at + 3.5, "prior", 1, "a", 0, seconds=0.5, level=1),
        {**whole, "time": at + 4, "index": 0, "start": 0, "stop": 12},
        died,
        lost,
        ready(at + 6, "prior", 2),
        done(at + 6, "prior", 2, "a", 1, seconds=2.0, attempt=2),
        {**whole, "time": at + 8, "index": 1, "start": 8, "stop": 20},
        {**finish, "time": at + 9, "began": at + 8.6, "seconds": 0.4},
        {"time": at + 9, "event": "video_complete", "video": "a", "seconds": 7.5},
        {"time": at + 9, "event": "video_failed", "video": "b", "reason": "not a video", "traceback": ""},
        {"time": at + 10, "event": "run_finished", "complete": 1, "failed": 1, "seconds": 10.0},
    ]


def write(path: Path, events: list[Event], torn: str = "") -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in events) + torn)
