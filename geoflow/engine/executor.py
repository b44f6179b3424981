"""The loop that talks to Ray. Every decision is a function in `schedule.py` or `allocation.py`.

The driver waits on the small outcome of each call and passes the field refs on unread. A field is dropped when
its last consumer is done. Ordered stages get each video's segments one by one. The state that they carry from one
segment to the next is an object ref too, so a new actor can continue where a dead actor stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from geoflow.cluster import watch
from geoflow.cluster.joining import within
from geoflow.cluster.session import Capacity
from geoflow.engine import schedule
from geoflow.engine.actor import splitting
from geoflow.engine.calls import Call, Part, ask, make_jobs, read_answer
from geoflow.engine.checkpoint import Checkpoint
from geoflow.engine.early_probes import EarlyProbes
from geoflow.engine.finishing import Finishes
from geoflow.engine.fleet import Fleet
from geoflow.engine.flow import Flow
from geoflow.engine.gpu.tokens import Lane
from geoflow.engine.graph import Graph, Step
from geoflow.engine.intake import Limits
from geoflow.engine.load import Load
from geoflow.engine.mailbox import Mailbox
from geoflow.engine.meshing import Meshing
from geoflow.engine.outcome import Failure, Outcome, outcome_of
from geoflow.engine.pool import Worker
from geoflow.engine.probing import Probe, Probes
from geoflow.engine.profile import Measured
from geoflow.engine.schedule import Kind, Verdict
from geoflow.engine.state import ObjectRun, SegmentRun, SpanRun, VideoRun
from geoflow.engine.stopping import Stop
from geoflow.errors import ClusterLost, EnvironmentBroken
from geoflow.pipeline import Pipeline
from geoflow.segments import VideoInfo
from geoflow.store.paths import RunPaths
from geoflow.video.inputs import Input

_LOOK_S = 3.0
_EARLY_S = 0.05  # between two looks for an early probe, which is no result of Ray's
_ANSWER_S = 1.0  # Ray itself would wait for a minute and then end this process
_AT_THE_END = "again when nothing else was left, with cheaper settings"
_FACTS = ("began", "seconds", "cpu_seconds", "private_bytes", "saved_bytes", "save_seconds")  # kept in the ledger

Emit = Callable[..., None]  # emit(event, **data)


class Executor:
    """Runs one pipeline over many inputs. Use once: `Executor(...).run(inputs)`."""

    def __init__(
        self,
        pipeline: Pipeline,
        probe: Probe,
        limits: Limits,
        capacity: Capacity,
        *,
        emit: Emit,
        look: Callable[[], Capacity] | None = None,
        already_done: Callable[[VideoInfo], dict[str, Any] | None] = lambda info: None,
        paths: RunPaths | None = None,
        reading: str = "",
        part_key: Callable[[VideoInfo], str] = lambda info: "",
        resume: bool = True,
        stop: Stop | None = None,
        videos: int | None = None,
    ) -> None:
        """`look` returns what the cluster has now; it is None if no node can join or leave. `paths` is where finished
        work is kept, so that a stopped run can be resumed. `reading` says how videos are read; it is part of the keys
        of finished work. `part_key` returns the key that identifies the last stage's files of a video. `videos` is how
        many there are, if known."""
        self._limits, self._emit = limits, emit
        self._stages = [spec.make_stage() for spec in pipeline.stages]
        self._graph = Graph.build([(s.slot, st, s.optional) for s, st in zip(pipeline.stages, self._stages)])
        self._checkpoint = Checkpoint(
            self._graph, pipeline, paths, emit=emit, reading=reading, part_key=part_key, resume=resume
        )
        self._mailbox = Mailbox()
        self._fleet = Fleet(
            pipeline,
            self._stages,
            self._graph,
            capacity,
            follows=look is not None,
            least_deadline=limits.least_deadline,
            mailbox=self._mailbox,
            emit=emit,
            disable=self._disable,
            videos=videos,
        )
        self._flow = Flow(
            self._graph,
            self._checkpoint,
            Probes(probe, self._fleet.probing_actor),
            self._mailbox,
            limits,
            capacity.budget_bytes,
            emit=emit,
            already_done=already_done,
            not_up=self._not_up,
            whole=lambda video: self._meshing.add(video),
        )
        self._finishes = Finishes(
            self._graph, self._fleet, self._flow, self._mailbox, max_attempts=limits.max_attempts, emit=emit
        )
        self._meshing = Meshing(
            self._graph,
            self._flow,
            self._mailbox,
            paths,
            part_key=part_key,
            shared=any(getattr(stage.params, "share", False) for stage in self._stages),
            emit=emit,
            whole=self._finishes.add,
        )
        self._stop, self._stopping = stop or Stop(), False
        self._look, self._looked = look, time.monotonic()

    @property
    def disabled(self) -> dict[str, str]:
        """Slots of optional stages that could not run, with the reason."""
        found = {self._graph.steps[step].slot: reason for step, reason in self._flow.disabled.items()}
        if self._meshing.disabled and self._graph.of_objects is not None:
            found[self._graph.of_objects.slot] = self._meshing.disabled
        return found

    @property
    def measured(self) -> dict[str, Measured]:
        """Return what stages needed, by slot, for stages with enough calls to know."""
        told = [pool for pool in self._fleet.pools if pool.service.count >= schedule.MIN_MEASURED]
        return {pool.spec.slot: pool.measured() for pool in told}

    def load(self) -> Load:
        """Return what waits and runs at this moment. Other threads may call this."""
        load = Load(*self._flow.intake.in_flight)
        for row, ready in zip(self._graph.steps, self._flow.ready):
            if not row.prepares:
                load.running[row.slot], queued = self._fleet.load(row.stage)
                load.queued[row.slot] = load.queued.get(row.slot, 0) + queued
            load.queued[row.slot] = load.queued.get(row.slot, 0) + len(ready)
        if (last := self._graph.of_objects) is not None:
            load.running[last.slot], queued = self._fleet.load(last.stage)
            load.queued[last.slot] = queued + self._meshing.waiting
        return load

    def run(self, inputs: Sequence[Input]) -> list[VideoRun]:
        """Bring every input to `complete`, `skipped` or `failed`. Return the inputs in order. Raises as `go_on`."""
        return self.go_on([VideoRun(order, item) for order, item in enumerate(inputs)])

    def go_on(self, videos: Sequence[VideoRun], early: EarlyProbes | None = None) -> list[VideoRun]:
        """Do the same with videos of which some may be over, or probed `early`.

        Raises EnvironmentBroken if a required stage cannot be started, KeyboardInterrupt if the run was asked to stop.
        """
        flow = self._flow
        flow.add(videos, early)
        try:
            self._fleet.start()
            while not flow.over:
                if self._stop.asked and self._wound_down():
                    raise KeyboardInterrupt
                if not self._stopping:
                    flow.take_in()
                self._finishes.start()
                self._dispatch()
                if not self._stopping:
                    self._dispatch_objects()
                self._await()
                self._fleet.tick(flow.has_work_left, flow.segments_left)
                self._follow()
            return flow.videos
        finally:
            if not watch.lost():  # without a cluster there is nothing to stop
                self._fleet.stop()

    def _check_cluster(self) -> None:
        """Raise ClusterLost if the cluster is gone, with a message that says which work of the run is kept."""
        if not (reason := watch.lost()):
            return
        videos = self._flow.videos
        complete = sum(video.status in ("complete", "skipped") for video in videos)
        segments = sum(len(video.records) for video in videos if not video.over)
        raise ClusterLost(
            f"{reason} in the middle of the run. {complete} of {len(videos)} videos are complete. Of the "
            f"others, {segments} finished segment{'s' * (segments != 1)} and the saved results of unfinished ones are "
            "kept: run the same command again to continue from there"
        )

    def _await(self) -> None:
        """Sleep until a result arrives, then handle all results that have arrived."""
        import ray

        early = self._flow.intake.awaits_early
        if not (refs := self._mailbox.refs):
            time.sleep(_EARLY_S if early else 0.0)
            return
        rows = zip(self._graph.steps, self._flow.ready)
        due = [row.stage for row, ready in rows if ready]
        if self._meshing.waiting and self._graph.of_objects is not None:
            due.append(self._graph.of_objects.stage)
        timeout = min(self._fleet.next_due(due), _EARLY_S if early else math.inf)
        done, _ = ray.wait(refs, num_returns=1, timeout=timeout, fetch_local=False)
        if done and len(refs) > 1:  # all other results that have arrived are handled in the same turn
            done, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
        self._check_cluster()  # before anything else: without the cluster, all other calls fail
        for ref in done:
            self._mailbox.deliver(ref)

    def _follow(self) -> None:
        """Adapt to nodes that have joined or left."""
        if self._look is not None and time.monotonic() - self._looked > _LOOK_S and not watch.silent():
            self._looked = time.monotonic()
            try:
                now = within(_ANSWER_S, self._look)
            except TimeoutError:  # the control service has died or is busy: the next look will show which
                return
            self._flow.intake.budget_bytes = now.budget_bytes
            self._fleet.follow(now)

    # Work

    def _dispatch(self) -> None:
        """Submit ready work, the most urgent first, until no suitable worker has room."""
        ready = self._flow.ready
        full: set[int] = set()  # steps with work but no worker for it
        while True:
            waiting = [row for row in self._graph.steps if ready[row.index] and (row.closes or not self._stopping)]
            able = [row for row in waiting if row.index not in full]
            if not able:
                starved = min(full, key=self._urgency, default=None)
                self._fleet.note_starved(None if starved is None else self._graph.steps[starved].stage)
                return
            step = min(able, key=lambda row: self._urgency(row.index)).index
            stage = self._graph.steps[step].stage
            run = ready[step][0][2]
            size = self._batch_size(step)
            found = self._fleet.choose(stage, len(ready[step]), run.home, alone=step in run.alone) if size else None
            if found is None:
                full.add(step)
            elif runs := self._flow.take(step, size):
                self._submit(self._graph.steps[step], runs, *found)

    def _dispatch_objects(self) -> None:
        """Give out objects until no worker of their stage has room; whoever shares a GPU with it goes first."""
        while (run := self._meshing.head()) is not None:
            row = self._graph.of_objects
            assert row is not None
            found = self._fleet.choose(row.stage, self._meshing.waiting, run.home, alone=row.index in run.alone)
            if found is None:
                return
            self._submit(row, [self._meshing.take()], *found)

    def _urgency(self, step: int) -> tuple[float, int]:
        flow, steps, pools = self._flow, self._graph.steps, self._fleet.pools
        below = [
            flow.brought(step, child) / max(1, len(pools[steps[child].stage].workers))
            for child in self._graph.children[step]
        ]
        return schedule.urgency(self._graph.steps[step].depth, below)

    def _batch_size(self, step: int) -> int:
        row = self._graph.steps[step]
        pool = self._fleet.pools[row.stage]
        if row.prepares or not pool.coalesces or not schedule.is_tiny(pool.service.mean):
            return 1
        running = any(worker.calls for worker in pool.workers)
        return schedule.batch_size(pool.service.mean, len(self._flow.ready[step]), len(pool.workers), running=running)

    def _submit(self, row: Step, runs: list[Any], worker: Worker, lane: Lane | None) -> None:
        step = row.index
        levels = [self._level(row, run) for run in runs]
        jobs, objects = make_jobs(
            [
                (run.extent, run.arguments(step, self._graph), level, self._checkpoint.save_to(step, run))
                for run, level in zip(runs, levels)
            ],
            measure=self._fleet.measures(row.stage) and not row.condenses,
            alone=step in runs[0].alone,
            work=runs[0].work if isinstance(runs[0], ObjectRun) else None,
        )
        state = [runs[0].state_for(step)] if row.ordered else []
        frames = len(runs[0].extent) if row.surveys else 0
        call = Call(step, row.stage, runs, worker, levels, lane, submitted=time.monotonic(), frames=frames)
        call.condenses = row.condenses
        method = worker.survey if row.prepares else worker.process
        refs = method.remote(ask(jobs, lane), *state, *objects)
        call.refs = refs if isinstance(refs, list) else [refs]
        self._fleet.take(call)
        for run in runs:
            run.attempts[step] = run.attempts.get(step, 0) + 1
        self._mailbox.on(call.refs[0], partial(self._returned, call))

    def _level(self, row: Step, run: SegmentRun | SpanRun | ObjectRun) -> int:
        """Of the stage's ladder: where frames of this size were last known to fit, or its end if it failed before."""
        worked_at = self._fleet.pools[row.stage].worked_at.get(_frame_size(row, run), 0)
        least = len(self._stages[row.stage].ladder) if row.stage in run.video.cheapest else 0
        level = max(run.levels.get(row.index, 0), worked_at, least)
        if level:
            run.levels[row.index] = level
        return level

    def _not_up(self) -> set[int]:
        """Return the steps of stages without a worker that has started."""
        stages = self._fleet.not_up()
        return {row.index for row in self._graph.steps if row.stage in stages}

    def _returned(self, call: Call, ref: Any) -> None:
        answer = outcome_of(ref)
        kind = answer.failure.kind if answer.failure else None  # reported by Ray, not by the worker
        outcomes = [answer] * len(call.runs) if answer.failure else read_answer(answer.value)
        if any(outcome.failure and outcome.failure.kind is Kind.DIED for outcome in outcomes):
            kind = Kind.DIED  # a worker whose child process has died: it is replaced as if it had died itself
        if kind is Kind.DIED and call.worker in self._fleet.pools[call.stage].workers:
            self._fleet.bury(call)
        self._fleet.give(call)
        if kind is Kind.CANCELLED:
            return
        for i, (run, outcome) in enumerate(zip(call.runs, outcomes)):
            if not run.live:
                continue
            if outcome.failure is not None:
                self._failed(call, i, outcome, outcome.failure)
            else:
                self._succeeded(call, i, outcome)

    def _succeeded(self, call: Call, i: int, outcome: Outcome) -> None:
        run, row = call.runs[i], self._graph.step(call.step)
        self._fleet.finished(call, i, outcome)
        if call.levels[i] and row.stage not in run.video.cheapest:
            self._fleet.pools[call.stage].worked_at[_frame_size(row, run)] = call.levels[i]
        facts = {**_plain(outcome), **call.told(i)}
        self._emit("stage_done", video=run.video.name, index=run.index, slot=row.slot, **facts)
        if outcome.unsaved:
            self._checkpoint.unsaved(row.slot, outcome.unsaved)
        if isinstance(run, ObjectRun):
            self._meshing.done(run)
            return
        if isinstance(run, SpanRun):
            self._flow.surveys.done(run, Part(call.refs[1]), outcome.size, outcome.seconds, call.levels[i])
            return
        if row.condenses:
            self._flow.condensed(row.index, run, Part(call.refs[1]))
            return
        run.seconds[row.index] = outcome.seconds
        run.home = call.worker.node
        if row.ordered and row.index not in run.again:
            run.video.state[row.index] = call.refs[-1]
        run.keep(row.index, call.outputs(i, row.outputs), outcome.bytes, self._graph)
        self._flow.settle(row.index, run)

    # Trouble

    def _failed(self, call: Call, i: int, outcome: Outcome, failure: Failure) -> None:
        run, row = call.runs[i], self._graph.step(call.step)
        message = call.why_died(failure.message) if failure.kind is Kind.DIED else failure.message
        if failure.kind is Kind.SAVED:
            self._flow.saved_is_damaged(run.video, message)
            return
        verdict = schedule.judge(
            failure.kind,
            attempts=run.attempts[call.step],
            max_attempts=self._limits.max_attempts,
            level=call.levels[i],
            rungs=splitting.rungs(self._stages[call.stage], spans=row.prepares),
            optional=row.optional,
            can_be_alone=call.lane is not None and call.step not in run.alone,
            measured=not self._fleet.measures(call.stage),
            can_come_back=not (run.video.cheapest or self._limits.fail_fast or isinstance(run, ObjectRun)),
        )
        self._emit(
            "stage_failed",
            video=run.video.name,
            index=run.index,
            slot=row.slot,
            verdict=verdict.value,
            kind=failure.kind.value,
            **call.told(i),
            **({} if outcome.began is None else {"began": outcome.began, "seconds": outcome.seconds}),
            message=message,
            traceback=failure.traceback,
        )
        go_on_without, recover, try_again = self._ways_on(call.step, run)
        if verdict is Verdict.FAIL:
            where = "" if failure.kind is Kind.INPUT else f"{row.slot} failed on {run.extent}: "
            again = f"; tried {_AT_THE_END}, too" if run.video.cheapest else ""
            self._flow.fail(run.video, where + message + again, failure.traceback)
        elif verdict is Verdict.LATER:
            self._flow.postpone(run.video, row.stage, f"{row.slot} failed on {run.extent}: {message}")
        elif verdict is Verdict.SKIP:
            go_on_without(message)
        elif verdict is Verdict.RECOVER:
            recover()
        else:
            if verdict is Verdict.CHEAPER:
                run.levels[call.step] = call.levels[i] + 1
            elif verdict is Verdict.ALONE:
                run.alone.add(call.step)
            if verdict is not Verdict.RETRY:
                run.attempts[call.step] = 0
            try_again()

    def _ways_on(self, step: int, run: SegmentRun | SpanRun | ObjectRun) -> tuple[Callable[..., None], ...]:
        """What can follow a failure: to go on without what it was about, to make its inputs again, to try again."""
        flow, meshing = self._flow, self._meshing
        if isinstance(run, ObjectRun):
            return partial(meshing.fail, run), partial(meshing.recover, run), partial(meshing.queue, run)
        if isinstance(run, SpanRun):
            return partial(flow.surveys.fail, run), partial(flow.recover_survey, run), partial(flow.queue_survey, run)
        return partial(flow.give_up, step, run), partial(flow.recover, step, run), partial(flow.offer, step, run)

    def _disable(self, stage: int, reason: str) -> None:
        """Continue without a stage that cannot run, if it is optional; otherwise end the run."""
        row = self._graph.of_stage(stage)[0]
        if not row.optional:
            raise EnvironmentBroken(f"stage {row.slot!r} cannot start: {reason}")
        if row is self._graph.of_objects:
            self._meshing.disable(reason)
        else:
            self._flow.disable(stage, reason)

    def _wound_down(self) -> bool:
        """Wind down after a request to stop. Start nothing new except the stages that bring finished work to
        disk. Return True when no call runs whose result would be kept, or when time is up."""
        import ray

        calls = [call for pool in self._fleet.pools for worker in pool.workers for call in worker.calls]
        if not self._stopping:
            self._stopping = True
            self._emit("run_stopping", running=sum(call.worker.calls[0] is call for call in calls))
            for call in calls:
                if call.worker.calls[0] is not call:  # waits behind another call; a call that has begun is not affected
                    ray.cancel(call.refs[0])
            return False  # ready work may still be dispatched
        runs = [(call.step, run) for call in calls for run in call.runs if run.live]
        worth = any(isinstance(run, ObjectRun) or self._checkpoint.save_to(step, run) for step, run in runs)
        return self._stop.overdue or not (worth or self._finishes.running)


def _frame_size(row: Step, run: SegmentRun | SpanRun | ObjectRun) -> tuple[bool, int, int]:
    """What a ladder's level depends on: surveys need other memory than segments do."""
    video = run.extent.video
    return row.surveys, video.height, video.width


def _plain(outcome: Outcome) -> dict[str, Any]:
    known = {key: getattr(outcome, key) for key in _FACTS}
    return {key: value for key, value in known.items() if value is not None} | {"bytes": outcome.size}
