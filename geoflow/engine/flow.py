"""How segments move through the graph: what is ready, what follows when a stage is done, fails or loses its work.

Nothing here calls a worker. The executor takes ready work from the heaps and reports the outcome.
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
from geoflow.engine.early_probes import EarlyProbes
from geoflow.engine.graph import Graph
from geoflow.engine.intake import Intake, Limits
from geoflow.engine.mailbox import Mailbox
from geoflow.engine.outcome import outcome_of, still_there
from geoflow.engine.probing import Probes
from geoflow.engine.restoring import Restores
from geoflow.engine.resume import Action
from geoflow.engine.state import NOT_FINISHED, SegmentRun, SpanRun, VideoRun
from geoflow.engine.surveys import Surveys
from geoflow.segments import VideoInfo
from geoflow.store.notes import without

_MAX_LOSSES = 3  # times a video may lose its carried state before it fails


class Flow:
    """The videos of a run, their segments in flight, and for each stage the segments that are ready for it."""

    def __init__(
        self,
        graph: Graph,
        checkpoint: Checkpoint,
        probes: Probes,
        mailbox: Mailbox,
        limits: Limits,
        budget_bytes: int,
        *,
        emit: Callable[..., None],
        already_done: Callable[[VideoInfo], dict[str, Any] | None],
        not_up: Callable[[], Set[int]],
        whole: Callable[[VideoRun], None],
    ) -> None:
        """`not_up` returns the stages without a worker that has started. `whole` is called with each video whose
        segments are all done."""
        self._graph, self._checkpoint, self._limits = graph, checkpoint, limits
        self._emit, self._already_done, self._not_up, self._whole = emit, already_done, not_up, whole
        self._restores = Restores(mailbox)
        self.disabled: dict[int, str] = {}  # step -> why it cannot run at all
        self.surveys = Surveys(
            graph,
            checkpoint,
            self._restores,
            emit=emit,
            queue=self.queue_survey,
            settle=self.settle,
            give_up=self.give_up,
            rewind=self.rewind,
            disabled=self.disabled.keys(),
        )
        self.intake = Intake(
            probes,
            mailbox,
            graph,
            limits,
            budget_bytes,
            already_done=self._done_before,
            begin=self._begin,
            next_ahead=self.surveys.next_ahead,
            may_start=self.surveys.may_start,
            emit=emit,
            fail=self.fail,
        )
        self.videos: list[VideoRun] = []
        self.ready: list[list[tuple[Any, int, Any]]] = [[] for _ in graph.steps]
        # For each stage above a join of branches: its finished segments that wait there for the other branches.
        self._before_meeting: dict[tuple[int, int], set[SegmentRun]] = {
            (parent, row.index): set() for row in graph.steps if len(row.parents) > 1 for parent in row.parents
        }
        self._tick = itertools.count()  # breaks ties in the heaps
        self._settled = 0  # videos at the front that are over

    def add(self, videos: Sequence[VideoRun], early: EarlyProbes | None = None) -> None:
        self.videos += videos
        self.intake.add([video for video in videos if not video.over], early)

    @property
    def over(self) -> bool:
        """Return whether every video has ended."""
        while self._settled < len(self.videos) and self.videos[self._settled].over:
            self._settled += 1
        return self._settled == len(self.videos)

    def take_in(self) -> None:
        """Probe further videos and start the segments that fit."""
        self.intake.probe_ahead()
        for run in self.intake.admit():
            self._start(run)
        self._restores.start()

    def has_work_left(self, stage: int) -> bool:
        """Return whether a stage of the pipeline will be called again."""
        if not self.intake.exhausted:
            return True
        if (of_objects := self._graph.of_objects) is not None and of_objects.stage == stage:
            return not self.over  # it comes last
        steps = [row.index for row in self._graph.of_stage(stage)]
        open_runs = (run for video in self.videos[self._settled :] for run in video.open.values())
        return any(step not in run.settled for run in open_runs for step in steps)

    def segments_left(self) -> int:
        """Return the number of segments that are not done. A video not probed yet counts as the average of the
        others."""
        going = [video for video in self.videos[self._settled :] if not video.over]
        seen = [video for video in going if video.num_segments]
        unseen = round((len(going) - len(seen)) * sum(v.num_segments for v in seen) / max(1, len(seen)))
        return unseen + sum(video.num_segments - len(video.records) for video in seen)

    def take(self, step: int, size: int) -> list[Any]:
        """Return the next segments or spans for a step, up to `size`. One that failed before is returned alone."""
        heap = self.ready[step]
        runs: list[Any] = []
        while heap and len(runs) < size:
            run = heap[0][2]
            if runs and run.attempts.get(step):
                break
            heapq.heappop(heap)
            if isinstance(run, SegmentRun):
                run.queued.discard(step)
            if run.live:
                self._has_met(step, run)
                runs.append(run)
                if run.attempts.get(step):
                    break
        return runs

    def brought(self, step: int, child: int) -> int:
        """Return how many segments from this stage wait at `child`."""
        waiting = self._before_meeting.get((step, child))
        return len(self.ready[child]) if waiting is None else len(waiting)

    def offer(self, step: int, run: SegmentRun) -> None:
        """Queue `step` for this segment if its inputs are there; skip the step if they never will be."""
        if not run.live or not run.ready(step, self._graph):
            return
        if not self._checkpoint.set_key(step, run):
            self.rewind(run.video, f"saved results of {run.segment} do not fit: a stage failed that had not failed")
            return
        if run.actions[step] is Action.RESTORE:
            self._restore(step, run)
            return
        if self._graph.steps[step].surveys and step not in self.disabled and step not in run.given_up:
            self.surveys.want(step, run)
            return
        if self._graph.steps[step].condenses and not run.arguments(step, self._graph):
            self.condensed(step, run, None)
            return
        lacking = run.lacks(step, self._graph)
        if step in self.disabled or step in run.given_up or (lacking and self._graph.steps[step].optional):
            self._skip(step, run)
        elif lacking:
            slot = self._graph.steps[step].slot
            self.fail(run.video, f"{slot} needs {', '.join(lacking)}, but the stage for it cannot run")
        elif step not in run.queued:  # a stage above that is skipped may have offered it already
            run.queued.add(step)
            key = schedule.priority(run.video.order, run.segment.index, self._graph.steps[step].depth)
            heapq.heappush(self.ready[step], (key, next(self._tick), run))

    def queue_survey(self, survey: SpanRun) -> None:
        """Queue the survey of a span, as urgent as the first segment that waits for it."""
        if not survey.live:
            return
        if survey.step in self.disabled:
            self.surveys.skip(survey, self._skip)
            return
        first = min((run.segment.index for run in survey.waiting if run.live), default=survey.span.first)
        key = schedule.priority(survey.video.order, first, self._graph.steps[survey.step].depth)
        heapq.heappush(self.ready[survey.step], (key, next(self._tick), survey))

    def condensed(self, step: int, run: SegmentRun, part: Part | None) -> None:
        """Keep what a survey takes of the segment; None if there is nothing."""
        run.video.condensed[step, run.segment.index] = part
        self.settle(step, run)

    def settle(self, step: int, run: SegmentRun) -> None:
        """Note that `step` is done with the segment, with or without a result: free fields, pass on, advance the
        order."""
        if not run.live:
            return
        run.settled.add(step)
        run.release(step, self._graph)
        self._has_met(step, run)
        for child in self._graph.children[step]:
            if (step, child) in self._before_meeting and child not in run.settled:
                self._before_meeting[step, child].add(run)
            self.offer(child, run)
        if step in run.again:
            run.again.discard(step)
        elif self._graph.steps[step].ordered and not run.video.over:
            run.video.cursor[step] += 1
            self._checkpoint.passed(step, run)
            if (following := run.video.open.get(run.video.cursor[step])) is not None:
                self.offer(step, following)
        if len(run.settled) == len(self._graph.steps) and run.live and not run.video.over:
            if run.ahead:
                self._has_been_ahead(run)
            else:
                self._segment_complete(run)

    # What goes wrong

    def disable(self, stage: int, reason: str) -> None:
        """Continue without a stage of the pipeline that cannot run."""
        steps = self._graph.of_stage(stage)
        if steps[0].index in self.disabled:
            return
        self.disabled.update({row.index: reason for row in steps})
        self._emit("stage_disabled", slot=steps[0].slot, reason=reason)
        for row in steps:
            waiting, self.ready[row.index] = self.ready[row.index], []
            for _, _, run in waiting:
                if row.surveys:
                    self.surveys.skip(run, self._skip)
                else:
                    self._skip(row.index, run)

    def give_up(self, step: int, run: SegmentRun, reason: str) -> None:
        """Continue without a stage's results on this segment, where the stage has finally failed."""
        if self._graph.steps[step].condenses:
            self.condensed(step, run, None)
            return
        run.notes.append(note := without(self._graph.steps[step].slot, reason))
        run.video.given_up.setdefault(run.segment.index, {})[step] = note
        self._skip(step, run)

    def recover(self, step: int, run: SegmentRun) -> None:
        """Make fields again that were lost with a node before `step` could read them, from the nearest surviving
        fields."""
        run.queued.discard(step)
        again = run.revive(step, self._graph, still_there)
        slots = [self._graph.steps[n].slot for n in sorted(again)]
        self._emit("fields_lost", video=run.video.name, index=run.segment.index, again=slots)
        if not again:  # not a field of this segment was lost, but the state that it continues from
            self._lost(run.video)
            return
        for n in again:
            run.attempts[n] = 0
            if run.actions[n] is Action.RESTORE:
                self._restore(n, run)
            else:
                self.offer(n, run)

    def recover_survey(self, survey: SpanRun) -> None:
        """Recover from the loss, with a node, of the frame tables that a survey needs."""
        survey.pending = False
        self.recover_video(survey.video)

    def recover_video(self, video: VideoRun) -> None:
        """What is known of a whole video went down with a node of the cluster."""
        self._lost(video)

    def rewind(self, video: VideoRun, reason: str) -> None:
        """Plan the video again from the work on disk: saved results or a carried state cannot be used."""
        self._forget(video)
        self.intake.rewind(video)
        self._checkpoint.rewind(video)
        self._emit("video_rewound", video=video.name, reason=reason)

    def saved_is_damaged(self, video: VideoRun, reason: str) -> None:
        """Plan the video again without a saved state that cannot be read."""
        self._checkpoint.forget_states(video)
        self.rewind(video, reason)

    def postpone(self, video: VideoRun, stage: int, reason: str) -> None:
        """Try a video again when nothing else is left, with the cheapest settings of the stage that failed on it."""
        video.cheapest.add(stage)
        video.surveys = {key: survey for key, survey in video.surveys.items() if survey.result is not None}
        self._forget(video)
        self.intake.postpone(video)
        self._checkpoint.rewind(video)
        self._emit("video_postponed", video=video.name, reason=reason)

    def fail(self, video: VideoRun, reason: str, traceback: str = "") -> None:
        """End the video as failed. Results of calls that still run for it are ignored."""
        self._end_failed(video, reason, traceback)
        if self._limits.fail_fast:
            for other in self.videos:
                if not other.over:
                    self._end_failed(other, NOT_FINISHED, "")

    def complete(self, video: VideoRun) -> None:
        """End the video as complete: every stage is done with every segment and with the video."""
        video.status, video.ended = "complete", time.monotonic()
        video.state, video.probed, video.surveys, video.condensed = {}, {}, {}, {}
        self._checkpoint.over(video.name)
        self._emit("video_complete", video=video.name, seconds=video.ended - video.began, **video.result)

    # Videos and segments

    def _done_before(self, info: VideoInfo) -> dict[str, Any] | None:
        if (result := self._already_done(info)) is not None:
            self._checkpoint.over(info.name)  # the run that made it may have been killed before it cleaned up
        return result

    def _begin(self, video: VideoRun) -> bool:
        """Decide where a video continues after an earlier run. Return False while that depends on a stage still
        starting."""
        undecided = self._not_up() - self.disabled.keys()
        if not self._checkpoint.begin(video, disabled=self.disabled.keys(), undecided=undecided):
            return False
        assert video.info is not None
        self.surveys.forget_lost(video)
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
        for row in self._graph.steps:
            if run.live and run.actions[row.index] is Action.RESTORE and not row.ordered:
                self._restore(row.index, run)
            else:
                self.offer(row.index, run)

    def _restore(self, step: int, run: SegmentRun) -> None:
        run.restoring.add(step)
        saved, row = self._checkpoint.saved(step, run), self._graph.steps[step]
        names = None if row.condenses else row.outputs
        self._restores.add(saved, names, partial(self._restored, step, run))

    def _restored(self, step: int, run: SegmentRun, refs: list[Any], ref: Any) -> None:
        outcome, row = outcome_of(ref), self._graph.steps[step]
        if not run.live:
            return
        if outcome.failure is not None:
            self._checkpoint.forget(step, run)
            self.rewind(run.video, outcome.failure.message)
            return
        run.seconds[step] = outcome.value["work_seconds"]
        if outcome.value["level"]:
            run.levels[step] = outcome.value["level"]
        if row.ordered and step not in run.again:
            run.video.state[step] = refs[-1]
        facts = {"video": run.video.name, "index": run.segment.index, "slot": row.slot, "bytes": outcome.size}
        self._emit("stage_restored", **facts, **({"ahead": True} if run.ahead else {}))
        if row.condenses:
            self.condensed(step, run, Part(refs[0]))
            return
        run.keep(step, {name: Part(ref) for name, ref in zip(row.outputs, refs)}, outcome.bytes, self._graph)
        self.settle(step, run)

    def _has_met(self, step: int, run: SegmentRun) -> None:
        """Note that the segment no longer waits for the branches that join at `step`."""
        if len(parents := self._graph.steps[step].parents) > 1:
            for parent in parents:
                self._before_meeting[parent, step].discard(run)

    def _forget(self, video: VideoRun) -> None:
        for waiting in self._before_meeting.values():
            waiting.difference_update(video.open.values())

    def _skip(self, step: int, run: SegmentRun) -> None:
        run.absent.add(step)
        run.keys.pop(step, None)
        if step in self.disabled and not self._graph.steps[step].surveys:  # reported once for the stage
            run.notes.append(without(self._graph.steps[step].slot, f"it could not run: {self.disabled[step]}"))
        self.settle(step, run)

    def _has_been_ahead(self, run: SegmentRun) -> None:
        """Let go of a segment whose fields are condensed until its turn comes."""
        self.intake.leave(run)
        self._checkpoint.condensed(run)
        for step in self._graph.condensing:
            run.video.condensed.setdefault((step, run.segment.index), None)

    def _segment_complete(self, run: SegmentRun) -> None:
        video = run.video
        self.intake.leave(run)
        video.records.append(record := run.record(self._graph))
        video.finished.add(run.segment.index)
        self._checkpoint.finished(run, record, self.disabled.keys())
        self.surveys.finished(run)
        self._emit(
            "segment_complete",
            video=video.name,
            index=run.segment.index,
            start=run.segment.start,
            stop=run.segment.stop,
            seconds=record.seconds,
            notes=run.notes,
        )
        if len(video.records) == video.num_segments:
            self._whole(video)

    def _lost(self, video: VideoRun) -> None:
        """Go back to the work on disk: the state between two segments was lost with a node of the cluster."""
        video.losses += 1
        if video.losses > _MAX_LOSSES:
            self.fail(video, f"the cluster lost the state between its segments {video.losses} times")
        else:
            self.rewind(video, "the state between two segments was lost with its node")

    def _end_failed(self, video: VideoRun, reason: str, traceback: str) -> None:
        video.fail(reason, traceback, emit=self._emit)
        self._forget(video)
        for run in list(video.open.values()):
            self.intake.leave(run)
        video.probed, video.state, video.surveys, video.condensed = {}, {}, {}, {}
