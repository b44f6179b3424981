"""Cameras around an object, as InstantMesh wants them: OpenGL axes (x right, y up, z backward), world z up.

The object lies at the origin. Azimuth 0 looks along -x, and grows counter-clockwise seen from above.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

AZIMUTHS = (30.0, 90.0, 150.0, 210.0, 270.0, 330.0)  # degrees, of the six views that Zero123++ makes
ELEVATIONS = (20.0, -10.0, 20.0, -10.0, 20.0, -10.0)
RADIUS = 4.0  # in units of the mesh, whose box is about 2.1 wide
FIELD_OF_VIEW = 30.0  # degrees


def view_cameras(radius: float = RADIUS, field_of_view: float = FIELD_OF_VIEW) -> np.ndarray:
    """Return the camera vectors (6, 16) float32 of the six views.

    Each is the upper three rows of world_from_cam, row by row, then fx, fy, cx, cy in units of the image's side.
    """
    poses = looking_at_origin(AZIMUTHS, ELEVATIONS, radius)
    focal = 0.5 / np.tan(np.radians(field_of_view) / 2)
    lens = np.broadcast_to([focal, focal, 0.5, 0.5], (len(poses), 4))
    return np.concatenate([poses[:, :3].reshape(-1, 12), lens], axis=1).astype(np.float32)


def looking_at_origin(azimuth: ArrayLike, elevation: ArrayLike, radius: float) -> np.ndarray:
    """Return world_from_cam (N, 4, 4) float32 of cameras on a sphere; azimuth (N) and elevation (N or one) in degrees.

    >>> looking_at_origin([0.0], 0.0, 2.0)[0, :3, 3]
    array([2., 0., 0.], dtype=float32)
    """
    azimuth, elevation = np.broadcast_arrays(np.radians(azimuth), np.radians(elevation))
    flat = np.cos(elevation)
    backward = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=-1)
    right = np.stack([-np.sin(azimuth), np.cos(azimuth), np.zeros_like(azimuth)], axis=-1)
    poses = np.zeros((len(azimuth), 4, 4))
    poses[:, :3] = np.stack([right, np.cross(backward, right), backward, radius * backward], axis=-1)
    poses[:, 3, 3] = 1
    return poses.astype(np.float32)
