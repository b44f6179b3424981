"""Scenarios of `test_faults.py`, each in a process of its own: `python fault_scenarios.py NAME FOLDER`."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.engine.executor import Executor
from geoflow.engine.intake import Limits
from geoflow.engine.state import VideoRun
from geoflow.inputs import Input
from geoflow.pipeline import Pipeline
from geoflow.segments import VideoInfo

HERE = Path(__file__).parent
INIT: dict[str, Any] = {
    "include_dashboard": False,
    "log_to_driver": False,
    "logging_level": logging.ERROR,
    "runtime_env": {"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}},
}


def probe(frames: int, side: int) -> Any:
    def of(item: Input) -> tuple[VideoInfo, dict[str, Any]]:
        index = np.arange(frames)
        info = VideoInfo(item.name, item.source, "0", frames, 30.0, side, side, side, side)
        return info, {"video.index": index, "video.pts": index, "video.time": index / 30}

    return of


def pipeline(folder: str, *, cut: tuple[int, int] = (12, 4), gpu: bool = False, **params: Any) -> Pipeline:
    share = {"num_gpus": 0.5, "gpu_memory": 0.2} if gpu else {"num_cpus": 0.5}
    stages = [
        {"slot": "decode", "backend": "engine_stages:Source", "num_cpus": 0.5},
        {"slot": "prior", "backend": "engine_stages:Prior", "params": {"folder": folder, **params}, **share},
        {"slot": "geometry", "backend": "engine_stages:Mask", **share},
        {"slot": "stitch", "backend": "engine_stages:Sum", "params": {"folder": folder}, "num_cpus": 0.5},
    ]
    size, overlap = cut
    return Pipeline.from_dict({"name": "test", "segment": {"size": size, "overlap": overlap}, "stages": stages})


def execute(
    pipe: Pipeline, frames: int, *, gpus: float = 0, videos: int = 1, side: int = 8, observe: Any = None, **limits: Any
) -> tuple[list[VideoRun], list[dict[str, Any]], Executor]:
    events: list[dict[str, Any]] = []

    def emit(event: str, **data: Any) -> None:
        events.append({"event": event, "at": time.time(), **data})
        if observe is not None:
            observe(events[-1])

    settings = Limits(**{"budget_bytes": 1 << 28, **limits})
    executor = Executor(pipe, probe(frames, side), settings, cpus=4, gpus=gpus, emit=emit)
    found = executor.run([Input(name, f"/videos/{name}.mp4") for name in "abcdefgh"[:videos]])
    for video in found:
        assert video.status == "complete", (video.status, video.reason)
        assert video.result["sum"] == sum(range(frames)), "a frame is missing, or counted twice"
    return found, events, executor


def count(events: list[dict[str, Any]], event: str, slot: str | None = None) -> int:
    return sum(e["event"] == event and slot in (None, e.get("slot")) for e in events)


def tokens_never_exceed_a_gpu(folder: str) -> None:
    import ray

    ray.init(num_cpus=8, num_gpus=2, **INIT)
    _, events, _ = execute(pipeline(folder, gpu=True, mode="busy", segment=-1), 200, gpus=2, videos=2)
    done = [e for e in events if e["event"] == "stage_done" and e["slot"] in ("prior", "geometry")]
    spans = [(e["began"], e["began"] + e["seconds"]) for e in done]
    moments = sorted([(t, 0.5) for t, _ in spans] + [(t, -0.5) for _, t in spans])
    running = most = 0.0
    for _, change in moments:
        running += change
        most = max(most, running)
    assert 1.0 < most <= 2.0 + 1e-6, f"{most} GPUs' worth of calls ran at once on 2"
    assert count(events, "actor_ready", "prior") >= 2


def tiny_calls_go_together(folder: str) -> None:
    import ray

    ray.init(num_cpus=8, **INIT)
    sizes: list[int] = []
    original = Executor._submit

    def counting(self: Executor, node: int, runs: Any, worker: Any) -> None:
        sizes.append(len(runs))
        original(self, node, runs, worker)

    Executor._submit = counting  # type: ignore[method-assign]
    found, events, _ = execute(pipeline(folder, cut=(2, 0)), 1200)
    assert count(events, "stage_done") == 4 * found[0].num_segments == 4 * 600
    assert max(sizes) > 8, "nothing was coalesced"


def a_poison_item_is_split_from_its_batch(folder: str) -> None:
    import ray

    ray.init(num_cpus=8, **INIT)
    _, events, _ = execute(pipeline(folder, cut=(2, 0), mode="raise-once", segment=300), 1200)
    failed = [e for e in events if e["event"] == "stage_failed"]
    assert [e["index"] for e in failed] == [300] and failed[0]["verdict"] == "retry"


def a_hung_call_is_ended_and_done_again(folder: str) -> None:
    import ray

    ray.init(num_cpus=8, **INIT)
    _, events, _ = execute(pipeline(folder, mode="hang-once", segment=9), 200, least_deadline=3.0)
    assert count(events, "actor_hung", "prior") == 1
    assert count(events, "actor_died", "prior") == 1


def a_lost_node_costs_nothing_but_time(folder: str) -> None:
    """Workers are on two nodes; one goes, with what it held. That must be computed again, on the other."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 1 << 28})
    nodes = [cluster.add_node(num_cpus=4, object_store_memory=1 << 28) for _ in range(2)]
    ray.init(address=cluster.address, **INIT)
    cluster.wait_for_nodes()
    dropped = threading.Event()

    def lose_a_node() -> None:
        cluster.remove_node(nodes[0], allow_graceful=False)

    def observe(event: dict[str, Any]) -> None:
        if event["event"] == "stage_done" and event["index"] >= 3 and not dropped.is_set():
            dropped.set()
            threading.Thread(target=lose_a_node).start()

    pipe = pipeline(folder, mode="busy", segment=-1)
    try:
        _, events, _ = execute(pipe, 480, videos=2, side=160, observe=observe)
        assert dropped.is_set()
        assert count(events, "actor_died") >= 1
        print("recovered:", count(events, "fields_lost"), "restarted:", count(events, "video_restarted"))
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    scenario, where = sys.argv[1], sys.argv[2]
    Path(where).mkdir(parents=True, exist_ok=True)
    globals()[scenario](where)
    print(f"{scenario}: ok")
