"""Surveys of spans: each is computed once, by whichever segment asks first, and shared by all segments of the span.

Nothing here calls a worker: the executor takes what is queued, and says what came of it. A survey is kept in the object
store until every stage is done with the last segment of its span, and on disk for a run that goes on later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from geoflow.engine.calls import Part
from geoflow.engine.checkpoint import Checkpoint
from geoflow.engine.graph import SURVEY, Graph
from geoflow.engine.outcome import outcome_of, still_there
from geoflow.engine.restoring import Restores
from geoflow.engine.state import SegmentRun, SpanRun


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
    ) -> None:
        self._graph, self._checkpoint, self._restores = graph, checkpoint, restores
        self._emit, self._queue, self._settle, self._give_up = emit, queue, settle, give_up

    def want(self, step: int, run: SegmentRun) -> None:
        """Give the segment the survey of its span: now where there is one, else as soon as there is."""
        survey = self._of(step, run)
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

    def fail(self, survey: SpanRun, reason: str) -> None:
        """It failed for good: the segments of the span go on without the stage."""
        survey.pending, survey.failed = False, reason
        waiting, survey.waiting = survey.waiting, []
        for run in waiting:
            if run.live:
                self._give_up(survey.step, run, reason)

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
                survey = SpanRun(run.video, step, span, self._checkpoint.survey_key(step, span))
            if survey.all_finished:
                run.video.surveys.pop((step, span.index), None)
                self._checkpoint.survey_over(survey)

    def _of(self, step: int, run: SegmentRun) -> SpanRun:
        span = run.spans[step]
        found = run.video.surveys.get((step, span.index))
        if found is None:
            found = SpanRun(run.video, step, span, self._checkpoint.survey_key(step, span))
            run.video.surveys[step, span.index] = found
        return found

    def _start(self, survey: SpanRun) -> None:
        survey.pending = True
        saved = self._checkpoint.saved_survey(survey)
        if saved is None:
            self._queue(survey)
        else:
            self._restores.add(saved, None, partial(self._restored, survey))

    def _restored(self, survey: SpanRun, refs: list[Any], ref: Any) -> None:
        outcome = outcome_of(ref)
        if not survey.live:
            return
        if outcome.failure is not None:
            self._checkpoint.forget_survey(survey)
            self._queue(survey)
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
