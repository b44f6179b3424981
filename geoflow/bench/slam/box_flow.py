"""A source of flow that knows the truth: a camera in an empty box, from the inside of which nothing is hidden."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from geoflow.models.vipe import lens
from geoflow.models.vipe.flow_model import Parts, View

GRID = 8
WEIGHT = 0.8  # of pixels that the target shows
DAMPING = 0.004
_REMEMBERED = 1024  # pairs of frames


class BoxFlow:
    """A `FlowModel` by the true cameras world_from_cam (T, 4, 4) and (4,) fx, fy, cx, cy; `room` (3, 2) are walls.

    `noise` px of the grid is the deviation of what it says, from a seed. With `lap`, frames
    that are about so many apart are taken to show the same place, though the camera has moved on by `shift` m in x.
    """

    def __init__(
        self,
        world_from_cam: Tensor,
        camera: Tensor,
        room: Tensor,
        size: tuple[int, int],
        noise: float = 0.0,
        *,
        seed: int = 0,
        lap: int | None = None,
        shift: float = 0.0,
    ) -> None:
        self.world_from_cam = world_from_cam.double()
        self.camera, self.room = camera.double(), room.double()
        self.grid = size[0] // GRID, size[1] // GRID
        self.pixels = lens.grid(*self.grid, self.camera)
        self.noise, self._random = noise, torch.Generator().manual_seed(seed)
        self.lap, self.shift = lap, shift
        self.flow = functools.lru_cache(_REMEMBERED)(self._flow)

    def depth(self, frame: int, pixels: Tensor, camera: Tensor) -> Tensor:
        """Return the depth (h, w) along the optical axis at pixels (2, h, w) of a camera (4,)."""
        pose = self.world_from_cam[frame]
        rays = torch.einsum("ij,jhw->ihw", pose[:3, :3], _rays(pixels, camera))
        walls = torch.where(rays > 0, self.room[:, 1, None, None], self.room[:, 0, None, None])
        far = torch.where(rays == 0, torch.inf, (walls - pose[:3, 3, None, None]) / rays)
        return far.amin(0)

    def prior(self, frame: int, factor: float = 1.0) -> Tensor:
        """Return a depth map (H, W) of whole pixels, of which the tracker's samples hold the grid's depth."""
        height, width = (GRID * side for side in self.grid)
        pixels = lens.grid(height, width, self.camera) - 3
        return factor * self.depth(frame, pixels, self.camera)

    def _flow(self, i: int, j: int) -> tuple[Tensor, Tensor]:
        """Return where the grid's pixels of frame i lie in frame j, (2, h, w), and which of them j shows."""
        camera = self.camera / GRID
        moved = torch.linalg.inv(self._taken_for(i, j)) @ self.world_from_cam[i]
        points = _rays(self.pixels, camera) * self.depth(i, self.pixels, camera)
        x, y, z = torch.einsum("ij,jhw->ihw", moved[:3, :3], points) + moved[:3, 3, None, None]
        near = z <= 0.1
        z = torch.where(near, torch.ones_like(z), z)
        u, v = camera[0] * x / z + camera[2], camera[1] * y / z + camera[3]
        height, width = self.grid
        shown = (u > -2) & (v > -2) & (u < width + 1) & (v < height + 1) & ~near
        return torch.stack((u, v)), shown

    def _taken_for(self, i: int, j: int) -> Tensor:
        """Return the camera of frame j, at the place that it is taken for if it is compared with frame i."""
        pose = self.world_from_cam[j]
        if self.lap is None:
            return pose
        pose = pose.clone()
        pose[0, 3] -= self.shift * round((j - i) / self.lap)
        return pose

    def number(self, view: View) -> int:
        """Return the frame that a view is of."""
        return int(view.features)

    def look(self, rgb: Tensor, frame: int) -> View:
        return View(torch.tensor(float(frame)))

    def enter(self, view: View, rgb: Tensor) -> View:
        return view

    def motion(self, keyframe: View, view: View) -> Tensor:
        target, shown = self.flow(self.number(keyframe), self.number(view))
        return (target - self.pixels) * shown

    def start(self, sources: list[View]) -> Tensor:
        return torch.zeros(len(sources), 1)

    def compare(self, sources: list[View], targets: list[View]) -> Parts:
        pairs = [self.flow(self.number(i), self.number(j)) for i, j in zip(sources, targets)]
        return torch.stack([target for target, _ in pairs]), torch.stack([shown for _, shown in pairs])

    def update(
        self, hidden: Tensor, compared: Parts, coords: Tensor, motion: Tensor, frame: Tensor, count: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        target, shown = compared[0], compared[1][:, None]
        if self.noise:
            target = target + self.noise * torch.randn(target.shape, generator=self._random, dtype=target.dtype)
        delta = (target - coords.double()) * shown
        weight = (WEIGHT * shown).expand_as(delta).to(delta.dtype)
        return hidden, delta, weight, torch.full((count, *self.grid), DAMPING, dtype=delta.dtype)


def _rays(pixels: Tensor, camera: Tensor) -> Tensor:
    fx, fy, cx, cy = camera
    x, y = pixels
    return torch.stack(((x - cx) / fx, (y - cy) / fy, torch.ones_like(x)))
