"""The actor around a worker: it sets the number of threads before any library that counts cores is loaded.

Ray keeps started processes ready, but gives them only to actors without a `runtime_env`. So the thread limits are not
passed as `env_vars`: the actor sets them itself, before numpy is imported. For this reason the class is sent by value
(a class inside a function) and imports nothing of GeoFlow until it runs. On 2 cores, ten actors start in 5 s this way
instead of 10 s.
"""

from __future__ import annotations

import functools
from typing import Any

# BLAS, OpenMP and OpenCV read these once, when they are loaded.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)


def thread_limits(threads: int) -> dict[str, str]:
    return dict.fromkeys(_THREAD_VARIABLES, str(threads))


@functools.cache
def actor_class() -> Any:
    """Return the remote class, the same for all actors: Ray takes 25 ms to send a class.

    Its arguments are environment variables, `bare_packages` or None, and the arguments of StageWorker.
    """
    import ray

    class StageHost:
        def __init__(self, env_vars: dict[str, str], packages: bytes | None, *args: Any) -> None:
            import os

            os.environ.update(env_vars)
            if packages is not None:
                from geoflow.environments.bare_packages import make_importable

                make_importable(packages)
            from geoflow.engine.actor.worker import StageWorker

            self._worker = StageWorker(*args)

        def load(self) -> Any:
            return self._worker.load()

        def process(self, *args: Any) -> Any:
            return self._worker.process(*args)

        def survey(self, *args: Any) -> Any:
            return self._worker.survey(*args)

        def probe(self, probe: Any, item: Any) -> Any:
            from geoflow.engine.probing import run_probe

            return run_probe(probe, item)

        def finish(self, *args: Any) -> Any:
            return self._worker.finish(*args)

    return ray.remote(StageHost)
