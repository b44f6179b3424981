"""How many actors each stage gets: what `geoflow plan` says of a run and what a run does, by one function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from geoflow.engine.schedule import PoolNeed, PoolSize, size_pools
from geoflow.pipeline import StageSpec
from geoflow.stage import Stage


def size_all_pools(
    specs: Sequence[StageSpec], stages: Sequence[Stage], layout: Sequence[Sequence[str]], *, cpus: float, gpus: float
) -> dict[str, PoolSize]:
    """Return the size of every stage's pool on a cluster of `cpus` CPUs and `gpus` GPUs, of those that it may use.

    `layout` are the slots that live on each GPU, as `Residency.plan` has it for the GPUs that are there at first. A
    run's later GPUs are laid out alike: CPUs are left for the actors on them, too.
    """
    copies = Counter(slot for slots in layout for slot in slots)
    more = max(1.0, gpus / max(1, len(layout)))
    needs = []
    for spec, stage in zip(specs, stages):
        fixed = round(more * copies[spec.slot]) if spec.slot in copies else spec.actors
        needs.append(PoolNeed(spec.slot, spec.num_cpus, spec.weight, stage.ordered, fixed))
    return size_pools(needs, cpus=cpus)
