"""What the driver knows about each video and segment: object refs and numbers, never pixels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geoflow.engine.calls import Part
from geoflow.engine.graph import CONDENSE, PROBE, Graph
from geoflow.engine.resume import Action
from geoflow.segments import Segment, Span, VideoInfo, VideoObject
from geoflow.stage import SegmentRecord
from geoflow.store.object_work import ObjectWork
from geoflow.video.inputs import Input

NOT_FINISHED = "not finished: another input failed first"


@dataclass(eq=False)
class KeptWork:
    """The saved work of a video and its keys, for the checkpoint."""

    chain: dict[int, str] = field(default_factory=dict)  # ordered step -> key of the last segment it is done with
    ahead: dict[int, str] = field(default_factory=dict)  # the same, as expected for the last admitted segment
    journal: list[dict[str, Any]] | None = None  # finished segments found on disk, until `plan` is decided
    found: dict[int, set[str]] = field(default_factory=dict)  # segment -> names of files saved by an earlier run
    state_files: list[list[str]] = field(default_factory=list)  # of the last finished segments, newest last


@dataclass(eq=False)
class VideoRun:
    """One input on its way to `complete` or `failed`."""

    order: int
    input: Input
    info: VideoInfo | None = None
    probed: dict[str, Any] = field(default_factory=dict)  # field name -> ref, alive as long as the video
    plan: Iterator[Segment] = field(default_factory=lambda: iter(()))
    probe_died: bool = False  # the actor that should have probed it
    planned: bool = False  # `plan` is decided: it starts after the segments that an earlier run finished
    num_segments: int = 0
    spans: dict[int, list[Span]] = field(default_factory=dict)  # step that surveys -> its spans, in order
    surveys: dict[tuple[int, int], SpanRun] = field(default_factory=dict)  # needed surveys, by step and span
    # What surveys take of segments, by the step that condensed it and segment; None where there is nothing.
    condensed: dict[tuple[int, int], Part | None] = field(default_factory=dict)
    to_condense: Iterator[Segment] = field(default_factory=lambda: iter(()))  # those ahead of `plan`
    next_ahead: Segment | None = None  # the next of `to_condense`, waiting for room
    finished: set[int] = field(default_factory=set)  # segments that every stage is done with
    upcoming: Segment | None = None  # the next of `plan`, waiting for room
    open: dict[int, SegmentRun] = field(default_factory=dict)
    cursor: dict[int, int] = field(default_factory=dict)  # ordered step -> segment whose turn it is
    state: dict[int, Any] = field(default_factory=dict)  # ordered step -> its state after the last segment, as a ref
    kept: KeptWork = field(default_factory=KeptWork)
    given_up: dict[int, dict[int, str]] = field(default_factory=dict)  # segment -> optional step that failed -> note
    records: list[SegmentRecord] = field(default_factory=list)
    objects: dict[int, ObjectRun] = field(default_factory=dict)  # by their number, those whose mesh is not made yet
    meshes: dict[int, Path] = field(default_factory=dict)  # by the number of the object, the file that holds it
    without_mesh: dict[int, str] = field(default_factory=dict)  # object -> why it has none
    to_finish: list[int] = field(default_factory=list)  # ordered steps whose `finish` is still to be called
    finish_attempts: int = 0
    cheapest: set[int] = field(default_factory=set)  # stages that failed on it before; now at the end of their ladder
    losses: int = 0  # times it was planned again because its carried state was lost
    status: str = "waiting"  # waiting, running, complete, failed, skipped (complete from an earlier run)
    reason: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    began: float = 0.0  # by the monotonic clock, like `ended`
    ended: float = 0.0

    @property
    def name(self) -> str:
        return self.input.name

    @property
    def over(self) -> bool:
        return self.status in ("complete", "failed", "skipped")

    def fail(self, reason: str, traceback: str = "", *, emit: Callable[..., None]) -> None:
        """End the video as failed."""
        self.status, self.reason, self.ended = "failed", reason, time.monotonic()
        emit("video_failed", video=self.name, reason=reason, traceback=traceback)

    def skip(self, result: dict[str, Any], *, emit: Callable[..., None]) -> None:
        """End the video as finished by an earlier run, with its row of the index."""
        self.status, self.result = "skipped", result
        said = {key: result[key] for key in ("recovered", "lacking") if result.get(key)}
        emit("video_skipped", video=self.name, **said)


@dataclass(eq=False, slots=True)
class SegmentRun:
    """One admitted segment: the fields that are alive, and which steps are done with it."""

    video: VideoRun
    segment: Segment
    reserved: int = 0  # bytes of the budget this segment holds until it is done
    ahead: bool = False  # it only goes as far as its fields are condensed, and begins anew when its turn comes
    fields: dict[tuple[int, str], Part] = field(default_factory=dict)  # alive
    made: set[tuple[int, str]] = field(default_factory=set)  # all fields ever made
    settled: set[int] = field(default_factory=set)
    absent: set[int] = field(default_factory=set)  # optional steps that give this segment nothing
    again: set[int] = field(default_factory=set)  # steps to run once more because their results were lost
    before: dict[int, Any] = field(default_factory=dict)  # ordered step -> ref of the state it began from
    actions: tuple[Action, ...] = ()
    keys: dict[int, str] = field(default_factory=dict)  # step -> key of its result; expected until it is submitted
    given_up: set[int] = field(default_factory=set)  # optional steps that failed on this segment before
    restoring: set[int] = field(default_factory=set)
    queued: set[int] = field(default_factory=set)  # steps that wait for a worker
    attempts: dict[int, int] = field(default_factory=dict)
    levels: dict[int, int] = field(default_factory=dict)  # step -> level of its stage's ladder
    seconds: dict[int, float] = field(default_factory=dict)  # step -> seconds of work
    notes: list[str] = field(default_factory=list)
    alone: set[int] = field(default_factory=set)  # steps that need a GPU to themselves for it
    spans: dict[int, Span] = field(default_factory=dict)  # step that surveys -> the span that the segment lies in
    home: str = ""  # the node of the cluster that computed its latest fields

    @property
    def extent(self) -> Segment:
        """What the step works on."""
        return self.segment

    @property
    def index(self) -> int:
        """Return the segment's number."""
        return self.segment.index

    @property
    def live(self) -> bool:
        """Return whether the segment is still needed: not done, and its video neither failed nor planned again."""
        return self.video.open.get(self.segment.index) is self

    def ready(self, step: int, graph: Graph) -> bool:
        """Return whether every parent is done or not needed and, for an ordered step, whether it is this segment's
        turn."""
        row = graph.steps[step]
        if step in self.settled or step in self.restoring:
            return False
        if self.actions[step] is Action.RUN and not row.parents <= self.settled:
            return False
        return not row.ordered or step in self.again or self.video.cursor[step] == self.segment.index

    def arguments(self, step: int, graph: Graph) -> dict[str, Part]:
        """Return the fields that `step` gets. Fields of absent stages are left out."""
        found = {}
        for name, source in graph.steps[step].sources.items():
            if source != PROBE and (part := self.fields.get((source, name))) is not None:
                found[name] = part
            elif source == PROBE and name in self.video.probed:
                found[name] = Part(self.video.probed[name])
        return found

    def state_for(self, step: int) -> Any:
        """Return the state with which an ordered step begins this segment, also if it does the segment once more."""
        if step not in self.again:
            self.before[step] = self.video.state.get(step)
        return self.before[step]

    def lacks(self, step: int, graph: Graph) -> list[str]:
        """Return the required inputs of `step` that absent stages should have given."""
        return [key[1] for key in graph.steps[step].needs if key not in self.fields]

    def keep(self, step: int, parts: dict[str, Part], sizes: dict[str, int], graph: Graph) -> None:
        """Keep the outputs of a step that another step will still read, and drop the others."""
        for name, part in parts.items():
            if name in sizes:
                self.made.add((step, name))
                if self._wanted(step, name, graph):
                    self.fields[step, name] = part

    def release(self, step: int, graph: Graph) -> None:
        """Drop the fields that no other step will read, now that `step` is done."""
        for name, source in graph.steps[step].sources.items():
            if (source, name) in self.fields and not self._wanted(source, name, graph):
                del self.fields[source, name]

    def _wanted(self, source: int, name: str, graph: Graph) -> bool:
        """Return whether a step will still read the field."""
        for taker in graph.consumers.get((source, name), ()):
            if taker not in self.settled and self.actions[taker] is Action.RUN:
                return True
        return False

    def revive(self, step: int, graph: Graph, alive: Callable[[Any], bool]) -> set[int]:
        """Return the steps to run again so that `step` can run, from the nearest surviving fields; mark them as not
        done."""
        again: set[int] = set()
        stack = [step]
        while stack:
            for name, source in graph.steps[stack.pop()].sources.items():
                key = (source, name)
                if key not in self.made or (key in self.fields and alive(self.fields[key].ref)):
                    continue
                self.fields.pop(key, None)
                if source not in again:
                    again.add(source)
                    if self.actions[source] is Action.RUN:  # a restored result is restored once more
                        stack.append(source)
        self.settled -= again
        self.restoring -= again
        self.again |= again
        return again

    def seconds_by_slot(self, graph: Graph) -> dict[str, float]:
        """Return slot -> seconds of work on the segment, with its share of the work on its span."""
        found: dict[str, float] = {}
        for step, seconds in self.seconds.items():
            slot = graph.steps[step].slot
            found[slot] = found.get(slot, 0.0) + seconds
        return found

    def record(self, graph: Graph) -> SegmentRecord:
        """Return the record that is kept of the segment when every stage is done with it."""
        ladder: dict[str, int] = {}
        for step, level in self.levels.items():
            slot = graph.steps[step].slot
            ladder[slot] = max(ladder.get(slot, 0), level)
        return SegmentRecord(
            self.segment.index,
            self.segment.start,
            self.segment.stop,
            "incomplete" if self.absent else "complete",
            self.seconds_by_slot(graph),
            ladder,
            tuple(self.notes),
        )


@dataclass(eq=False, slots=True)
class SpanRun:
    """One span that a stage surveys: which segments wait for the result, and where the result is."""

    video: VideoRun
    step: int
    span: Span
    key: str = ""  # of the result, if work is saved
    saved: bool = False  # an earlier run left the result
    condensed_by: int = -1  # the step that condenses fields for it
    shown_in: range = range(0)  # numbers of the segments whose condensed fields it takes
    waiting: list[SegmentRun] = field(default_factory=list)
    pending: bool = False  # the result is being queued, computed or restored
    result: Part | None = None  # alive until every stage is done with the span's last segment
    size: int = 0  # bytes of the result
    failed: str = ""  # why there will never be a result
    seconds: float = 0.0  # of work
    level: int = 0  # level of the stage's ladder
    attempts: dict[int, int] = field(default_factory=dict)
    levels: dict[int, int] = field(default_factory=dict)
    alone: set[int] = field(default_factory=set)  # its step, if it needs a GPU to itself
    home: str = ""  # as in SegmentRun

    @property
    def extent(self) -> Span:
        """What the step works on."""
        return self.span

    @property
    def index(self) -> int:
        """Return the number of its first segment."""
        return self.span.first

    @property
    def live(self) -> bool:
        """Return whether the span is still needed: its video continues, and a segment of the span is not done."""
        return self.video.surveys.get((self.step, self.span.index)) is self

    @property
    def all_finished(self) -> bool:
        """Return whether every stage is done with every segment of the span."""
        return all(index in self.video.finished for index in range(self.span.last, self.span.first - 1, -1))

    def arguments(self, step: int, graph: Graph) -> dict[str, Part]:
        """Return the frame tables that the step needs to read frames, and what was condensed of the segments."""
        names = graph.steps[step].sources
        found = {name: Part(self.video.probed[name]) for name in names if name in self.video.probed}
        for index in self.shown_in:
            part = self.video.condensed.get((self.condensed_by, index))
            if part is not None:
                found[f"{CONDENSE}.{index}"] = part
        return found

    @property
    def has_all_condensed(self) -> bool:
        """Return whether everything is there that the survey takes of segments."""
        return all((self.condensed_by, index) in self.video.condensed for index in self.shown_in)

    @property
    def settled(self) -> bool:
        """Return whether the result is known, is being made, or will never be."""
        return self.pending or self.saved or self.result is not None or bool(self.failed)


@dataclass(eq=False, slots=True)
class ObjectRun:
    """One object of a video whose segments are all done: its mesh is still to be made."""

    video: VideoRun
    object: VideoObject
    work: ObjectWork
    attempts: dict[int, int] = field(default_factory=dict)
    levels: dict[int, int] = field(default_factory=dict)
    alone: set[int] = field(default_factory=set)  # its step, if it is to have a GPU to itself
    home: str = ""  # as of a SegmentRun

    @property
    def extent(self) -> VideoObject:
        """What the step works on."""
        return self.object

    @property
    def index(self) -> int:
        """The number of the first segment that it lies in, as the ledger has it."""
        return 0

    @property
    def live(self) -> bool:
        """Still wanted: its video neither failed nor is planned anew, and it has no mesh yet."""
        return not self.video.over and self.video.objects.get(self.object.number) is self

    def arguments(self, step: int, graph: Graph) -> dict[str, Part]:
        """The frame tables that the step reads frames by."""
        return {name: Part(ref) for name, ref in self.video.probed.items()}
