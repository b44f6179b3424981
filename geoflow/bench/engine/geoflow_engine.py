"""A workload on GeoFlow's own executor."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from geoflow.bench.engine import sleep_stages
from geoflow.bench.engine.bounds import Pools
from geoflow.bench.engine.sleep_stages import END, LEFT, RIGHT, TRUNK
from geoflow.bench.engine.workloads import Workload
from geoflow.cluster.session import capacity
from geoflow.engine.executor import Executor
from geoflow.engine.intake import Limits
from geoflow.errors import ConfigError
from geoflow.pipeline import Pipeline
from geoflow.store.paths import RunPaths
from geoflow.video.inputs import Input

_FRAMES = 2  # frames of a segment: the smallest number allowed
_BACKENDS = {
    (cls.inputs, cls.outputs[0]): cls.__name__
    for cls in vars(sleep_stages).values()
    if isinstance(cls, type) and issubclass(cls, sleep_stages.Sleep) and cls.outputs
}


def drive(
    workload: Workload,
    pools: Pools | None,
    trace: str,
    cpus_per_worker: float,
    *,
    resident: bool = False,
    kept: str | None = None,
) -> list[int]:
    """Run the workload; return the items that came out. `kept` is a folder for finished work.

    A loaded model takes its stage's share of a GPU's memory, so that no more models fit on a GPU than in the pools of
    other engines; with `resident` it takes `SleepStage.memory`.

    One video is the workload, and each of its segments is an item. With `pools` None the executor sizes its pools
    itself, from the stages' mean times, which it reads from `weight` as in a pipeline file.
    """

    delivered: list[int] = []

    def emit(event: str, **data: Any) -> None:
        if event == "segment_complete":
            delivered.append(data["index"])

    executor = Executor(
        pipeline_of(workload, pools, trace, cpus_per_worker, resident=resident),
        partial(sleep_stages.probe, num_frames=_FRAMES * workload.items, height_width=frame_size(workload)),
        Limits(),
        capacity(),
        emit=emit,
        paths=RunPaths(Path(kept)) if kept else None,
    )
    executor.run([Input(workload.name, workload.name)])
    return delivered


def pipeline_of(
    workload: Workload, pools: Pools | None, trace: str, cpus_per_worker: float, *, resident: bool = False
) -> Pipeline:
    """Return the pipeline whose graph is the workload's."""
    backends = backends_of(workload)
    stages = [
        {
            "slot": stage.name,
            "backend": f"{sleep_stages.__name__}:{backends[stage.name]}",
            "params": {"workload": workload.to_json(), "stage": stage.name, "trace": trace},
            "num_cpus": cpus_per_worker,
            "num_gpus": stage.gpus,
            "gpu_memory": stage.memory if resident else stage.gpus,
            "weight": stage.seconds or 1.0,
            "actors": pools[stage.name] if pools else None,
        }
        for stage in workload.stages
    ]
    return Pipeline.from_dict({"name": workload.name, "segment": {"size": _FRAMES, "overlap": 0}, "stages": stages})


def backends_of(workload: Workload) -> dict[str, str]:
    """Return the class of `sleep_stages` for each stage: the trunk's field is passed on until it forks in two.

    Raises ConfigError if a stage forks into more than two, or the branches do not meet in the last stage.
    """
    field_of: dict[str, str] = {}
    backends: dict[str, str] = {}
    for stage in workload.stages:
        inputs = tuple(field_of[name] for name in stage.after) or ("video.index",)
        if stage is workload.stages[-1]:
            output = END
        elif len(stage.after) == 1:
            siblings = [other.name for other in workload.stages if stage.after[0] in other.after]
            branches = (inputs[0],) if len(siblings) == 1 else (LEFT, RIGHT)
            output = branches[siblings.index(stage.name)] if len(siblings) <= len(branches) else ""
        else:
            output = TRUNK
        if (inputs, output) not in _BACKENDS:
            raise ConfigError(f"{workload.name}: {stage.name} would need a sleeping stage from {inputs} to {output!r}")
        field_of[stage.name], backends[stage.name] = output, _BACKENDS[inputs, output]
    return backends


def frame_size(workload: Workload) -> tuple[int, int]:
    """Return height and width for which a segment's mask has the payload's bytes; all stages must have the same."""
    sizes = {stage.payload_bytes for stage in workload.stages[:-1]}
    if len(sizes) != 1 or (pixels := sizes.pop()) % _FRAMES:
        raise ConfigError(f"{workload.name}: all stages but the last should make arrays of one, even size")
    return 1, pixels // _FRAMES
