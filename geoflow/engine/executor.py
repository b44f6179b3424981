"""The loop that talks to Ray. Every decision it takes is a function of `schedule.py`.

The driver waits on the small outcome of each call and passes the field refs on unread. A field is dropped when
its last consumer is done. Ordered stages are handed each video's segments one by one; what they carry from one
to the next is an object ref too, so a new actor can go on where a dead one stopped.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from geoflow.engine import environments, schedule
from geoflow.engine.graph import Graph
from geoflow.engine.intake import Intake, Limits
from geoflow.engine.metrics import Load
from geoflow.engine.outcome import outcome_of
from geoflow.engine.pool import Pool, Worker
from geoflow.engine.probing import Probe
from geoflow.engine.schedule import Kind, Verdict
from geoflow.engine.state import SegmentRun, VideoRun
from geoflow.errors import EnvironmentBroken
from geoflow.inputs import Input
from geoflow.pipeline import Pipeline
from geoflow.segments import VideoInfo

Emit = Callable[..., None]  # emit(event, **data)


@dataclass(eq=False)
class Call:
    """One submitted `process`."""

    node: int
    run: SegmentRun
    worker: Worker
    refs: list[Any]
    level: int
    submitted: float  # s since the epoch

    def told(self) -> dict[str, Any]:
        """What the ledger says of it, whatever came of it."""
        attempt = self.run.attempts[self.node]
        return {"actor": self.worker.number, "level": self.level, "attempt": attempt, "submitted": self.submitted}


class Executor:
    """Runs one pipeline over many inputs. Use once: `Executor(...).run(inputs)`."""

    def __init__(
        self,
        pipeline: Pipeline,
        probe: Probe,
        limits: Limits,
        *,
        cpus: float,
        gpus: float,
        emit: Emit,
        already_done: Callable[[VideoInfo], dict[str, Any] | None] = lambda info: None,
    ) -> None:
        self._pipeline, self._probe, self._limits = pipeline, probe, limits
        self._emit, self._already_done = emit, already_done
        self._stages = [spec.make_stage() for spec in pipeline.stages]
        self._graph = Graph.build([(s.slot, st, s.optional) for s, st in zip(pipeline.stages, self._stages)])
        self._pools = self._make_pools(cpus, gpus)
        self._downstream_first = sorted(self._graph.nodes, key=lambda node: -node.depth)
        self._disabled: dict[int, str] = {}  # node -> why it cannot run at all
        self._ready: list[list[tuple[Any, int, SegmentRun]]] = [[] for _ in self._graph.nodes]
        self._tick = itertools.count()  # breaks ties in the heaps
        self._pending: dict[Any, Callable[[Any], None]] = {}  # ref -> what to do once it is there
        self._videos: list[VideoRun] = []
        self._finishing: list[VideoRun] = []  # all segments done, a stage's `finish` still to be called

    @property
    def disabled(self) -> dict[str, str]:
        """Slots of optional stages that could not run, with the reason."""
        return {self._graph.nodes[node].slot: reason for node, reason in self._disabled.items()}

    def load(self) -> Load:
        """What waits and runs at this moment; another thread may ask."""
        if not hasattr(self, "_intake"):
            return Load()
        load = Load(*self._intake.in_flight)
        for row, ready, pool in zip(self._graph.nodes, self._ready, self._pools):
            calls = [len(worker.calls) for worker in tuple(pool.workers)]
            load.running[row.slot] = sum(count > 0 for count in calls)
            load.queued[row.slot] = len(ready) + sum(calls) - load.running[row.slot]
        return load

    def run(self, inputs: Sequence[Input]) -> list[VideoRun]:
        """Take every input to `complete`, `skipped` or `failed`; returns them in order.

        Raises EnvironmentBroken when a stage that is not optional cannot be started.
        """
        import ray

        self._videos = [VideoRun(order, item) for order, item in enumerate(inputs)]
        self._intake = Intake(
            self._videos,
            self._probe,
            self._graph,
            self._pipeline.segment,
            self._limits,
            already_done=self._already_done,
            emit=self._emit,
            fail=self._fail,
        )
        unfinished = len(self._videos)
        try:
            for node in range(len(self._pools)):
                self._start(node)
            while unfinished:
                self._pending.update(self._intake.probe_ahead())
                for run in self._intake.admit():
                    for row in self._graph.nodes:
                        self._offer(row.index, run)
                self._dispatch()
                done, _ = ray.wait(list(self._pending), num_returns=1, timeout=1.0, fetch_local=False)
                if done:  # whatever else has arrived by now is handled in the same turn
                    done, _ = ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0)
                for ref in done:
                    if (handle := self._pending.pop(ref, None)) is not None:
                        handle(ref)
                unfinished = sum(not video.over for video in self._videos)
            return self._videos
        finally:
            for pool in self._pools:
                pool.stop()

    # Pools

    def _make_pools(self, cpus: float, gpus: float) -> list[Pool]:
        specs = self._pipeline.stages
        needs = [
            schedule.PoolNeed(s.slot, s.num_cpus, s.num_gpus, s.weight, stage.ordered, s.actors)
            for s, stage in zip(specs, self._stages)
        ]
        sizes = schedule.size_pools(needs, cpus=cpus, gpus=gpus)
        return [Pool(s, sizes[s.slot], environments.load_runtime_env(s.env) if s.env else {}) for s in specs]

    def _start(self, node: int) -> None:
        for worker in self._pools[node].start():
            self._pending[worker.loading] = partial(self._loaded, node, worker)

    def _loaded(self, node: int, worker: Worker, ref: Any) -> None:
        outcome, pool = outcome_of(ref), self._pools[node]
        if "error" not in outcome:
            worker.loading = None
            self._emit("actor_ready", slot=pool.spec.slot, actor=worker.number, **outcome)
        elif isinstance(outcome["error"].get("exception"), Exception) and pool.spec.env:
            reason = environments.explain_failure(outcome["error"]["exception"], pool.spec.env)
            self._disable(node, {**outcome["error"], "message": reason})
        elif outcome["error"]["kind"] == Kind.DIED and pool.bury(worker):
            self._start(node)
        else:
            self._disable(node, outcome["error"])

    def _disable(self, node: int, error: dict[str, Any]) -> None:
        """A stage cannot run at all: go on without it where it is optional, else give the run up."""
        row = self._graph.nodes[node]
        if not row.optional:
            raise EnvironmentBroken(f"stage {row.slot!r} cannot start: {error['message']}")
        if node in self._disabled:
            return
        self._disabled[node] = error["message"]
        self._emit("stage_disabled", slot=row.slot, reason=error["message"])
        for _, _, run in self._ready[node]:
            self._skip(node, run)
        self._ready[node].clear()

    # Segments

    def _complete_segment(self, run: SegmentRun) -> None:
        video = run.video
        self._intake.leave(run)
        video.records.append(run.record())
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
            video.to_finish = [n.index for n in self._graph.nodes if n.ordered]
            self._finishing.append(video)

    # Work

    def _offer(self, node: int, run: SegmentRun) -> None:
        """Queue `node` for this segment if all it needs is there; go on without it if it never will be."""
        if run.video.over or not run.ready(node, self._graph):
            return
        lacking = run.lacks(node, self._graph)
        if node in self._disabled or (lacking and self._graph.nodes[node].optional):
            self._skip(node, run)
        elif lacking:
            slot = self._graph.nodes[node].slot
            self._fail(run.video, {"message": f"{slot} needs {', '.join(lacking)}, but the stage for it cannot run"})
        else:
            key = schedule.priority(run.video.order, run.segment.index, self._graph.nodes[node].depth)
            heapq.heappush(self._ready[node], (key, next(self._tick), run))

    def _dispatch(self) -> None:
        for video in [v for v in self._finishing if not v.over]:
            self._submit_finish(video)
        for row in self._downstream_first:
            heap, pool = self._ready[row.index], self._pools[row.index]
            while heap and (worker := pool.choose(backlog=len(heap))) is not None:
                _, _, run = heapq.heappop(heap)
                if not run.video.over:
                    self._submit(row.index, run, worker)

    def _submit(self, node: int, run: SegmentRun, worker: Worker) -> None:
        row, pool = self._graph.nodes[node], self._pools[node]
        names, arguments = run.arguments(node, self._graph)
        state = run.video.state.get(node) if row.ordered else None
        level = run.ladder.get(row.slot, 0)
        method = worker.handle.process.options(num_returns=pool.num_returns)
        refs = method.remote(run.segment, names, level, state, *arguments)
        call = Call(node, run, worker, refs if isinstance(refs, list) else [refs], level, time.time())
        worker.calls.append(call)
        run.attempts[node] = run.attempts.get(node, 0) + 1
        self._pending[call.refs[0]] = partial(self._returned, call)

    def _returned(self, call: Call, ref: Any) -> None:
        outcome, run, node = outcome_of(ref), call.run, call.node
        call.worker.calls.remove(call)
        if "error" in outcome and outcome["error"]["kind"] == Kind.DIED:
            self._died(node, call.worker)
        if run.video.over:
            return
        if "error" in outcome:
            self._failed(call, outcome)
            return
        row = self._graph.nodes[node]
        self._pools[node].succeeded()
        run.seconds[row.slot] = outcome["seconds"]
        if row.ordered:
            run.video.state[node] = call.refs[-1]
        run.keep(node, dict(zip(row.outputs, call.refs[1:])), outcome["bytes"], self._graph)
        facts = _plain(outcome) | call.told()
        self._emit("stage_done", video=run.video.name, index=run.segment.index, slot=row.slot, **facts)
        self._settle(node, run)

    def _settle(self, node: int, run: SegmentRun) -> None:
        """`node` is done with the segment, with or without a result: free, pass on, move the order forward."""
        run.settled.add(node)
        run.release(node, self._graph)
        for child in self._graph.children[node]:
            self._offer(child, run)
        if self._graph.nodes[node].ordered and not run.video.over:
            run.video.cursor[node] += 1
            if (following := run.video.open.get(run.video.cursor[node])) is not None:
                self._offer(node, following)
        if len(run.settled) == len(self._graph.nodes) and not run.video.over:
            self._complete_segment(run)

    def _skip(self, node: int, run: SegmentRun) -> None:
        run.absent.add(node)
        if node in self._disabled:
            run.notes.append(f"without {self._graph.nodes[node].slot}: it could not start")
        self._settle(node, run)

    def _submit_finish(self, video: VideoRun) -> None:
        """Call the next `finish` of the ordered stages; after the last one the video is complete."""
        node = video.to_finish[0]
        worker = self._pools[node].choose(backlog=1)
        if worker is None:
            return
        self._finishing.remove(video)
        records = sorted(video.records, key=lambda record: record.index)
        ref = worker.handle.finish.remote(video.info, records, video.state.get(node))
        self._pending[ref] = partial(self._finished, video, worker, time.time())

    def _finished(self, video: VideoRun, worker: Worker, submitted: float, ref: Any) -> None:
        outcome, node = outcome_of(ref), video.to_finish[0]
        call = {"video": video.name, "slot": self._graph.nodes[node].slot, "actor": worker.number}
        if "error" in outcome:
            error = outcome["error"]
            video.finish_attempts += 1
            self._emit("finish_failed", **call, kind=Kind(error["kind"]).value, message=error["message"])
            if error["kind"] == Kind.DIED:
                self._died(node, worker)
            if error["kind"] == Kind.DIED and video.finish_attempts < self._limits.max_attempts:
                self._finishing.append(video)
            else:
                self._fail(video, error)
            return
        self._emit("finish_done", **call, submitted=submitted, began=outcome["began"], seconds=outcome["seconds"])
        video.result.update(outcome["result"])
        video.to_finish.pop(0)
        if video.to_finish:
            self._finishing.append(video)
        else:
            video.status, video.ended, video.state, video.probed = "complete", time.time(), {}, {}
            self._emit("video_complete", video=video.name, seconds=video.ended - video.began, **video.result)

    # Trouble

    def _failed(self, call: Call, outcome: dict[str, Any]) -> None:
        error, run, row = outcome["error"], call.run, self._graph.nodes[call.node]
        verdict = schedule.judge(
            Kind(error["kind"]),
            attempts=run.attempts[call.node],
            max_attempts=self._limits.max_attempts,
            level=call.level,
            rungs=len(self._stages[call.node].ladder),
            optional=row.optional,
        )
        self._emit(
            "stage_failed",
            video=run.video.name,
            index=run.segment.index,
            slot=row.slot,
            verdict=verdict.value,
            kind=Kind(error["kind"]).value,
            **call.told(),
            **{key: outcome[key] for key in ("began", "seconds") if key in outcome},  # absent when the actor died
            message=error["message"],
            traceback=error.get("traceback", ""),
        )
        if verdict is Verdict.FAIL:
            where = "" if error["kind"] == Kind.INPUT else f"{row.slot} failed on {run.segment}: "
            self._fail(run.video, {**error, "message": where + error["message"]})
        elif verdict is Verdict.SKIP:
            run.notes.append(f"without {row.slot}: {error['message']}")
            self._skip(call.node, run)
        else:
            if verdict is Verdict.CHEAPER:
                run.ladder[row.slot] = call.level + 1
                run.attempts[call.node] = 0
            self._offer(call.node, run)

    def _died(self, node: int, worker: Worker) -> None:
        """Replace a dead actor, once; the calls that were queued on it come back here one by one."""
        pool = self._pools[node]
        if worker not in pool.workers:
            return
        for waiting in list(worker.calls):  # they never ran, so this attempt does not count against them
            waiting.run.attempts[node] -= 1
        slot = pool.spec.slot
        self._emit("actor_died", slot=slot, actor=worker.number)
        if pool.bury(worker):
            self._start(node)
        elif not pool.workers:
            self._disable(node, {"message": f"its actors keep dying ({pool.max_replacements + 1} in a row)"})

    def _fail(self, video: VideoRun, error: dict[str, Any]) -> None:
        """The video ends as failed; what still runs for it is ignored when it comes back."""
        video.status, video.reason, video.ended = "failed", error["message"], time.time()
        self._emit("video_failed", video=video.name, reason=video.reason, traceback=error.get("traceback", ""))
        for run in list(video.open.values()):
            self._intake.leave(run)
        video.probed, video.state = {}, {}
        if self._limits.fail_fast:
            for other in self._videos:
                if not other.over:
                    self._fail_quietly(other)

    def _fail_quietly(self, video: VideoRun) -> None:
        video.status, video.reason, video.ended = "failed", "not finished: another input failed first", time.time()
        self._emit("video_failed", video=video.name, reason=video.reason, traceback="")


def _plain(outcome: dict[str, Any]) -> dict[str, Any]:
    return {key: outcome[key] for key in ("began", "seconds", "cpu_seconds")} | {
        "bytes": sum(outcome["bytes"].values())
    }
