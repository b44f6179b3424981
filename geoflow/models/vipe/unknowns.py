"""What an adjustment may change, and the numbers that its unknowns go by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Unknowns:
    """Which poses, views of the rig and disparity maps are free, and how many numbers of the lens."""

    pose_numbers: Tensor  # of free poses; each is a block of six unknowns
    rig_numbers: Tensor  # of free views; their blocks follow
    map_numbers: Tensor  # of free disparity maps
    pose_blocks: Tensor  # (N,) the block of every pose, `count` if fixed
    rig_blocks: Tensor | None  # (V,)
    map_rows: Tensor  # (D,) the row of every map, the number of free maps if fixed
    scalars: int

    @classmethod
    def of(cls, poses: Tensor, rig: Tensor | None, maps: Tensor, scalars: int) -> Unknowns:
        """Return the numbering of what masks say is free."""
        nothing = torch.zeros(0, dtype=torch.long, device=poses.device)
        free_poses, free_maps = (mask.nonzero()[:, 0] for mask in (poses, maps))
        free_rig = nothing if rig is None else rig.nonzero()[:, 0]
        blocks = len(free_poses) + len(free_rig)

        def places(mask: Tensor, first: int, otherwise: int) -> Tensor:
            numbered = torch.full(mask.shape, otherwise, dtype=torch.long, device=mask.device)
            numbered[mask] = first + torch.arange(int(mask.sum()), device=mask.device)
            return numbered

        rig_blocks = None if rig is None else places(rig, len(free_poses), blocks)
        numbers = places(poses, 0, blocks), rig_blocks, places(maps, 0, len(free_maps))
        return cls(free_poses, free_rig, free_maps, *numbers, scalars)

    @property
    def blocks(self) -> int:
        """Blocks of six unknowns."""
        return len(self.pose_numbers) + len(self.rig_numbers)
