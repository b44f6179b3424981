"""The cost of observing a run: CPU time per event for the ledger, the metrics and the progress display."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from geoflow.observe.console import ConsoleProgress
from geoflow.observe.ledger import Ledger
from geoflow.observe.metrics import StageSums
from geoflow.observe.timeline import build_timeline
from geoflow.observe.trace import write_trace

_STAGES = ("decode", "prior", "stitch")
Observer = Callable[[dict[str, Any]], None]


def observation(segments: int = 3000, pause_s: float = 0.0) -> dict[str, Any]:
    """Return microseconds of CPU per event over a made-up run of `segments` x 3 stages, and those to rebuild it.

    `driver` is the cost in the executor's own thread; `total` includes the thread that writes the ledger. `pause_s` is
    how long the driver sleeps after each segment, as it does in `ray.wait`: it decides which thread encodes. The cost
    of the metrics' thread is measured separately, per event.
    """
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder) / "events.jsonl"
        terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
        found: dict[str, Any] = {"events": 4 * segments}
        with ConsoleProgress(terminal, 1) as live, ConsoleProgress(_plain(), 1) as lines:
            watched: dict[str, tuple[Observer, ...]] = {
                "ledger": (),
                "ledger, metrics": (StageSums().observe,),
                "ledger, metrics, progress as lines": (StageSums().observe, lines.observe),
                "ledger, metrics, progress on a terminal": (StageSums().observe, live.observe),
            }
            for name, observers in watched.items():
                found[name] = _cost(events, observers, segments, pause_s)
        tally = StageSums()
        for _, row in _story(segments):
            tally.observe(row)
        began = time.process_time()
        tally.take()
        found["metrics_thread_us_per_event"] = 1e6 * (time.process_time() - began) / (4 * segments)
        began = time.process_time()
        write_trace(events, Path(folder) / "trace.json")
        found["trace_us_per_event"] = 1e6 * (time.process_time() - began) / (4 * segments)
        began = time.process_time()
        build_timeline(row for event, row in _story(segments))
        found["timeline_us_per_event"] = 1e6 * (time.process_time() - began) / (4 * segments)
        return found


def _cost(path: Path, observers: tuple[Observer, ...], segments: int, pause_s: float) -> dict[str, float]:
    path.unlink(missing_ok=True)
    story = [(event, {k: v for k, v in row.items() if k not in ("time", "event")}) for event, row in _story(segments)]
    process, driver = time.process_time(), time.thread_time()
    with Ledger(path, observers) as ledger:
        for event, data in story:
            ledger.emit(event, **data)
            if pause_s and event == "segment_complete":
                time.sleep(pause_s)
    driver, process = time.thread_time() - driver, time.process_time() - process
    per_event = 1e6 / (4 * segments)
    return {"driver_us_per_event": driver * per_event, "total_us_per_event": process * per_event}


def _story(segments: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the events of a run of one video, in the form of the executor's events."""
    now = time.time()
    plan = {"video": "clip", "frames": 96 * segments, "segments": segments, "finished": 0}
    yield "video_planned", {"time": now, "event": "video_planned", **plan}
    for index in range(segments):
        for actor, slot in enumerate(_STAGES):
            began = now + index * 0.01 + actor * 0.003
            row = {
                "video": "clip",
                "index": index,
                "slot": slot,
                "began": began,
                "seconds": 0.0123456,
                "bytes": 1 << 20,
            }
            row |= {"cpu_seconds": 0.0101, "actor": actor, "level": 0, "attempt": 1, "waited": 0.00123}
            yield "stage_done", {"time": began, "event": "stage_done", **row}
        row = {"video": "clip", "index": index, "start": 72 * index, "stop": 72 * index + 96, "notes": []}
        row |= {"seconds": dict.fromkeys(_STAGES, 0.0123456)}
        yield "segment_complete", {"time": now, "event": "segment_complete", **row}


def _plain() -> Console:
    return Console(file=io.StringIO(), force_terminal=False)
