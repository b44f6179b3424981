"""A run's ledger as it would be written, simulated: stages with one actor each share the CPUs of a machine."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from ledger_events import Event, done, planned, ready, started

FRAMES = 72  # of a segment

# Slots in order, the slots that each needs, and seconds per segment, roughly those of the embedded pipeline.
AFTER = {
    "decode": (),
    "camera": ("decode",),
    "tracks": ("camera",),
    "hands": ("camera",),
    "stitch": ("tracks", "hands"),
    "write": ("stitch",),
}
SECONDS = {"decode": 0.25, "camera": 5.0, "tracks": 2.5, "hands": 4.0, "stitch": 1.0, "write": 1.5}
WEIGHTS = {"decode": 0.02, "camera": 0.3, "tracks": 0.03, "hands": 0.05}


def simulated(
    videos: Sequence[int],
    *,
    seconds: Mapping[str, float] = SECONDS,
    survey_s: float = 0.0,
    cpus: int = 2,
    expected: Mapping[str, float] | None = None,
    start_s: float = 8.0,
) -> list[Event]:
    """Return the events of a run over videos of so many segments each. `survey_s` is what `camera` takes per segment to
    survey a video as a whole, before its segments; `start_s` passes before the first call."""
    names = [f"v{k}" for k in range(len(videos))]
    first = started(0.0, *names, slots=tuple(AFTER)) | {"weights": WEIGHTS, "expected": dict(expected or {})}
    events = [first, {"time": 4.0, "event": "ray_ready", "cpus": float(cpus), "gpus": 0}]
    events += [ready(start_s, slot, actor) for actor, slot in enumerate(AFTER)]
    events += [planned(1.0, name, count) | {"frames": FRAMES * count} for name, count in zip(names, videos)]
    events += _calls(names, videos, seconds, survey_s, cpus, start_s)
    end = max(row["time"] for row in events)
    events.append({"time": end, "event": "run_finished", "complete": len(videos), "failed": 0, "seconds": end})
    return sorted(events, key=lambda row: row["time"])


def _calls(
    names: Sequence[str], videos: Sequence[int], seconds: Mapping[str, float], survey_s: float, cpus: int, now: float
) -> list[Event]:
    """List scheduling: the oldest segment first, downstream before upstream."""
    order = {slot: k for k, slot in enumerate(AFTER)}
    segments = list(itertools.chain.from_iterable([(v, k) for k in range(n)] for v, n in enumerate(videos)))
    finished: set[tuple[str, int, int]] = set()
    left = {(slot, v, k): seconds[slot] for slot in AFTER for v, k in segments}
    if survey_s:
        left |= {("camera", v, -1): survey_s * count for v, count in enumerate(videos)}
    running: list[tuple[float, int, tuple[str, int, int], float]] = []
    events, ticket = [], itertools.count()
    while left or running:
        busy = {row[2][0] for row in running}
        for call in sorted(left, key=lambda call: (call[1], call[2], -order[call[0]])):
            slot, v, k = call
            needs = {(above, v, max(k, 0)) for above in AFTER[slot]}
            if slot == "camera" and k >= 0 and survey_s:
                needs.add(("camera", v, -1))
            if len(running) < cpus and slot not in busy and needs <= finished:
                busy.add(slot)
                heapq.heappush(running, (now + left[call], next(ticket), call, now))
                del left[call]
        now, _, call, began = heapq.heappop(running)
        finished.add(call)
        events += _ended(call, began, now, names, videos, finished)
    return events


def _ended(
    call: tuple[str, int, int],
    began: float,
    now: float,
    names: Sequence[str],
    videos: Sequence[int],
    finished: set[tuple[str, int, int]],
) -> list[Event]:
    slot, v, k = call
    more: dict[str, Any] = {"span": [0, FRAMES * videos[v]]} if k < 0 else {}
    found = [done(began, slot, list(AFTER).index(slot), names[v], max(k, 0), seconds=now - began, **more)]
    if slot == "write":
        whole = {"event": "segment_complete", "video": names[v], "seconds": {}, "notes": [], "start": 0, "stop": 1}
        found.append({**whole, "time": now, "index": k})
        if all(("write", v, other) in finished for other in range(videos[v])):
            found.append({"time": now, "event": "video_complete", "video": names[v], "seconds": now})
    return found
