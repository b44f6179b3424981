"""Frames, depth and intrinsics at the size in which the tracker works."""

from __future__ import annotations

import math

import cv2
import numpy as np

_LEAST = 1e-6  # share of valid pixels from which on a resized pixel has depth


def working_size(base: tuple[int, int], factor: float) -> tuple[int, int]:
    """Return (height, width): the size of training times the root of the factor, whatever the video's form."""
    return int(base[0] * math.sqrt(factor)), int(base[1] * math.sqrt(factor))


def resize_frame(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return (h, w, 3) uint8 of a frame."""
    return cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_LINEAR)


def resize_depth(depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return (h, w) float32 of depth (H, W), 0 where there is none: a mean of those of four corners that are known."""
    known = depth > 0
    share = cv2.resize(known.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    total = cv2.resize(np.where(known, depth, 0).astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.where(share > _LEAST, total / (share + np.float32(_LEAST)), 0).astype(np.float32)


def resize_intrinsics(intrinsics: np.ndarray, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """Return (T, 3, 3) for frames of the new (height, width); the middles of corner pixels stay corners."""
    resized = intrinsics.astype(np.float32).copy()
    resized[:, 0] *= (new[1] - 1) / (old[1] - 1)
    resized[:, 1] *= (new[0] - 1) / (old[0] - 1)
    return resized
