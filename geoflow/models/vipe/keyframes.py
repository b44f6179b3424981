"""Keyframes: their poses, disparities and what the network remembers of them."""

from __future__ import annotations

import torch
from torch import Tensor

from geoflow.models.vipe import se3
from geoflow.models.vipe.adjustment import Scene
from geoflow.models.vipe.flow_model import View
from geoflow.models.vipe.reprojection import Geometry


class Keyframes:
    """N keyframes of a clip with one camera.

    poses (N, 7) camera from world; disps (N, h, w), the inverse of depth, at an eighth of the working size; priors
    likewise, 0 where unknown; invalid (N, h, w) bool; lens (4 or 5,) of the working size.
    """

    def __init__(
        self, size: tuple[int, int], camera: Tensor, first_disp: float = 1.0, dtype: torch.dtype = torch.float32
    ) -> None:
        empty = torch.zeros(0, *size, dtype=dtype, device=camera.device)
        self.frames: list[int] = []
        self.views: list[View] = []
        self.lens = camera.to(dtype)
        self.poses, self.disps, self.priors = se3.identity(0, empty), empty, empty
        self.invalid = empty.bool()
        self.fixed = 0  # of the first keyframes' poses are not moved any more
        self.expected_pose = se3.identity(1, empty)[0]  # of the next keyframe
        self.expected_disp = torch.tensor(first_disp, dtype=dtype, device=camera.device)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def scene(self) -> Scene:
        """What an adjustment starts from."""
        return Scene(self.poses, self.disps, self.lens[None])

    @property
    def geometry(self) -> Geometry:
        """What pixels are projected with."""
        return self.scene.geometry

    def settle(self, scene: Scene) -> None:
        """Take over what an adjustment returns."""
        self.poses, self.disps, self.lens = scene.poses, scene.disps, scene.lenses[0]

    def add(self, frame: int, view: View, invalid: Tensor | None = None, prior: Tensor | None = None) -> None:
        """Add a keyframe where it is expected; `invalid` and `prior` (h, w)."""
        size, blank = self.disps.shape[1:], torch.zeros_like(self.disps[:1]).new_zeros(1, *self.disps.shape[1:])
        self.frames.append(frame)
        self.views.append(view)
        self.poses = torch.cat((self.poses, self.expected_pose[None]))
        self.disps = torch.cat((self.disps, self.expected_disp.expand(1, *size)))
        self.priors = torch.cat((self.priors, blank if prior is None else prior[None].to(blank)))
        self.invalid = torch.cat((self.invalid, blank.bool() if invalid is None else invalid[None]))

    def expect(self, pose: Tensor, disp: Tensor) -> None:
        """Say where the next keyframe is expected, and its disparity."""
        self.expected_pose, self.expected_disp = pose, disp

    def drop(self, number: int) -> None:
        """Forget a keyframe; those after it move up."""
        del self.frames[number], self.views[number]
        kept = torch.arange(len(self.poses), device=self.poses.device) != number
        self.poses, self.disps = self.poses[kept], self.disps[kept]
        self.priors, self.invalid = self.priors[kept], self.invalid[kept]

    def leave(self, count: int, fixed: int) -> None:
        """Forget the first `count` keyframes, and fix the poses of `fixed` of those that follow."""
        del self.frames[:count], self.views[:count]
        self.poses, self.disps = self.poses[count:].clone(), self.disps[count:].clone()
        self.priors, self.invalid = self.priors[count:].clone(), self.invalid[count:].clone()
        self.fixed = fixed

    def trim(self, count: int) -> None:
        """Forget all keyframes but the first `count`."""
        del self.frames[count:], self.views[count:]
        self.poses, self.disps = self.poses[:count], self.disps[:count]
        self.priors, self.invalid = self.priors[:count], self.invalid[:count]
