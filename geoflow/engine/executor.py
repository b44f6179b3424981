"""The loop that talks to Ray. Every decision it takes is a function of `schedule.py` or `allocation.py`.

The driver waits on the small outcome of each call and passes the field refs on unread. A field is dropped when
its last consumer is done. Ordered stages are handed each video's segments one by one; what they carry from one
to the next is an object ref too, so a new actor can go on where a dead one stopped.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from geoflow.engine import schedule
from geoflow.engine.calls import Call, Part, make_jobs
from geoflow.engine.checkpoint import Checkpoint
from geoflow.engine.fleet import Fleet, Handlers
from geoflow.engine.graph import Graph
from geoflow.engine.intake import Intake, Limits
from geoflow.engine.metrics import Load
from geoflow.engine.outcome import outcome_of, still_there
from geoflow.engine.pool import Worker
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

_MAX_LOSSES = 3  # times a video may lose what it carries before it is given up


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
        self._handlers: Handlers = {}
        self._fleet = Fleet(
            pipeline,
            self._stages,
            cpus=cpus,
            gpus=gpus,
            least_deadline=limits.least_deadline,
            handlers=self._handlers,
            emit=emit,
            disable=self._disable,
        )
        self._disabled: dict[int, str] = {}  # node -> why it cannot run at all
        self._ready: list[list[tuple[Any, int, SegmentRun]]] = [[] for _ in self._graph.nodes]
        self._tick = itertools.count()  # breaks ties in the heaps
        self._videos: list[VideoRun] = []
        self._finishing: list[VideoRun] = []  # all segments done, a stage's `finish` still to be called
        self._finishes_running = 0
        self._stopping = False

    @property
    def disabled(self) -> dict[str, str]:
        """Slots of optional stages that could not run, with the reason."""
        return {self._graph.nodes[node].slot: reason for node, reason in self._disabled.items()}

    def load(self) -> Load:
        """What waits and runs at this moment; another thread may ask."""
        if not hasattr(self, "_intake"):
            return Load()
        load = Load(*self._intake.in_flight)
        for row, ready in zip(self._graph.nodes, self._ready):
            load.running[row.slot], queued = self._fleet.load(row.index)
            load.queued[row.slot] = len(ready) + queued
        return load

    def run(self, inputs: Sequence[Input]) -> list[VideoRun]:
        """Take every input to `complete`, `skipped` or `failed`; returns them in order.

        Raises EnvironmentBroken when a stage that is not optional cannot be started, KeyboardInterrupt when the run
        was asked to stop.
        """

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
        try:
            self._fleet.start()
            while not all(video.over for video in self._videos):
                if self._stop.asked and self._wound_down():
                    raise KeyboardInterrupt
                if not self._stopping:
                    self._take_in()
                self._dispatch()
                self._await()
                self._fleet.tick(self._has_work_left, self._segments_left)
            return self._videos
        finally:
            self._fleet.stop()

    def _take_in(self) -> None:
        self._handlers.update(self._intake.probe_ahead())
        for run in self._intake.admit():
            self._start_segment(run)
        self._handlers.update(self._restores.start())

    def _await(self) -> None:
        """Sleep until something has come back, then handle all that has."""
        import ray

        if not (refs := list(self._handlers)):
            return
        done, _ = ray.wait(refs, num_returns=1, timeout=self._fleet.next_due(), fetch_local=False)
        if done and len(refs) > 1:  # whatever else has arrived by now is handled in the same turn
            done, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
        for ref in done:
            if (handle := self._handlers.pop(ref, None)) is not None:
                handle(ref)

    def _has_work_left(self, node: int) -> bool:
        if not self._intake.exhausted:
            return True
        return any(node not in run.settled for video in self._videos for run in video.open.values())

    def _segments_left(self) -> int:
        return sum(video.num_segments - len(video.records) for video in self._videos if not video.over)

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
        undecided = self._fleet.not_up() - self._disabled.keys()
        if not self._checkpoint.begin(video, disabled=self._disabled.keys(), undecided=undecided):
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
        if row.ordered and node not in run.again:
            video.state[node] = refs[-1]
        run.keep(node, {name: Part(ref) for name, ref in zip(row.outputs, refs)}, outcome["bytes"], self._graph)
        size = sum(outcome["bytes"].values())
        self._emit("stage_restored", video=video.name, index=run.segment.index, slot=row.slot, bytes=size)
        self._settle(node, run)

    def _rewind(self, video: VideoRun, reason: str) -> None:
        """What was to be restored, or was carried along, does not hold: plan the video anew from what is on disk."""
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
        if video.to_finish:
            self._finishing.append(video)
        else:
            self._complete(video)

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
        full: set[int] = set()  # nodes with work but no worker for it
        while True:
            waiting = [r for r in self._graph.nodes if self._ready[r.index] and (r.ordered or not self._stopping)]
            able = [row for row in waiting if row.index not in full]
            if not able:
                return
            node = min(able, key=lambda row: self._urgency(row.index)).index
            slots = frozenset(row.slot for row in waiting)
            heap = self._ready[node]
            worker = self._fleet.choose(node, len(heap), heap[0][2].home, slots)
            if worker is None:
                full.add(node)
            elif runs := self._take_runs(node):
                self._submit(node, runs, worker)

    def _urgency(self, node: int) -> tuple[float, int]:
        row = self._graph.nodes[node]
        below = [len(self._ready[c]) / max(1, len(self._fleet.pools[c].workers)) for c in self._graph.children[node]]
        return schedule.urgency(row.depth, below)

    def _take_runs(self, node: int) -> list[SegmentRun]:
        """The next segment for a node, or several tiny ones to go together."""
        heap, pool = self._ready[node], self._fleet.pools[node]
        size = 1
        if pool.coalesces:
            size = schedule.batch_size(pool.service.mean, len(heap), len(pool.workers))
        runs: list[SegmentRun] = []
        while heap and len(runs) < size:
            run = heap[0][2]
            if runs and run.attempts.get(node):  # what failed before goes alone
                break
            heapq.heappop(heap)
            if run.live:
                runs.append(run)
                if run.attempts.get(node):
                    break
        return runs

    def _submit(self, node: int, runs: list[SegmentRun], worker: Worker) -> None:
        row, pool = self._graph.nodes[node], self._fleet.pools[node]
        levels = [run.ladder.get(row.slot, 0) for run in runs]
        jobs, objects = make_jobs(
            [
                (run.segment, run.arguments(node, self._graph), level, self._checkpoint.save_to(node, run))
                for run, level in zip(runs, levels)
            ]
        )
        state = self._state_for(node, runs[0]) if row.ordered else None
        refs = worker.handle.process.options(num_returns=pool.num_returns).remote(jobs, state, *objects)
        call = Call(node, runs, worker, levels, refs if isinstance(refs, list) else [refs], time.time())
        self._fleet.take(call)
        for run in runs:
            run.attempts[node] = run.attempts.get(node, 0) + 1
        self._handlers[call.refs[0]] = partial(self._returned, call)

    def _state_for(self, node: int, run: SegmentRun) -> Any:
        if node not in run.again:
            run.before[node] = run.video.state.get(node)
        return run.before[node]

    def _returned(self, call: Call, ref: Any) -> None:
        answer = outcome_of(ref)
        died = isinstance(answer, dict) and answer["error"]["kind"] == Kind.DIED
        first_of_dead = died and call.worker in self._fleet.pools[call.node].workers
        if first_of_dead:
            self._bury(call)
        self._fleet.give(call)
        if isinstance(answer, dict) and answer["error"]["kind"] == Kind.CANCELLED:
            return
        for i, run in enumerate(call.runs):
            outcome = answer if isinstance(answer, dict) else answer[i]
            if not run.live:
                continue
            if "error" in outcome:
                self._failed(call, i, outcome)
            else:
                self._succeeded(call, i, outcome)

    def _succeeded(self, call: Call, i: int, outcome: dict[str, Any]) -> None:
        run, row = call.runs[i], self._graph.nodes[call.node]
        self._fleet.finished(call, outcome["seconds"])
        run.seconds[row.slot] = outcome["seconds"]
        run.home = call.worker.node
        if row.ordered and row.index not in run.again:
            run.video.state[row.index] = call.refs[-1]
        run.keep(row.index, call.outputs(i, row.outputs), outcome["bytes"], self._graph)
        facts = _plain(outcome) | call.told(i)
        self._emit("stage_done", video=run.video.name, index=run.segment.index, slot=row.slot, **facts)
        if "unsaved" in outcome:
            self._checkpoint.unsaved(row.slot, outcome["unsaved"])
        self._settle(row.index, run)

    def _settle(self, node: int, run: SegmentRun) -> None:
        """`node` is done with the segment, with or without a result: free, pass on, move the order forward."""
        if not run.live:
            return
        run.settled.add(node)
        run.release(node, self._graph)
        for child in self._graph.children[node]:
            self._offer(child, run)
        if node in run.again:
            run.again.discard(node)
        elif self._graph.nodes[node].ordered and not run.video.over:
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
        worker = self._fleet.choose(node, 1, "", frozenset())
        if worker is None:
            return
        self._finishing.remove(video)
        self._finishes_running += 1
        records = sorted(video.records, key=lambda record: record.index)
        ref = worker.handle.finish.remote(video.info, records, video.state.get(node))
        self._handlers[ref] = partial(self._finished, video, worker, time.time())

    def _finished(self, video: VideoRun, worker: Worker, submitted: float, ref: Any) -> None:
        outcome, node = outcome_of(ref), video.to_finish[0]
        call = {"video": video.name, "slot": self._graph.nodes[node].slot, "actor": worker.number}
        self._finishes_running -= 1
        if "error" in outcome and outcome["error"]["kind"] == Kind.SAVED:
            self._checkpoint.forget_states(video)
            self._rewind(video, outcome["error"]["message"])
            return
        if "error" in outcome:
            error = outcome["error"]
            video.finish_attempts += 1
            self._emit("finish_failed", **call, kind=Kind(error["kind"]).value, message=error["message"])
            if error["kind"] == Kind.DIED and worker in self._fleet.pools[node].workers:
                self._fleet.died(node, worker)
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
            self._complete(video)

    def _complete(self, video: VideoRun) -> None:
        video.status, video.ended, video.state, video.probed = "complete", time.time(), {}, {}
        self._checkpoint.over(video.name)
        self._emit("video_complete", video=video.name, seconds=video.ended - video.began, **video.result)

    # Trouble

    def _wound_down(self) -> bool:
        """Asked to stop: start nothing new but ordered stages, which put on disk what is whole. True when nothing
        whose result would be kept runs any more, or time is up."""
        import ray

        calls = [call for pool in self._fleet.pools for worker in pool.workers for call in worker.calls]
        if not self._stopping:
            self._stopping = True
            self._emit("run_stopping", running=sum(call.worker.calls[0] is call for call in calls))
            for call in calls:
                if call.worker.calls[0] is not call:  # queued behind another; one that has begun is not hurt by this
                    ray.cancel(call.refs[0])
            return False  # what is ready may still be dispatched
        runs = [(call.node, run) for call in calls for run in call.runs if run.live]
        worth = any(self._checkpoint.save_to(node, run) for node, run in runs)
        return self._stop.overdue or not (worth or self._finishes_running)

    def _failed(self, call: Call, i: int, outcome: dict[str, Any]) -> None:
        error, run, row = outcome["error"], call.runs[i], self._graph.nodes[call.node]
        if error["kind"] == Kind.SAVED:
            self._checkpoint.forget_states(run.video)
            self._rewind(run.video, error["message"])
            return
        verdict = schedule.judge(
            Kind(error["kind"]),
            attempts=run.attempts[call.node],
            max_attempts=self._limits.max_attempts,
            level=call.levels[i],
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
            **call.told(i),
            **{key: outcome[key] for key in ("began", "seconds") if key in outcome},  # absent when the actor died
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
        elif verdict is Verdict.RECOVER:
            self._recover(call.node, run)
        else:
            if verdict is Verdict.CHEAPER:
                run.ladder[row.slot] = call.levels[i] + 1
                run.attempts[call.node] = 0
            self._offer(call.node, run)

    def _bury(self, call: Call) -> None:
        """The worker of a call is dead: replace it. The calls queued behind it come back here one by one."""
        for waiting in list(call.worker.calls):
            if waiting is not call:  # they never ran, so this attempt does not count against them
                for run in waiting.runs:
                    run.attempts[call.node] -= 1
        self._fleet.died(call.node, call.worker)

    def _recover(self, node: int, run: SegmentRun) -> None:
        """Fields went down with a node: compute them again from the nearest ones that survive."""
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
                self._offer(n, run)

    def _lost(self, video: VideoRun) -> None:
        """What one segment hands to the next went down with a node: go back to what is on disk."""
        video.losses += 1
        if video.losses > _MAX_LOSSES:
            self._fail(video, {"message": f"the cluster lost what it was carrying {video.losses} times over"})
        else:
            self._rewind(video, "what one segment hands to the next was lost with its node")

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
    kept = ("began", "seconds", "cpu_seconds", "saved_bytes", "save_seconds")
    return {key: outcome[key] for key in kept if key in outcome} | {"bytes": sum(outcome["bytes"].values())}
