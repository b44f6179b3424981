"""`python lose_a_node.py FOLDER`: a run on a cluster of two nodes, of which one goes with all that it held.

In a process of its own, since a process can be connected to one cluster only.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from engine_runs import count, execute, pipeline, whole


def main(folder: Path) -> None:
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # where workers find the stages
    import ray
    from ray.cluster_utils import Cluster

    # Ray asks a node every 3 s if it is there, and gives it up after five times: long for a test.
    soon = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 300, "health_check_failure_threshold": 3}
    head = {"num_cpus": 0, "object_store_memory": 1 << 28, "_system_config": soon}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=4, object_store_memory=1 << 28) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    cluster.wait_for_nodes()
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
    try:
        videos, events, _ = execute(pipe, ("a", "b"), frames=240, side=160, observe=observe)
        assert lost.is_set()
        assert all(whole(video, 240) for video in videos)
        assert count(events, "actor_died") >= 1
        print("recovered:", count(events, "fields_lost"), "rewound:", count(events, "video_rewound"))
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
