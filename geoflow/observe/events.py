"""Every event of the ledger with its fields: what the writer must give, and what readers can rely on.

The ledger is `OUT/events.jsonl`: one JSON object per line. Every line has `time` (seconds since the epoch, by the run's
clock) and `event`, a name of the table `EVENTS`. A new event, or a new field, is one edit here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class EventField:
    """One field of an event. A field that is not `required` is absent if it has no value."""

    name: str
    type: type  # in JSON: str, int, float (or an int), bool, list or dict
    meaning: str
    required: bool = True


@dataclass(frozen=True)
class Event:
    """One kind of line in the ledger."""

    name: str
    meaning: str
    fields: tuple[EventField, ...]
    open: bool = False  # it may have further fields, with any values


def _field(name: str, type_: type, meaning: str) -> EventField:
    return EventField(name, type_, meaning)


def _maybe(name: str, type_: type, meaning: str) -> EventField:
    return EventField(name, type_, meaning, required=False)


_VIDEO = _field("video", str, "name of the video's store; the source as given if no video could be opened")
_INDEX = _field("index", int, "number of the segment in its video; for a span, of its first segment")
_SLOT = _field("slot", str, "slot of the stage")
_ACTOR = _field("actor", int, "number of the actor, unique in the run")
_REASON = _field("reason", str, "why, in a sentence")
_PLANNED = _field("planned", list, "slots of the actors on this GPU; a slot is listed once for each actor")
_RECOVERED = _maybe("recovered", str, "what was recovered of the video, and what was not and why")
_LACKING = _maybe("lacking", str, "what of the video is missing in all or in part")
_BEGAN = _field("began", float, "when the call began, in s since the epoch, by the clock of the actor's node")
_SECONDS = _field("seconds", float, "how long the call took, measured where it ran")
_SPAN = _maybe("span", list, "of a call for a whole span: its first frame, and the frame after its last one")
_AHEAD = _maybe("ahead", bool, "True where a segment goes ahead of its turn: a survey takes fields of it")
_OBJECT = _maybe("object", int, "of a call for one object of a video: its number; `span` is then the whole video")
_CALL = (
    _ACTOR,
    _field("level", int, "rung of the stage's ladder; 0 is the full setting"),
    _field("attempt", int, "1 for the first call of this stage on this segment"),
    _field("waited", float, "seconds from sending the call until it began"),
    _SPAN,
    _AHEAD,
    _OBJECT,
    _maybe("together", int, "how many segments this call worked on, if more than one"),
)

_TABLE = (
    Event(
        "run_started",
        "a run into this folder begins",
        (
            _field("pipeline", str, "name of the pipeline"),
            _field("slots", list, "slots of its stages, in order"),
            _field("videos", list, "names of the videos to be processed"),
            _field("host", str, "machine of the driver"),
            _field("pid", int, "process of the driver"),
            _maybe("expected", dict, "slot -> seconds per segment, as earlier runs on this machine measured it"),
            _maybe("weights", dict, "slot -> relative work, as the pipeline states it"),
        ),
    ),
    Event(
        "inputs_left_out",
        "a folder holds more than the inputs that were taken from it",
        (
            _field("folder", str, "the folder, as it was given"),
            _field("reason", str, "what is left out, and how to take it"),
        ),
    ),
    Event("video_unfit", "a look before the run found a video unfit: it is left out, as was asked", (_VIDEO, _REASON)),
    Event(
        "ray_awaited",
        "the first input that needs work is known, or is looked for no longer: Ray is started or joined now",
        (_field("ray", str, "what is done for it, in words"),),
    ),
    Event(
        "ray_ready",
        "Ray is up, and the stages are started",
        (_field("cpus", float, "CPUs of all nodes"), _field("gpus", int, "GPUs of all nodes")),
    ),
    Event(
        "run_stopping",
        "the run was asked to stop; running calls may end",
        (_field("running", int, "how many calls are running"),),
    ),
    Event("run_stopped", "the run ended before its work was done", (_REASON,)),
    Event(
        "run_finished",
        "every input is complete or failed",
        (
            _field("complete", int, "number of inputs that are complete"),
            _field("failed", int, "number of inputs that failed"),
            _field("seconds", float, "how long the run took"),
        ),
    ),
    Event(
        "video_planned",
        "a video was opened and cut into segments",
        (
            _VIDEO,
            _field("frames", int, "number of its frames"),
            _field("segments", int, "number of its segments"),
            _field("finished", int, "how many of the segments an earlier run finished"),
        ),
    ),
    Event(
        "video_noted", "something about a source that its user should know", (_VIDEO, _field("notes", list, "texts"))
    ),
    Event("video_skipped", "a video is complete from an earlier run", (_VIDEO, _RECOVERED, _LACKING)),
    Event(
        "video_rewound",
        "the state carried from segment to segment was lost or damaged; the video continues from the work on disk",
        (_VIDEO, _REASON),
    ),
    Event(
        "video_postponed",
        "a stage failed on the video; it is tried once more at the end, with that stage's cheapest settings",
        (_VIDEO, _REASON),
    ),
    Event(
        "video_complete",
        "a video's store is complete; further fields are what the ordered stages' `finish` returned",
        (_VIDEO, _field("seconds", float, "time since the video was planned"), _RECOVERED, _LACKING),
        open=True,
    ),
    Event(
        "video_failed",
        "an input ends without a store",
        (_VIDEO, _REASON, _maybe("traceback", str, "of the exception, as it was in the actor; may be empty")),
    ),
    Event(
        "segment_resumed",
        "a segment continues from results that an earlier run saved",
        (
            _VIDEO,
            _INDEX,
            _field("restored", list, "slots whose saved results are read"),
            _field("unneeded", list, "slots whose results are not needed any more"),
        ),
    ),
    Event(
        "segment_complete",
        "every stage is done with a segment",
        (
            _VIDEO,
            _INDEX,
            _field("start", int, "its first frame"),
            _field("stop", int, "the frame after its last frame"),
            _field("seconds", dict, "slot -> seconds of the call that succeeded"),
            _field("notes", list, "what is missing in the segment, and why"),
        ),
    ),
    Event(
        "stage_done",
        "a stage's call on a segment succeeded",
        (
            _VIDEO,
            _INDEX,
            _SLOT,
            _BEGAN,
            _SECONDS,
            _field("cpu_seconds", float, "CPU time of the actor's process in the call"),
            _field("bytes", int, "size of the fields that it returned"),
            _maybe("private_bytes", int, "memory of the actor's process; not in every event"),
            _maybe("saved_bytes", int, "size of what was saved for resuming"),
            _maybe("save_seconds", float, "how long saving took, after the call"),
            *_CALL,
        ),
    ),
    Event(
        "stage_failed",
        "a stage's call on a segment failed",
        (
            _VIDEO,
            _INDEX,
            _SLOT,
            _field("verdict", str, "what happens next: a value of geoflow.engine.schedule.Verdict"),
            _field("kind", str, "why: a value of geoflow.engine.schedule.Kind"),
            *_CALL,
            _maybe("began", float, _BEGAN.meaning + "; absent if the actor died"),
            _maybe("seconds", float, _SECONDS.meaning + "; absent if the actor died"),
            _field("message", str, "what the stage or Ray said"),
            _maybe("traceback", str, "of the exception, as it was in the actor; may be empty"),
        ),
    ),
    Event(
        "stage_restored",
        "a stage's saved result on a segment is read instead of computed",
        (
            _VIDEO,
            _INDEX,
            _SLOT,
            _SPAN,
            _AHEAD,
            _OBJECT,
            _field("bytes", int, "size of the fields, or of what a span's segments share"),
        ),
    ),
    Event("stage_disabled", "an optional stage cannot run; the run continues without it", (_SLOT, _REASON)),
    Event(
        "fields_lost",
        "fields of a segment were lost with a node of the cluster and are computed again",
        (_VIDEO, _INDEX, _field("again", list, "slots of the stages that work on the segment again")),
    ),
    Event("work_unsaved", "results cannot be saved for resuming; reported once for each slot", (_SLOT, _REASON)),
    Event(
        "finish_done",
        "an ordered stage is done with a whole video",
        (_VIDEO, _SLOT, _ACTOR, _field("waited", float, "seconds until the call began"), _BEGAN, _SECONDS),
    ),
    Event(
        "finish_failed",
        "an ordered stage could not finish a video",
        (
            _VIDEO,
            _SLOT,
            _ACTOR,
            _field("kind", str, "why: a value of geoflow.engine.schedule.Kind"),
            _field("message", str, "what the stage or Ray said"),
        ),
    ),
    Event(
        "actor_ready",
        "an actor has loaded its model",
        (
            _SLOT,
            _ACTOR,
            _field("began", float, "when it began to load, in s since the epoch, by its node's clock"),
            _field("seconds", float, "how long loading took"),
            _field("pid", int, "its process"),
            _field("host", str, "its machine"),
            _maybe("node", str, "its node's identifier in Ray"),
            _maybe("actor_id", str, "its identifier in Ray"),
            _maybe("interpreter", str, "of a stage in another Python: that Python, and its numpy"),
            _maybe("child", int, "of a stage in another Python: the process in which it runs"),
        ),
    ),
    Event(
        "actor_died",
        "an actor's process is gone",
        (_SLOT, _ACTOR, _field("in_a_row", int, "deaths in this pool since a call last succeeded")),
    ),
    Event(
        "actor_leaks",
        "an actor's memory has grown far beyond what it needed at first, and the actor is replaced",
        (_SLOT, _ACTOR, _field("bytes", int, "memory of its process")),
    ),
    Event(
        "actor_hung",
        "a call takes far too long, and its actor is stopped",
        (_SLOT, _ACTOR, _field("seconds", float, "how long the call has taken so far")),
    ),
    Event(
        "environment_failed",
        "a stage's environment could not be built on a node",
        (_SLOT, _ACTOR, _field("reason", str, "the package that caused it, and the lines that matter")),
    ),
    Event(
        "gpu_measured",
        "the first segment of a stage shows what GPU memory it needs",
        (_SLOT, _field("peak", int, "bytes at its peak"), _field("total", int, "bytes that the GPU has")),
    ),
    Event("gpus_claimed", "more GPUs are requested from the cluster", (_field("count", int, "how many"),)),
    Event("gpu_joined", "a requested GPU is there", (_PLANNED,)),
    Event("gpu_lost", "a GPU is gone with its node", (_PLANNED,)),
    Event("gpu_released", "a GPU is given back: nothing is left to do on it", (_PLANNED,)),
    Event("copy_added", "a stage gets another actor on a GPU", (_SLOT,)),
    Event("copy_ended", "an actor ends to make room on its GPU for an actor of another stage", (_SLOT,)),
    Event(
        "memory",
        "memory in use; reported every second at first, later less often",
        (
            _field("promised_bytes", int, "bytes of the object stores, reserved for segments in flight"),
            _field("store_bytes", int, "bytes held by the object stores of all nodes"),
            _field("store_size", int, "capacity of the object stores"),
            _field("driver_bytes", int, "memory of the driver's process"),
        ),
    ),
)

EVENTS: dict[str, Event] = {row.name: row for row in _TABLE}
_REQUIRED = {row.name: frozenset(field.name for field in row.fields if field.required) for row in _TABLE}


def named(*names: str) -> frozenset[str]:
    """Return a set of event names, for readers of these events. Raises KeyError for a name that the table lacks."""
    return frozenset(EVENTS[name].name for name in names)


def check(event: str, data: Mapping[str, Any]) -> None:
    """Refuse an event that the table lacks, or an event without a required field. Takes well under 1 us.

    Raises KeyError for an unknown event, TypeError that names the missing fields.
    """
    if missing := _REQUIRED[event] - data.keys():
        raise TypeError(f"event {event} lacks {', '.join(sorted(missing))}: see geoflow/observe/events.py")


def problems(row: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a line of the ledger, one sentence each. Tests check every event of a run with it."""
    if (kind := EVENTS.get(row.get("event", ""))) is None:
        return [f"there is no event {row.get('event')!r}"]
    data = {name: value for name, value in row.items() if name not in ("event", "time")}
    known = {field.name: field for field in kind.fields}
    found = [f"{kind.name} lacks {name}" for name in sorted(_REQUIRED[kind.name] - data.keys())]
    if not kind.open:
        found += [f"{kind.name} has no field {name}" for name in data if name not in known]
    for name in data.keys() & known.keys():
        wanted = known[name].type
        if not isinstance(data[name], (int, float) if wanted is float else wanted):
            found.append(f"{kind.name}.{name} should be {wanted.__name__}, found {data[name]!r:.80}")
    return found


def reference_rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield rows of a table for the documentation: event, field, type and meaning. An event's own row has no field.

    A field that may be absent has a question mark after its type.
    """
    for row in EVENTS.values():
        yield row.name, "", "", row.meaning
        for field in row.fields:
            yield row.name, field.name, field.type.__name__ + ("" if field.required else "?"), field.meaning


def iter_events(path: Path, start: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the events of a ledger from byte `start` on, oldest first.

    A line that was cut short by a kill is left out. Lines of earlier versions may lack fields that are required now.
    """
    with path.open("rb") as lines:
        lines.seek(start)
        for line in lines:
            if (row := parse_event(line)) is not None:
                yield row


def parse_event(line: bytes) -> dict[str, Any] | None:
    """Return the event of one line of a ledger; None if it is none."""
    with contextlib.suppress(ValueError):
        row = json.loads(line)
        if isinstance(row, dict) and "event" in row and "time" in row:
            return row
    return None
