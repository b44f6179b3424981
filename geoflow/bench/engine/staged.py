"""A workload stage by stage, as a script would do it: all items through one stage, then all through the next.

Every stage has all GPUs, with as many workers as fit; its models are loaded when its turn comes.
"""

from __future__ import annotations

from typing import Any

from geoflow.bench.engine.bounds import Pools
from geoflow.bench.engine.sleeper import Sleeper
from geoflow.bench.engine.workloads import SleepStage, Workload


class SleepActor:
    """One worker of one stage."""

    def __init__(self, workload: str, stage: str, trace: str) -> None:
        self._sleeper = Sleeper(Workload.from_json(workload), stage, trace)

    def ready(self) -> bool:
        return True

    def work(self, item: int, *inputs: Any) -> Any:
        """(payload_bytes,) uint8."""
        return self._sleeper.work(item, inputs)


def drive(workload: Workload, pools: Pools | None, trace: str, cpus_per_worker: float) -> list[int]:
    """Run the workload; return the items that came out. `pools` are ignored."""
    made: dict[str, list[Any]] = {}  # stage -> the ref of each item's array
    for index, stage in enumerate(workload.stages):
        inputs = [made[name] for name in stage.after]
        made[stage.name] = _phase(workload, stage, inputs, trace, cpus_per_worker)
        keep = workload.read_later(index)
        made = {name: refs for name, refs in made.items() if name in keep or name == stage.name}
    return [item for item, ref in enumerate(made[workload.stages[-1].name]) if ref is not None]


def _phase(
    workload: Workload, stage: SleepStage, inputs: list[list[Any]], trace: str, cpus_per_worker: float
) -> list[Any]:
    """Take all items through one stage; a worker gets its next item when it has finished one."""
    import ray

    actor = ray.remote(SleepActor).options(num_gpus=stage.gpus, num_cpus=cpus_per_worker)
    count = min(int(workload.gpus / stage.gpus), workload.items)
    workers = [actor.remote(workload.to_json(), stage.name, trace) for _ in range(count)]
    ray.get([worker.ready.remote() for worker in workers])
    made: list[Any] = [None] * workload.items
    busy: dict[Any, Any] = {}  # ref -> its worker
    for item in range(workload.items):
        if len(busy) == len(workers):
            done, _ = ray.wait(list(busy), num_returns=1, fetch_local=False)
            worker = busy.pop(done[0])
        else:
            worker = workers[len(busy)]
        ref = worker.work.remote(item, *[refs[item] for refs in inputs])
        made[item] = ref
        busy[ref] = worker
    ray.wait(list(busy), num_returns=len(busy), fetch_local=False)
    for worker in workers:
        ray.kill(worker)
    return made
