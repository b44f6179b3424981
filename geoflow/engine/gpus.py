"""The GPUs of a run: each is one placement group, so that the engine and not Ray says which model lives where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# What an actor books of its GPU. Ray's fractions are bookkeeping: the tokens and the planned memory are what counts,
# and a booking that small lets any number of models share a GPU while its node is never taken for idle.
BOOKED = 0.01

_FULL = 1.0
_TINY = 1e-9


@dataclass(eq=False)
class Gpu:
    """One GPU: the placement group that holds it, the slots planned for it, and what is left of its run token."""

    group: Any
    ready: Any  # the ref that says the group is placed; None once it is
    planned: list[str] = field(default_factory=list)  # slots, one entry per copy
    free: float = _FULL

    def fits(self, share: float) -> bool:
        return share <= self.free + _TINY

    def take(self, share: float) -> None:
        self.free -= share

    def give(self, share: float) -> None:
        self.free = min(_FULL, self.free + share)

    def strategy(self) -> Any:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        return PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=0)


def claim(planned: list[str], cpus: float) -> Gpu:
    """Ask Ray for one whole GPU with some CPUs beside it; on an autoscaling cluster this brings a node up."""
    from ray.util.placement_group import placement_group

    bundle = {"GPU": _FULL, **({"CPU": cpus} if cpus >= 0.001 else {})}
    group = placement_group([bundle], strategy="PACK")
    return Gpu(group, group.ready(), planned)


def let_go(gpu: Gpu) -> None:
    from ray.util.placement_group import remove_placement_group

    remove_placement_group(gpu.group)
