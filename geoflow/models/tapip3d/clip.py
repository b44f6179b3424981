"""Frames of a clip as the tracker sees them, some at a time, in either direction of time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Clip:
    """Frames and cameras; `order` says which of them is frame 0, 1, ..., so that nothing is copied to turn time round.

    rgb (T, H, W, 3) uint8; depth (T, H, W) float32 along the optical axis, 0 where there is none; intrinsics (T, 3, 3) in
    pixels with centres on whole numbers; cam_from_world (T, 4, 4), in the unit of depth.
    """

    rgb: np.ndarray
    depth: np.ndarray
    intrinsics: np.ndarray
    cam_from_world: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, rgb: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray, cam_from_world: np.ndarray) -> Clip:
        """Return a clip in its own order."""
        return cls(rgb, depth, intrinsics, cam_from_world, np.arange(len(rgb)))

    def __len__(self) -> int:
        return len(self.order)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self.rgb.shape[1], self.rgb.shape[2]

    def reversed(self) -> Clip:
        """Return the clip that runs backwards."""
        return replace(self, order=self.order[::-1])

    def extended(self, half: int) -> Clip:
        """Return the clip with its last frame repeated until its length is a multiple of `half`."""
        missing = -len(self.order) % half
        return replace(self, order=np.concatenate((self.order, np.repeat(self.order[-1:], missing))))

    def cameras(self, start: int, stop: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the intrinsics and poses of some frames, float32."""
        index = self.order[start:stop]
        values = (self.intrinsics[index], self.cam_from_world[index])
        k, e = (torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32)).to(device) for value in values)
        return k, e
