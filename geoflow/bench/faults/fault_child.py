"""The process of one run: a cluster of two nodes, the run, and one fault during the run.

MOMENT is the share of segments that the first model has finished when the fault happens. Leaves FOLDER/result.json,
unless the process is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import geoflow
from geoflow.bench.clusters import simulated_cluster
from geoflow.bench.faults.stages import MISDEEDS, Prior
from geoflow.observe.ledger import read_events
from geoflow.pipeline import Pipeline
from geoflow.store.paths import RunPaths

VIDEOS, FRAMES, SIZE = ("a", "b"), 64, (64, 48)
SEGMENT, OVERLAP = 8, 2
_HUNG_AFTER_S = 4.0
# Ray asks a node every 3 s by default whether it is alive, and gives it up after five missed answers.
_ASK_NODES = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_failure_threshold": 4}


def pipeline(folder: Path, poison: str = "", *, bridge: bool = False) -> Pipeline:
    """Return the pipeline; with `bridge` all its stages run in child processes of this interpreter."""
    params = {"folder": str(folder)}
    model = {"num_cpus": 0.5, "weight": 1.0, "actors": 2}
    module = Prior.__module__
    stages: list[dict[str, Any]] = [
        {"slot": "decode", "backend": "geoflow.stages.decode", "num_cpus": 0.5},
        {"slot": "prior", "backend": f"{module}:Prior", "params": {**params, "poison": poison}, **model},
        {"slot": "geometry", "backend": f"{module}:Geometry", "params": params, **model},
        {"slot": "stitch", "backend": "geoflow.stages.stitch", "num_cpus": 0.5},
        {"slot": "write", "backend": "geoflow.stages.write", "num_cpus": 0.5},
    ]
    if bridge:
        env = folder / "bridge.yaml"
        env.write_text(f"interpreter: {{path: {sys.executable}}}\n")
        stages = [{**row, "env": str(env)} for row in stages]
    segment = {"size": SEGMENT, "overlap": OVERLAP}
    return Pipeline.from_dict({"name": "faults", "segment": segment, "hung_after": _HUNG_AFTER_S, "stages": stages})


class Trouble(threading.Thread):
    """A thread that waits for its moment, read from the ledger, and then makes `fault` happen."""

    def __init__(self, fault: str, moment: float, folder: Path, cluster: Any, nodes: list[Any]) -> None:
        super().__init__(daemon=True)
        self._fault, self._folder, self._cluster, self._nodes = fault, folder, cluster, nodes
        self._moment = moment
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.02):
            rows = self._rows()
            planned = sum(row["segments"] for row in rows if row["event"] == "video_planned")
            done = sum(row["event"] == "stage_done" and row["slot"] == "prior" for row in rows)
            if planned and done >= self._moment * planned * len(VIDEOS) / max(1, _count(rows, "video_planned")):
                self._make(rows)
                return

    def _make(self, rows: list[dict[str, Any]]) -> None:
        (self._folder / "happened").touch()
        if self._fault in MISDEEDS:
            (self._folder / self._fault).touch()
        elif self._fault == "kill":
            self._kill(rows, "pid")
        elif self._fault == "child":
            self._kill(rows, "child")
        elif self._fault == "node":
            homes = [row["node"] for row in rows if row["event"] == "actor_ready"]
            busiest = max(self._nodes, key=lambda node: homes.count(node.node_id))
            self._cluster.remove_node(busiest, allow_graceful=False)
        elif self._fault == "store":
            self._fill_store(3.0)
        elif self._fault == "driver":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._fault.startswith("interrupt"):
            os.kill(os.getpid(), signal.SIGINT)
            if self._fault.endswith("twice"):
                time.sleep(0.3)
                os.kill(os.getpid(), signal.SIGINT)

    def _kill(self, rows: list[dict[str, Any]], process: str) -> None:
        ready = [row for row in rows if row["event"] == "actor_ready" and row["slot"] == "prior"]
        with contextlib.suppress(ProcessLookupError):
            os.kill(ready[-1][process], signal.SIGKILL)

    def _fill_store(self, seconds: float) -> None:
        """Fill the store of the driver's node, through which data passes."""
        import numpy as np
        import ray

        held = []
        with contextlib.suppress(Exception):
            for _ in range(64):
                held.append(ray.put(np.ones(16 << 20, np.uint8)))
        time.sleep(seconds)

    def _rows(self) -> list[dict[str, Any]]:
        path = RunPaths(self._folder / "out").events
        return read_events(path) if path.exists() else []


def _count(rows: list[dict[str, Any]], event: str) -> int:
    return sum(row["event"] == event for row in rows)


def main(folder: Path, fault: str, moment: float, bridge: bool) -> None:
    with simulated_cluster([{"num_cpus": 4}] * 2, health_check=_ASK_NODES) as (cluster, nodes):
        trouble = Trouble(fault, moment, folder, cluster, nodes)
        began = time.monotonic()
        (folder / "began").write_text(str(began))
        found: dict[str, Any] = {}
        try:
            trouble.start()
            poison = f"b[{round(moment * 10)}]" if fault == "poison" else ""
            pipe = pipeline(folder, poison, bridge=bridge)
            result = geoflow.run([folder / f"{name}.mp4" for name in VIDEOS], folder / "out", pipe)
            found = {"videos": {video.name: [video.status, video.reason] for video in result.videos}}
        except KeyboardInterrupt:
            found = {"interrupted": True}
        finally:
            trouble.over.set()
            (folder / "result.json").write_text(json.dumps({"seconds": time.monotonic() - began, **found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4] == "bridge")
