"""Point maps and feature maps at four sizes, and samples of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def level_sizes(height: int, width: int, levels: int) -> list[tuple[int, int]]:
    """Return (h, w) of every level: a quarter of the frame, then half of the level before, rounded down."""
    return [(height // 4 // 2**level, width // 4 // 2**level) for level in range(levels)]


def picked_rows(full: int, size: int) -> Tensor:
    """Return which of `full` rows stand for `size` rows (size,) int64: those nearest to the middle of each.

    The scale is rounded to float32, as in torch's `nearest-exact`: at 724 to 90 this decides one index.
    """
    scale = torch.tensor(full, dtype=torch.float32) / torch.tensor(size, dtype=torch.float32)
    middles = (torch.arange(size, dtype=torch.float32) + 0.5) * scale
    return middles.floor().long().clamp_(max=full - 1)


def pick_points(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (..., h, w, 3) of the point maps (..., H, W, 3)."""
    rows, columns = (picked_rows(full, small) for full, small in zip(points.shape[-3:-1], size))
    return points[..., rows[:, None].to(points.device), columns.to(points.device), :]


def halve(features: Tensor) -> Tensor:
    """Average (..., C, h, w) over 2x2 pixels; an odd last row or column is left out."""
    return F.avg_pool2d(features, 2)


def sample(maps: Tensor, frames: Tensor, xy: Tensor) -> Tensor:
    """Sample maps (T, C, h, w) at frames (N,) and pixels xy (N, 2) to (N, C), linearly in all three directions.

    Pixel and frame numbers are counted at their middles, and clamped to the border.
    """
    volume = maps.movedim(0, 1)[None]  # (1, C, T, h, w)
    limits = torch.tensor([n - 1 for n in reversed(volume.shape[2:])], dtype=xy.dtype, device=xy.device)
    grid = torch.cat((xy, frames[:, None].to(xy.dtype)), dim=1)
    grid = torch.where(limits > 0, 2 * grid / limits.clamp(min=1) - 1, torch.zeros_like(grid))
    found = F.grid_sample(volume, grid[None, :, None, None], align_corners=True, padding_mode="border")
    return found[0, :, :, 0, 0].mT
