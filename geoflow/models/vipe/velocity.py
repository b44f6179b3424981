"""Poses between keyframes, and after the last, from a camera that moves evenly."""

from __future__ import annotations

import torch
from torch import Tensor

from geoflow.models.vipe import se3


def next_pose(before: Tensor, last: Tensor) -> Tensor:
    """Return where a camera is after poses (7,): half of the last motion further on."""
    return se3.multiply(se3.exp(0.5 * se3.log(se3.multiply(last, se3.invert(before)))), last)


def between(poses: Tensor, frames: Tensor, asked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return poses (M, 7) of frames `asked` (M,), and the keyframes before and after each.

    poses (N, 7) and their frames (N,), rising. A keyframe is its own keyframe before. After the last keyframe there is
    none: the last stands for both.
    """
    before = torch.searchsorted(frames, asked, right=True) - 1
    after = (before + 1).clamp(max=len(frames) - 1)
    lasting = (frames[after] - frames[before]).to(poses.dtype) + 1e-3
    motion = se3.log(se3.multiply(poses[after], se3.invert(poses[before]))) / lasting[:, None]
    passed = (asked - frames[before]).to(poses.dtype)
    return se3.multiply(se3.exp(motion * passed[:, None]), poses[before]), before, after
