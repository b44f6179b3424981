"""Calls: what travels between driver and workers for one segment, for several tiny segments together, or for a span."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from geoflow.engine.actor.workfiles import SaveTo
from geoflow.engine.gpu.tokens import Hold, Lane
from geoflow.engine.outcome import Outcome
from geoflow.segments import Segment, Span, VideoObject
from geoflow.store.object_work import ObjectWork


class Part(NamedTuple):  # a Part and a Job are made for every segment and stage: a dataclass takes three times as long
    """The place of one field of one segment: a whole object, or one entry of a coalesced call's result."""

    ref: Any
    entry: int | None = None


class Job(NamedTuple):
    """One segment's share of a call, or a span or object: `places` says for each name which argument, and which entry
    of it."""

    extent: Segment | Span | VideoObject
    names: tuple[str, ...]
    places: tuple[tuple[int, int | None], ...]
    level: int
    save_to: SaveTo | None = None  # where the worker leaves what it makes
    measure: bool = False  # watch the GPU memory it takes
    alone: bool = False  # it may have all of the GPU's
    work: ObjectWork | None = None  # of an object: where its fields lie, and its mesh goes


@dataclass(eq=False)
class Call:
    """One submitted `process`: the step, its stage, its segments, and the refs of the results to come.

    A `survey` is one, too, of one span or object; and a `finish`, of no segment.
    """

    step: int
    stage: int
    runs: list[Any]
    worker: Any
    levels: list[int]
    lane: Lane | None = None  # of its GPU's run token
    hold: Hold | None = None  # its claim to that lane
    refs: list[Any] = field(default_factory=list)
    submitted: float = 0.0  # by the monotonic clock
    waited: float = 0.0  # s from then until it could begin, once it came back
    condenses: bool = False  # it only makes a few numbers for a survey: no measure of the stage's other calls
    frames: int = 0  # of the span that it surveys, or the video whose object it works on
    longest: float | None = None  # s it should take at most; None: as the stage's longest call, for each segment
    hung: float = 0.0  # s without an answer, after which its worker was ended
    began: bool = True  # False: its worker died at the call before it

    @property
    def could_begin(self) -> float:
        """Return when the call was first in its worker's queue and had its lane of the GPU (monotonic clock)."""
        return max(self.worker.since, self.hold.since if self.hold is not None else 0.0)

    def why_died(self, message: str) -> str:
        """Return why there is no answer, if Ray reports only that the worker died."""
        return f"it hung: no answer for {self.hung:.0f} s, so its worker was stopped" if self.hung else message

    def told(self, i: int) -> dict[str, Any]:
        """Return what the ledger records about the i-th segment, whether it succeeded or failed."""
        attempt = self.runs[i].attempts[self.step]
        facts = {"actor": self.worker.number, "level": self.levels[i], "attempt": attempt, "waited": self.waited}
        if getattr(self.runs[i], "ahead", False):
            facts["ahead"] = True
        if len(self.runs) > 1:
            facts["together"] = len(self.runs)
        if self.frames:
            extent = self.runs[i].extent
            facts["span"] = [extent.start, extent.stop]
            if isinstance(extent, VideoObject):
                facts["object"] = extent.number
        return facts

    def outputs(self, i: int, names: tuple[str, ...]) -> dict[str, Part]:
        """Return the fields of the i-th segment."""
        entry = None if len(self.runs) == 1 else i
        return {name: Part(ref, entry) for name, ref in zip(names, self.refs[1:])}


# Ray's own pickling can do more but takes ten times as long. Ray passes bytes on as they are.


def ask(jobs: list[Job], lane: Lane | None) -> bytes:
    return pickle.dumps((jobs, lane), protocol=5)


def read_asked(asked: bytes) -> tuple[list[Job], Lane | None]:
    found: tuple[list[Job], Lane | None] = pickle.loads(asked)
    return found


def answer(outcomes: list[Outcome]) -> bytes:
    return pickle.dumps(outcomes, protocol=5)


def read_answer(answered: bytes) -> list[Outcome]:
    found: list[Outcome] = pickle.loads(answered)
    return found


def make_jobs(
    wanted: list[tuple[Segment | Span | VideoObject, dict[str, Part], int, SaveTo | None]],
    *,
    measure: bool = False,
    alone: bool = False,
    work: ObjectWork | None = None,
) -> tuple[list[Job], list[Any]]:
    """Return jobs, and the objects to pass (each once), for (segment or span, fields, ladder level, where to save)."""
    position: dict[Any, int] = {}
    jobs = []
    for extent, parts, level, save_to in wanted:
        places = tuple((position.setdefault(part.ref, len(position)), part.entry) for part in parts.values())
        jobs.append(Job(extent, tuple(parts), places, level, save_to, measure, alone, work))
    return jobs, list(position)


def open_job(job: Job, objects: tuple[Any, ...]) -> dict[str, Any]:
    """Return, in the worker, the job's fields, still packed. Fields that do not exist are left out."""
    found = {}
    for name, (position, entry) in zip(job.names, job.places):
        value = objects[position] if entry is None else objects[position][entry]
        if value is not None:
            found[name] = value
    return found
