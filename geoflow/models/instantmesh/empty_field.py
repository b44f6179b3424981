"""Fields without a surface: how they are known, and what InstantMesh's own program makes of them."""

from __future__ import annotations

import torch
from torch import Tensor

from geoflow.models.instantmesh.grid import Grid

_BORDER = 2  # layers that the original program turns inside


def is_empty(grid: Grid, distance: Tensor) -> Tensor:
    """Whether signed distances (..., N) have one sign everywhere except in the grid's outermost layer: (...)."""
    inner = _cube(grid, distance)[..., 1:-1, 1:-1, 1:-1].flatten(-3)
    return ~((inner > 0).any(-1) & (inner < 0).any(-1))


def force_surface(grid: Grid, distance: Tensor) -> Tensor:
    """Return distances (B, N) that have a surface, as the original program does: a box around all, or a tiny cube.

    Those without one get a point outside near the centre, and a border that is inside. The extremes are those of the
    whole batch.
    """
    forced = _cube(grid, distance).clone()
    border = torch.ones_like(forced[0], dtype=torch.bool)
    border[_BORDER:-_BORDER, _BORDER:-_BORDER, _BORDER:-_BORDER] = False
    middle = grid.resolution // 2 + 1
    forced[:, border] = -1 - distance.max()
    forced[:, middle, middle, middle] = 1 - distance.min()
    return torch.where(is_empty(grid, distance)[:, None], forced.flatten(1), distance)


def _cube(grid: Grid, distance: Tensor) -> Tensor:
    return distance.unflatten(-1, [grid.resolution + 1] * 3)
