"""What the driver knows of each video and segment: object refs and numbers, never pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from geoflow.engine.calls import Part
from geoflow.engine.graph import PROBE, Graph
from geoflow.engine.resume import Action
from geoflow.segments import Segment, VideoInfo
from geoflow.stage import SegmentRecord
from geoflow.video.inputs import Input


@dataclass(eq=False)
class VideoRun:
    """One input on its way to `complete` or `failed`."""

    order: int
    input: Input
    info: VideoInfo | None = None
    probed: dict[str, Any] = field(default_factory=dict)  # field name -> ref, alive as long as the video
    plan: Iterator[Segment] = field(default_factory=lambda: iter(()))
    probe_died: bool = False  # the actor that was to probe it
    planned: bool = False  # `plan` is settled: it starts after the segments that an earlier run finished
    num_segments: int = 0
    upcoming: Segment | None = None  # the next of `plan`, waiting for room
    open: dict[int, SegmentRun] = field(default_factory=dict)
    cursor: dict[int, int] = field(default_factory=dict)  # ordered node -> segment whose turn it is
    state: dict[int, Any] = field(default_factory=dict)  # ordered node -> its state after the last segment, as a ref
    chain: dict[int, str] = field(default_factory=dict)  # ordered node -> key of the last segment it is done with
    ahead: dict[int, str] = field(default_factory=dict)  # the same as it is expected of the last admitted segment
    journal: list[dict[str, Any]] | None = None  # finished segments found on disk, until `plan` is settled
    found: dict[int, set[str]] = field(default_factory=dict)  # segment -> names of files saved by an earlier run
    state_files: list[list[str]] = field(default_factory=list)  # of the last finished segments, newest last
    given_up: dict[int, dict[int, str]] = field(default_factory=dict)  # segment -> optional node that failed -> note
    records: list[SegmentRecord] = field(default_factory=list)
    to_finish: list[int] = field(default_factory=list)  # ordered nodes whose `finish` is still to be called
    finish_attempts: int = 0
    losses: int = 0  # times it was planned anew because what it was carrying was lost
    status: str = "waiting"  # waiting, running, complete, failed, skipped (complete from an earlier run)
    reason: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    began: float = 0.0  # by the monotonic clock, as `ended`
    ended: float = 0.0

    @property
    def name(self) -> str:
        return self.input.name

    @property
    def over(self) -> bool:
        return self.status in ("complete", "failed", "skipped")


@dataclass(eq=False, slots=True)
class SegmentRun:
    """One admitted segment: the fields that are alive, and which nodes are done with it."""

    video: VideoRun
    segment: Segment
    reserved: int = 0  # bytes of the budget this segment holds until it is done
    fields: dict[tuple[int, str], Part] = field(default_factory=dict)  # alive
    made: set[tuple[int, str]] = field(default_factory=set)  # that ever were
    settled: set[int] = field(default_factory=set)
    absent: set[int] = field(default_factory=set)  # optional nodes that this segment goes on without
    again: set[int] = field(default_factory=set)  # nodes to run once more because what they made was lost
    before: dict[int, Any] = field(default_factory=dict)  # ordered node -> ref of the state it began from
    actions: tuple[Action, ...] = ()
    keys: dict[int, str] = field(default_factory=dict)  # node -> key of its result; expected until it is submitted
    given_up: set[int] = field(default_factory=set)  # optional nodes that failed on this segment before
    restoring: set[int] = field(default_factory=set)
    attempts: dict[int, int] = field(default_factory=dict)
    ladder: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    alone: set[int] = field(default_factory=set)  # nodes that are to have a GPU to themselves for it
    home: str = ""  # the node of the cluster that computed its latest fields

    @property
    def live(self) -> bool:
        """Still wanted: not done, and its video neither failed nor planned anew."""
        return self.video.open.get(self.segment.index) is self

    def ready(self, node: int, graph: Graph) -> bool:
        """Every parent is done, or not needed, and for an ordered node it is this segment's turn."""
        row = graph.nodes[node]
        if node in self.settled or node in self.restoring:
            return False
        if self.actions[node] is Action.RUN and not row.parents <= self.settled:
            return False
        return not row.ordered or node in self.again or self.video.cursor[node] == self.segment.index

    def arguments(self, node: int, graph: Graph) -> dict[str, Part]:
        """The fields that `node` gets; what an absent stage would give is left out."""
        found = {}
        for name, source in graph.nodes[node].sources.items():
            if source != PROBE and (part := self.fields.get((source, name))) is not None:
                found[name] = part
            elif source == PROBE and name in self.video.probed:
                found[name] = Part(self.video.probed[name])
        return found

    def state_for(self, node: int) -> Any:
        """What an ordered node goes on from with this segment, also when it must do it once more."""
        if node not in self.again:
            self.before[node] = self.video.state.get(node)
        return self.before[node]

    def lacks(self, node: int, graph: Graph) -> list[str]:
        """Required inputs of `node` that an absent stage should have given."""
        return [key[1] for key in graph.nodes[node].needs if key not in self.fields]

    def keep(self, node: int, parts: dict[str, Part], sizes: dict[str, int], graph: Graph) -> None:
        """Take a node's outputs in, those that someone will still read; the others are dropped here and now."""
        for name, part in parts.items():
            if name in sizes:
                self.made.add((node, name))
                if self._wanted(node, name, graph):
                    self.fields[node, name] = part

    def release(self, node: int, graph: Graph) -> None:
        """`node` is done: drop the fields that nobody else will read."""
        for name, source in graph.nodes[node].sources.items():
            if (source, name) in self.fields and not self._wanted(source, name, graph):
                del self.fields[source, name]

    def _wanted(self, source: int, name: str, graph: Graph) -> bool:
        """Somebody will still read the field."""
        for taker in graph.consumers.get((source, name), ()):
            if taker not in self.settled and self.actions[taker] is Action.RUN:
                return True
        return False

    def revive(self, node: int, graph: Graph, alive: Callable[[Any], bool]) -> set[int]:
        """What must run again so that `node` can: from the nearest fields that survive. Unsettles those nodes."""
        again: set[int] = set()
        stack = [node]
        while stack:
            for name, source in graph.nodes[stack.pop()].sources.items():
                key = (source, name)
                if key not in self.made or (key in self.fields and alive(self.fields[key].ref)):
                    continue
                self.fields.pop(key, None)
                if source not in again:
                    again.add(source)
                    if self.actions[source] is Action.RUN:  # what was restored is restored once more
                        stack.append(source)
        self.settled -= again
        self.restoring -= again
        self.again |= again
        return again

    def record(self) -> SegmentRecord:
        return SegmentRecord(
            self.segment.index,
            self.segment.start,
            self.segment.stop,
            "incomplete" if self.absent else "complete",
            dict(self.seconds),
            dict(self.ladder),
            tuple(self.notes),
        )
