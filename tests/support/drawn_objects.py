"""A drawn clip: a textured disk moves over a textured wall and passes behind a bar; labels and depth are exact."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

DISK = 4  # its number
WALL_M, DISK_M, BAR_M = 4.0, 2.0, 1.2
_HEIGHT, _WIDTH, _RADIUS = 96, 160, 15


@dataclass(frozen=True)
class DrawnClip:
    rgb: np.ndarray  # (T, H, W, 3) uint8
    depth: np.ndarray  # (T, H, W) float16 m
    label: np.ndarray  # (T, H, W) uint8


def drawn_clip(num_frames: int = 40, *, bar: bool = True, step: float = 3.0) -> DrawnClip:
    """Draw the disk moving to the right by `step` px per frame, from x = 30; the bar covers columns 62 to 99."""
    rng = np.random.default_rng(3)
    wall = _texture(rng, (90, 120, 90), (_HEIGHT, _WIDTH))
    skin = _texture(rng, (190, 90, 60), (2 * _RADIUS + 1, 2 * _RADIUS + 1))
    post = _texture(rng, (60, 70, 160), (_HEIGHT, 38))
    disk = np.hypot(*np.indices(skin.shape[:2]) - _RADIUS) <= _RADIUS
    rgb, depth, label = [], [], []
    for t in range(num_frames):
        picture, z = wall.copy(), np.full((_HEIGHT, _WIDTH), WALL_M, np.float16)
        shown = np.zeros((_HEIGHT, _WIDTH), np.uint8)
        left = round(30 + step * t) - _RADIUS
        if left + 2 * _RADIUS < _WIDTH:
            rows, columns = slice(30, 31 + 2 * _RADIUS), slice(left, left + 2 * _RADIUS + 1)
            picture[rows, columns][disk] = skin[disk]
            z[rows, columns][disk] = DISK_M
            shown[rows, columns][disk] = DISK
        if bar:
            picture[:, 62:100], z[:, 62:100], shown[:, 62:100] = post, BAR_M, 0
        noise = np.random.default_rng([5, t]).normal(0, 1.5, picture.shape)
        rgb.append(np.clip(picture + noise, 0, 255).astype(np.uint8))
        depth.append(z)
        label.append(shown)
    return DrawnClip(np.stack(rgb), np.stack(depth), np.stack(label))


def iou(found: np.ndarray, true: np.ndarray) -> float:
    """Return the intersection over the union of two masks; 1 if both are empty."""
    union = np.count_nonzero(found | true)
    return float(np.count_nonzero(found & true) / union) if union else 1.0


def _texture(rng: np.random.Generator, colour: tuple[int, int, int], shape: tuple[int, int]) -> np.ndarray:
    coarse = rng.normal(0, 28, (shape[0] // 4 + 2, shape[1] // 4 + 2, 1)).astype(np.float32)
    spread = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)[..., None]
    return np.clip(spread + np.array(colour, np.float32), 0, 255)
