"""The actor that runs one stage. It imports only what every model's environment has: Ray, numpy, GeoFlow."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geoflow import fields
from geoflow.backends import loading
from geoflow.cluster import processes
from geoflow.engine.actor.condensed import with_condensed
from geoflow.engine.actor.splitting import process_in_halves
from geoflow.engine.actor.wire import pack, pack_state, unpack, unpack_state
from geoflow.engine.actor.workfiles import DamagedWork, SavedState, SaveTo, load_state, save, save_state
from geoflow.engine.bridge.abroad import abroad
from geoflow.engine.bridge.foreign_meter import ForeignMeter
from geoflow.engine.bridge.remote_errors import ChildDied, InterpreterBroken
from geoflow.engine.calls import Job, answer, open_job, read_asked
from geoflow.engine.gpu.meter import Meter, find_meter
from geoflow.engine.gpu.tokens import Lane, held
from geoflow.engine.outcome import Failure, Outcome
from geoflow.engine.schedule import Kind
from geoflow.environments.interpreter import Interpreter
from geoflow.errors import InputError, StageError, StoreError
from geoflow.segments import Segment, Span, VideoInfo, VideoObject
from geoflow.stage import Fields, SegmentRecord, closes, condensed_fields, shared_fields

_LOOK_EVERY_S = 1.0
_TRIM_ABOVE_S = 0.05  # shorter calls cannot have touched much memory
_TRIM_EVERY_S = 1.0  # it takes about a millisecond


def classify(error: BaseException) -> Kind:
    """Return the kind of an exception, by its type and, for frameworks that are not installed here, by name and
    text."""
    if isinstance(error, InputError):
        return Kind.INPUT
    if isinstance(error, DamagedWork):
        return Kind.SAVED
    if isinstance(error, StoreError):
        return Kind.STORE
    if isinstance(error, ChildDied):
        return Kind.DIED
    if isinstance(error, InterpreterBroken):
        return Kind.ENVIRONMENT
    text = f"{type(error).__name__}: {error}".lower()
    if isinstance(error, MemoryError) or "outofmemory" in text or "out of memory" in text:
        return Kind.MEMORY
    return Kind.STAGE


def describe(error: BaseException) -> Failure:
    """Describe an exception in plain strings: the driver cannot unpickle exceptions of another environment."""
    known = isinstance(error, (InputError, StoreError, StageError, InterpreterBroken))
    message = f"{error}" if known else f"{type(error).__name__}: {error}"
    return Failure(classify(error), message, "".join(traceback.format_exception(error)))


class StageWorker:
    """Wraps a Stage for Ray: unpacks fields, runs, checks, packs. An error in the stage is returned, not raised."""

    def __init__(
        self,
        backend: str,
        params: dict[str, Any],
        threads: int,
        gpu_memory: float | None = None,
        interpreter: tuple[Interpreter, str] | None = None,
    ) -> None:
        """`gpu_memory` is the share of its GPU's memory that it may use. `interpreter`: the stage runs in another
        Python, of the environment that is named."""
        self._backend, self._raw_params, self._threads = backend, params, threads
        self._gpu_memory, self._interpreter = gpu_memory, interpreter
        self._level = 0
        self._ladder: tuple[dict[str, Any], ...] = ()
        self._stage: Any = None
        self._meter: Meter | None = None
        self._looked = self._trimmed = 0.0

    def load(self) -> Outcome:
        """Import and set up the stage; called once, before any segment. The outcome says where the actor runs."""
        began, clock = time.time(), time.monotonic()
        try:
            self._stage = self._make(0)
            if self._gpu_memory is not None:
                self._watch().cap(self._gpu_memory)
            return Outcome(value={**_whereabouts(), **self._abroad()}, began=began, seconds=time.monotonic() - clock)
        except Exception as error:
            return Outcome(describe(error))

    def process(self, asked: bytes, *objects: Any) -> Any:
        """Work on segments one after another, computing only while this worker holds the lane.

        `asked` holds the jobs and the lane, as `calls.ask` writes them. `objects` are the objects that the jobs read,
        after the state of an ordered stage. Returns (the outcomes, as `calls.read_answer` reads them; for each output
        an array or None[; the state of an ordered stage]). With several jobs, there is a list of arrays per output.
        """
        stage_class = loading.load(self._backend)
        jobs, lane = read_asked(asked)
        state, objects = (objects[0], objects[1:]) if stage_class.ordered else (None, objects)
        outputs = (*stage_class.outputs, *self._stage.optional_outputs)
        began = time.monotonic()
        outcomes, results = zip(*[self._one(job, lane, state, objects) for job in jobs])
        columns = [[result.get(name) for result in results] for name in outputs]
        returned = [answer(list(outcomes)), *(column[0] if len(jobs) == 1 else column for column in columns)]
        if stage_class.ordered:
            returned.append(None if outcomes[0].failure else pack_state(self._stage.state()))
        self._trim(began)
        return tuple(returned) if len(returned) > 1 else returned[0]

    def survey(self, asked: bytes, *objects: Any) -> Any:
        """Survey one span, computing only while this worker holds the lane. The arguments are as in `process`.

        Returns (the outcomes, a dict of packed arrays, by the names that `process` finds them by). Of an object, the
        mesh is made; it goes to the disk, and the dict is empty. Of a segment, fields are condensed for a survey.
        """
        jobs, lane = read_asked(asked)
        began = time.monotonic()
        outcome, result = self._one(jobs[0], lane, None, objects, prepares=True)
        self._trim(began)
        return answer([outcome]), result

    def _one(
        self, job: Job, lane: Lane | None, state: Any, objects: tuple[Any, ...], *, prepares: bool = False
    ) -> tuple[Outcome, dict[str, Any]]:
        """Return the outcome and packed outputs of one segment or span; no outputs if the stage failed."""
        began, clock = time.time(), time.monotonic()
        try:
            given = _opened(job, objects)
            with held(lane):
                began, clock, cpu_began = time.time(), time.monotonic(), self._cpu_times()
                self._use_level(min(job.level, len(self._ladder)))
                stage = self._stage
                if stage.ordered:
                    stage.restore(_load_state(state))
                with self._gpu_memory_of(job) as memory:
                    result = self._compute(job, given, prepares=prepares)
                seconds = time.monotonic() - clock
            result = self._checked(job, result, prepares=prepares)
            packed = {} if job.work is not None else {name: pack(array) for name, array in result.items()}
            cpu_seconds, saved = self._cpu_seconds_since(cpu_began), {}
            if job.work is not None:
                saved = _keep_mesh(job, result)
            if job.save_to is not None:
                state = stage.state() if stage.ordered else {}
                saved = _save(job.save_to, result, state, {"level": job.level, "work_seconds": seconds})
            outcome = Outcome(
                began=began,
                seconds=seconds,
                cpu_seconds=cpu_seconds,
                bytes={name: array.nbytes for name, array in result.items()},
                private_bytes=self._own_memory(),
                **memory,
                **saved,
            )
            return outcome, packed
        except Exception as error:
            return Outcome(describe(error), began=began, seconds=time.monotonic() - clock), {}

    def _compute(self, job: Job, given: Fields, *, prepares: bool) -> Any:
        stage, extent = self._stage, job.extent
        if isinstance(extent, Span):
            masks = "frames.mask" in (*stage.inputs, *stage.optional)
            return stage.survey(extent, lambda: _read_span(extent, given, masks=masks, threads=self._threads))
        if isinstance(extent, VideoObject):
            read = functools.partial(_read_object, job, given, stage, self._threads)
            return stage.process_object(extent.video, extent.number, read)
        if prepares:
            return stage.condense(extent, given)
        if job.level > len(self._ladder):
            return process_in_halves(stage, extent, given)
        return stage.process(extent, given)

    def _checked(self, job: Job, result: Any, *, prepares: bool) -> dict[str, np.ndarray]:
        """Return a result by field name, checked against the field table. Raises StageError."""
        stage, extent = self._stage, job.extent
        who = f"{stage.slot} ({self._backend}) on {extent}"
        if isinstance(extent, Span):
            return shared_fields(result, extent, who)
        if prepares and isinstance(extent, Segment):
            return condensed_fields(result, extent, who)
        frames = None if closes(stage) or isinstance(extent, VideoObject) else len(extent)
        fields.check(result, stage.outputs, optional=stage.optional_outputs, who=who, num_frames=frames)
        checked: dict[str, np.ndarray] = result
        return checked

    def finish(
        self,
        video: VideoInfo,
        records: list[SegmentRecord],
        lane: Lane | None,
        state: Any,
        meshes: Mapping[int, Path],
        without_mesh: Mapping[int, str],
    ) -> Outcome:
        """After the last segment of a video, for an ordered stage; computes only while `lane` is this worker's.

        `meshes` and `without_mesh` are for the stage that writes the store.
        """
        objects = {"meshes": meshes, "without_mesh": without_mesh} if self._stage.takes_meshes else {}
        try:
            with held(lane):
                began, clock = time.time(), time.monotonic()
                self._stage.restore(_load_state(state))
                result = self._stage.finish(video, records, **objects)
                return Outcome(value=result, began=began, seconds=time.monotonic() - clock)
        except Exception as error:
            return Outcome(describe(error))

    def teardown(self) -> None:
        if self._stage is not None:
            self._stage.teardown()

    def _make(self, level: int) -> Any:
        stage_class = loading.load(self._backend)
        if self._interpreter is not None:
            stage_class = abroad(stage_class, self._backend, *self._interpreter)
        stage = stage_class(stage_class.Params(**self._raw_params))
        self._ladder = stage.ladder  # of the full setting: the ladder of a cheaper setting may be shorter
        if level:
            params = stage.params
            for rung in self._ladder[:level]:
                params = dataclasses.replace(params, **rung)
            stage = stage_class(params)
        stage.threads = self._threads
        stage.setup()
        return stage

    def _trim(self, began: float) -> None:
        """Return freed memory to the system after a call that may have used much, but not after every call."""
        ended = time.monotonic()
        if ended - began > _TRIM_ABOVE_S and ended - self._trimmed > _TRIM_EVERY_S:
            self._trimmed = ended
            _give_back_freed_memory()

    def _own_memory(self) -> int | None:
        """Return the bytes of memory of this process; None after most calls, since reading takes a third of a
        millisecond."""
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY_S:
            return None
        self._looked = now
        return sum(map(processes.private_bytes, (os.getpid(), *self._stage.processes())))

    def _abroad(self) -> dict[str, Any]:
        """Return where the stage itself runs, if that is another process; else {}."""
        if self._interpreter is None:
            return {}
        return {"interpreter": self._stage.about(), "child": self._stage.processes()[0]}

    def _cpu_times(self) -> dict[int, float]:
        """Return the CPU time so far of this process, and of others that work for the stage, by their ids."""
        others = {pid: processes.cpu_seconds(pid) for pid in self._stage.processes()}
        return {os.getpid(): time.process_time(), **others}

    def _cpu_seconds_since(self, before: Mapping[int, float]) -> float:
        """Return the CPU time since then; another rung of the ladder may have other processes."""
        return sum(now - before.get(pid, 0.0) for pid, now in self._cpu_times().items())

    @contextlib.contextmanager
    def _gpu_memory_of(self, job: Job) -> Iterator[dict[str, Any]]:
        """Measure the job's peak GPU memory if requested, and raise its limit if it may take more than usual."""
        found: dict[str, Any] = {}
        if job.measure:
            self._watch().start()
        if job.alone:
            self._watch().cap(1.0)
        try:
            yield found
        finally:
            if job.measure:
                found |= {"gpu_peak": self._watch().stop(), "gpu_total": self._watch().total()}
            if job.alone and self._gpu_memory is not None:
                self._watch().cap(self._gpu_memory)

    def _watch(self) -> Meter:
        if self._meter is None:
            self._meter = find_meter() if self._interpreter is None else ForeignMeter(lambda: self._stage)
        return self._meter

    def _use_level(self, level: int) -> None:
        if level != self._level:
            self._stage.teardown()
            self._stage, self._level = self._make(level), level
            if self._interpreter is not None and self._gpu_memory is not None:  # it is another process now
                self._watch().cap(self._gpu_memory)


def _opened(job: Job, objects: tuple[Any, ...]) -> dict[str, np.ndarray]:
    """Return the job's fields as arrays; a survey's result is a dict of arrays."""
    given: dict[str, np.ndarray] = {}
    for name, value in open_job(job, objects).items():
        given |= unpack_state(value) if isinstance(value, dict) else {name: unpack(value)}
    return given


def _read_span(span: Span, probed: Mapping[str, np.ndarray], *, masks: bool, threads: int) -> Iterator[Fields]:
    """Yield the frames of a span, some at a time, with what was condensed of them.

    The import is late, since not every environment can read videos.
    """
    from geoflow.video.pieces import read_pieces

    return with_condensed(read_pieces(span, probed, masks=masks, threads=threads), span.start, probed)


def _read_object(job: Job, probed: Mapping[str, np.ndarray], stage: Any, threads: int) -> Iterator[Fields]:
    """The fields of an object's video, segment by segment; imported late, as what reads videos is."""
    from geoflow.store.object_inputs import read_fields

    assert job.work is not None
    names = {"required": stage.inputs, "optional": stage.optional}
    return read_fields(job.work, job.extent.video, probed, **names, threads=threads)


def _keep_mesh(job: Job, result: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Leave a mesh on disk for the video's store. Raises StoreError when the disk refuses: nobody else has it."""
    from geoflow.store.object_inputs import keep_mesh

    assert job.work is not None and isinstance(job.extent, VideoObject)
    began, mesh = time.monotonic(), {name.rpartition(".")[2]: array for name, array in result.items()}
    size = keep_mesh(job.work, job.extent.video, job.extent.number, mesh)
    return {"saved_bytes": size, "save_seconds": time.monotonic() - began}


def _give_back_freed_memory() -> None:
    """Return freed heap to the system: glibc keeps it, so a worker would grow with the number of segments."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _whereabouts() -> dict[str, Any]:
    """Return the process's identity for the system and, in an actor, for Ray (as `ray list actors` shows it)."""
    where = {"pid": os.getpid(), "host": socket.gethostname()}
    if (ray := sys.modules.get("ray")) is None or not ray.is_initialized():
        return where
    context = ray.get_runtime_context()
    return {**where, "node": context.get_node_id(), "actor_id": context.get_actor_id()}


def _save(to: SaveTo, result: Mapping[str, np.ndarray], state: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    """Save a call's results to disk. A failure is only reported: a later run then needs more time."""
    began, size = time.monotonic(), 0
    try:
        if to.fields is not None:
            size += save(to.fields, result, meta)
        if to.state is not None:
            size += save_state(to.state, state)
    except (OSError, TypeError, ValueError) as error:
        return {"unsaved": f"{type(error).__name__}: {error}"}
    return {"saved_bytes": size, "save_seconds": time.monotonic() - began}


def _load_state(state: Any) -> dict[str, Any]:
    return load_state(state.path) if isinstance(state, SavedState) else unpack_state(state or {})
