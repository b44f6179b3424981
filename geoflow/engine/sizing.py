"""The number of actors of each stage. `geoflow plan` and a run use the same function."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from geoflow.engine.schedule import PoolNeed, PoolSize, size_pools
from geoflow.pipeline import StageSpec
from geoflow.stage import Stage


def most_copies(stage: Stage, videos: int | None) -> float:
    """Return how many actors of a stage can have work: an ordered stage works on one segment of a video at a time."""
    return math.inf if not stage.ordered or videos is None else max(1, videos)


def size_all_pools(
    specs: Sequence[StageSpec],
    stages: Sequence[Stage],
    layout: Sequence[Sequence[str]],
    *,
    cpus: float,
    gpus: float,
    videos: int | None = None,
) -> dict[str, PoolSize]:
    """Return the size of every stage's pool, with the `cpus` CPUs and `gpus` GPUs of the cluster that a run may use.

    `layout` holds the slots on each GPU, as `Residency.plan` gives them for the GPUs at the start. GPUs that join later
    are assumed to be used in the same way, so CPUs are kept free for their actors, too. `videos` is how many there are,
    if known.
    """
    copies = Counter(slot for slots in layout for slot in slots)
    more = max(1.0, gpus / max(1, len(layout)))
    needs = []
    for spec, stage in zip(specs, stages):
        fixed = round(more * copies[spec.slot]) if spec.slot in copies else spec.actors
        needs.append(PoolNeed(spec.slot, spec.num_cpus, spec.weight, most_copies(stage, videos), fixed))
    return size_pools(needs, cpus=cpus)
