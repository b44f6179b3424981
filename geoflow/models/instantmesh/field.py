"""The field that three planes hold: signed distance, colour, and how a grid is deformed and weighed there.

Points are read in chunks, so that memory does not grow with their number: at the published size all features of a grid
would take 2 GB, and those of its cubes 16 GB.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.instantmesh.grid import CORNERS, Grid
from geoflow.models.instantmesh.triplanes import PLANES

WEIGHTS = 21  # of a cube: 12 of edges, 8 of corners, 1 of the cube
_WIDTH = 64
_WEIGHT_SCALE = 0.1
_AXES = ((0, 1), (0, 2), (2, 1))  # of the points, along a plane's width and height
_CHUNK = 1 << 15  # points at a time


class Heads(nn.Module):
    """Four small networks on a point's features, or on those of a cube's corners."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = PLANES * channels
        self.net_sdf = _mlp(width, 1)
        self.net_rgb = _mlp(width, 3)
        self.net_deformation = _mlp(width, 3)
        self.net_weight = _mlp(CORNERS * width, WEIGHTS)


def _mlp(width: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Linear(width, _WIDTH), nn.ReLU()]
        width = _WIDTH
    return nn.Sequential(*layers, nn.Linear(width, outputs))


class Field:
    """Three planes (3, C, R, R) of an object, and the heads that read them."""

    def __init__(self, heads: Heads, planes: Tensor, chunk: int = _CHUNK) -> None:
        self._heads, self._planes, self._chunk = heads, planes, chunk

    def features(self, points: Tensor) -> Tensor:
        """points (N, 3) to (3, N, C), one row for each plane; zeros beyond the planes, whose edges are at -1 and 1."""
        on_planes = torch.stack([points[:, axes] for axes in _AXES])[:, :, None]
        found = F.grid_sample(self._planes, on_planes, mode="bilinear", padding_mode="zeros", align_corners=False)
        return found[..., 0].transpose(1, 2)

    def distance(self, points: Tensor) -> Tensor:
        """Signed distances (N, 1) of points (N, 3), negative inside."""
        return self._read(self._heads.net_sdf, points)

    def distances(self, grid: Grid) -> Tensor:
        """Signed distances (N) of all points of a grid."""
        numbers = torch.arange(grid.num_points, device=self._planes.device)
        return torch.cat([self.distance(grid.points(part))[:, 0] for part in numbers.split(self._chunk)])

    def colour(self, points: Tensor) -> Tensor:
        """Colours (N, 3) of points (N, 3): red, green and blue, about 0..1."""
        return self._read(self._heads.net_rgb, points).sigmoid() * (1 + 2 * 0.001) - 0.001

    def deformation(self, points: Tensor) -> Tensor:
        """Numbers (N, 3) from which `Grid.moved` knows how far the grid's points (N, 3) are moved."""
        return self._read(self._heads.net_deformation, points)

    def weights(self, grid: Grid, cubes: Tensor) -> Tensor:
        """Weights (M, 21) of some cubes (M) of a grid, by their numbers."""
        found = [self._weights(grid, part) for part in cubes.split(max(1, self._chunk // CORNERS))]
        return torch.cat(found) if found else self._planes.new_zeros(0, WEIGHTS)

    def _weights(self, grid: Grid, cubes: Tensor) -> Tensor:
        corners, place = grid.corners(cubes).unique(return_inverse=True)  # neighbours share them
        features = self.features(grid.points(corners)).transpose(0, 1).flatten(1)
        return self._heads.net_weight(features[place].flatten(1)) * _WEIGHT_SCALE

    def _read(self, head: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
        return torch.cat([head(self.features(part).transpose(0, 1).flatten(1)) for part in points.split(self._chunk)])
