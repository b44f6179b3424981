"""How far tracked points wander in the world between frames, though most of what is seen rests."""

from __future__ import annotations

import numpy as np

_LEAST = 10  # points that two frames must share


def track_wander(
    xyz: np.ndarray, visible: np.ndarray, cam_from_world: np.ndarray, valid: np.ndarray, steps: tuple[int, ...]
) -> np.ndarray:
    """Return, for each of T frames, the median shift of points to frames `steps` before and after, relative to depth.

    `xyz` (T, N, 3) are places in the world, `visible` (T, N) bool, `cam_from_world` (T, 4, 4), `valid` (T,) bool; the
    result is (T,) float32, the mean over those frames, NaN where no frame shares enough points. Points are followed in
    pictures: wrong poses and wrong depth both let them wander. Things that move count little, as long as they are few.

    >>> xyz = np.zeros((2, 12, 3)) + [0, 0, 2.0]
    >>> xyz[1, :, 0] += 0.1
    >>> track_wander(xyz, np.ones((2, 12), bool), np.tile(np.eye(4), (2, 1, 1)), np.ones(2, bool), (1,)).round(3)
    array([0.05, 0.05], dtype=float32)
    """
    count = len(valid)
    total, met = np.zeros(count), np.zeros(count)
    seen = visible & valid[:, None] & np.isfinite(xyz).all(2)
    for step in steps:
        for i in range(count - step):
            j = i + step
            both = seen[i] & seen[j]
            if both.sum() < _LEAST:
                continue
            shift = np.linalg.norm(xyz[j, both] - xyz[i, both], axis=1)
            for k in (i, j):
                depth = xyz[k, both] @ cam_from_world[k, 2, :3] + cam_from_world[k, 2, 3]
                ahead = depth > 0
                if ahead.any():
                    total[k] += np.median(shift[ahead] / depth[ahead])
                    met[k] += 1
    return np.where(met > 0, total / np.maximum(met, 1), np.nan).astype(np.float32)
