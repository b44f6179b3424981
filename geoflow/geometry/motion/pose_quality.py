"""How far poses can be believed: frame by frame, from the followed points."""

from __future__ import annotations

import numpy as np

from geoflow.geometry.motion.lifting import CamerasWithDepth, fixed_points, lift_points, project_all
from geoflow.geometry.motion.structure import Structure

_FITS_PX = 2.0
_LEAST_FRAMES = 3  # in which a point is followed: others come and go with noise


def explained_points(structure: Structure, uv: np.ndarray, frames: range) -> np.ndarray:
    """Return the share of points that a frame's pose explains, (len(frames),) float32; 0 for a frame without pose.

    A point is explained if its place is known, in front of the camera, and seen within 2 px. `uv` (T, M, 2) px of the
    structure's frames and points; NaN where a point is not seen.
    """
    seen = np.isfinite(uv[..., 0])
    counted = seen & (seen.sum(0) >= _LEAST_FRAMES)
    share = np.zeros(len(frames), np.float32)
    focal, centre = np.diag(structure.intrinsics)[:2], structure.intrinsics[:2, 2]
    for i, t in enumerate(frames):
        if not (structure.valid[t] and counted[t].any()):
            continue
        pose, points = structure.cam_from_world[t], counted[t]
        here = structure.xyz[points] @ pose[:3, :3].T + pose[:3, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            x = here[:, :2] / here[:, 2:]
            bent = x * (1 + structure.radial * (x**2).sum(1, keepdims=True))
            off = np.linalg.norm(bent * focal + centre - uv[t, points], axis=1)
        share[i] = np.mean((here[:, 2] > 0) & (off < _FITS_PX))
    return share


def explained_tracks(uv: np.ndarray, cameras: CamerasWithDepth) -> np.ndarray:
    """Return the share of followed points that poses and depth explain together, (T,) float32; 0 without a pose.

    As `explained_points`, with the place of a point from the depth of all frames that see it. `uv` (T, M, 2) px; NaN
    where a point is not seen.
    """
    seen = np.isfinite(uv[..., 0]) & cameras.valid[:, None]
    counted = seen & (seen.sum(0) >= _LEAST_FRAMES)
    share = np.zeros(len(uv), np.float32)
    if counted.any():
        where, _ = project_all(fixed_points(uv, counted, lift_points(uv, cameras), cameras), cameras)
        near = np.linalg.norm(where - uv, axis=-1) < _FITS_PX  # False for NaN: no depth, or behind the camera
        share[:] = (near & counted).sum(1) / np.maximum(counted.sum(1), 1)
    return share
