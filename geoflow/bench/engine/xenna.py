"""A workload on cosmos-xenna, with the settings that suit it best.

Xenna assigns GPUs that NVML reports, so it cannot get pretended ones. A stage's share of a GPU is therefore booked as
the same share of a CPU, on as many CPUs as there are GPUs; so a worker need not stay within one GPU. Xenna supports
only chains: if the workload forks, the stages are put one after the other, and a task carries only the arrays that
later stages still read.
"""

from __future__ import annotations

import os
from typing import Any

from geoflow.bench.engine.bounds import Pools
from geoflow.bench.engine.sleeper import Sleeper
from geoflow.bench.engine.workloads import Workload


def drive(workload: Workload, pools: Pools | None, trace: str, cpus_per_worker: float) -> list[int]:
    """Run the workload; return the items that came out.

    With `pools` None Xenna's autoscaler sizes them, every second.
    """
    import ray
    from cosmos_xenna.pipelines import v1

    # Its monitor looks for a Ray on this machine, and gives up if it finds several.
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    quiet = v1.VerbosityLevel.NONE
    config = v1.PipelineConfig(
        return_last_stage_outputs=True,  # small: the last stage makes no array
        enable_work_stealing=True,
        cpu_allocation_percentage=workload.gpus / ray.cluster_resources()["CPU"],
        logging_interval_s=3600,
        actor_pool_verbosity_level=quiet,
        monitoring_verbosity_level=quiet,
        mode_specific=v1.StreamingSpecificSpec(
            # Its defaults, three minutes each, are longer than a whole run here.
            autoscale_interval_s=3600 if pools else 1,
            autoscale_speed_estimation_window_duration_s=10,
            autoscaler_verbosity_level=quiet,
            executor_verbosity_level=quiet,
        ),
    )
    make = _stage_class()
    stages = [
        v1.StageSpec(make(workload, index, trace), num_workers=pools[stage.name] if pools else None)
        for index, stage in enumerate(workload.stages)
    ]
    tasks = [{"item": item} for item in range(workload.items)]
    done = v1.run_pipeline(v1.PipelineSpec(input_data=tasks, stages=stages, config=config))
    return [task["item"] for task in done or []]


def _stage_class() -> Any:
    """Return the stage class; it is made when called, since few environments have Xenna."""
    from cosmos_xenna.pipelines import v1

    class SleepTasks(v1.Stage):
        def __init__(self, workload: Workload, index: int, trace: str) -> None:
            self._workload, self._index, self._trace = workload, index, trace

        @property
        def required_resources(self) -> Any:
            return v1.Resources(cpus=self._workload.stages[self._index].gpus)

        def setup(self, worker_metadata: Any) -> None:
            self._sleeper = Sleeper(self._workload, self._workload.stages[self._index].name, self._trace)

        def process_data(self, in_data: list[dict[str, Any]]) -> list[dict[str, Any]]:
            """Process tasks {"item": number, stage: (payload_bytes,) uint8 of each stage that is carried along}."""
            stage, keep = self._workload.stages[self._index], self._workload.read_later(self._index)
            out = []
            for task in in_data:
                made = self._sleeper.work(task["item"], [task[name] for name in stage.after])
                known = {**task, stage.name: made}
                out.append({"item": task["item"], **{name: known[name] for name in keep}})
            return out

    return SleepTasks
