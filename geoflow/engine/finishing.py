"""The end of a video: each ordered stage is called once more, to close what it wrote."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from geoflow.engine.fleet import Fleet
from geoflow.engine.flow import Flow
from geoflow.engine.graph import Graph
from geoflow.engine.outcome import outcome_of
from geoflow.engine.pool import Worker
from geoflow.engine.schedule import Kind
from geoflow.engine.state import VideoRun


class Finishes:
    """Videos whose segments are all done, on their way to `complete`."""

    def __init__(self, graph: Graph, fleet: Fleet, flow: Flow, *, max_attempts: int, emit: Callable[..., None]) -> None:
        self._graph, self._fleet, self._flow, self._emit = graph, fleet, flow, emit
        self._max_attempts = max_attempts
        self._waiting: list[VideoRun] = []
        self.running = 0

    def add(self, video: VideoRun) -> None:
        video.to_finish = [row.index for row in self._graph.nodes if row.ordered]
        self._go_on(video)

    def start(self) -> dict[Any, Callable[[Any], None]]:
        """Call those for which there is a worker; returns what to wait for and what to do then."""
        started: dict[Any, Callable[[Any], None]] = {}
        for video in self._waiting[:]:
            node = video.to_finish[0]
            if video.over:
                self._waiting.remove(video)
            elif (found := self._fleet.choose(node, 1)) is not None:
                worker, _ = found
                self._waiting.remove(video)
                self.running += 1
                records = sorted(video.records, key=lambda record: record.index)
                ref = worker.handle.finish.remote(video.info, records, video.state.get(node))
                started[ref] = partial(self._finished, video, worker, time.monotonic())
        return started

    def _go_on(self, video: VideoRun) -> None:
        if video.to_finish:
            self._waiting.append(video)
        else:
            self._flow.complete(video)

    def _finished(self, video: VideoRun, worker: Worker, submitted: float, ref: Any) -> None:
        outcome, node = outcome_of(ref), video.to_finish[0]
        call = {"video": video.name, "slot": self._graph.nodes[node].slot, "actor": worker.number}
        self.running -= 1
        if "error" in outcome:
            self._failed(video, node, worker, outcome["error"], call)
            return
        waited = max(0.0, time.monotonic() - submitted - outcome["seconds"])
        self._emit("finish_done", **call, waited=waited, began=outcome["began"], seconds=outcome["seconds"])
        video.result.update(outcome["result"])
        video.to_finish.pop(0)
        self._go_on(video)

    def _failed(self, video: VideoRun, node: int, worker: Worker, error: dict[str, Any], call: dict[str, Any]) -> None:
        if error["kind"] == Kind.SAVED:
            self._flow.saved_is_damaged(video, error["message"])
            return
        video.finish_attempts += 1
        self._emit("finish_failed", **call, kind=Kind(error["kind"]).value, message=error["message"])
        if error["kind"] == Kind.DIED and worker in self._fleet.pools[node].workers:
            self._fleet.died(node, worker)
        if error["kind"] == Kind.DIED and video.finish_attempts < self._max_attempts:
            self._waiting.append(video)
        else:
            self._flow.fail(video, error)
