"""The GPUs of a run: each is one placement group, so that the engine and not Ray says which model lives where."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from geoflow.engine.gpu.tokens import Token

# What an actor books of its GPU. Ray's fractions are bookkeeping: the tokens and the planned memory are what counts,
# and a booking that small lets any number of models share a GPU while its node is never taken for idle.
BOOKED = 0.01


@dataclass(eq=False)
class Gpu:
    """One GPU: the placement group that holds it, the slots planned for it, and its run token."""

    group: Any
    ready: Any = None  # the ref that says the group is placed; None once it is
    planned: list[str] = field(default_factory=list)  # slots, one entry per copy
    token: Token = field(default_factory=Token)
    alone: Any = None  # the worker that is to have this GPU, with all its memory, to itself for a call
    alone_asked: float = 0.0  # when that was last asked for (monotonic)
    empty_from: float = 0.0  # when the workers that were ended for `alone` are gone (monotonic)
    evicted: list[int] = field(default_factory=list)  # stages whose workers were ended for `alone`
    refuses: set[str] = field(default_factory=set)  # slots whose environment its node cannot build
    wanted: float = 0.0  # by the stages that live on it: their work, each shared out over the GPUs it lives on
    contended: bool = True  # its token is too small for a call of each of its models at the same time
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
    """Whether there is a GPU behind it, or comes `within` seconds; when its node is lost, Ray looks for another."""
    return bool(gpu.group.wait(timeout_seconds=within))


def let_go(gpu: Gpu) -> None:
    from ray.util.placement_group import remove_placement_group

    remove_placement_group(gpu.group)
