"""What the driver knows of each video and segment: object refs and numbers, never pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from geoflow.engine.graph import PROBE, Graph
from geoflow.engine.resume import Action
from geoflow.inputs import Input
from geoflow.segments import Segment, VideoInfo
from geoflow.stage import SegmentRecord


@dataclass(eq=False)
class VideoRun:
    """One input on its way to `complete` or `failed`."""

    order: int
    input: Input
    info: VideoInfo | None = None
    probed: dict[str, Any] = field(default_factory=dict)  # field name -> ref, alive as long as the video
    plan: Iterator[Segment] = field(default_factory=lambda: iter(()))
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
    status: str = "waiting"  # waiting, running, complete, failed, skipped (complete from an earlier run)
    reason: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    began: float = 0.0
    ended: float = 0.0

    @property
    def name(self) -> str:
        return self.input.name

    @property
    def over(self) -> bool:
        return self.status in ("complete", "failed", "skipped")


@dataclass(eq=False)
class SegmentRun:
    """One admitted segment: the fields that are alive, and which nodes are done with it."""

    video: VideoRun
    segment: Segment
    reserved: int = 0  # bytes of the budget this segment holds until it is done
    refs: dict[tuple[int, str], Any] = field(default_factory=dict)
    uses: dict[tuple[int, str], int] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    absent: set[int] = field(default_factory=set)  # optional nodes that this segment goes on without
    actions: tuple[Action, ...] = ()
    keys: dict[int, str] = field(default_factory=dict)  # node -> key of its result; expected until it is submitted
    given_up: set[int] = field(default_factory=set)  # optional nodes that failed on this segment before
    restoring: set[int] = field(default_factory=set)
    attempts: dict[int, int] = field(default_factory=dict)
    ladder: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

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
        return not row.ordered or self.video.cursor[node] == self.segment.index

    def arguments(self, node: int, graph: Graph) -> tuple[list[str], list[Any]]:
        """Names and refs of the fields that `node` gets; what an absent stage would give is left out."""
        names, refs = [], []
        for name, source in graph.nodes[node].sources.items():
            ref = self.video.probed.get(name) if source == PROBE else self.refs.get((source, name))
            if ref is not None:
                names.append(name)
                refs.append(ref)
        return names, refs

    def lacks(self, node: int, graph: Graph) -> list[str]:
        """Required inputs of `node` that an absent stage should have given."""
        row = graph.nodes[node]
        return [n for n in row.required if row.sources.get(n, PROBE) != PROBE and (row.sources[n], n) not in self.refs]

    def keep(self, node: int, refs: dict[str, Any], sizes: dict[str, int], graph: Graph) -> None:
        """Take a node's outputs in, those that someone will read; the others are dropped here and now."""
        for name, ref in refs.items():
            takers = [taker for taker in graph.consumers.get((node, name), ()) if self.actions[taker] is Action.RUN]
            if takers and name in sizes:
                self.refs[node, name] = ref
                self.uses[node, name] = len(takers)

    def release(self, node: int, graph: Graph) -> None:
        """`node` is done: drop the fields that nobody else will read."""
        if self.actions[node] is not Action.RUN:
            return
        for name, source in graph.nodes[node].sources.items():
            key = (source, name)
            if key in self.uses:
                self.uses[key] -= 1
                if not self.uses[key]:
                    del self.uses[key], self.refs[key]

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
