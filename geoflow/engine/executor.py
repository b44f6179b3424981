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
from geoflow.engine.checkpoint import Checkpoint
from geoflow.engine.graph import Graph
from geoflow.engine.intake import Intake, Limits
from geoflow.engine.outcome import outcome_of
from geoflow.engine.pool import Pool, Worker
from geoflow.engine.probing import Probe
from geoflow.engine.restoring import Restores
from geoflow.engine.resume import Action
from geoflow.engine.schedule import Kind, Verdict
from geoflow.engine.state import SegmentRun, VideoRun
from geoflow.engine.stopping import Stop
from geoflow.errors import EnvironmentBroken
from geoflow.inputs import Input
from geoflow.pipeline import Pipeline
from geoflow.segments import VideoInfo
from geoflow.store.paths import RunPaths

Emit = Callable[..., None]  # emit(event, **data)


@dataclass(eq=False)
class Call:
    """One submitted `process`."""

    node: int
    run: SegmentRun
    worker: Worker
    refs: list[Any]
    level: int


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
        paths: RunPaths | None = None,
        reading: str = "",
        resume: bool = True,
        stop: Stop | None = None,
    ) -> None:
        """`paths`: where finished work is kept, so that a stopped run can be resumed; `reading`: how videos are read,
        which is part of what identifies that work."""
        self._pipeline, self._probe, self._limits = pipeline, probe, limits
        self._emit, self._already_done = emit, already_done
        self._stages = [spec.make_stage() for spec in pipeline.stages]
        self._graph = Graph.build([(s.slot, st, s.optional) for s, st in zip(pipeline.stages, self._stages)])
        self._checkpoint = Checkpoint(self._graph, pipeline, paths, emit=emit, reading=reading, resume=resume)
        self._restores, self._stop = Restores(), stop or Stop()
        self._pools = self._make_pools(cpus, gpus)
        self._downstream_first = sorted(self._graph.nodes, key=lambda node: -node.depth)
        self._disabled: dict[int, str] = {}  # node -> why it cannot run at all
        self._ready: list[list[tuple[Any, int, SegmentRun]]] = [[] for _ in self._graph.nodes]
        self._tick = itertools.count()  # breaks ties in the heaps
        self._pending: dict[Any, Callable[[Any], None]] = {}  # ref -> what to do once it is there
        self._videos: list[VideoRun] = []
        self._finishing: list[VideoRun] = []  # all segments done, a stage's `finish` still to be called
        self._finishes_running = 0
        self._stopping = False

    @property
    def disabled(self) -> dict[str, str]:
        """Slots of optional stages that could not run, with the reason."""
        return {self._graph.nodes[node].slot: reason for node, reason in self._disabled.items()}

    def run(self, inputs: Sequence[Input]) -> list[VideoRun]:
        """Take every input to `complete`, `skipped` or `failed`; returns them in order.

        Raises EnvironmentBroken when a stage that is not optional cannot be started, KeyboardInterrupt when the run
        was asked to stop.
        """
        import ray

        self._videos = [VideoRun(order, item) for order, item in enumerate(inputs)]
        self._intake = Intake(
            self._videos,
            self._probe,
            self._graph,
            self._limits,
            already_done=self._done_before,
            begin=self._begin,
            emit=self._emit,
            fail=self._fail,
        )
        unfinished = len(self._videos)
        try:
            for node in range(len(self._pools)):
                self._start(node)
            while unfinished:
                if self._stop.asked and self._wound_down():
                    self._emit("run_stopped", unfinished=unfinished)
                    raise KeyboardInterrupt
                if not self._stopping:
                    self._pending.update(self._intake.probe_ahead())
                    for run in self._intake.admit():
                        self._start_segment(run)
                    self._pending.update(self._restores.start())
                self._dispatch()
                if self._stopping and not self._pending:
                    continue
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
            self._emit("actor_ready", slot=pool.spec.slot, seconds=outcome["seconds"], pid=outcome["pid"])
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

    def _done_before(self, info: VideoInfo) -> dict[str, Any] | None:
        if (result := self._already_done(info)) is not None:
            self._checkpoint.over(info.name)  # the run that made it may have been killed before it cleaned up
        return result

    def _begin(self, video: VideoRun) -> bool:
        """Settle where a video goes on after an earlier run; False while a stage's start must be awaited for that."""
        idle = {n for n, pool in enumerate(self._pools) if all(w.loading is not None for w in pool.workers)}
        if not self._checkpoint.begin(video, disabled=self._disabled.keys(), undecided=idle - self._disabled.keys()):
            return False
        assert video.info is not None
        video.planned = True
        segments, finished = video.num_segments, len(video.records)
        if not video.began:
            video.began = time.time()
            frames = video.info.num_frames
            self._emit("video_planned", video=video.name, frames=frames, segments=segments, finished=finished)
        if finished == segments:
            self._finish_later(video)
        return True

    def _start_segment(self, run: SegmentRun) -> None:
        self._checkpoint.plan(run, self._disabled.keys())
        for row in self._graph.nodes:
            if run.live and run.actions[row.index] is Action.RESTORE and not row.ordered:
                self._restore(row.index, run)
            else:
                self._offer(row.index, run)

    def _restore(self, node: int, run: SegmentRun) -> None:
        run.restoring.add(node)
        saved = self._checkpoint.saved(node, run)
        self._restores.add(saved, self._graph.nodes[node].outputs, partial(self._restored, node, run))

    def _restored(self, node: int, run: SegmentRun, refs: list[Any], ref: Any) -> None:
        outcome, row, video = outcome_of(ref), self._graph.nodes[node], run.video
        if not run.live:
            return
        if "error" in outcome:
            self._checkpoint.forget(node, run)
            self._rewind(video, outcome["error"]["message"])
            return
        run.seconds[row.slot] = outcome["work_seconds"]
        if outcome["level"]:
            run.ladder[row.slot] = outcome["level"]
        if row.ordered:
            video.state[node] = refs[-1]
        run.keep(node, dict(zip(row.outputs, refs)), outcome["bytes"], self._graph)
        size = sum(outcome["bytes"].values())
        self._emit("stage_restored", video=video.name, index=run.segment.index, slot=row.slot, bytes=size)
        self._settle(node, run)

    def _rewind(self, video: VideoRun, reason: str) -> None:
        """What was to be restored does not hold: plan the video anew from what is on disk."""
        self._intake.rewind(video)
        self._checkpoint.rewind(video)
        self._emit("video_rewound", video=video.name, reason=reason)

    def _complete_segment(self, run: SegmentRun) -> None:
        video = run.video
        self._intake.leave(run)
        video.records.append(record := run.record())
        self._checkpoint.finished(run, record, self._disabled.keys())
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
            self._finish_later(video)

    def _finish_later(self, video: VideoRun) -> None:
        video.to_finish = [n.index for n in self._graph.nodes if n.ordered]
        self._finishing.append(video)

    # Work

    def _offer(self, node: int, run: SegmentRun) -> None:
        """Queue `node` for this segment if all it needs is there; go on without it if it never will be."""
        if not run.live or not run.ready(node, self._graph):
            return
        if not self._checkpoint.set_key(node, run):
            self._rewind(run.video, f"{run.segment} is not what it was: a stage failed that did not fail before")
            return
        if run.actions[node] is Action.RESTORE:
            self._restore(node, run)
            return
        lacking = run.lacks(node, self._graph)
        if node in self._disabled or node in run.given_up or (lacking and self._graph.nodes[node].optional):
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
            if self._stopping and not row.ordered:
                continue
            heap, pool = self._ready[row.index], self._pools[row.index]
            while heap and (worker := pool.choose(backlog=len(heap))) is not None:
                _, _, run = heapq.heappop(heap)
                if run.live:
                    self._submit(row.index, run, worker)

    def _submit(self, node: int, run: SegmentRun, worker: Worker) -> None:
        row, pool = self._graph.nodes[node], self._pools[node]
        names, arguments = run.arguments(node, self._graph)
        state = run.video.state.get(node) if row.ordered else None
        level = run.ladder.get(row.slot, 0)
        method = worker.handle.process.options(num_returns=pool.num_returns)
        refs = method.remote(run.segment, names, level, state, self._checkpoint.save_to(node, run), *arguments)
        call = Call(node, run, worker, refs if isinstance(refs, list) else [refs], level)
        worker.calls.append(call)
        run.attempts[node] = run.attempts.get(node, 0) + 1
        self._pending[call.refs[0]] = partial(self._returned, call)

    def _returned(self, call: Call, ref: Any) -> None:
        outcome, run, node = outcome_of(ref), call.run, call.node
        call.worker.calls.remove(call)
        if "error" in outcome and outcome["error"]["kind"] == Kind.CANCELLED:
            return
        if "error" in outcome and outcome["error"]["kind"] == Kind.DIED:
            self._died(node, call.worker)
        if not run.live:
            return
        if "error" in outcome:
            self._failed(call, outcome["error"])
            return
        row = self._graph.nodes[node]
        self._pools[node].succeeded()
        run.seconds[row.slot] = outcome["seconds"]
        if row.ordered:
            run.video.state[node] = call.refs[-1]
        run.keep(node, dict(zip(row.outputs, call.refs[1:])), outcome["bytes"], self._graph)
        self._emit("stage_done", video=run.video.name, index=run.segment.index, slot=row.slot, **_plain(outcome))
        if "unsaved" in outcome:
            self._checkpoint.unsaved(row.slot, outcome["unsaved"])
        self._settle(node, run)

    def _settle(self, node: int, run: SegmentRun) -> None:
        """`node` is done with the segment, with or without a result: free, pass on, move the order forward."""
        if not run.live:
            return
        run.settled.add(node)
        run.release(node, self._graph)
        for child in self._graph.children[node]:
            self._offer(child, run)
        if self._graph.nodes[node].ordered and not run.video.over:
            run.video.cursor[node] += 1
            run.video.chain.pop(node, None)
            if node in run.keys:
                run.video.chain[node] = run.keys[node]
            if (following := run.video.open.get(run.video.cursor[node])) is not None:
                self._offer(node, following)
        if len(run.settled) == len(self._graph.nodes) and not run.video.over:
            self._complete_segment(run)

    def _skip(self, node: int, run: SegmentRun) -> None:
        run.absent.add(node)
        run.keys.pop(node, None)
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
        self._finishes_running += 1
        records = sorted(video.records, key=lambda record: record.index)
        ref = worker.handle.finish.remote(video.info, records, video.state.get(node))
        self._pending[ref] = partial(self._finished, video, worker)

    def _finished(self, video: VideoRun, worker: Worker, ref: Any) -> None:
        outcome, node = outcome_of(ref), video.to_finish[0]
        self._finishes_running -= 1
        if "error" in outcome and outcome["error"]["kind"] == Kind.SAVED:
            self._checkpoint.forget_states(video)
            self._rewind(video, outcome["error"]["message"])
            return
        if "error" in outcome:
            error = outcome["error"]
            video.finish_attempts += 1
            if error["kind"] == Kind.DIED:
                self._died(node, worker)
            if error["kind"] == Kind.DIED and video.finish_attempts < self._limits.max_attempts:
                self._finishing.append(video)
            else:
                self._fail(video, error)
            return
        video.result.update(outcome["result"])
        video.to_finish.pop(0)
        if video.to_finish:
            self._finishing.append(video)
        else:
            video.status, video.ended, video.state, video.probed = "complete", time.time(), {}, {}
            self._checkpoint.over(video.name)
            self._emit("video_complete", video=video.name, seconds=video.ended - video.began, **video.result)

    # Trouble

    def _wound_down(self) -> bool:
        """Asked to stop: start nothing new but ordered stages, which put on disk what is whole. True when nothing
        whose result would be kept runs any more, or time is up."""
        import ray

        calls = [call for pool in self._pools for worker in pool.workers for call in worker.calls]
        if not self._stopping:
            self._stopping = True
            self._emit("run_stopping", running=sum(call.worker.calls[0] is call for call in calls))
            for call in calls:
                if call.worker.calls[0] is not call:  # queued behind another; one that has begun is not hurt by this
                    ray.cancel(call.refs[0])
            return False  # what is ready may still be dispatched
        worth = any(self._checkpoint.save_to(call.node, call.run) for call in calls if call.run.live)
        return self._stop.overdue or not (worth or self._finishes_running)

    def _failed(self, call: Call, error: dict[str, Any]) -> None:
        run, row = call.run, self._graph.nodes[call.node]
        if error["kind"] == Kind.SAVED:
            self._checkpoint.forget_states(run.video)
            self._rewind(run.video, error["message"])
            return
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
            attempt=run.attempts[call.node],
            message=error["message"],
            traceback=error.get("traceback", ""),
        )
        if verdict is Verdict.FAIL:
            where = "" if error["kind"] == Kind.INPUT else f"{row.slot} failed on {run.segment}: "
            self._fail(run.video, {**error, "message": where + error["message"]})
        elif verdict is Verdict.SKIP:
            run.notes.append(note := f"without {row.slot}: {error['message']}")
            run.video.given_up.setdefault(run.segment.index, {})[call.node] = note
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
        self._emit("actor_died", slot=slot)
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
    kept = ("began", "seconds", "cpu_seconds", "pid", "saved_bytes", "save_seconds")
    return {key: outcome[key] for key in kept if key in outcome} | {"bytes": sum(outcome["bytes"].values())}
