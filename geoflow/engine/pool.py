"""A pool: the Ray actors that run one stage, on their GPUs or on CPUs alone."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from geoflow.cluster.session import as_it_builds
from geoflow.engine.actor.host import actor_class, thread_limits
from geoflow.engine.gpu.placement import BOOKED, Gpu
from geoflow.engine.gpu.tokens import Lane
from geoflow.engine.profile import Measured
from geoflow.engine.schedule import PoolSize, queue_depth
from geoflow.environments import bare_packages, interpreter

if TYPE_CHECKING:
    from geoflow.pipeline import StageSpec
    from geoflow.stage import Stage

_numbers = itertools.count()
_SMOOTHING = 0.2  # weight of the newest call in the running mean


@dataclass(eq=False)
class Worker:
    """One actor and the calls that are queued on it, oldest first."""

    handle: Any
    process: Any  # its method with the number of results set, which would be slow for every call
    survey: Any  # the same
    loading: Any  # the ref of `load`; None when it has started
    gpu: Gpu | None = None
    node: str = ""  # Ray's id of the node it runs on
    calls: deque[Any] = field(default_factory=deque)
    number: int = field(default_factory=lambda: next(_numbers))  # its name in the ledger, where a pid may occur twice
    looks: int = 0  # times it reported its memory
    settled: int = 0  # bytes of private memory after its first few calls
    retiring: bool = False  # to be replaced when its calls are done
    leaving: bool = False  # when it has retired, no other worker replaces it
    cpu_share: float = 0.0  # booked with Ray; 0 if it is part of its GPU's placement group
    proven: bool = False  # it has finished a call
    since: float = 0.0  # when it started; later, when the first call of its queue could begin (monotonic)


@dataclass
class ServiceTime:
    """Seconds per segment or span, as the workers measure them."""

    mean: float | None = None
    longest: float = 0.0
    count: int = 0
    total: float = 0.0
    frames: int = 0  # of all measured segments together
    longest_per_frame: float = 0.0

    def add(self, seconds: float, frames: int) -> None:
        self.mean = seconds if self.mean is None else (1 - _SMOOTHING) * self.mean + _SMOOTHING * seconds
        self.total += seconds
        self.frames += frames
        self.longest = max(self.longest, seconds)
        self.longest_per_frame = max(self.longest_per_frame, seconds / max(frames, 1))
        self.count += 1


class Pool:
    """Starts actors, chooses one with room for a call, and forgets dead actors."""

    def __init__(self, spec: StageSpec, stage: Stage, size: PoolSize, runtime_env: dict[str, Any]) -> None:
        self.spec, self.size = spec, size
        self.uses_gpu, self.has_environment = bool(spec.num_gpus), bool(runtime_env)
        # (whether it is a survey, frame size) -> ladder level that fitted after others had not.
        self.worked_at: dict[tuple[bool, int, int], int] = {}
        self.workers: list[Worker] = []
        self.deaths_in_a_row = 0
        self.unbuilt = 0  # actors whose environment could not be built
        self.service = ServiceTime()  # of segments
        self.surveys = ServiceTime()  # of spans
        self.load_seconds = 0.0
        self.found = Measured()  # measurements that the next run may start with
        self._num_returns = 1 + len(stage.outputs) + len(stage.optional_outputs) + int(stage.ordered)
        self.coalesces = not stage.ordered
        self._params = dataclasses.asdict(stage.params)
        env, self._bare = bare_packages.split(runtime_env)
        self._runtime_env = as_it_builds(env)
        foreign = interpreter.wanted(runtime_env)
        self._interpreter = None if foreign is None else (foreign, spec.env or "")
        self._packages: Any = None  # ref of an archive

    def bundle_packages(self) -> None:
        """Collect the packages that actors need besides Ray's. Raises EnvironmentBroken if that fails."""
        import ray

        if self._bare:
            self._packages = ray.put(bare_packages.install(self._bare, self.spec.env or "").read_bytes())

    def spawn(self, gpu: Gpu | None = None, memory: float | None = None) -> Worker:
        """Start one more actor; await its `loading`. It may take the share `memory` of the GPU's memory.

        After environments could not be built where Ray put the actors, actors are spread: other nodes may succeed.
        """
        options: dict[str, Any] = {"max_restarts": 0, "max_task_retries": 0}
        # What the environment itself sets for threads has priority.
        env_vars = {**thread_limits(self.size.threads), **self._runtime_env.get("env_vars", {})}
        booked = self.size.cpu_share if gpu is None else 0.0
        if self._runtime_env:
            options["runtime_env"] = self._runtime_env
        if gpu is None:
            options |= {"num_cpus": booked, "scheduling_strategy": "SPREAD" if self.unbuilt else "DEFAULT"}
        else:  # its CPUs are part of the GPU's placement group
            options |= {"num_cpus": 0, "num_gpus": BOOKED, "scheduling_strategy": gpu.strategy()}
        stage = (self.spec.backend, self._params, self.size.threads, memory, self._interpreter)
        arguments = (env_vars, self._packages, *stage)
        handle = actor_class().options(**options).remote(*arguments)
        process = handle.process.options(num_returns=self._num_returns)
        survey = handle.survey.options(num_returns=2)
        loading, now = handle.load.remote(), time.monotonic()
        worker = Worker(handle, process, survey, loading, gpu, cpu_share=booked, since=now)
        self.workers.append(worker)
        return worker

    def measured(self) -> Measured:
        """Return what the stage needed, after at least one call."""
        frames = max(self.service.frames, 1)
        per_frame = (self.service.total + self.surveys.total) / frames
        return dataclasses.replace(self.found, seconds=self.seconds or 0.0, seconds_per_frame=per_frame)

    @property
    def seconds(self) -> float | None:
        """Return the seconds of work per segment, with its share of the work on spans; None if not measured yet."""
        if self.service.mean is None:
            return None
        return self.service.mean + self.surveys.total / self.service.count

    def choose(self, backlog: int, near: str = "") -> tuple[Worker, None] | None:
        """Return the CPU worker for the next call: an idle one if there is one, on node `near` if possible."""
        up = [w for w in self.workers if w.loading is None and not w.retiring]
        depth = queue_depth(backlog, len(up), loading=False)
        room = [w for w in up if len(w.calls) < depth]
        found = min(room, key=lambda w: (len(w.calls), w.node != near), default=None)
        return None if found is None else (found, None)

    def choose_lane(self, share: float, lead: float, backlog: int, near: str = "") -> tuple[Worker, Lane | None] | None:
        """Return the GPU worker, and the lane of its GPU's token, where the next call can begin within `lead` seconds.

        On a GPU whose models never wait for each other, the call may be sent at any earlier time if the `backlog` is
        enough for the other workers, too.
        """
        up = [(w, w.gpu) for w in self.workers if w.gpu is not None and w.loading is None and not w.retiring]
        now = time.monotonic()
        latest, ahead = now + lead, queue_depth(backlog, len(up), loading=False) > 1
        best, found = None, None
        for worker, gpu in up:
            if len(worker.calls) > 1 or gpu.alone is not None:
                continue
            if worker.calls:  # it keeps its lane: in another lane it would delay the call that waits there
                place = gpu.token.after(worker.calls[0].hold)
            else:
                place = gpu.token.place(share, now)
            if place is None:
                continue
            begins, lane = place
            # Of the free GPUs, take the one least wanted by other stages, then the fullest: larger shares still find
            # room on the other GPUs.
            key = (max(begins - now, 0.0), len(worker.calls), worker.node != near, gpu.wanted, gpu.token.free)
            if (begins <= latest or (ahead and not gpu.contended)) and (best is None or key < best):
                best, found = key, (worker, lane)
        return found

    def end(self, worker: Worker) -> None:
        """Stop and forget a worker."""
        import ray

        self.workers.remove(worker)
        ray.kill(worker.handle, no_restart=True)

    def bury(self, worker: Worker) -> None:
        """Forget a dead worker and make sure that it is dead: perhaps it was only unreachable.

        Several workers that worked well and die together, as with their node, count as one death of the stage.
        """
        self.end(worker)
        self.deaths_in_a_row = max(1, self.deaths_in_a_row) if worker.proven else self.deaths_in_a_row + 1

    def stop(self) -> None:
        import ray

        for worker in self.workers:
            ray.kill(worker.handle, no_restart=True)
        self.workers.clear()
