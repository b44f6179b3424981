"""Frames of a clip as the tracker sees them, some at a time, in either direction of time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Frames(Protocol):
    """An array over frames, or something that makes them when asked."""

    def __getitem__(self, index: int, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Clip:
    """Frames and cameras; `order` says which of them is frame 0, 1, ..., so that nothing is copied to turn time round.

    rgb gives frames (H, W, 3) uint8 and depth maps (H, W) float32 by their number. Depth is along the optical axis, 0
    where there is none. intrinsics (T, 3, 3) are in pixels with centres on whole numbers; cam_from_world (T, 4, 4) is
    in the unit of depth.
    """

    rgb: Frames
    depth: Frames
    intrinsics: np.ndarray
    cam_from_world: np.ndarray
    order: np.ndarray
    size: tuple[int, int]

    @classmethod
    def of(cls, rgb: Frames, depth: Frames, intrinsics: np.ndarray, cam_from_world: np.ndarray) -> Clip:
        """Return a clip in its own order."""
        height, width = depth[0].shape
        return cls(rgb, depth, intrinsics, cam_from_world, np.arange(len(intrinsics)), (height, width))

    def __len__(self) -> int:
        return len(self.order)

    def reversed(self) -> Clip:
        """Return the clip that runs backwards."""
        return replace(self, order=self.order[::-1])

    def in_cameras(self) -> Clip:
        """Return the clip as seen from its own cameras: every pose the identity."""
        return replace(self, cam_from_world=np.broadcast_to(np.eye(4, dtype=np.float32), self.cam_from_world.shape))

    def extended(self, half: int) -> Clip:
        """Return the clip with its last frame repeated until its length is a multiple of `half`."""
        return self.at_least(len(self.order) + -len(self.order) % half)

    def at_least(self, length: int) -> Clip:
        """Return the clip with its last frame repeated until it has so many frames."""
        missing = max(0, length - len(self.order))
        return replace(self, order=np.concatenate((self.order, np.repeat(self.order[-1:], missing))))

    def cameras(self, start: int, stop: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the intrinsics and poses of some frames, float32."""
        index = self.order[start:stop]
        values = (self.intrinsics[index], self.cam_from_world[index])
        k, e = (torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32)).to(device) for value in values)
        return k, e
