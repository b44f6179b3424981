"""Which frames are kept: those that later frames see."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from geoflow.models.lingbot.network import Seen, Stream
from geoflow.models.lingbot.poses import inverse, network_intrinsics, world_from_cam, world_points

SCALE, KEPT, PASSED = range(3)  # what a frame is to its window: one of the first, kept, not kept

_EVERY = 8  # px between the pixels whose flow is measured
_NEAR = 1e-6  # depth below which nothing is projected


@dataclass
class ByInterval:
    """Every n-th frame after the first ones is kept."""

    interval: int = 1

    def take(self, stream: Stream, picture: Tensor, passed: int, last: Seen) -> tuple[Seen, int]:
        """Return what a picture shows and its kind; `passed` frames came after the first ones."""
        keep = passed % self.interval == 0
        return stream.next(picture, keep=keep), KEPT if keep else PASSED


@dataclass
class ByFlow:
    """A frame is kept if the camera has moved on since the last kept one, or too long a time has passed.

    That is decided after the frame was seen, and the camera head keeps all frames, as the original has it.
    """

    threshold: float  # px, mean over the picture
    longest_gap: int = 30  # frames
    flow: float = field(default=0.0, init=False)  # px, of the last frame
    _gap: int = field(default=0, init=False)  # frames since the last kept one

    def take(self, stream: Stream, picture: Tensor, passed: int, last: Seen) -> tuple[Seen, int]:
        """Return what a picture shows and its kind; `last` is the last kept frame, `passed` is as in `ByInterval`."""
        self._gap += 1
        seen = stream.try_next(picture)
        self.flow = flow_between(seen, last)
        if passed and self.flow <= self.threshold and self._gap < self.longest_gap:
            return seen, PASSED
        stream.keep_tried()
        self._gap = 0
        return seen, KEPT


def flow_between(now: Seen, before: Seen) -> float:
    """Return how far pixels of a frame move, px on average, where the other frame's camera sees their points.

    Points come from the frame's own depth. Those behind the other camera do not count; without any, it is 0.
    """
    size = (now.depth.shape[1], now.depth.shape[2])
    xyz = world_points(now.depth[0], now.encoding[0])[::_EVERY, ::_EVERY]
    pose, other = inverse(world_from_cam(before.encoding[0])), network_intrinsics(before.encoding[0], size)
    xyz = xyz @ pose[:, :3].mT + pose[:, 3]
    v, u = (torch.arange(0, side, _EVERY).to(xyz) for side in size)
    pixels = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)
    depth = now.depth[0, ::_EVERY, ::_EVERY]
    seen_there = (depth > _NEAR) & (xyz[..., 2] > _NEAR)
    there = ((xyz / xyz[..., 2:].clamp(min=_NEAR)) @ other.mT)[..., :2]
    moved = (there - pixels).norm(dim=-1)
    return float(moved[seen_there].mean()) if seen_there.any() else 0.0
