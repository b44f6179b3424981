"""From pixels to world points and back. Pixel centres lie on whole numbers; poses map the world to the camera."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_NEAREST = 1e-6  # depth from which on a point is projected


def _exact(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Leave out what autocast would do: bfloat16 holds a pixel's place to three pixels in a row of 724."""

    @functools.wraps(function)
    def exactly(points: Tensor, *more: Any) -> Tensor:
        with torch.autocast(points.device.type, enabled=False):
            return function(points, *more)

    return exactly


@_exact
def unproject_maps(depth: Tensor, intrinsics: Tensor, cam_from_world: Tensor) -> Tensor:
    """Return world points (T, H, W, 3) of depth (T, H, W) along the optical axis; cameras (T, 3, 3) and (T, 4, 4).

    A depth of 0 gives the camera's centre.
    """
    height, width = depth.shape[1:]
    y, x = torch.meshgrid(
        torch.arange(height, dtype=depth.dtype, device=depth.device),
        torch.arange(width, dtype=depth.dtype, device=depth.device),
        indexing="ij",
    )
    rays = torch.stack((x, y, torch.ones_like(x)), dim=-1).reshape(-1, 3)
    local = rays @ torch.linalg.inv(intrinsics).mT * depth.flatten(1)[..., None]  # (T, H * W, 3)
    rotation, translation = cam_from_world[:, :3, :3], cam_from_world[:, None, :3, 3]
    return ((local - translation) @ rotation).unflatten(1, (height, width))


@_exact
def unproject_pixels(xy: Tensor, depth: Tensor, intrinsics: Tensor, cam_from_world: Tensor) -> Tensor:
    """Return world points (N, 3) of pixels (N, 2) with depth (N,), all in one camera (3, 3) and (4, 4)."""
    rays = torch.cat((xy, torch.ones_like(xy[:, :1])), dim=1) @ torch.linalg.inv(intrinsics).mT
    return (rays * depth[:, None] - cam_from_world[:3, 3]) @ cam_from_world[:3, :3]


@_exact
def project(points: Tensor, intrinsics: Tensor, cam_from_world: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (T, N, 3), a pixel and the depth, of world points (T, N, 3) in frames of `size` (H, W).

    Depth is clamped from below, and pixels to twice the frame's size on every side.
    """
    local = points @ cam_from_world[:, :3, :3].mT + cam_from_world[:, None, :3, 3]
    depth = local[..., 2:].clamp(min=_NEAREST)
    xy = (local / depth @ intrinsics.mT)[..., :2]
    limits = torch.tensor([2.0 * size[1], 2.0 * size[0]], dtype=xy.dtype, device=xy.device)
    return torch.cat((xy.clamp(-limits, limits), depth), dim=-1)
