"""`python lose_a_node.py FOLDER`: a run on a cluster of two nodes, of which one goes with all that it held.

In a process of its own, since a process can be connected to one cluster only.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from engine_runs import count, execute, pipeline, whole

from geoflow.bench.clusters import simulated_cluster

# Ray asks a node every 3 s if it is there, and gives it up after five times: long for a test.
_ASK_NODES = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 300, "health_check_failure_threshold": 3}


def main(folder: Path) -> None:
    here = Path(__file__).parent  # where workers find the stages
    with simulated_cluster([{"num_cpus": 4}] * 2, health_check=_ASK_NODES, folders=[here]) as (cluster, nodes):
        lose_one(folder, cluster, nodes)


def lose_one(folder: Path, cluster: Any, nodes: list[Any]) -> None:
    actors: Counter[str] = Counter()
    lost = threading.Event()

    def lose(node_id: str) -> None:
        cluster.remove_node(next(node for node in nodes if node.node_id == node_id), allow_graceful=False)

    def observe(event: dict[str, Any]) -> None:
        if event["event"] == "actor_ready":
            actors[event["node"]] += 1
        if event["event"] == "stage_done" and event["index"] >= 3 and not lost.is_set():
            lost.set()
            threading.Thread(target=lose, args=(actors.most_common(1)[0][0],)).start()

    pipe = pipeline(folder, mask=True, prior__mode="busy", prior__segment=-1)
    videos, events, _ = execute(pipe, ("a", "b"), frames=240, side=160, observe=observe)
    assert lost.is_set()
    assert all(whole(video, 240) for video in videos)
    assert count(events, "actor_died") >= 1
    print("recovered:", count(events, "fields_lost"), "rewound:", count(events, "video_rewound"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
