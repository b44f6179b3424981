"""How far apart keyframes are: the mean length of the flow between them, and how far apart their maps are."""

from __future__ import annotations

import torch
from torch import Tensor

from geoflow.models.vipe import lens, se3
from geoflow.models.vipe.reprojection import Geometry, move

FAR = 1000.0  # the distance of pictures that share less than three quarters
_SHARE = 0.75
_LEAST_RATIO = 0.25  # of depths, from which on a pixel counts
_NUMBERS = 1 << 19  # pixels at once


def frame_distance(geometry: Geometry, ii: Tensor, jj: Tensor, beta: float = 0.3) -> Tensor:
    """Return the distances (E,) from keyframes ii to keyframes jj, in pixels of the grid.

    The flow of the whole motion counts with the weight `beta`, that of its translation alone with 1 - beta.
    """
    pixels = geometry.disps.shape[1] * geometry.disps.shape[2]
    chunks = zip(ii.split(max(1, _NUMBERS // pixels)), jj.split(max(1, _NUMBERS // pixels)))
    found = [_distance(geometry, i, j, beta) for i, j in chunks]
    return torch.cat(found) if found else geometry.poses.new_zeros(0)


def both_ways(geometry: Geometry, ii: Tensor, jj: Tensor, beta: float = 0.3) -> Tensor:
    """Return the mean distances (E,) of both directions."""
    return 0.5 * (frame_distance(geometry, ii, jj, beta) + frame_distance(geometry, jj, ii, beta))


def _distance(geometry: Geometry, ii: Tensor, jj: Tensor, beta: float) -> Tensor:
    camera = lens.pinhole(geometry.lenses[:1])
    uv = lens.grid(geometry.disps.shape[1], geometry.disps.shape[2], geometry.disps).flatten(1)[None]
    rays, disps = lens.unproject(uv, camera), geometry.disps[ii].flatten(1)
    motion = se3.multiply(geometry.poses[jj], se3.invert(geometry.poses[ii]))
    shift = se3.identity(len(motion), motion)
    shift[:, :3] = motion[:, :3]
    length, counted = torch.zeros_like(disps), torch.zeros_like(disps)
    for part, share in ((motion, beta), (shift, 1 - beta)):
        points = move(rays, disps, part)
        near = points[:, 2] <= _LEAST_RATIO
        flow = (lens.project(points, camera, _LEAST_RATIO) - uv).norm(dim=1)
        length += share * flow.masked_fill(near, 0)
        counted += share * (~near).to(flow.dtype)
    counted = counted.sum(1)
    enough = counted / disps.shape[1] >= _SHARE
    return torch.where(enough, length.sum(1) / counted.clamp(min=1e-12), torch.full_like(counted, FAR))
