"""Surveys of spans: each is computed once, by whichever segment asks first, and shared by all segments of the span.

Nothing here calls a worker: the executor takes what is queued, and says what came of it. A survey is kept in the object
store until every stage is done with the last segment of its span, and on disk for a run that goes on later.

A survey may take fields of the segments that show its frames, condensed. Those segments then go ahead of their turn, as
far as that: `next_ahead` says which, and `may_start` when the others can follow. Their fields are let go in between, so
that no more of a span is in memory than the budget allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from functools import partial
from typing import Any

from geoflow.engine.calls import Part
from geoflow.engine.checkpoint import Checkpoint
from geoflow.engine.graph import SURVEY, Graph
from geoflow.engine.outcome import outcome_of, still_there
from geoflow.engine.restoring import Restores
from geoflow.engine.spans import find_span
from geoflow.engine.state import SegmentRun, SpanRun, VideoRun
from geoflow.segments import Segment, Span


class Surveys:
    """The surveys of the videos in flight. `queue` has one computed; the others say what follows for a segment."""

    def __init__(
        self,
        graph: Graph,
        checkpoint: Checkpoint,
        restores: Restores,
        *,
        emit: Callable[..., None],
        queue: Callable[[SpanRun], None],
        settle: Callable[[int, SegmentRun], None],
        give_up: Callable[[int, SegmentRun, str], None],
        rewind: Callable[[VideoRun, str], None],
        disabled: Set[int],
    ) -> None:
        """`disabled` are the steps that cannot run at all, as they become known."""
        self._rewind, self._disabled = rewind, disabled
        self._graph, self._checkpoint, self._restores = graph, checkpoint, restores
        self._emit, self._queue, self._settle, self._give_up = emit, queue, settle, give_up

    def want(self, step: int, run: SegmentRun) -> None:
        """Give the segment the survey of its span: now where there is one, else as soon as there is."""
        survey = self._of(step, run.video, run.spans[step])
        if survey.failed:
            self._give_up(step, run, survey.failed)
            return
        if survey.result is not None and step in run.again and not still_there(survey.result.ref):
            survey.result = None
        if survey.result is not None:
            self._hand(survey, run)
            return
        run.restoring.add(step)
        survey.waiting.append(run)
        if not survey.pending:
            self._start(survey)

    def done(self, survey: SpanRun, result: Part, size: int, seconds: float, level: int) -> None:
        """It was computed or restored: pass it on to all that wait for it."""
        survey.pending, survey.result, survey.size = False, result, size
        survey.seconds, survey.level = seconds, level
        waiting, survey.waiting = survey.waiting, []
        for run in waiting:
            self._hand(survey, run)
        self._let_go(survey.video)

    def fail(self, survey: SpanRun, reason: str) -> None:
        """It failed for good: the segments of the span go on without the stage."""
        survey.pending, survey.failed = False, reason
        waiting, survey.waiting = survey.waiting, []
        for run in waiting:
            if run.live:
                self._give_up(survey.step, run, reason)
        self._let_go(survey.video)

    def skip(self, survey: SpanRun, skip: Callable[[int, SegmentRun], None]) -> None:
        """Its stage cannot run at all."""
        survey.pending = False
        waiting, survey.waiting = survey.waiting, []
        for run in waiting:
            if run.live:
                skip(survey.step, run)

    def finished(self, run: SegmentRun) -> None:
        """Every stage is done with the segment: let go of what no other one will ask for."""
        for step, span in run.spans.items():
            survey = run.video.surveys.get((step, span.index))
            if survey is None:  # nobody asked in this run: an earlier one may have left it
                survey = self._checkpoint.survey_of(step, run.video, span, self._disabled)
            if survey.all_finished:
                run.video.surveys.pop((step, span.index), None)
                self._checkpoint.survey_over(survey)

    # Condensed fields

    def may_start(self, video: VideoRun, segment: Segment) -> bool:
        """Return whether the surveys that the segment needs have all that they take, or are made already."""
        return all(survey.settled or survey.has_all_condensed for survey in self._condensing(video, segment.index))

    def next_ahead(self, video: VideoRun, segment: Segment) -> Segment | None:
        """Return the next segment to be condensed before `segment` starts; None if all are, or are about to be.

        When the first segment of a span has started, those of the next span come: they can be condensed during the
        survey.
        """
        stop = 0
        for survey in self._condensing(video, segment.index):
            following = survey if segment.index == survey.span.first else self._after(survey)
            stop = max(
                stop, *(one.shown_in.stop for one in (survey, following) if one is not None and not one.settled), 0
            )
        while True:
            if video.next_ahead is None:
                video.next_ahead = next(video.to_condense, None)
            if video.next_ahead is None or video.next_ahead.index >= stop:
                return None
            index = video.next_ahead.index
            if index not in video.open and any((n, index) not in video.condensed for n in self._graph.condensing):
                return video.next_ahead
            video.next_ahead = None

    def forget_lost(self, video: VideoRun) -> None:
        """Forget condensed fields that went down with a node."""
        for key, part in list(video.condensed.items()):
            if part is not None and not still_there(part.ref):
                del video.condensed[key]

    def _condensing(self, video: VideoRun, segment: int) -> Iterator[SpanRun]:
        """Yield the surveys of a segment that take condensed fields and can be made."""
        for step, spans in video.spans.items():
            if self._graph.steps[step].condensed is not None and step not in self._disabled:
                yield self._of(step, video, find_span(spans, segment))

    def _after(self, survey: SpanRun) -> SpanRun | None:
        spans, index = survey.video.spans[survey.step], survey.span.last + 1
        return (
            self._of(survey.step, survey.video, find_span(spans, index)) if index < survey.video.num_segments else None
        )

    def _let_go(self, video: VideoRun) -> None:
        """Drop the condensed fields that no survey to come takes."""
        for key in list(video.condensed):
            takers = [s for s in video.surveys.values() if s.condensed_by == key[0] and key[1] in s.shown_in]
            begun = any(s.span.first <= key[1] <= s.span.last for s in takers)
            if begun and not any(s.result is None and not s.failed for s in takers):
                del video.condensed[key]

    def _of(self, step: int, video: VideoRun, span: Span) -> SpanRun:
        found = video.surveys.get((step, span.index))
        if found is None:
            found = self._checkpoint.survey_of(step, video, span, self._disabled)
            video.surveys[step, span.index] = found
        return found

    def _start(self, survey: SpanRun) -> None:
        survey.pending = True
        saved = self._checkpoint.saved_survey(survey)
        if saved is not None:
            self._restores.add(saved, None, partial(self._restored, survey))
        elif survey.has_all_condensed:
            self._queue(survey)
        else:  # a saved result is damaged or lost: what it was made from has to be condensed once more
            survey.pending = survey.saved = False
            slot = self._graph.steps[survey.step].slot
            self._rewind(survey.video, f"the saved survey of {slot} on {survey.span} cannot be used")

    def _restored(self, survey: SpanRun, refs: list[Any], ref: Any) -> None:
        outcome = outcome_of(ref)
        if not survey.live:
            return
        if outcome.failure is not None:
            self._checkpoint.forget_survey(survey)
            self._start(survey)
            return
        self._emit(
            "stage_restored",
            video=survey.video.name,
            index=survey.span.first,
            slot=self._graph.steps[survey.step].slot,
            span=[survey.span.start, survey.span.stop],
            bytes=outcome.size,
        )
        self.done(survey, Part(refs[0]), outcome.size, outcome.value["work_seconds"], outcome.value["level"])

    def _hand(self, survey: SpanRun, run: SegmentRun) -> None:
        if not run.live or survey.step in run.settled:
            return
        step = survey.step
        run.restoring.discard(step)
        run.seconds[step] = survey.seconds / survey.span.num_segments
        if survey.level:
            run.levels[step] = survey.level
        assert survey.result is not None
        run.keep(step, {SURVEY: survey.result}, {SURVEY: survey.size}, self._graph)
        self._settle(step, run)
