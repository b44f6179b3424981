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
from geoflow.environments import bare_packages

if TYPE_CHECKING:
    from geoflow.pipeline import StageSpec
    from geoflow.stage import Stage

_numbers = itertools.count()
_SMOOTHING = 0.2  # weight of the newest call in the running mean


@dataclass(eq=False)
class Worker:
    """One actor and the calls that are queued on it, oldest first."""

    handle: Any
    process: Any  # its method, with the number of results settled: that is slow to do for every call
    survey: Any  # likewise
    loading: Any  # the ref of `load`, or None once it came up
    gpu: Gpu | None = None
    node: str = ""  # Ray's id of the node it runs on
    calls: deque[Any] = field(default_factory=deque)
    number: int = field(default_factory=lambda: next(_numbers))  # its name in the ledger, where a pid may come twice
    looks: int = 0  # times it told how much memory it has
    settled: int = 0  # bytes of private memory after its first calls
    retiring: bool = False  # to be replaced once its calls are done
    leaving: bool = False  # once it has retired, nobody comes in its place
    cpu_share: float = 0.0  # booked at Ray; 0 where that is part of its GPU's placement group
    proven: bool = False  # it has finished a call
    since: float = 0.0  # when it was started, later when the call at the head of the queue could begin (monotonic)


@dataclass
class ServiceTime:
    """Seconds per segment or span, as the workers measure them."""

    mean: float | None = None
    longest: float = 0.0
    count: int = 0
    total: float = 0.0
    frames: int = 0  # of all those segments together
    longest_per_frame: float = 0.0

    def add(self, seconds: float, frames: int) -> None:
        self.mean = seconds if self.mean is None else (1 - _SMOOTHING) * self.mean + _SMOOTHING * seconds
        self.total += seconds
        self.frames += frames
        self.longest = max(self.longest, seconds)
        self.longest_per_frame = max(self.longest_per_frame, seconds / max(frames, 1))
        self.count += 1


class Pool:
    """Starts actors, hands out the one with room, forgets those that die."""

    def __init__(self, spec: StageSpec, stage: Stage, size: PoolSize, runtime_env: dict[str, Any]) -> None:
        self.spec, self.size = spec, size
        self.uses_gpu, self.has_environment = bool(spec.num_gpus), bool(runtime_env)
        # Whether a span was surveyed, and the frame size -> ladder level that did, after others did not.
        self.worked_at: dict[tuple[bool, int, int], int] = {}
        self.workers: list[Worker] = []
        self.deaths_in_a_row = 0
        self.unbuilt = 0  # actors whose environment could not be built
        self.service = ServiceTime()  # of segments
        self.surveys = ServiceTime()  # of spans
        self.load_seconds = 0.0
        self.found = Measured()  # what the next run may start with
        self._num_returns = 1 + len(stage.outputs) + len(stage.optional_outputs) + int(stage.ordered)
        self.coalesces = not stage.ordered
        self._params = dataclasses.asdict(stage.params)
        env, self._bare = bare_packages.split(runtime_env)
        self._runtime_env = as_it_builds(env)
        self._packages: Any = None  # ref of an archive

    def bundle_packages(self) -> None:
        """Get hold of what actors need besides what Ray installs. Raises EnvironmentBroken when that cannot be."""
        import ray

        if self._bare:
            self._packages = ray.put(bare_packages.install(self._bare, self.spec.env or "").read_bytes())

    def spawn(self, gpu: Gpu | None = None, memory: float | None = None) -> Worker:
        """Start one more actor; its `loading` is to be waited for. It may take a share `memory` of the GPU's.

        After some could not be built where Ray put them, they are spread: other nodes may do better.
        """
        options: dict[str, Any] = {"max_restarts": 0, "max_task_retries": 0}
        # What the environment itself says about threads stands.
        env_vars = {**thread_limits(self.size.threads), **self._runtime_env.get("env_vars", {})}
        booked = self.size.cpu_share if gpu is None else 0.0
        if self._runtime_env:
            options["runtime_env"] = self._runtime_env
        if gpu is None:
            options |= {"num_cpus": booked, "scheduling_strategy": "SPREAD" if self.unbuilt else "DEFAULT"}
        else:  # its CPUs are part of the GPU's placement group
            options |= {"num_cpus": 0, "num_gpus": BOOKED, "scheduling_strategy": gpu.strategy()}
        arguments = (env_vars, self._packages, self.spec.backend, self._params, self.size.threads, memory)
        handle = actor_class().options(**options).remote(*arguments)
        process = handle.process.options(num_returns=self._num_returns)
        survey = handle.survey.options(num_returns=2)
        loading, now = handle.load.remote(), time.monotonic()
        worker = Worker(handle, process, survey, loading, gpu, cpu_share=booked, since=now)
        self.workers.append(worker)
        return worker

    def measured(self) -> Measured:
        """What the stage turned out to need, after at least one call."""
        frames = max(self.service.frames, 1)
        per_frame = (self.service.total + self.surveys.total) / frames
        return dataclasses.replace(self.found, seconds=self.seconds or 0.0, seconds_per_frame=per_frame)

    @property
    def seconds(self) -> float | None:
        """Of work per segment, with its share of what is done for spans; None while no segment was measured."""
        if self.service.mean is None:
            return None
        return self.service.mean + self.surveys.total / self.service.count

    def choose(self, backlog: int, near: str = "") -> tuple[Worker, None] | None:
        """The CPU worker to give the next call: one that is idle if there is any, on node `near` if possible."""
        up = [w for w in self.workers if w.loading is None and not w.retiring]
        depth = queue_depth(backlog, len(up), loading=False)
        room = [w for w in up if len(w.calls) < depth]
        found = min(room, key=lambda w: (len(w.calls), w.node != near), default=None)
        return None if found is None else (found, None)

    def choose_lane(self, share: float, lead: float, backlog: int, near: str = "") -> tuple[Worker, Lane | None] | None:
        """The GPU worker, and the lane of its GPU's token, where the next call can begin within `lead` seconds.

        On a GPU whose models cannot get in each other's way it may be sent any time before, if the `backlog` does for
        the others, too.
        """
        up = [(w, w.gpu) for w in self.workers if w.gpu is not None and w.loading is None and not w.retiring]
        now = time.monotonic()
        latest, ahead = now + lead, queue_depth(backlog, len(up), loading=False) > 1
        best, found = None, None
        for worker, gpu in up:
            if len(worker.calls) > 1 or gpu.alone is not None:
                continue
            if worker.calls:  # it goes on in the lane it has: in another it would hold up whoever waits there
                place = gpu.token.after(worker.calls[0].hold)
            else:
                place = gpu.token.place(share, now)
            if place is None:
                continue
            begins, lane = place
            # Of the GPUs that are free, the least wanted by others, then the fullest: larger shares still find room on
            # the others.
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
        """Forget a dead worker and make sure that it is dead: it may only have been out of reach.

        Several that worked well and die together, as with their node, say no more against the stage than one.
        """
        self.end(worker)
        self.deaths_in_a_row = max(1, self.deaths_in_a_row) if worker.proven else self.deaths_in_a_row + 1

    def stop(self) -> None:
        import ray

        for worker in self.workers:
            ray.kill(worker.handle, no_restart=True)
        self.workers.clear()
