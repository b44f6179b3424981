"""Resizing as the networks were trained with it: half-pixel centres everywhere, maps (N, C, H, W)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]  # height, width, px

MAX_LOG_DEPTH = 10.0  # exp beyond it would leave float16 far behind


def bilinear(maps: Tensor, size: Size) -> Tensor:
    """Between the four nearest pixels, without antialiasing."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def nearest(maps: Tensor, size: Size) -> Tensor:
    """The pixel that holds the new one's centre."""
    return maps if maps.shape[-2:] == size else F.interpolate(maps, size, mode="nearest-exact")


def log_bilinear(log_depth: Tensor, size: Size) -> Tensor:
    """Log depth, blended as depth."""
    if log_depth.shape[-2:] == size:
        return log_depth
    return torch.log(bilinear(exp_depth(log_depth), size))


def exp_depth(log_depth: Tensor) -> Tensor:
    """Depth of log depth, which stops at 10."""
    return torch.exp(log_depth.clamp(max=MAX_LOG_DEPTH))


def bicubic(frames: Tensor, size: Size) -> Tensor:
    """Frames in 0..1, antialiased, and cut where they overshoot."""
    if frames.shape[-2:] == size:
        return frames
    return F.interpolate(frames, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
