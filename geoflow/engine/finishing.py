"""The end of a video: each ordered stage that asks for it is called once more, to close what it wrote."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from geoflow.engine.calls import Call
from geoflow.engine.fleet import Fleet
from geoflow.engine.flow import Flow
from geoflow.engine.gpu.tokens import Lane
from geoflow.engine.graph import Graph
from geoflow.engine.mailbox import Mailbox
from geoflow.engine.outcome import Failure, outcome_of
from geoflow.engine.pool import Worker
from geoflow.engine.schedule import Kind
from geoflow.engine.state import VideoRun


class Finishes:
    """Videos whose segments are all done, on their way to `complete`."""

    def __init__(
        self, graph: Graph, fleet: Fleet, flow: Flow, mailbox: Mailbox, *, max_attempts: int, emit: Callable[..., None]
    ) -> None:
        self._graph, self._fleet, self._flow, self._emit = graph, fleet, flow, emit
        self._mailbox, self._max_attempts = mailbox, max_attempts
        self._waiting: list[VideoRun] = []
        self._longest: dict[int, float] = {}  # step -> s, of its calls so far
        self.running = 0

    def add(self, video: VideoRun) -> None:
        video.to_finish = [row.index for row in self._graph.steps if row.finishes]
        self._go_on(video)

    def start(self) -> None:
        """Call those for which there is a worker."""
        for video in self._waiting[:]:
            step = video.to_finish[0]
            if video.over:
                self._waiting.remove(video)
            elif (found := self._fleet.choose(self._graph.steps[step].stage, 1)) is not None:
                self._waiting.remove(video)
                self.running += 1
                call = self._submit(video, step, *found)
                self._mailbox.on(call.refs[0], partial(self._finished, video, call))

    def _submit(self, video: VideoRun, step: int, worker: Worker, lane: Lane | None) -> Call:
        """It is watched as any other call is: one that hangs comes back as died."""
        slot, stage = self._graph.steps[step].slot, self._graph.steps[step].stage
        records = sorted(video.records, key=lambda record: record.index)
        # To close what it wrote should take a stage no longer than to write it.
        longest = max(self._longest.get(step, 0.0), sum(record.seconds.get(slot, 0.0) for record in records))
        call = Call(step, stage, [], worker, [], lane, submitted=time.monotonic(), longest=longest)
        call.refs = [
            worker.handle.finish.remote(
                video.info, records, lane, video.state.get(step), video.meshes, video.without_mesh
            )
        ]
        self._fleet.take(call)
        return call

    def _go_on(self, video: VideoRun) -> None:
        if video.to_finish:
            self._waiting.append(video)
        else:
            self._flow.complete(video)

    def _finished(self, video: VideoRun, call: Call, ref: Any) -> None:
        outcome, step = outcome_of(ref), call.step
        facts = {"video": video.name, "slot": self._graph.steps[step].slot, "actor": call.worker.number}
        self.running -= 1
        if outcome.failure is not None:
            self._failed(video, call, outcome.failure, facts)
            return
        self._fleet.give(call)
        self._longest[step] = max(self._longest.get(step, 0.0), outcome.seconds)
        self._emit("finish_done", **facts, waited=call.waited, began=outcome.began, seconds=outcome.seconds)
        video.result.update(outcome.value)
        video.to_finish.pop(0)
        self._go_on(video)

    def _failed(self, video: VideoRun, call: Call, failure: Failure, facts: dict[str, Any]) -> None:
        kind = failure.kind
        if kind is Kind.DIED and call.worker in self._fleet.pools[call.stage].workers:
            self._fleet.bury(call)
        self._fleet.give(call)
        if kind is Kind.CANCELLED:  # the run is being stopped
            self._waiting.append(video)
            return
        if kind is Kind.SAVED:
            self._flow.saved_is_damaged(video, failure.message)
            return
        video.finish_attempts += call.began
        message = call.why_died(failure.message)
        self._emit("finish_failed", **facts, kind=kind.value, message=message)
        if kind is Kind.DIED and video.finish_attempts < self._max_attempts:
            self._waiting.append(video)
        else:
            self._flow.fail(video, f"{facts['slot']} failed to finish it: {message}", failure.traceback)
