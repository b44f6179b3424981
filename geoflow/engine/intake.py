"""What enters the pipeline: videos are probed a little ahead of their turn, segments start when they fit."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from geoflow.engine import schedule
from geoflow.engine.graph import PROBED, Graph, expected_bytes
from geoflow.engine.outcome import outcome_of
from geoflow.engine.probing import Probe, submit_probe
from geoflow.engine.state import SegmentRun, VideoRun
from geoflow.pipeline import SegmentSpec
from geoflow.segments import VideoInfo, count_segments, plan_segments


@dataclass(frozen=True)
class Limits:
    """How far the engine goes."""

    budget_bytes: int  # of segments in flight
    max_segments: int = 1024  # in flight; the byte budget is normally the tighter bound
    max_attempts: int = 3  # calls of one stage on one segment
    probes_ahead: int = 4  # videos probed before their turn
    least_deadline: float = 300.0  # s; no call counts as hung before
    fail_fast: bool = False


class Intake:
    """Probes videos in input order and hands out their segments, the first video's first, within the byte budget."""

    def __init__(
        self,
        videos: list[VideoRun],
        probe: Probe,
        graph: Graph,
        segment: SegmentSpec,
        limits: Limits,
        *,
        already_done: Callable[[VideoInfo], dict[str, Any] | None],
        emit: Callable[..., None],
        fail: Callable[[VideoRun, dict[str, Any]], None],
    ) -> None:
        self._probe, self._graph, self._segment, self._limits = probe, graph, segment, limits
        self._already_done, self._emit, self._fail = already_done, emit, fail
        self._unprobed = deque(videos)
        self._active: deque[VideoRun] = deque()  # probed, with segments still to start
        self._probing = 0
        self._reserved = 0  # bytes promised to the segments in flight
        self._in_flight = 0

    @property
    def in_flight(self) -> tuple[int, int]:
        """Segments that were admitted and have not left, and the bytes promised to them."""
        return self._in_flight, self._reserved

    def probe_ahead(self) -> dict[Any, Callable[[Any], None]]:
        """Start probes; returns what to wait for and what to do then."""
        started: dict[Any, Callable[[Any], None]] = {}
        while self._unprobed and self._probing + len(self._active) < self._limits.probes_ahead:
            video = self._unprobed.popleft()
            if video.over:
                continue
            outcome, *arrays = submit_probe(self._probe, video.input)
            self._probing += 1
            started[outcome] = partial(self._probed, video, arrays)
        return started

    def admit(self) -> Iterator[SegmentRun]:
        """The segments that may start now."""
        while self._active:
            video = self._active[0]
            segment = video.upcoming = video.upcoming or next(video.plan, None)
            if segment is None or video.over:
                self._active.popleft()
                continue
            expected = expected_bytes(self._graph, segment)
            if not schedule.may_admit(
                in_flight_bytes=self._reserved,
                expected_bytes=expected,
                budget=self._limits.budget_bytes,
                segments_in_flight=self._in_flight,
                limit=self._limits.max_segments,
            ):
                return
            run = SegmentRun(video, segment, reserved=expected)
            video.upcoming = None
            video.open[segment.index] = run
            self._reserved += expected
            self._in_flight += 1
            yield run

    def leave(self, run: SegmentRun) -> None:
        """A segment is done, or given up: its bytes are free for the next."""
        del run.video.open[run.segment.index]
        self._reserved -= run.reserved
        self._in_flight -= 1

    @property
    def exhausted(self) -> bool:
        """Nothing will enter any more."""
        return not (self._unprobed or self._probing or self._active)

    def again(self, video: VideoRun) -> None:
        """Let a video begin anew: whatever of it is in flight is given up."""
        for run in list(video.open.values()):
            self.leave(run)
        assert video.info is not None  # only a video that was probed has anything to lose
        video.plan = plan_segments(video.info, self._segment.size, self._segment.overlap)
        video.upcoming = None
        video.records, video.state, video.to_finish = [], {}, []
        video.cursor = dict.fromkeys(video.cursor, 0)
        if video not in self._active:
            self._active.appendleft(video)

    def _probed(self, video: VideoRun, arrays: list[Any], ref: Any) -> None:
        self._probing -= 1
        outcome = outcome_of(ref)
        if video.over:
            return
        if "error" in outcome:
            self._fail(video, outcome["error"])
            return
        info = video.info = outcome["info"]
        if (result := self._already_done(info)) is not None:
            video.status, video.result = "skipped", result
            self._emit("video_skipped", video=info.name)
            return
        size, overlap = self._segment.size, self._segment.overlap
        video.probed = dict(zip(PROBED, arrays))
        video.num_segments = count_segments(info.num_frames, size, overlap)
        video.plan = plan_segments(info, size, overlap)
        video.cursor = {node.index: 0 for node in self._graph.nodes if node.ordered}
        video.status, video.began = "running", time.time()
        self._active.append(video)
        self._emit("video_planned", video=info.name, frames=info.num_frames, segments=video.num_segments)
