"""What is checked before work starts, and not found out hours later: that there are GPUs, that weights are whole."""

from __future__ import annotations

from geoflow import weights
from geoflow.engine.cluster import Capacity
from geoflow.errors import ConfigError
from geoflow.pipeline import Pipeline

Needs = list[tuple[str, str, dict[str, str]]]  # slot, backend, what it needs: see `Stage.weights`


def check(pipeline: Pipeline, has: Capacity, *, alone: bool) -> None:
    """Raise ConfigError when stages cannot start here; `alone` means on this machine only, which no node joins.

    Weights that are missing are no fault as long as they can be fetched: the first actor that needs them does.
    """
    if alone and not has.gpus:
        _refuse_gpu_stages(pipeline)
    needs = _needs(pipeline)
    if not needs:
        return
    for where, found in _look(needs, alone=alone):
        if found:
            raise ConfigError(f"weights{where}:\n" + "\n".join(f"  {line}" for line in found))


def _refuse_gpu_stages(pipeline: Pipeline) -> None:
    wanted = [spec.slot for spec in pipeline.stages if spec.num_gpus and not spec.optional]
    if wanted:
        settings = " ".join(f"--set {slot}.num_gpus=0" for slot in wanted)
        raise ConfigError(
            f"pipeline {pipeline.name!r} needs a GPU for {', '.join(wanted)}, and this machine has none; "
            f"join a cluster that has (--address), or compute on CPUs: {settings}"
        )


def _needs(pipeline: Pipeline) -> Needs:
    stages = ((spec, spec.make_stage().weights()) for spec in pipeline.stages if not spec.optional)
    return [(spec.slot, spec.backend, needs) for spec, needs in stages if needs]


def _look(needs: Needs, *, alone: bool) -> list[tuple[str, list[str]]]:
    """Faults by place: of this machine, or of every node that is there."""
    if alone:
        return [("", faults(needs))]
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0)(faults)
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]
    refs = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=True)).remote(needs)
        for node in nodes
    ]
    return [(f" on {node['NodeManagerHostname']}", found) for node, found in zip(nodes, ray.get(refs))]


def faults(needs: Needs) -> list[str]:
    """What is wrong with the weights of stages on this machine: files that are broken, or missing and out of reach."""
    missing = any(weights.must_fetch(backend, wanted) for _, backend, wanted in needs)
    fetch = missing and weights.hub_answers()
    return [
        f"{slot}: {line}"
        for slot, backend, wanted in needs
        for line in weights.problems(backend, wanted, but_missing=fetch)
    ]
