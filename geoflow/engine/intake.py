"""Intake of videos and segments: videos are probed a little before their turn, segments start when they fit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from geoflow.engine import schedule
from geoflow.engine.actor.wire import pack
from geoflow.engine.early_probes import Early, EarlyProbes
from geoflow.engine.graph import PROBED, Graph, expected_bytes
from geoflow.engine.mailbox import Mailbox
from geoflow.engine.outcome import Outcome, outcome_of
from geoflow.engine.probing import Probes
from geoflow.engine.schedule import Kind
from geoflow.engine.state import SegmentRun, VideoRun
from geoflow.segments import Segment, VideoInfo


@dataclass(frozen=True)
class Limits:
    """Limits of the engine."""

    max_segments: int = 4096  # in flight; the byte budget is normally the tighter bound
    max_attempts: int = 3  # calls of one stage on one segment
    probes_ahead: int = 4  # videos probed before their turn
    least_deadline: float = 300.0  # s; no call counts as hung earlier
    fail_fast: bool = False


class Intake:
    """Probes videos in input order and hands out their segments, the first video's first, within the byte budget."""

    def __init__(
        self,
        probes: Probes,
        mailbox: Mailbox,
        graph: Graph,
        limits: Limits,
        budget_bytes: int,
        *,
        already_done: Callable[[VideoInfo], dict[str, Any] | None],
        begin: Callable[[VideoRun], bool],
        next_ahead: Callable[[VideoRun, Segment], Segment | None],
        may_start: Callable[[VideoRun, Segment], bool],
        emit: Callable[..., None],
        fail: Callable[[VideoRun, str, str], None],
    ) -> None:
        """`next_ahead` and `may_start` are those of Surveys."""
        self._next_ahead, self._may_start = next_ahead, may_start
        self._early: EarlyProbes | None = None
        self._probes, self._mailbox, self._graph, self._limits = probes, mailbox, graph, limits
        self.budget_bytes = budget_bytes  # of segments in flight
        self._already_done, self._begin, self._emit, self._fail = already_done, begin, emit, fail
        self._unprobed: deque[VideoRun] = deque()
        self._active: deque[VideoRun] = deque()  # probed, with segments still to start
        self._later: deque[VideoRun] = deque()  # failed once, and tried again when nothing else is left
        self._probing = 0
        self._expected: dict[tuple[int, int, int], int] = {}  # by (frames, height, width) of a segment
        self._reserved = 0  # bytes promised to the segments in flight
        self._in_flight = 0

    def add(self, videos: Iterable[VideoRun], early: EarlyProbes | None = None) -> None:
        """Take in videos. Answers of `early` probes are used; nothing more is asked of them."""
        self._early, coming = early, set[int]()
        if early is not None:
            early.ask_no_more()
            coming = {id(video) for video in early.coming()}
            self._probing += len(coming)
        self._unprobed.extend(video for video in videos if id(video) not in coming)

    @property
    def awaits_early(self) -> bool:
        """Return whether an early probe has not answered yet."""
        return self._early is not None and self._early.pending

    @property
    def in_flight(self) -> tuple[int, int]:
        """Return the number of segments in flight and the bytes reserved for them."""
        return self._in_flight, self._reserved

    def probe_ahead(self) -> None:
        """Start probes, and take in what early ones found."""
        while self._early is not None and (found := self._early.next(0)) is not None:
            self._take_early(found)
        while self._unprobed and self._probing + len(self._active) < self._limits.probes_ahead:
            video = self._unprobed[0]
            if not video.over:
                refs = self._probes.start(video.input, again=video.probe_died)
                if refs is None:
                    break
                outcome, *arrays = refs
                self._probing += 1
                self._mailbox.on(outcome, partial(self._probed, video, arrays))
            self._unprobed.popleft()

    def admit(self) -> Iterator[SegmentRun]:
        """Yield the segments that may start now."""
        if not (self._unprobed or self._probing or self._active or self._in_flight):
            self._active, self._later = self._later, deque()
        while self._active:
            video = self._active[0]
            if not (video.over or video.planned or self._begin(video)):
                return
            segment = video.upcoming = video.upcoming or next(video.plan, None)
            if segment is None or video.over:
                self._active.popleft()
                continue
            if (ahead := self._next_ahead(video, segment)) is not None:
                if not self._has_room(ahead):
                    return
                video.next_ahead = None
                yield self._enter(video, ahead, ahead=True)
            elif not self._may_start(video, segment) or not self._has_room(segment):
                return
            else:
                video.upcoming = None
                yield self._enter(video, segment)

    def _has_room(self, segment: Segment) -> bool:
        return schedule.may_admit(
            in_flight_bytes=self._reserved,
            expected_bytes=self._expected_bytes(segment),
            budget=self.budget_bytes,
            segments_in_flight=self._in_flight,
            limit=self._limits.max_segments,
        )

    def _enter(self, video: VideoRun, segment: Segment, *, ahead: bool = False) -> SegmentRun:
        run = SegmentRun(video, segment, self._expected_bytes(segment), ahead)
        video.open[segment.index] = run
        self._reserved += run.reserved
        self._in_flight += 1
        return run

    def _expected_bytes(self, segment: Segment) -> int:
        size = (len(segment), segment.video.height, segment.video.width)
        if size not in self._expected:
            self._expected[size] = expected_bytes(self._graph, *size)
        return self._expected[size]

    def rewind(self, video: VideoRun) -> None:
        """Hand out a video's segments again, as `begin` will plan them."""
        for run in list(video.open.values()):
            self.leave(run)
        if video not in self._active:
            self._active.appendleft(video)

    def postpone(self, video: VideoRun) -> None:
        """Hand out a video's segments again when all other segments are done."""
        for run in list(video.open.values()):
            self.leave(run)
        if video in self._active:
            self._active.remove(video)
        self._later.append(video)

    def leave(self, run: SegmentRun) -> None:
        """Free the bytes of a segment that is done or given up."""
        del run.video.open[run.segment.index]
        self._reserved -= run.reserved
        self._in_flight -= 1

    @property
    def exhausted(self) -> bool:
        """Return whether no further segment will enter."""
        return not (self._unprobed or self._probing or self._active or self._later)

    def _take_early(self, found: Early) -> None:
        import ray

        self._probing -= 1
        if found.outcome is None:
            self._unprobed.appendleft(found.video)
            return
        wanted = found.outcome.failure is None and not found.video.over
        put = {name: ray.put(pack(array)) for name, array in found.arrays.items()} if wanted else {}
        self._take(found.video, found.outcome, [put.get(name) for name in PROBED])

    def _probed(self, video: VideoRun, arrays: list[Any], ref: Any) -> None:
        self._probing -= 1
        outcome = outcome_of(ref)
        self._probes.ended(outcome)
        self._take(video, outcome, arrays)

    def _take(self, video: VideoRun, outcome: Outcome, arrays: list[Any]) -> None:
        if video.over:
            return
        failure = outcome.failure
        if failure is not None and failure.kind is Kind.DIED and not video.probe_died:
            video.probe_died = True  # with its actor; the probe need not be the cause
            self._unprobed.appendleft(video)
            return
        if failure is not None:
            self._fail(video, failure.message, failure.traceback)
            return
        info, names = outcome.value
        video.info = info
        if (result := self._already_done(info)) is not None:
            video.skip(result, emit=self._emit)
            return
        video.probed = {name: ref for name, ref in zip(PROBED, arrays) if name in names}
        if info.notes:
            self._emit("video_noted", video=info.name, notes=list(info.notes))
        video.status = "running"
        self._active.append(video)
