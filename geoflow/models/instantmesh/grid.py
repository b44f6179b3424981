"""A cubic grid around the origin: points and cubes by their numbers, z fastest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CORNERS = 8  # of a cube; corner c lies at (c & 1, c >> 1 & 1, c >> 2 & 1) along x, y and z
_DECIMALS = 5  # of coordinates before they are scaled: as trained


@dataclass(frozen=True)
class Grid:
    """A grid of `resolution` cubes along each side, `scale` wide."""

    resolution: int
    scale: float
    device: torch.device | str = "cpu"

    @property
    def num_points(self) -> int:
        return (self.resolution + 1) ** 3

    @property
    def num_cubes(self) -> int:
        return self.resolution**3

    def points(self, numbers: Tensor | None = None) -> Tensor:
        """Coordinates (N, 3) float32 of points by their numbers (N), or of all of them."""
        side = torch.arange(self.resolution + 1, device=self.device, dtype=torch.float32) / self.resolution
        side = ((side * 10**_DECIMALS).round() / 10**_DECIMALS - 0.5) * self.scale
        if numbers is None:
            numbers = torch.arange(self.num_points, device=self.device)
        return side[torch.stack(self._split(numbers, self.resolution + 1), dim=-1)]

    def moved(self, numbers: Tensor, deformation: Tensor) -> Tensor:
        """Coordinates (N, 3) of points that a field's deformation (N, 3) moves, by at most 12 % of a cube."""
        return self.points(numbers) + self.displacement(deformation)

    def displacement(self, deformation: Tensor) -> Tensor:
        """How far a field's deformation (N, 3) moves points."""
        return torch.tanh(deformation) / (4 * self.resolution)

    def corners(self, cubes: Tensor) -> Tensor:
        """Numbers (M, 8) of the points at the corners of cubes (M)."""
        x, y, z = self._split(cubes, self.resolution)
        side = self.resolution + 1
        steps = [(c & 1) * side * side + (c >> 1 & 1) * side + (c >> 2 & 1) for c in range(CORNERS)]
        return ((x * side + y) * side + z)[:, None] + torch.tensor(steps, device=cubes.device)

    def neighbours(self, cubes: Tensor, step: Tensor) -> Tensor:
        """Numbers (M) of the cubes that lie one step (M, 3) of -1, 0 or 1 on; -1 beyond the grid."""
        place = torch.stack(self._split(cubes, self.resolution), dim=-1) + step
        x, y, z = place.unbind(-1)
        inside = ((place >= 0) & (place < self.resolution)).all(-1)
        return torch.where(inside, (x * self.resolution + y) * self.resolution + z, -1)

    def crossed(self, distance: Tensor) -> Tensor:
        """Numbers (M), rising, of the cubes with inside and outside corners, from distances (N) of all points."""
        inside = (distance < 0).view([self.resolution + 1] * 3)
        count = torch.zeros([self.resolution] * 3, dtype=torch.uint8, device=inside.device)
        last = self.resolution
        for c in range(CORNERS):
            x, y, z = c & 1, c >> 1 & 1, c >> 2 & 1
            count += inside[x : last + x, y : last + y, z : last + z]
        return ((count > 0) & (count < CORNERS)).flatten().nonzero()[:, 0]

    @staticmethod
    def _split(numbers: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
        rest = numbers // side
        return rest // side, rest % side, numbers % side
