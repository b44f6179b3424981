"""`python changing_cluster.py FOLDER`: a run that begins on one node, is joined by a second, and then loses the first.

In a process of its own, since a process can be connected to one cluster only.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

from engine_runs import count, execute, pipeline, whole

from geoflow.bench.clusters import simulated_cluster
from geoflow.engine.cluster import capacity

_NODE = {"num_cpus": 2, "num_gpus": 1}
# Ray asks a node every 3 s if it is there, and gives it up after five times: long for a test.
_ASK_NODES = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 300, "health_check_failure_threshold": 3}


class Changes:
    """Adds a node when the run asks for GPUs, and takes the first one away once the second has done some work.

    All of it in the run's own thread, between two of its events: Ray adds nodes in the main thread only.
    """

    def __init__(self, cluster: Any, first: Any) -> None:
        self._cluster, self._first = cluster, first
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
        if self.second is not None and not self.lost and self.done["prior", self.second.node_id] >= 20:
            self.lost = True
            self._cluster.remove_node(self._first, allow_graceful=False)


def main(folder: Path) -> None:
    here = Path(__file__).parent  # where workers find the stages
    with simulated_cluster([_NODE], health_check=_ASK_NODES, folders=[here]) as (cluster, (first,)):
        changes = Changes(cluster, first)
        pipe = pipeline(folder, gpu=True, prior__mode="slow", prior__segment=-1, gpu_worth=1.0, max_gpus=3)
        videos, events, _ = execute(pipe, ("a", "b"), frames=480, side=160, observe=changes.observe, look=capacity)
        assert changes.lost
        assert all(whole(video, 480) for video in videos)
        assert sum(event["count"] for event in events if event["event"] == "gpus_claimed") == 2, "to make three of one"
        joined = next(event for event in events if event["event"] == "gpu_joined")
        assert {"prior", "geometry"} <= set(joined["planned"])
        assert changes.done["geometry", changes.second.node_id], "the whole pipeline runs where GPUs joined"
        assert count(events, "gpu_lost") == 1 and count(events, "actor_died", "prior") >= 1
        assert {changes.done[slot, changes.second.node_id] > 0 for slot in ("decode", "stitch")} == {True}
        print("recovered:", count(events, "fields_lost"), "rewound:", count(events, "video_rewound"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
