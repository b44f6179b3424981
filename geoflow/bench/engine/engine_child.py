"""The process of one run: start a Ray, drive one engine, leave the result in a file, end the Ray."""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import threading
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from geoflow.bench.engine.workloads import Workload

_CPUS = 8  # logical: the stages sleep and need no core; enough for all workers and an engine's own actors
_CPUS_PER_WORKER = 0.25
_WATCH_EVERY_S = 0.1


@dataclass(frozen=True)
class Request:
    """The job of the process."""

    module: str  # has the function `drive`
    workload: str  # JSON
    pools: dict[str, int] | None  # None: the engine sizes them
    dashboard: bool = False
    options: dict[str, Any] = field(default_factory=dict)  # further arguments of `drive`


@dataclass
class Result:
    """The result of the run; the times are in the trace."""

    clock: float = 0.0  # when Ray was up and the engine started, by the monotonic clock, which processes share
    delivered: list[int] = field(default_factory=list)
    store_peak_bytes: int = 0
    spilled_bytes: int = 0
    error: str = ""


class StoreWatch(threading.Thread):
    """A thread that regularly asks the raylet how full its object store is and how much it has spilled."""

    def __init__(self, result: Result) -> None:
        super().__init__(daemon=True)
        self._result = result
        self._over = threading.Event()

    def run(self) -> None:
        import ray
        from ray._private import internal_api  # the only place where Ray counts spilled bytes

        state = internal_api.get_state_from_address(ray.get_runtime_context().gcs_address)
        node = ray.nodes()[0]
        while not self._over.wait(_WATCH_EVERY_S):
            reply = internal_api.get_memory_info_reply(state, node["NodeManagerAddress"], node["NodeManagerPort"])
            store = reply.store_stats
            self._result.store_peak_bytes = max(self._result.store_peak_bytes, store.object_store_bytes_used)
            self._result.spilled_bytes = max(self._result.spilled_bytes, store.spilled_bytes_total)

    def stop(self) -> None:
        self._over.set()
        self.join(timeout=5)


def run(folder: Path) -> Result:
    """Do what the request says. Errors are in the result."""
    request = Request(**json.loads((folder / "request.json").read_text()))
    workload, result = Workload.from_json(request.workload), Result()
    import ray

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as `ray_cluster` does
    ray.init(
        address="local",
        num_cpus=_CPUS,
        num_gpus=workload.gpus,
        object_store_memory=workload.store_bytes,
        include_dashboard=request.dashboard,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=str(folder / "ray"),
    )
    watch = StoreWatch(result)
    watch.start()
    try:
        result.clock = time.monotonic()
        drive = importlib.import_module(request.module).drive
        result.delivered = drive(workload, request.pools, str(folder / "trace"), _CPUS_PER_WORKER, **request.options)
    except Exception:
        result.error = traceback.format_exc()
    finally:
        watch.stop()
        ray.shutdown()
    return result


if __name__ == "__main__":
    place = Path(sys.argv[1])
    (place / "result.json").write_text(json.dumps(asdict(run(place))))
