"""The GPUs of a run: each is one placement group, so that the engine, not Ray, decides which model is where."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from geoflow.engine.gpu.tokens import Token

# What an actor books of its GPU. Ray's fractions are only bookkeeping: the tokens and the planned memory decide. With
# such a small booking any number of models can share a GPU, and its node never looks idle.
BOOKED = 0.01


@dataclass(eq=False)
class Gpu:
    """One GPU: the placement group that holds it, the slots planned for it, and its run token."""

    group: Any
    ready: Any = None  # the ref that is ready when the group is placed; None after that
    planned: list[str] = field(default_factory=list)  # slots, one entry per copy
    token: Token = field(default_factory=Token)
    alone: Any = None  # the worker that needs this GPU, with all its memory, to itself for a call
    alone_asked: float = 0.0  # when that was last requested (monotonic)
    empty_from: float = 0.0  # when the workers that were stopped for `alone` are gone (monotonic)
    evicted: list[int] = field(default_factory=list)  # stages whose workers were stopped for `alone`
    refuses: set[str] = field(default_factory=set)  # slots whose environment its node cannot build
    wanted: float = 0.0  # work of the stages on it, each divided by the number of GPUs that have the stage
    contended: bool = True  # its token is too small for one call of each of its models at the same time
    # By slot: seconds that this GPU was idle because it lacked the model.
    lack: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def strategy(self) -> Any:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        return PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=0)


def claim(planned: list[str], cpus: float) -> Gpu:
    """Ask Ray for one whole GPU with some CPUs beside it; on an autoscaling cluster this brings a node up."""
    from ray.util.placement_group import placement_group

    bundle = {"GPU": 1.0, **({"CPU": cpus} if cpus >= 0.001 else {})}
    group = placement_group([bundle], strategy="PACK")
    return Gpu(group, planned=planned)


def is_placed(gpu: Gpu, within: float = 0.0) -> bool:
    """Return whether the group has a GPU, at the latest `within` seconds. If its node is lost, Ray looks for
    another."""
    return bool(gpu.group.wait(timeout_seconds=within))


def let_go(gpu: Gpu) -> None:
    from ray.util.placement_group import remove_placement_group

    remove_placement_group(gpu.group)
