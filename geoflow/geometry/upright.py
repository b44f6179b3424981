"""Which way is up, by how the camera was held."""

from __future__ import annotations

import numpy as np


def upright_from_world(cam_from_world: np.ndarray) -> np.ndarray:
    """Return a rotation (3, 3) after which the mean of the cameras (M, 4, 4) is upright: its y axis down, x to the
    right.

    The world's axes are those of the first camera, which a person may hold at any angle.

    >>> upright_from_world(np.eye(4)[None]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    axes = cam_from_world[:, :3, :3].astype(np.float64)
    down, ahead = axes[:, 1].mean(0), axes[:, 2].mean(0)
    if np.linalg.norm(down) < 1e-3:
        return np.eye(3)
    down /= np.linalg.norm(down)
    ahead -= down * (ahead @ down)
    if np.linalg.norm(ahead) < 1e-3:
        ahead = np.cross([1.0, 0, 0] if abs(down[0]) < 0.9 else [0, 0, 1.0], down)
    ahead /= np.linalg.norm(ahead)
    return np.stack([np.cross(down, ahead), down, ahead])
