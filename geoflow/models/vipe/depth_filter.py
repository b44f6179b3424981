"""Which pixels of keyframes are seen at the same place by the keyframes around them."""

from __future__ import annotations

import torch
from torch import Tensor

from geoflow.models.vipe import lens, se3
from geoflow.models.vipe.reprojection import Geometry, move

NEIGHBOURS = (-1, -2, -3, 1, 2, 3)


def seen_by_neighbours(geometry: Geometry, limit: Tensor) -> Tensor:
    """Return in how many of the six keyframes around its own each pixel has a neighbour of its depth: (N, h, w).

    `limit` (N,) is the largest difference of depth, in the poses' unit. A pixel that falls outside of a keyframe, or
    whose four neighbours there are not all inside, is not seen by it.
    """
    count = len(geometry.disps)
    seen = torch.zeros_like(geometry.disps, dtype=torch.int64)
    numbers = torch.arange(count, device=seen.device)
    for offset in NEIGHBOURS:
        inside = (numbers + offset >= 0) & (numbers + offset < count)
        for ii in numbers[inside].split(64):
            seen[ii] += _agree(geometry, ii, ii + offset, limit[ii])
    return seen


def _agree(geometry: Geometry, ii: Tensor, jj: Tensor, limit: Tensor) -> Tensor:
    height, width = geometry.disps.shape[1:]
    camera = lens.pinhole(geometry.lenses[:1])
    rays = lens.unproject(lens.grid(height, width, geometry.disps).flatten(1)[None], camera)
    motion = se3.multiply(geometry.poses[jj], se3.invert(geometry.poses[ii]))
    x, y, z = move(rays, geometry.disps[ii].flatten(1), motion).unbind(1)
    fx, fy, cx, cy = camera[0]
    u, v = fx * (x / z) + cx, fy * (y / z) + cy
    depth = z / geometry.disps[ii].flatten(1)
    left, top = torch.floor(u), torch.floor(v)
    inside = (left >= 0) & (top >= 0) & (left < width - 1) & (top < height - 1)
    first = torch.where(inside, top * width + left, torch.zeros_like(left)).long()
    maps, agreed = geometry.disps[jj].flatten(1), torch.zeros_like(inside)
    for step in (0, 1, width, width + 1):
        there = torch.gather(maps, 1, (first + step).clamp(max=maps.shape[1] - 1))
        agreed |= (depth - there.reciprocal()).abs() < limit[:, None]
    return (agreed & inside).unflatten(1, (height, width))


def believed(geometry: Geometry, limit: float, invalid: Tensor) -> Tensor:
    """Return which pixels (N, h, w) make up the map.

    Such a pixel is seen by two neighbours (or by the only one), is not much farther than the average, and is not
    marked `invalid`. `limit` is the largest difference of depth, in parts of the inverse of the mean disparity.
    """
    disps = geometry.disps
    count = seen_by_neighbours(geometry, torch.full((len(disps),), limit / float(disps.mean())).to(disps))
    near = disps > 0.5 * disps.mean((1, 2), keepdim=True)
    return (count >= min(2, len(disps) - 1)) & near & ~invalid
