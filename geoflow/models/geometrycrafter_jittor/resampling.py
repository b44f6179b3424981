"""Resizing as the networks were trained with it, on arrays: `resizing` and `clip_frames` of the PyTorch networks.

Every filter is linear in each axis, so it is a matrix per axis, (out, in) float32. Maps are (N, C, H, W).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from geoflow.models.diffusion.config import CLIP_INPUT_SIZE, CLIP_MEAN, CLIP_STD

Size = tuple[int, int]  # height, width, px

MAX_LOG_DEPTH = 10.0  # exp beyond it would leave float16 far behind


def bilinear(maps: np.ndarray, size: Size) -> np.ndarray:
    """Between the four nearest pixels, without antialiasing."""
    return _by_matrices(maps, size, _linear)


def nearest(maps: np.ndarray, size: Size) -> np.ndarray:
    """The pixel that holds the new one's centre."""
    rows, columns = (nearest_pixels(old, new) for old, new in zip(maps.shape[-2:], size))
    return maps[..., rows, :][..., columns]


def nearest_pixels(old: int, new: int) -> np.ndarray:
    """Return, for each of `new` pixels, the pixel of `old` that holds its centre.

    >>> nearest_pixels(6, 3)
    array([1, 3, 5])
    """
    centres = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * np.float32(old / new)
    return np.minimum(centres.astype(np.int64), old - 1)


def log_bilinear(log_depth: np.ndarray, size: Size) -> np.ndarray:
    """Log depth, blended as depth."""
    if log_depth.shape[-2:] == size:
        return log_depth
    return np.log(bilinear(exp_depth(log_depth), size))


def exp_depth(log_depth: np.ndarray) -> np.ndarray:
    """Depth of log depth, which stops at 10."""
    return np.exp(np.minimum(log_depth, np.float32(MAX_LOG_DEPTH)))


def bicubic(frames: np.ndarray, size: Size) -> np.ndarray:
    """Frames in 0..1, antialiased, and cut where they overshoot."""
    if frames.shape[-2:] == size:
        return frames
    return np.clip(_by_matrices(frames, size, _antialiased_cubic), 0, 1)


def resize_for_clip(frames: np.ndarray, size: int = CLIP_INPUT_SIZE) -> np.ndarray:
    """Frames (N, 3, H, W) float32 to (N, 3, 224, 224): blurred, then bicubic between corners, aspect ratio not kept.

    Values may leave the range a little; they are not clamped.
    """
    return _by_matrices(frames, (size, size), _blurred_cubic, always=True)


def normalise(frames: np.ndarray) -> np.ndarray:
    """Frames (N, 3, h, w) in -1..1 to CLIP's mean and deviation."""
    mean, std = (np.array(row, np.float32).reshape(3, 1, 1) for row in (CLIP_MEAN, CLIP_STD))
    return ((frames + 1) / 2 - mean) / std


def _by_matrices(maps: np.ndarray, size: Size, matrix: object, always: bool = False) -> np.ndarray:
    old = maps.shape[-2:]
    if old == size and not always:
        return maps
    rows, columns = (matrix(*pair) for pair in zip(old, size))  # type: ignore[operator]
    return np.matmul(np.matmul(rows, np.ascontiguousarray(maps, np.float32)), columns.T)


@lru_cache(maxsize=16)
def _linear(old: int, new: int) -> np.ndarray:
    half = np.float32(0.5)  # PyTorch finds the places in float32
    source = np.maximum((np.arange(new, dtype=np.float32) + half) * np.float32(old / new) - half, np.float32(0))
    first = np.minimum(source.astype(np.int64), old - 1)
    share = source - first
    out = np.zeros((new, old))
    np.add.at(out, (np.arange(new), first), 1 - share)
    np.add.at(out, (np.arange(new), np.minimum(first + 1, old - 1)), share)
    return out.astype(np.float32)


@lru_cache(maxsize=16)
def _antialiased_cubic(old: int, new: int) -> np.ndarray:
    scale = old / new
    wider = max(scale, 1.0)
    out = np.zeros((new, old))
    for i in range(new):
        centre = scale * (i + 0.5)
        start, stop = max(int(centre - 2 * wider + 0.5), 0), min(int(centre + 2 * wider + 0.5), old)
        weights = _cubic((np.arange(start, stop) - centre + 0.5) / wider, -0.5)
        out[i, start:stop] = weights / weights.sum()
    return out.astype(np.float32)


@lru_cache(maxsize=16)
def _blurred_cubic(old: int, new: int) -> np.ndarray:
    """Blur for shrinking to `new`, then cubic interpolation whose first and last pixels keep their place."""
    source = np.arange(new, dtype=np.float32) * np.float32((old - 1) / max(new - 1, 1))  # as PyTorch finds the places
    first = np.floor(source).astype(np.int64)
    out = np.zeros((new, old))
    for tap in range(-1, 3):
        weights = _cubic(source - first - tap, -0.75)
        np.add.at(out, (np.arange(new), np.clip(first + tap, 0, old - 1)), weights)
    return (out @ _blur(old, new)).astype(np.float32)


def _blur(old: int, new: int) -> np.ndarray:
    """A Gaussian along one axis, (old, old); borders reflect. Small frames stay unchanged."""
    sigma = (old / new - 1) / 2
    if sigma <= 0.001:  # then the weights beside the middle vanish
        return np.eye(old)
    taps = int(max(4 * sigma, 3)) | 1
    reach = taps // 2
    weights = np.array([math.exp(-(i**2) / (2 * sigma**2)) for i in range(-reach, reach + 1)])
    source = np.pad(np.arange(old), reach, mode="reflect")
    out = np.zeros((old, old))
    for tap, weight in enumerate(weights / weights.sum()):
        np.add.at(out, (np.arange(old), source[tap : tap + old]), weight)
    return out


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic kernel (1981), which is 0 from 2 on."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
