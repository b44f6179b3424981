"""The run as a Chrome trace (Trace Event Format), to be opened in ui.perfetto.dev or chrome://tracing.

Each stage is a "process" of the trace and each of its actors a "thread". The events are passed through one by one,
so a trace of a million calls costs the driver no memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from geoflow.observe.events import iter_events, named
from geoflow.observe.ledger import last_run
from geoflow.observe.timeline import ActorCall, call_of
from geoflow.store.whole import write_whole_lines

_MARKS = named("stage_failed", "finish_failed", "actor_died", "stage_disabled", "video_failed", "video_complete")
_RUN = 0  # the trace's process for events without a stage


def write_trace(events: Path, trace: Path) -> None:
    """Write the trace of the latest run in a ledger. Raises StoreError if it cannot be written."""
    write_whole_lines(trace, trace_lines(iter_events(events, last_run(events))))


def trace_lines(events: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield the trace's JSON, one entry per line."""
    yield '{"displayTimeUnit": "ms", "traceEvents": [\n'
    yield json.dumps({"ph": "M", "name": "process_name", "pid": _RUN, "args": {"name": "run"}})
    for entry in trace_entries(events):
        yield ",\n" + json.dumps(entry)
    yield "\n]}\n"


def trace_entries(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the entries of the trace for one run's events; times in microseconds since the epoch."""
    processes: dict[str, int] = {}
    named: set[int] = set()
    for row in events:
        if row["event"] == "run_started":
            for slot in row.get("slots", ()):
                yield from _process(slot, processes)
        if (slot := row.get("slot")) is not None:
            yield from _process(slot, processes)
        if (call := call_of(row)) is not None:
            if call.actor not in named:
                named.add(call.actor)
                yield _thread(row, call, processes)
            yield _complete(call, processes[call.slot])
        if row["event"] in _MARKS:
            yield _mark(row, processes)


def _process(slot: str, processes: dict[str, int]) -> Iterator[dict[str, Any]]:
    if slot not in processes:
        pid = processes[slot] = len(processes) + 1
        yield {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": slot}}
        yield {"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": pid}}


def _thread(row: dict[str, Any], call: ActorCall, processes: dict[str, int]) -> dict[str, Any]:
    where = f", process {row['pid']} on {row.get('host', '?')}" if "pid" in row else ""
    name = {"name": f"{call.slot} {call.actor}{where}"}
    return {"ph": "M", "name": "thread_name", "pid": processes[call.slot], "tid": call.actor, "args": name}


def _complete(call: ActorCall, process: int) -> dict[str, Any]:
    title = "load" if call.kind == "load" else call.title
    return {
        "ph": "X",
        "name": title if call.good else f"failed: {title}",
        "cat": call.kind,
        "pid": process,
        "tid": call.actor,
        "ts": round(call.began * 1e6),
        "dur": round(call.seconds * 1e6),
        "args": {
            "video": call.video,
            "segment": call.segment,
            "waited_ms": round(call.waited * 1e3, 3),
            "attempt": call.attempt,
            "ladder_level": call.level,
            "bytes": call.bytes,
        },
    }


def _mark(row: dict[str, Any], processes: dict[str, int]) -> dict[str, Any]:
    told = {key: row[key] for key in ("video", "index", "verdict", "message", "reason") if key in row}
    return {
        "ph": "i",
        "name": row["event"],
        "s": "t" if "actor" in row else "p",  # drawn across the thread or the process
        "pid": processes.get(row.get("slot", ""), _RUN),
        "tid": row.get("actor", 0),
        "ts": round(row["time"] * 1e6),
        "args": told,
    }
