"""Points and pinhole matrices of a field of view, which is stored as the tangent of half the diagonal angle.

The tangent is measured to the centres of the corner pixels.
"""

from __future__ import annotations

import math

import numpy as np


def make_points(depth: np.ndarray, diagonal: np.ndarray | float) -> np.ndarray:
    """Depth (N, H, W) to points (N, H, W, 3) float32 in the camera frame; `diagonal` is one, (N,) or (N, H, W).

    >>> make_points(np.full((1, 3, 5), 2.0), 0.5)[0, 1, 2]
    array([0., 0., 2.], dtype=float32)
    """
    height, width = depth.shape[1:]
    tangents = np.asarray(diagonal, np.float32)
    tangents = tangents.reshape(tangents.shape + (1,) * (3 - tangents.ndim) if tangents.ndim else (1, 1, 1))
    out = np.empty((*depth.shape, 3), np.float32)
    out[..., 2] = depth
    reach = math.hypot(width, height)
    out[..., 0] = tangents * np.float32(width / reach) * np.linspace(-1, 1, width, dtype=np.float32) * out[..., 2]
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    out[..., 1] = tangents * np.float32(height / reach) * rows * out[..., 2]
    return out


def make_intrinsics(diagonal: np.ndarray | float, height: int, width: int) -> np.ndarray:
    """Pinhole matrices (N, 3, 3) float32 in pixels of a frame, principal point in the middle; `diagonal` is (N,).

    >>> make_intrinsics(0.5, 90, 120).round(1)[0]
    array([[148.8,   0. ,  59.5],
           [  0. , 148.3,  44.5],
           [  0. ,   0. ,   1. ]], dtype=float32)
    """
    tangents = np.atleast_1d(np.asarray(diagonal, np.float64))
    reach = math.hypot(width, height)
    out = np.zeros((len(tangents), 3, 3), np.float32)
    for axis, side in enumerate((width, height)):
        out[:, axis, axis] = (side - 1) / (2 * np.maximum(tangents, 1e-6) * side / reach)
        out[:, axis, 2] = (side - 1) / 2
    out[:, 2, 2] = 1
    return out
