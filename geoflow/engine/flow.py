"""How segments move through the graph: what is ready, and what follows when a stage is done, fails or loses its work.

Nothing here calls a worker. The executor takes what is ready from the heaps, and says what came of it.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import Any

from geoflow.engine import schedule
from geoflow.engine.calls import Part
from geoflow.engine.checkpoint import Checkpoint
from geoflow.engine.graph import Graph
from geoflow.engine.intake import Intake, Limits
from geoflow.engine.outcome import outcome_of, still_there
from geoflow.engine.probing import Probes
from geoflow.engine.restoring import Restores
from geoflow.engine.resume import Action
from geoflow.engine.state import SegmentRun, VideoRun
from geoflow.segments import VideoInfo
from geoflow.store.notes import without

_MAX_LOSSES = 3  # times a video may lose what it carries before it is given up


class Flow:
    """The videos of a run, their segments in flight, and per stage the segments that are ready for it."""

    def __init__(
        self,
        graph: Graph,
        checkpoint: Checkpoint,
        probes: Probes,
        limits: Limits,
        budget_bytes: int,
        *,
        emit: Callable[..., None],
        already_done: Callable[[VideoInfo], dict[str, Any] | None],
        not_up: Callable[[], Set[int]],
        whole: Callable[[VideoRun], None],
    ) -> None:
        """`not_up` names the stages of which no worker has come up yet; `whole` gets each video whose segments are
        all done."""
        self._graph, self._checkpoint, self._limits = graph, checkpoint, limits
        self._emit, self._already_done, self._not_up, self._whole = emit, already_done, not_up, whole
        self._restores = Restores()
        self.intake = Intake(
            probes,
            graph,
            limits,
            budget_bytes,
            already_done=self._done_before,
            begin=self._begin,
            emit=emit,
            fail=self.fail,
        )
        self.videos: list[VideoRun] = []
        self.ready: list[list[tuple[Any, int, SegmentRun]]] = [[] for _ in graph.nodes]
        # Of each stage above a meeting of branches, the segments it is done with that wait there for the others.
        self._before_meeting: dict[tuple[int, int], set[SegmentRun]] = {
            (parent, row.index): set() for row in graph.nodes if len(row.parents) > 1 for parent in row.parents
        }
        self.disabled: dict[int, str] = {}  # node -> why it cannot run at all
        self._tick = itertools.count()  # breaks ties in the heaps
        self._settled = 0  # videos at the front that are over

    def add(self, videos: Sequence[VideoRun]) -> None:
        self.videos += videos
        self.intake.add(videos)

    @property
    def over(self) -> bool:
        """Every video has come to its end."""
        while self._settled < len(self.videos) and self.videos[self._settled].over:
            self._settled += 1
        return self._settled == len(self.videos)

    def take_in(self) -> dict[Any, Callable[[Any], None]]:
        """Start the segments that fit; returns what to wait for and what to do then."""
        started = self.intake.probe_ahead()
        for run in self.intake.admit():
            self._start(run)
        return started | self._restores.start()

    def has_work_left(self, node: int) -> bool:
        if not self.intake.exhausted:
            return True
        open_runs = (run for video in self.videos[self._settled :] for run in video.open.values())
        return any(node not in run.settled for run in open_runs)

    def segments_left(self) -> int:
        """Those of videos that nobody has looked at yet are taken to be as many as of the others on the average."""
        going = [video for video in self.videos[self._settled :] if not video.over]
        seen = [video for video in going if video.num_segments]
        unseen = round((len(going) - len(seen)) * sum(v.num_segments for v in seen) / max(1, len(seen)))
        return unseen + sum(video.num_segments - len(video.records) for video in seen)

    def take(self, node: int, size: int) -> list[SegmentRun]:
        """The next segments for a stage, up to `size`; what failed before goes alone."""
        heap = self.ready[node]
        runs: list[SegmentRun] = []
        while heap and len(runs) < size:
            run = heap[0][2]
            if runs and run.attempts.get(node):
                break
            heapq.heappop(heap)
            if run.live:
                self._has_met(node, run)
                runs.append(run)
                if run.attempts.get(node):
                    break
        return runs

    def brought(self, node: int, child: int) -> int:
        """How many segments the stage has brought to `child` that wait there."""
        waiting = self._before_meeting.get((node, child))
        return len(self.ready[child]) if waiting is None else len(waiting)

    def offer(self, node: int, run: SegmentRun) -> None:
        """Queue `node` for this segment if all it needs is there; go on without it if it never will be."""
        if not run.live or not run.ready(node, self._graph):
            return
        if not self._checkpoint.set_key(node, run):
            self.rewind(run.video, f"{run.segment} is not what it was: a stage failed that did not fail before")
            return
        if run.actions[node] is Action.RESTORE:
            self._restore(node, run)
            return
        lacking = run.lacks(node, self._graph)
        if node in self.disabled or node in run.given_up or (lacking and self._graph.nodes[node].optional):
            self._skip(node, run)
        elif lacking:
            slot = self._graph.nodes[node].slot
            self.fail(run.video, {"message": f"{slot} needs {', '.join(lacking)}, but the stage for it cannot run"})
        else:
            key = schedule.priority(run.video.order, run.segment.index, self._graph.nodes[node].depth)
            heapq.heappush(self.ready[node], (key, next(self._tick), run))

    def settle(self, node: int, run: SegmentRun) -> None:
        """`node` is done with the segment, with or without a result: free, pass on, move the order forward."""
        if not run.live:
            return
        run.settled.add(node)
        run.release(node, self._graph)
        self._has_met(node, run)
        for child in self._graph.children[node]:
            if (node, child) in self._before_meeting and child not in run.settled:
                self._before_meeting[node, child].add(run)
            self.offer(child, run)
        if node in run.again:
            run.again.discard(node)
        elif self._graph.nodes[node].ordered and not run.video.over:
            run.video.cursor[node] += 1
            run.video.chain.pop(node, None)
            if node in run.keys:
                run.video.chain[node] = run.keys[node]
            if (following := run.video.open.get(run.video.cursor[node])) is not None:
                self.offer(node, following)
        if len(run.settled) == len(self._graph.nodes) and not run.video.over:
            self._segment_complete(run)

    # What goes wrong

    def disable(self, node: int, reason: str) -> None:
        """A stage cannot run at all: go on without it."""
        if node in self.disabled:
            return
        self.disabled[node] = reason
        self._emit("stage_disabled", slot=self._graph.nodes[node].slot, reason=reason)
        waiting, self.ready[node] = self.ready[node], []
        for _, _, run in waiting:
            self._skip(node, run)

    def give_up(self, node: int, run: SegmentRun, reason: str) -> None:
        """A stage failed on this segment for good: go on without what it would have given."""
        run.notes.append(note := without(self._graph.nodes[node].slot, reason))
        run.video.given_up.setdefault(run.segment.index, {})[node] = note
        self._skip(node, run)

    def recover(self, node: int, run: SegmentRun) -> None:
        """Fields that `node` was to read went down with a cluster node: make them again from the nearest survivors."""
        again = run.revive(node, self._graph, still_there)
        slots = [self._graph.nodes[n].slot for n in sorted(again)]
        self._emit("fields_lost", video=run.video.name, index=run.segment.index, again=slots)
        if not again:  # what was lost is not this segment's own: the state it carries on from
            self._lost(run.video)
            return
        for n in again:
            run.attempts[n] = 0
            if run.actions[n] is Action.RESTORE:
                self._restore(n, run)
            else:
                self.offer(n, run)

    def rewind(self, video: VideoRun, reason: str) -> None:
        """What was to be restored, or was carried along, does not hold: plan the video anew from what is on disk."""
        self._forget(video)
        self.intake.rewind(video)
        self._checkpoint.rewind(video)
        self._emit("video_rewound", video=video.name, reason=reason)

    def saved_is_damaged(self, video: VideoRun, reason: str) -> None:
        """A state that the video went on from cannot be read."""
        self._checkpoint.forget_states(video)
        self.rewind(video, reason)

    def fail(self, video: VideoRun, error: dict[str, Any]) -> None:
        """The video ends as failed; what still runs for it is ignored when it comes back."""
        self._end_failed(video, error["message"], error.get("traceback", ""))
        if self._limits.fail_fast:
            for other in self.videos:
                if not other.over:
                    self._end_failed(other, "not finished: another input failed first", "")

    def complete(self, video: VideoRun) -> None:
        """Every stage is done with every segment, and with the video."""
        video.status, video.ended, video.state, video.probed = "complete", time.monotonic(), {}, {}
        self._checkpoint.over(video.name)
        self._emit("video_complete", video=video.name, seconds=video.ended - video.began, **video.result)

    # Videos and segments

    def _done_before(self, info: VideoInfo) -> dict[str, Any] | None:
        if (result := self._already_done(info)) is not None:
            self._checkpoint.over(info.name)  # the run that made it may have been killed before it cleaned up
        return result

    def _begin(self, video: VideoRun) -> bool:
        """Settle where a video goes on after an earlier run; False while a stage's start must be awaited for that."""
        undecided = self._not_up() - self.disabled.keys()
        if not self._checkpoint.begin(video, disabled=self.disabled.keys(), undecided=undecided):
            return False
        assert video.info is not None
        video.planned = True
        segments, finished = video.num_segments, len(video.records)
        if not video.began:
            video.began = time.monotonic()
            frames = video.info.num_frames
            self._emit("video_planned", video=video.name, frames=frames, segments=segments, finished=finished)
        if finished == segments:
            self._whole(video)
        return True

    def _start(self, run: SegmentRun) -> None:
        self._checkpoint.plan(run, self.disabled.keys())
        for row in self._graph.nodes:
            if run.live and run.actions[row.index] is Action.RESTORE and not row.ordered:
                self._restore(row.index, run)
            else:
                self.offer(row.index, run)

    def _restore(self, node: int, run: SegmentRun) -> None:
        run.restoring.add(node)
        saved = self._checkpoint.saved(node, run)
        self._restores.add(saved, self._graph.nodes[node].outputs, partial(self._restored, node, run))

    def _restored(self, node: int, run: SegmentRun, refs: list[Any], ref: Any) -> None:
        outcome, row = outcome_of(ref), self._graph.nodes[node]
        if not run.live:
            return
        if "error" in outcome:
            self._checkpoint.forget(node, run)
            self.rewind(run.video, outcome["error"]["message"])
            return
        run.seconds[row.slot] = outcome["work_seconds"]
        if outcome["level"]:
            run.ladder[row.slot] = outcome["level"]
        if row.ordered and node not in run.again:
            run.video.state[node] = refs[-1]
        run.keep(node, {name: Part(ref) for name, ref in zip(row.outputs, refs)}, outcome["bytes"], self._graph)
        size = sum(outcome["bytes"].values())
        self._emit("stage_restored", video=run.video.name, index=run.segment.index, slot=row.slot, bytes=size)
        self.settle(node, run)

    def _has_met(self, node: int, run: SegmentRun) -> None:
        """The segment does not wait for the branches any more that meet in `node`."""
        if len(parents := self._graph.nodes[node].parents) > 1:
            for parent in parents:
                self._before_meeting[parent, node].discard(run)

    def _forget(self, video: VideoRun) -> None:
        for waiting in self._before_meeting.values():
            waiting.difference_update(video.open.values())

    def _skip(self, node: int, run: SegmentRun) -> None:
        run.absent.add(node)
        run.keys.pop(node, None)
        if node in self.disabled:
            run.notes.append(without(self._graph.nodes[node].slot, f"it could not run: {self.disabled[node]}"))
        self.settle(node, run)

    def _segment_complete(self, run: SegmentRun) -> None:
        video = run.video
        self.intake.leave(run)
        video.records.append(record := run.record())
        self._checkpoint.finished(run, record, self.disabled.keys())
        self._emit(
            "segment_complete",
            video=video.name,
            index=run.segment.index,
            start=run.segment.start,
            stop=run.segment.stop,
            seconds=run.seconds,
            notes=run.notes,
        )
        if len(video.records) == video.num_segments:
            self._whole(video)

    def _lost(self, video: VideoRun) -> None:
        """What one segment hands to the next went down with a cluster node: go back to what is on disk."""
        video.losses += 1
        if video.losses > _MAX_LOSSES:
            self.fail(video, {"message": f"the cluster lost what it was carrying {video.losses} times over"})
        else:
            self.rewind(video, "what one segment hands to the next was lost with its node")

    def _end_failed(self, video: VideoRun, reason: str, traceback: str) -> None:
        video.status, video.reason, video.ended = "failed", reason, time.monotonic()
        self._emit("video_failed", video=video.name, reason=reason, traceback=traceback)
        self._forget(video)
        for run in list(video.open.values()):
            self.intake.leave(run)
        video.probed, video.state = {}, {}
