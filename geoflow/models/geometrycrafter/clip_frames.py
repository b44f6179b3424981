"""Frames as CLIP wants them."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from geoflow.models.diffusion.config import CLIP_INPUT_SIZE, CLIP_MEAN, CLIP_STD


def resize_for_clip(frames: Tensor, size: int = CLIP_INPUT_SIZE) -> Tensor:
    """Frames (N, 3, H, W) float32 to (N, 3, 224, 224): blurred, then bicubic between corners, aspect ratio not kept.

    Values may leave the range a little; they are not clamped.
    """
    for axis in (3, 2):  # x first
        frames = _blur(frames, axis, size)
    return F.interpolate(frames, (size, size), mode="bicubic", align_corners=True)


def normalise(frames: Tensor) -> Tensor:
    """Frames (N, 3, h, w) in -1..1 to CLIP's mean and deviation."""
    mean, std = (frames.new_tensor(row).view(3, 1, 1) for row in (CLIP_MEAN, CLIP_STD))
    return ((frames + 1) / 2 - mean) / std


def _blur(frames: Tensor, axis: int, target: int) -> Tensor:
    """Blur along one axis with a Gaussian for shrinking to `target`; borders reflect. Small frames stay unchanged."""
    sigma = (frames.shape[axis] / target - 1) / 2
    if sigma <= 0.001:  # then the weights beside the middle vanish
        return frames
    taps = int(max(4 * sigma, 3)) | 1
    reach = taps // 2
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(-reach, reach + 1)]
    kernel = frames.new_tensor(weights).div_(sum(weights))
    along_x = axis == 3
    padded = F.pad(frames, (reach, reach, 0, 0) if along_x else (0, 0, reach, reach), mode="reflect")
    shape = (1, 1, 1, taps) if along_x else (1, 1, taps, 1)
    return F.conv2d(padded.flatten(0, 1)[:, None], kernel.view(shape)).view(frames.shape)
