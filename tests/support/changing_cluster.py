"""`python changing_cluster.py FOLDER SCENARIO`: runs on clusters of several nodes that are not all alike.

In a process of its own, since a process can be connected to one cluster only.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from engine_runs import count, execute, pipeline, whole
from engine_stages import hurry_file
from fragile_env import PLUGINS

from geoflow.bench.clusters import simulated_cluster
from geoflow.cluster.session import capacity

_HERE = Path(__file__).parent  # where workers find the stages
_NODE = {"num_cpus": 2, "num_gpus": 1}
# Ray asks a node every 3 s if it is there, and gives it up after five times: long for a test.
_ASK_NODES = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 300, "health_check_failure_threshold": 3}


class Changes:
    """Adds a node when the run asks for GPUs, and takes the first one away once the second has done some work.

    All of it in the run's own thread, between two of its events: Ray adds nodes in the main thread only. Calls are
    slow until then, so that the run lasts however long the machine takes for it.
    """

    def __init__(self, cluster: Any, first: Any, folder: Path) -> None:
        self._cluster, self._first, self._folder = cluster, first, folder
        self.second: Any = None
        self.lost = False
        self._homes: dict[int, str] = {}
        self.done: Counter[tuple[str, str]] = Counter()  # calls by slot and node

    def observe(self, event: dict[str, Any]) -> None:
        if event["event"] == "actor_ready":
            self._homes[event["actor"]] = event["node"]
        elif event["event"] == "stage_done":
            self.done[event["slot"], self._homes[event["actor"]]] += 1
        elif event["event"] == "gpus_claimed" and self.second is None:
            self.second = self._cluster.add_node(**_NODE, object_store_memory=256 << 20)
        if self.second is not None and not self.lost and self.done["prior", self.second.node_id] >= 4:
            self.lost = True
            hurry_file(self._folder).touch()
            self._cluster.remove_node(self._first, allow_graceful=False)


def nodes_come_and_go(folder: Path) -> None:
    """A run begins on one node, is joined by a second, and then loses the first."""
    with simulated_cluster([_NODE], health_check=_ASK_NODES, folders=[_HERE]) as (cluster, (first,)):
        changes = Changes(cluster, first, folder)
        pipe = pipeline(folder, gpu=True, prior__mode="slow", prior__segment=-1, gpu_worth=1.0, max_gpus=3)
        videos, events, _ = execute(pipe, ("a", "b"), frames=320, side=160, observe=changes.observe, look=capacity)
        assert changes.lost
        assert all(whole(video, 320) for video in videos)
        joined = next(event for event in events if event["event"] == "gpu_joined")
        assert {"prior", "geometry"} <= set(joined["planned"])
        assert changes.done["geometry", changes.second.node_id], "the whole pipeline runs where GPUs joined"
        assert count(events, "gpu_lost") == 1 and count(events, "actor_died", "prior") >= 1
        assert {changes.done[slot, changes.second.node_id] > 0 for slot in ("decode", "stitch")} == {True}


def one_node_cannot_build(folder: Path) -> None:
    """On one of two nodes the environment of a stage cannot be built."""
    (env := folder / "env.yaml").write_text("fragile: six\n")
    os.environ["RAY_RUNTIME_ENV_PLUGINS"] = PLUGINS
    with simulated_cluster([{"num_cpus": 2}], folders=[_HERE]) as (cluster, (good,)):
        cluster.add_node(num_cpus=2, object_store_memory=256 << 20, env_vars={"NODE_CANNOT_BUILD": "1"})
        pipe = pipeline(folder, prior__actors=3, prior__num_cpus=1.0, prior__env=str(env))
        videos, events, _ = execute(pipe, ("a", "b"), look=capacity)
        assert all(whole(video) for video in videos)
        failed = [event for event in events if event["event"] == "environment_failed"]
        assert failed and all("six is at fault" in event["reason"] for event in failed)
        homes = {e["node"] for e in events if e["event"] == "actor_ready" and e["slot"] == "prior"}
        assert homes == {good.node_id}


if __name__ == "__main__":
    {"go": nodes_come_and_go, "build": one_node_cannot_build}[sys.argv[2]](Path(sys.argv[1]))
