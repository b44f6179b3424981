"""A pool: the Ray actors that run one stage."""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from geoflow.engine.schedule import PoolSize, queue_depth

if TYPE_CHECKING:
    from geoflow.pipeline import StageSpec

# BLAS and OpenMP libraries read these once, when they are loaded.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_numbers = itertools.count()


@dataclass(eq=False)
class Worker:
    """One actor and the calls that are queued on it, oldest first."""

    handle: Any
    loading: Any  # the ref of `load`, or None once it came up
    calls: deque[Any] = field(default_factory=deque)
    number: int = field(default_factory=lambda: next(_numbers))  # its name in the ledger, where a pid may come twice


class Pool:
    """Starts actors, hands out the one with room, replaces those that die."""

    max_replacements = 3  # in a row, without one finished call in between: then the stage itself is at fault

    def __init__(self, spec: StageSpec, size: PoolSize, runtime_env: dict[str, Any]) -> None:
        self.spec, self.size = spec, size
        self.workers: list[Worker] = []
        self._deaths_in_a_row = 0
        stage = spec.make_stage()
        self.num_returns = 1 + len(stage.outputs) + len(stage.optional_outputs) + int(stage.ordered)
        self._params = dataclasses.asdict(stage.params)
        threads = dict.fromkeys(_THREAD_VARIABLES, str(size.threads))
        self._runtime_env = {**runtime_env, "env_vars": {**threads, **runtime_env.get("env_vars", {})}}

    def start(self) -> list[Worker]:
        """Start every actor that is missing; returns the new ones, whose `loading` is to be waited for."""
        new = [self._spawn() for _ in range(self.size.actors - len(self.workers))]
        self.workers += new
        return new

    def choose(self, backlog: int) -> Worker | None:
        """The worker with the fewest queued calls that has room for one more."""
        up = [w for w in self.workers if w.loading is None]
        room = [w for w in up if len(w.calls) < queue_depth(backlog, len(up), loading=False)]
        return min(room, key=lambda w: len(w.calls), default=None)

    def succeeded(self) -> None:
        self._deaths_in_a_row = 0

    def bury(self, worker: Worker) -> bool:
        """Forget a dead worker. False when too many died in a row for another try to make sense."""
        import ray

        self.workers.remove(worker)
        ray.kill(worker.handle, no_restart=True)  # it may only have been out of reach
        self._deaths_in_a_row += 1
        return self._deaths_in_a_row <= self.max_replacements

    def stop(self) -> None:
        import ray

        for worker in self.workers:
            ray.kill(worker.handle, no_restart=True)
        self.workers.clear()

    def _spawn(self) -> Worker:
        import ray

        from geoflow.engine.worker import StageWorker

        actor = ray.remote(StageWorker).options(
            num_cpus=self.size.cpu_share,
            num_gpus=self.spec.num_gpus,
            runtime_env=self._runtime_env,
            max_restarts=0,
            max_task_retries=0,
        )
        handle = actor.remote(self.spec.backend, self._params, self.size.threads)
        return Worker(handle, loading=handle.load.remote())
