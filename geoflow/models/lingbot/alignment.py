"""Brings a window's frames to the world and the scale of the window before, by the frames that both have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geoflow.models.lingbot.keyframes import PASSED
from geoflow.models.lingbot.network import Seen
from geoflow.models.lingbot.poses import moved, rotation_of

_LEAST_DEPTH = torch.finfo(torch.float32).eps  # depth below which no ratio is taken
_LEAST_SCALE, _MOST_SCALE = 1e-3, 1e3


@dataclass(frozen=True)
class Frame:
    """One frame of a window."""

    seen: Seen  # of one frame
    kind: int  # SCALE, KEPT or PASSED


@dataclass(frozen=True)
class Placement:
    """A rigid motion with a scale."""

    scale: Tensor  # ()
    rotation: Tensor  # (3, 3)
    shift: Tensor  # (3,)

    @classmethod
    def none(cls, like: Tensor) -> Placement:
        """Return the one that changes nothing."""
        return cls(like.new_ones(()), torch.eye(3).to(like), like.new_zeros(3))

    def place(self, frame: Frame) -> Frame:
        """Return a frame in the world and the scale that this leads to."""
        seen = frame.seen
        encoding = moved(seen.encoding, self.scale, self.rotation, self.shift)
        return Frame(Seen(encoding, seen.depth * self.scale, seen.confidence), frame.kind)


def align(before: Sequence[Frame], after: Sequence[Frame]) -> Placement:
    """Return what brings `after` to `before`; frame k of both is the same frame of the video.

    The scale is the median ratio of depths, over all pixels of all frames that are kept in both windows. Rotation and
    shift bring the camera of the last such frame to its place. Without any, the first frame alone decides.
    """
    if not before or not after:
        return Placement.none(after[0].seen.encoding)
    pairs = [pair for pair in zip(before, after) if PASSED not in (pair[0].kind, pair[1].kind)]
    pairs = pairs or [(before[0], after[0])]
    scale = _scale(pairs)
    here, there = (frame.seen.encoding[0] for frame in pairs[-1])
    rotation = rotation_of(here[3:7]) @ rotation_of(there[3:7]).mT
    return Placement(scale, rotation, here[:3] - scale * (rotation @ there[:3]))


def _scale(pairs: Sequence[tuple[Frame, Frame]]) -> Tensor:
    a, b = (torch.cat([frame.seen.depth.flatten() for frame in side]) for side in zip(*pairs))
    known = a.isfinite() & b.isfinite() & (b.abs() > _LEAST_DEPTH)
    ratio = (a[known] / b[known]).median() if known.any() else a.new_ones(())
    return ratio.clamp(_LEAST_SCALE, _MOST_SCALE)
