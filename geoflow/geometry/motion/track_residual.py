"""What poses leave unexplained of tracked points: where a point should be in another frame, and where it is seen."""

from __future__ import annotations

import numpy as np

from geoflow.geometry.cameras import project
from geoflow.geometry.depth.depth_agreement import known_mean
from geoflow.geometry.rigid import apply

_LEAST = 10  # points that two frames must share


def track_residual(
    xyz: np.ndarray,
    uv: np.ndarray,
    visible: np.ndarray,
    intrinsics: np.ndarray,
    cam_from_world: np.ndarray,
    valid: np.ndarray,
    steps: tuple[int, ...],
) -> np.ndarray:
    """Return, for each of T frames, the median distance in px of its points from where frames `steps` before and after
    place them.

    `xyz` (T, N, 3) are places in the world, `uv` (T, N, 2) px, `visible` (T, N) bool, `intrinsics` (T, 3, 3),
    `cam_from_world` (T, 4, 4), `valid` (T,) bool. The result is (T,) float32, the mean over the steps, NaN where no
    frame shares enough points. Things that move count little, as long as they are few.
    """
    count = len(valid)
    found = np.full((count, len(steps), 2), np.nan)
    seen = visible & valid[:, None] & np.isfinite(xyz).all(2) & np.isfinite(uv).all(2)
    for i in np.flatnonzero(valid):
        for number, step in enumerate(steps):
            for side, j in enumerate((i - step, i + step)):
                if not 0 <= j < count or (both := seen[i] & seen[j]).sum() < _LEAST:
                    continue
                placed = project(apply(cam_from_world[i].astype(np.float64), xyz[j, both]), intrinsics[i])
                away = np.linalg.norm(placed - uv[i, both], axis=1)
                if np.isfinite(away).any():
                    found[i, number, side] = np.nanmedian(away)
    return known_mean(known_mean(found)).astype(np.float32)
